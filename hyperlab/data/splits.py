"""Splits that do not leak: groups stay together, and a check that proves it on the arrays themselves."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import combinations
from typing import Any

import numpy as np

from hyperlab.errors import ConfigError, DataError


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set.

    Attributes:
      images: float32 `[n, *spatial, channel]` in 0..1.
      labels: int32 `[n]`, the class of an image, or `[n, *spatial]`, the class of every pixel.
      groups: int32 `[n]`; examples of one group (one subject, one duplicate cluster) share a split.
      index: int32 `[n]`, the example's place in the source, unique over all splits.
      spacing: float32 `[n, dims]`, the distance between neighbouring pixels along each axis, in mm;
        None where it is unknown and distances are counted in pixels.
      names: str `[n]`, the name of each case, or None.
      kinds: int32 `[n]`, the kind of image where a set mixes several (see `Splits.kinds`), or None.
    """

    images: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    index: np.ndarray
    spacing: np.ndarray | None = None
    names: np.ndarray | None = None
    kinds: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def strata(self) -> np.ndarray:
        """int `[n]`: what a partition keeps in proportion: the class; where every pixel has one, the kind of image."""
        if self.labels.ndim == 1:
            return self.labels
        return np.zeros(len(self), np.int32) if self.kinds is None else self.kinds

    def take(self, chosen: np.ndarray) -> "Split":
        """The examples at some positions of this split, as a new split."""
        arrays = {each.name: getattr(self, each.name) for each in fields(self)}
        taken: dict[str, Any] = {name: None if array is None else array[chosen] for name, array in arrays.items()}
        return Split(**taken)


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set in three parts that share no index, no group and no identical image.

    Attributes:
      name: the data set's name.
      train, validation, test: the parts. Choices are made on `validation`; `test` is read once.
      classes: the name of each label; where every pixel has one, 0 is the background.
      fingerprint: a hash of the contents and of the partition; a resumed run refuses another one.
      notes: what was done to the source, in sentences for the report.
      kinds: the names of the kinds of image, where a set mixes several.
      scale: pixels along an axis for each pixel of the files, the median over images: what is segmented with a network
        that was trained on these images has to be brought to this scale first.
      normalisation: how values of the files became 0..1, a name that `hyperlab.data.microscopy.read` takes.
      preprocessing: how a file becomes an image, with every number (`hyperlab.data.preprocessing.Preprocessing`); None
        where an image has one class.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    fingerprint: str
    notes: tuple[str, ...] = field(default=())
    kinds: tuple[str, ...] = field(default=())
    scale: float = 1.0
    normalisation: str = "full range"
    preprocessing: Any = None

    def parts(self) -> dict[str, Split]:
        """The three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def limits(self) -> tuple[float, float] | None:
        """That values of images keep to; None: they go anywhere."""
        return (0.0, 1.0)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(*spatial, channel)` of one image, for instance `(height, width, channel)`."""
        return self.train.images.shape[1:]


def fingerprint(*arrays: np.ndarray) -> str:
    """A stable hash of arrays: dtype, shape and contents, the same on every machine.

    >>> fingerprint(np.arange(3, dtype=np.int32)) == fingerprint(np.arange(3, dtype=np.int64))
    False
    """
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        little_endian = np.ascontiguousarray(array, np.dtype(array.dtype).newbyteorder("<"))
        digest.update(f"{little_endian.dtype.str}{little_endian.shape}".encode())
        digest.update(little_endian.data)
    return digest.hexdigest()


def duplicate_groups(images: np.ndarray) -> np.ndarray:
    """Group ids in which identical images share one id.

    Args:
      images: `[n, ...]` of any dtype.

    Returns:
      int32 `[n]`: the position of the first image that is identical to each.

    >>> duplicate_groups(np.array([[1, 2], [3, 4], [1, 2]], np.uint8))
    array([0, 1, 0], dtype=int32)
    """
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(key, i) for i, key in enumerate(_digests(images))], np.int32)


def philox(seed: int, number: int, stream: int = 0) -> np.random.Philox:
    """Random words that are a function of two integers and of what they are for, the same for good.

    A generator's own methods may change from one numpy to the next; the words of a bit generator do not.

    Raises:
      ConfigError: a seed that does not fit 64 bits: it would draw what another one draws.
    """
    if not 0 <= int(seed) < 2**64:
        raise ConfigError(f"seed is {seed}, expected a whole number from 0 to 2**64 - 1")
    words = [np.uint64(int(value) % 2**64) for value in (seed, number)]
    return np.random.Philox(key=words, counter=[0, 0, 0, stream])


def permutation(size: int, seed: int, number: int = 0) -> np.ndarray:
    """A permutation of `range(size)` that depends on nothing but its arguments: int32 `[size]`.

    Each place draws a random word, and the words are sorted.

    >>> permutation(5, seed=3).tolist()
    [1, 2, 4, 3, 0]
    """
    return np.argsort(philox(seed, number).random_raw(size), kind="stable").astype(np.int32)


def split_by_group(labels: np.ndarray, groups: np.ndarray, fractions: Sequence[float], seed: int) -> list[np.ndarray]:
    """Partitions examples into parts of given fractions, stratified by class, groups never cut.

    Args:
      labels: int `[n]`, the classes, or whatever else is to keep its proportions (see `Split.strata`).
      groups: int `[n]`; a group counts for the class of its first example.
      fractions: the share of each part; they sum to 1.
      seed: another seed gives another partition.

    Returns:
      The sorted positions of each part. With groups of one example the whole set is cut at its rounded
      shares and each class within two examples of its own; larger groups move a cut by at most their
      size.

    Raises:
      DataError: the fractions do not sum to 1, a part is empty, or `labels` are masks.

    >>> [part.tolist() for part in split_by_group(np.array([0, 0, 1, 1]), np.arange(4), (0.5, 0.5), seed=0)]
    [[0, 3], [1, 2]]
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise DataError(f"split fractions {tuple(fractions)} must be at least 0 and sum to 1")
    if np.ndim(labels) != 1:
        raise DataError(
            f"a partition keeps one number an example in proportion, not arrays of shape {np.shape(labels)[1:]}; "
            "give Split.strata instead of masks"
        )
    ids, first, inverse, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(_ranks(labels[first], sizes, seed), kind="stable")
    middle = np.cumsum(sizes[order]) - sizes[order] / 2
    part_of = np.empty(len(ids), np.int32)
    part_of[order] = np.searchsorted(np.round(np.cumsum(fractions)[:-1] * len(labels)), middle)
    parts = [np.flatnonzero(part_of[inverse] == part) for part in range(len(fractions))]
    for part, fraction in zip(parts, fractions, strict=True):
        if fraction and not len(part):
            held = (
                f" in {len(ids)} group{'s' * (len(ids) > 1)} (subjects, near-copies)" if len(ids) < len(labels) else ""
            )
            raise DataError(f"a part of {fraction:.3g} of {len(labels)} examples{held} is empty; use larger fractions")
    return parts


def stratified_subset(labels: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Sorted positions of at most `limit` examples, classes in their proportions; smaller limits are nested."""
    if limit < 1:
        raise DataError(f"limit is {limit}, expected at least 1 example")
    ranks = _ranks(labels, np.ones(len(labels), int), seed)
    return np.sort(np.argsort(ranks, kind="stable")[:limit])


def _ranks(labels: np.ndarray, sizes: np.ndarray, seed: int) -> np.ndarray:
    """Where each group stands in a random order of its class, in 0..1: any cut of the ranks is stratified."""
    ranks = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        members = members[permutation(len(members), seed, int(label))]
        ranks[members] = (np.cumsum(sizes[members]) - sizes[members] / 2) / sizes[members].sum()
    return ranks


def check_splits(splits: Splits) -> None:
    """Refuses splits that leak or that hold values a study cannot use.

    Raises:
      DataError: an index, a group or an identical image is in two splits; a split is empty; arrays
        differ in length; an image is not finite or outside 0..1; a label is outside the classes; masks
        are of another shape than the images.
    """
    for name, part in splits.parts().items():
        _check_values(f"{splits.name}, {name} split", part, len(splits.classes))
    digests = {name: _digests(part.images) for name, part in splits.parts().items()}
    views: Mapping[str, dict] = {
        "index": {name: part.index.tolist() for name, part in splits.parts().items()},
        "group": {name: part.groups.tolist() for name, part in splits.parts().items()},
        "identical image": digests,
    }
    for (left, a), (right, b) in combinations(splits.parts().items(), 2):
        for what, view in views.items():
            shared = set(view[left]) & set(view[right])
            if shared:
                key = min(shared)
                places = a.index[view[left].index(key)], b.index[view[right].index(key)]
                raise DataError(
                    f"{splits.name} leaks: the {left} and {right} splits share {len(shared)} "
                    f"{what}(s), for instance source examples {int(places[0])} and {int(places[1])}"
                )


def _check_values(where: str, part: Split, classes: int) -> None:
    arrays = {each.name: getattr(part, each.name) for each in fields(part)}
    lengths = {name: len(array) for name, array in arrays.items() if array is not None}
    if len(set(lengths.values())) != 1:
        *names, last = lengths
        sizes = sorted(set(lengths.values()))
        raise DataError(f"{where}: {', '.join(names)} and {last} differ in length: {sizes}")
    if part.labels.ndim > 1 and part.labels.shape != part.images.shape[:-1]:
        raise DataError(
            f"{where}: masks are {part.labels.shape[1:]}, images {part.images.shape[1:]}; "
            "expected one label for every pixel"
        )
    if not len(part):
        raise DataError(f"{where}: no examples")
    if len(np.unique(part.index)) != len(part):
        raise DataError(f"{where}: an index occurs twice")
    low, high = float(part.images.min()), float(part.images.max())
    if not (low >= 0 and high <= 1):  # NaN fails both comparisons
        raise DataError(f"{where}: images span {low} to {high}, expected finite values in 0..1")
    low, high = int(part.labels.min()), int(part.labels.max())
    if low < 0 or high >= classes:
        raise DataError(f"{where}: labels span {low} to {high}, expected 0 to {classes - 1}")


def _digests(images: np.ndarray) -> list[bytes]:
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in np.ascontiguousarray(images)]
