"""Pairs to register, by name: synthetic shapes, brain slices, hippocampus volumes."""

from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.data.segmentation import children_of
from hyperlab.data.splits import permutation
from hyperlab.errors import DataError, nearest, reading, require
from hyperlab.registration import synthetic
from hyperlab.registration.pairs import PairDataset, build

BRAIN_CLASSES = ("background", "cerebrospinal fluid", "grey matter", "white matter", "deep grey matter")
HIPPOCAMPUS_CLASSES = ("background", "anterior", "posterior")
TASKS = ("subjects", "warps")
NAMES = ("synthetic", "brain_t1_ptbp", "msd_hippocampus")
_BRAIN_PARTS = {"train": (1, 40), "validation": (41, 50), "test": (51, 60)}
_SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}


def load(settings: Any) -> PairDataset:
    """The data that a study's config describes.

    Args:
      settings: the config's `data`: `name` (`synthetic`, `brain_t1_ptbp`, `msd_hippocampus`), `root` (the folder of the
        files), `task` (see `pairs.build`), `size` (spatial, cut or padded round the centre), `downsample` (voxels
        along an axis that become one), `subjects` (how many, 0 for all; synthetic: training images), and the
        settings of `pairs.build`.

    Raises:
      DataError: an unknown name or task, a file that is missing or of another form.
    """
    loaders = dict(zip(NAMES, (_synthetic, _brain, _hippocampus), strict=True))
    if settings.name not in loaders:
        raise DataError(f"data.name is {settings.name!r}; {nearest(settings.name, loaders)}")
    if settings.task not in TASKS:
        raise DataError(f"data.task is {settings.task!r}; {nearest(settings.task, TASKS)}")
    return loaders[settings.name](settings)


def fit_to(arrays: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Cuts or pads with zeros, round the centre of each spatial axis: `[n, *spatial]` to `[n, *size]`.

    >>> fit_to(np.arange(1, 5)[None], (2,)).tolist(), fit_to(np.arange(1, 3)[None], (4,)).tolist()
    ([[2, 3]], [[0, 1, 2, 0]])

    Raises:
      DataError: the arrays have other axes than the size.
    """
    if len(size) != arrays.ndim - 1:
        raise DataError(f"data.size is {size}; expected {arrays.ndim - 1} numbers: the files are {arrays.ndim - 1}D")
    for axis, target in enumerate(size, start=1):
        n = arrays.shape[axis]
        start = max(0, n - target) // 2
        arrays = np.take(arrays, range(start, start + min(n, target)), axis)
        before = max(0, target - n) // 2
        pads = [(before, max(0, target - n) - before) if axis == index else (0, 0) for index in range(arrays.ndim)]
        arrays = np.pad(arrays, pads)
    return arrays


def downsampled(images: np.ndarray, labels: np.ndarray, factor: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of voxels become one: the mean intensity, and the commonest label (the lower one of two).

    Args:
      images: float32 `[n, *spatial]`.
      labels: int `[n, *spatial]`.
      factor: voxels along each axis; what does not fill a block is left out.
      classes: number of label values.
    """
    if factor == 1:
        return images, labels
    dims = images.ndim - 1
    blocks = [n // factor for n in images.shape[1:]]
    cut = (slice(None), *(slice(b * factor) for b in blocks))
    shape = (len(images), *(size for b in blocks for size in (b, factor)))
    within = tuple(range(2, 2 + 2 * dims, 2))
    counts = np.stack([(labels[cut].reshape(shape) == c).sum(within) for c in range(classes)], -1)
    return images[cut].reshape(shape).mean(within).astype(np.float32), counts.argmax(-1).astype(np.int32)


def evened(images: np.ndarray, percentile: float = 95.0, level: float = 0.85) -> np.ndarray:
    """Images scaled one by one, so that a percentile of each is at the same level; what exceeds 1 is cut.

    Squared differences are blind to anatomy where one image is brighter than the other.

    >>> evened(np.linspace(0, 0.4, 101)[None].astype(np.float32), 95, 0.5).max().round(3)
    np.float32(0.526)
    """
    top = np.percentile(images, percentile, axis=tuple(range(1, images.ndim)), keepdims=True)
    return np.clip(images * (level / np.maximum(top, 1e-6)), 0, 1).astype(np.float32)


def _synthetic(settings: Any) -> PairDataset:
    if settings.task != "warps":
        raise DataError("data.task of the synthetic set is 'warps': its shapes have no counterpart in one another")
    train, held_out = settings.subjects or 64, max(10, (settings.subjects or 64) // 4)
    count = train + 2 * held_out
    images, labels = synthetic.shapes(count, tuple(settings.size), noise=settings.noise, seed=settings.seed)
    numbers = np.arange(count)
    parts = dict(zip(("train", "validation", "test"), np.split(numbers, [train, train + held_out]), strict=True))
    notes = ("Synthetic shapes: what comes out here shows that the instrument works, and says nothing of anatomy.",)
    return build("synthetic", images, labels, numbers, np.zeros(count, int), parts, synthetic.CLASSES, settings, notes)


def _brain(settings: Any) -> PairDataset:
    path = _root(settings) / "slices.npz"
    if not path.is_file():
        raise DataError(f"{path} does not exist; data.root names the folder of brain_t1_ptbp, which holds slices.npz")
    with reading(path), path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        missing = {"image", "label"} - set(file.files)
        if missing:
            raise DataError(f"{path} has no array {sorted(missing)}; it holds {file.files}")
        images, labels = file["image"], file["label"]
    if images.ndim != 4 or images.shape != labels.shape:
        raise DataError(
            f"{path}: images {images.shape} and labels {labels.shape}, expected two [subjects, slices, y, x]"
        )
    subjects, slices = images.shape[:2]
    if subjects != 60:
        raise DataError(f"{path} holds {subjects} subjects; the split 1-40, 41-50, 51-60 is for 60")
    flat, flat_labels = images.reshape(-1, *images.shape[2:]), labels.reshape(-1, *labels.shape[2:]).astype(np.int32)
    _check_labels(path, flat_labels, BRAIN_CLASSES)
    flat, flat_labels = downsampled(evened(flat.astype(np.float32) / 255), flat_labels, settings.downsample, 5)
    size = tuple(settings.size)
    children = children_of(images)
    once = np.flatnonzero(children == np.arange(subjects)) + 1  # a second scan of a child would give the first away
    parts = {part: once[(once >= first) & (once <= last)] for part, (first, last) in _BRAIN_PARTS.items()}
    if settings.subjects:  # the first ones of each part, in proportion
        share = settings.subjects / subjects
        parts = {part: members[: max(2, round(share * len(members)))] for part, members in parts.items()}
    notes = (
        "The slices are aligned to a template beforehand and their labels are automatic (ANTs), so gains are counted "
        "from the identity. A slice is a cut through motion in three dimensions. Each slice was scaled to the "
        "same 95th percentile of intensity.",
        f"The {subjects} scans are taken to show {len(once)} children; the first scan of each is used.",
    )
    return build(
        "brain_t1_ptbp",
        fit_to(flat, size)[..., None],
        fit_to(flat_labels, size),
        np.repeat(np.arange(1, subjects + 1), slices),
        np.tile(np.arange(slices), subjects),
        parts,
        BRAIN_CLASSES,
        settings,
        notes,
    )


def _hippocampus(settings: Any) -> PairDataset:
    nibabel = require("nibabel", "medical", "reading NIfTI volumes")
    root = _root(settings)
    paths = sorted((root / "images").glob("hippocampus_*.nii.gz"))
    if not paths:
        raise DataError(f"{root}/images holds no hippocampus_*.nii.gz; data.root names the folder of msd_hippocampus")
    numbers = np.array([int(path.name.split("_")[1].split(".")[0]) for path in paths])
    scans = (numbers + 1) // 2  # volumes 2k - 1 and 2k are the two sides of one scan
    members = np.unique(scans)[permutation(len(np.unique(scans)), settings.seed)]
    members = members[: settings.subjects or None]
    cuts = np.cumsum([max(2, round(share * len(members))) for share in (_SHARES["test"], _SHARES["validation"])])
    parts = dict(zip(("test", "validation", "train"), np.split(members, cuts), strict=True))
    parts = {part: parts[part] for part in _SHARES}
    images, labels, kept = [], [], np.flatnonzero(np.isin(scans, members))
    for path in (paths[index] for index in kept):
        label_path = root / "labels" / path.name
        if not label_path.is_file():
            raise DataError(f"{label_path} does not exist, the labels of {path}")
        image, label = (np.asarray(nibabel.load(file).dataobj) for file in (path, label_path))
        if image.shape != label.shape or not np.isfinite(image).all():
            raise DataError(f"{path}: image {image.shape} and labels {label.shape} differ, or a voxel is not finite")
        low, high = np.percentile(image, (1, 99))
        image = np.clip((image.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)
        one, one_labels = downsampled(image[None], label[None].astype(np.int32), settings.downsample, 3)
        _check_labels(label_path, one_labels, HIPPOCAMPUS_CLASSES)
        images.append(fit_to(one, tuple(settings.size))[0])
        labels.append(fit_to(one_labels, tuple(settings.size))[0])
    return build(
        "msd_hippocampus",
        np.stack(images)[..., None],
        np.stack(labels),
        scans[kept],
        numbers[kept] % 2,  # sides are paired with the same side of other subjects
        parts,
        HIPPOCAMPUS_CLASSES,
        settings,
    )


def _root(settings: Any) -> Path:
    if not settings.root:
        raise DataError(f"{settings.name} is read from files; name their folder: --config.data.root=DIR")
    return Path(settings.root).expanduser()


def _check_labels(path: Path, labels: np.ndarray, classes: tuple[str, ...]) -> None:
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(f"{path} has labels {np.unique(labels).tolist()}, expected 0 to {len(classes) - 1}: {classes}")
