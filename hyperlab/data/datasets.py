"""The data sets of the studies by name, each loaded into three splits that do not leak."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from hyperlab.data.readers.idx import find_file, read_idx
from hyperlab.data.splits import (
    Split,
    Splits,
    check_splits,
    duplicate_groups,
    fingerprint,
    split_by_group,
    stratified_subset,
)
from hyperlab.errors import DataError, nearest

_FASHION = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
_DIGITS = tuple("0123456789")


def load(
    name: str,
    root: str | Path | None = None,
    *,
    validation_fraction: float | None = None,
    test_fraction: float = 0.2,
    split_seed: int = 0,
    limit: int | Mapping[str, int] | None = None,
) -> Splits:
    """Loads a data set by name and refuses it if its splits leak.

    Args:
      name: `"digits"` (1,797 images of 8x8, embedded in scikit-learn), `"mnist"` or `"fashion_mnist"`
        (28x28, IDX files, plain or gzipped).
      root: the folder of the IDX files; a folder that holds `MNIST/raw` or `mnist` works too.
      validation_fraction: share of the examples that are not official test examples which becomes the
        validation split; by default 0.2 of the digits and 1/12 (5,000 of 60,000) of an IDX set.
      test_fraction: share of the digits that becomes the test split. IDX sets keep their official one.
      split_seed: another seed gives another partition; it is no part of a run's seed.
      limit: at most so many examples in each split, or in the splits named by a mapping; classes keep
        their proportions and smaller limits are nested in larger ones.

    Returns:
      The three splits, the class names and a fingerprint of the contents.

    Raises:
      DataError: unknown name; a file is missing, truncated or of another format; images and labels
        differ in number; splits leak.

    >>> splits = load("digits")
    >>> {name: len(part) for name, part in splits.parts().items()}
    {'train': 1078, 'validation': 360, 'test': 359}
    """
    loaders: dict[str, Callable] = {"digits": _load_digits, "mnist": _load_idx, "fashion_mnist": _load_idx}
    if name not in loaders:
        raise DataError(f"unknown data set {name!r}; {nearest(name, loaders)}")
    source, official_test, classes = loaders[name](name, root)
    if official_test is None:
        validation_fraction = 0.2 if validation_fraction is None else validation_fraction
        shares = (1 - validation_fraction - test_fraction, validation_fraction, test_fraction)
        positions = split_by_group(source.labels, source.groups, shares, split_seed)
        notes = ()
    else:
        share = 1 / 12 if validation_fraction is None else validation_fraction
        positions, notes = _around_official_test(source, official_test, share, split_seed)
    parts = dict(zip(("train", "validation", "test"), map(source.take, positions), strict=True))
    parts = _limited(parts, limit, split_seed)
    # the raw images are hashed: four times fewer bytes than the floats made from them
    digest = fingerprint(*(array for part in parts.values() for array in (part.images, part.labels, part.index)))
    parts = {key: _scaled(part, 16 if name == "digits" else 255) for key, part in parts.items()}
    splits = Splits(name, **parts, classes=classes, fingerprint=digest, notes=notes)
    check_splits(splits)
    return splits


def _load_digits(name: str, root: str | Path | None):
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = images.astype(np.uint8).reshape(-1, 8, 8, 1)
    return _source(images, labels), None, _DIGITS


def _load_idx(name: str, root: str | Path | None):
    if root is None:
        raise DataError(f"{name} is read from IDX files; name their folder, for instance --config.data.root=DIR")
    root = Path(root).expanduser()  # a shell leaves the ~ of --config.data.root=~/data alone
    inside = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[name]
    folders = [root, root / name, root / inside / "raw"]
    arrays = {}
    for part in ("train", "t10k"):
        for kind, rank in (("images", 3), ("labels", 1)):
            names = [f"{part}-{kind}-idx{rank}-ubyte", f"{part}-{kind}.idx{rank}-ubyte"]
            path = find_file(folders, names)
            folders = [path.parent]  # files of two folders are never mixed
            array = read_idx(path)
            if array.ndim != rank or array.dtype != np.uint8:
                raise DataError(f"{path} holds {array.dtype} of shape {array.shape}, expected uint8 of rank {rank}")
            arrays[part, kind] = array
        images, labels = arrays[part, "images"], arrays[part, "labels"]
        if len(images) != len(labels):
            raise DataError(f"{path.parent}: {len(images)} {part} images but {len(labels)} {part} labels")
    train_shape, test_shape = (arrays[part, "images"].shape[1:] for part in ("train", "t10k"))
    if train_shape != test_shape:
        raise DataError(f"{path.parent}: train images are {train_shape}, t10k images {test_shape}")
    images = np.concatenate([arrays["train", "images"], arrays["t10k", "images"]])[..., None]
    labels = np.concatenate([arrays["train", "labels"], arrays["t10k", "labels"]])
    official_test = np.arange(len(labels)) >= len(arrays["train", "labels"])
    return _source(images, labels), official_test, _DIGITS if name == "mnist" else _FASHION


def _around_official_test(source: Split, is_test: np.ndarray, validation_fraction: float, seed: int):
    """The official test split stays whole, so copies of its images leave the rest."""
    copies = ~is_test & np.isin(source.groups, source.groups[is_test])
    rest = np.flatnonzero(~is_test & ~copies)
    shares = (1 - validation_fraction, validation_fraction)
    train, validation = split_by_group(source.labels[rest], source.groups[rest], shares, seed)
    notes = ()
    if copies.any():
        notes = (f"{int(copies.sum())} training images identical to a test image were left out.",)
    return [rest[train], rest[validation], np.flatnonzero(is_test)], notes


def _source(images: np.ndarray, labels: np.ndarray) -> Split:
    index = np.arange(len(labels), dtype=np.int32)
    return Split(images, labels.astype(np.int32), duplicate_groups(images), index)


def _limited(parts: dict[str, Split], limit: int | Mapping[str, int] | None, seed: int) -> dict[str, Split]:
    if limit is None:
        return parts
    limits = dict(limit) if isinstance(limit, Mapping) else dict.fromkeys(parts, limit)
    for key in limits:
        if key not in parts:
            raise DataError(f"limit names the unknown split {key!r}; {nearest(key, parts)}")
    return {
        key: part.take(stratified_subset(part.labels, limits[key], seed)) if key in limits else part
        for key, part in parts.items()
    }


def _scaled(part: Split, top: int) -> Split:
    return Split(part.images.astype(np.float32) / np.float32(top), part.labels, part.groups, part.index)
