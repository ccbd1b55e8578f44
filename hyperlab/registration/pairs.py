"""Pairs of images to register, with labels to judge the result by: of different subjects, or of a known warp.

A `PairSplit` holds images once and a table of pairs; the three splits of a `PairDataset` share no subject.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hyperlab import moved
from hyperlab.data.splits import fingerprint
from hyperlab.errors import DataError
from hyperlab.registration.synthetic import known_warps


@dataclass(frozen=True, eq=False)
class PairSplit:
    """One split of the pairs.

    Attributes:
      images: float32 `[images, *spatial, 1]` in 0..1.
      labels: int32 `[images, *spatial]`, 0 for the background.
      pairs: int32 `[n, 2]`, rows of `images`: moving, fixed.
      subjects: int32 `[images]`; a pair counts for the subject of its fixed image.
      fields: float32 `[n, *spatial, dims]`, the true displacement of each pair in voxels; None where it is not known.
    """

    images: np.ndarray
    labels: np.ndarray
    pairs: np.ndarray
    subjects: np.ndarray
    fields: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def groups(self) -> np.ndarray:
        """`[n]`, the subject that each pair counts for."""
        return self.subjects[self.pairs[:, 1]]

    def moving(self, chosen: np.ndarray) -> np.ndarray:
        """The moving images of some pairs."""
        return self.images[self.pairs[chosen, 0]]

    def fixed(self, chosen: np.ndarray) -> np.ndarray:
        """The fixed images of some pairs."""
        return self.images[self.pairs[chosen, 1]]


@dataclass(frozen=True, eq=False)
class PairDataset:
    """Pairs of images in three splits.

    Attributes:
      name: of the data and the task.
      train, validation, test: the splits. Choices are made on `validation`; `test` is read once.
      classes: names of the label values, the background first.
      fingerprint: of contents and split.
      notes: in sentences, for the report.
    """

    name: str
    train: PairSplit
    validation: PairSplit
    test: PairSplit
    classes: tuple[str, ...]
    fingerprint: str
    notes: tuple[str, ...] = field(default=())

    def parts(self) -> dict[str, PairSplit]:
        """The three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def shape(self) -> tuple[int, ...]:
        """`(*spatial, 1)` of one image."""
        return self.train.images.shape[1:]


def build(
    name: str,
    images: np.ndarray,
    labels: np.ndarray,
    subjects: np.ndarray,
    slots: np.ndarray,
    parts: dict[str, np.ndarray],
    classes: tuple[str, ...],
    settings: Any,
    notes: tuple[str, ...] = (),
) -> PairDataset:
    """Pairs in three splits from images of several subjects.

    Args:
      name: of the data set.
      images: float32 `[images, *spatial, 1]` in 0..1.
      labels: int32 `[images, *spatial]`.
      subjects: int `[images]`.
      slots: int `[images]`; images are paired with images of the same slot (slice of a slab, side of a body).
      parts: the subjects of each split.
      classes: names of the label values.
      settings: `task` (`subjects`: pairs of different subjects; `warps`: an image and itself after a known random
        warp), `partners` (moving images for each fixed one, outside of training), and for warps `amplitude`,
        `smoothness`, `noise`, `warps_per_image`, `seed`.
      notes: sentences for the report.

    Raises:
      DataError: a part has no pair, or subjects are in two parts.
    """
    made = {}
    for index, (part, members) in enumerate(parts.items()):
        for other in list(parts)[:index]:
            if shared := sorted(set(map(int, members)) & set(map(int, parts[other]))):
                raise DataError(f"{name}: subjects {shared[:5]} are in {other} and in {part}")
        rows = np.flatnonzero(np.isin(subjects, members))
        arrays = images[rows], labels[rows], subjects[rows].astype(np.int32)
        if settings.task == "warps":
            made[part] = warped(*arrays, settings, stream=index)
        else:
            table = subject_pairs(subjects[rows], slots[rows], 0 if part == "train" else settings.partners)
            made[part] = PairSplit(*arrays[:2], table, arrays[2])
        if not len(made[part]):
            raise DataError(f"{name}: no pairs in the {part} part, of {len(members)} subjects; two are needed")
    # Of the source and the split: random warps are a function of both and of the config.
    digest = fingerprint(np.round(images * 255).astype(np.uint8), labels, *parts.values())
    return PairDataset(f"{name}, {settings.task}", **made, classes=classes, fingerprint=digest, notes=notes)


def subject_pairs(subjects: np.ndarray, slots: np.ndarray, partners: int) -> np.ndarray:
    """Pairs of images of the same slot and of different subjects: int32 `[n, 2]`, moving and fixed.

    Args:
      subjects: `[images]`.
      slots: `[images]`.
      partners: 0 for all ordered pairs; else each image is fixed once for each of its next `partners` subjects, so
        that every subject counts the same.

    >>> subject_pairs(np.array([1, 2, 3, 1]), np.array([0, 0, 0, 1]), 1).tolist()
    [[1, 0], [2, 1], [0, 2]]
    """
    pairs = []
    for slot in np.unique(slots):
        rows = np.flatnonzero(slots == slot)
        count = len(rows)
        for place, fixed in enumerate(rows):
            steps = range(1, count if partners == 0 else min(partners, count - 1) + 1)
            following = (rows[(place + step) % count] for step in steps)
            pairs += [(moving, fixed) for moving in following if subjects[moving] != subjects[fixed]]
    return np.array(pairs, np.int32).reshape(-1, 2)


def warped(images: np.ndarray, labels: np.ndarray, subjects: np.ndarray, settings: Any, stream: int) -> PairSplit:
    """Every image as the moving one of pairs whose fixed image is itself, warped by a known field, with new noise."""
    copies = 1 if stream else settings.warps_per_image
    source = np.tile(np.arange(len(images)), copies)
    fixed, fixed_labels, fields = known_warps(
        images[source],
        labels[source],
        amplitude=settings.amplitude,
        smoothness=settings.smoothness,
        noise=settings.noise,
        seed=settings.seed,
        stream=stream,
    )
    pairs = np.stack([source, len(images) + np.arange(len(source))], 1).astype(np.int32)
    return PairSplit(
        np.concatenate([images, fixed]),
        np.concatenate([labels, fixed_labels]).astype(np.int32),
        pairs,
        np.concatenate([subjects, subjects[source]]).astype(np.int32),
        fields,
    )


__getattr__ = moved.names(__name__, {"Study": f"{__name__}.PairDataset", "Part": f"{__name__}.PairSplit"})
