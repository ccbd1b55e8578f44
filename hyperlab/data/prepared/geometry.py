"""Where a prepared image lies in its scan: cropping to what is not empty, another spacing, and the way back."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hyperlab.data.resample import slabs
from hyperlab.errors import DataError


@dataclass(frozen=True)
class Placement:
    """Everything that is needed to put what was found in a prepared image back into its scan.

    Attributes:
      shape: spatial shape of the scan.
      axes: which of its axes the image has; the others have one voxel.
      start, stop: the box that was cut out, along these axes.
      size: of the image, which is the box at another spacing.
      spacing: of the scan along these axes, or None where it is not known.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    start: tuple[int, ...]
    stop: tuple[int, ...]
    size: tuple[int, ...]
    spacing: tuple[float, ...] | None = None

    @property
    def box(self) -> tuple[int, ...]:
        """The shape of the box, in voxels of the scan."""
        return tuple(stop - start for start, stop in zip(self.start, self.stop, strict=True))

    @property
    def window(self) -> tuple[slice, ...]:
        """The box as an index of the scan without the axes that the image lacks."""
        return tuple(slice(*ends) for ends in zip(self.start, self.stop, strict=True))

    @property
    def image_spacing(self) -> tuple[float, ...] | None:
        """mm between neighbours of the image: the box has the same length in both, so this is not quite the target."""
        if self.spacing is None:
            return None
        return tuple(step * n / m for step, n, m in zip(self.spacing, self.box, self.size, strict=True))

    def to_json(self) -> dict[str, Any]:
        """As what JSON can hold."""
        return {key: list(value) if value is not None else None for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Placement":
        """The opposite of `to_json`.

        >>> placement = Placement((9, 9, 1), (0, 1), (1, 0), (8, 9), (14, 18), (1.0, 1.0))
        >>> Placement.from_json(placement.to_json()) == placement, placement.image_spacing
        (True, (0.5, 0.5))
        """
        fields: dict[str, Any] = {key: None if value is None else tuple(value) for key, value in content.items()}
        return cls(**fields)


def kept_axes(shape: Sequence[int], count: int) -> tuple[int, ...]:
    """The axes of a scan that an image of `count` axes has: those of one voxel are dropped, the last one first.

    Raises:
      DataError: the scan has fewer axes, or too many that are longer than one voxel.

    >>> kept_axes((40, 1, 40), 2), kept_axes((40, 40, 1), 3)
    ((0, 2), (0, 1, 2))
    """
    axes = list(range(len(shape)))
    for axis in reversed(range(len(shape))):
        if len(axes) > count and shape[axis] == 1:
            axes.remove(axis)
    if len(axes) != count:
        raise DataError(
            f"a scan of {' x '.join(map(str, shape))} voxels is no image of {count} axes, which are expected here"
        )
    return tuple(axes)


def occupied_box(occupied: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The smallest box that holds everything that is true, as where it starts and stops; all where nothing is.

    >>> occupied_box(np.array([[False, False, False], [False, True, True]]))
    ((1, 1), (2, 3))
    """
    starts, stops = [], []
    for axis, n in enumerate(occupied.shape):
        places = np.flatnonzero(occupied.any(tuple(other for other in range(occupied.ndim) if other != axis)))
        starts.append(int(places[0]) if len(places) else 0)
        stops.append(int(places[-1]) + 1 if len(places) else n)
    return tuple(starts), tuple(stops)


def filled(occupied: np.ndarray) -> np.ndarray:
    """What is true or enclosed by it: empty voxels that no path along axes joins to the border count as inside.

    In numpy alone, since whoever predicts without this library has to repeat it: emptiness spreads from the border,
    plane by plane along each axis and back, until nothing changes.

    Args:
      occupied: bool `[*spatial]`.

    Returns:
      bool `[*spatial]`.

    >>> filled(np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 1]], bool)).astype(int).tolist()
    [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    """
    empty = ~occupied
    outside = np.zeros_like(empty)
    for axis in range(empty.ndim):
        for end in (0, -1):
            index = (slice(None),) * axis + (end,)
            outside[index] = empty[index]
    count = -1
    while count != (count := int(np.count_nonzero(outside))):
        for axis in range(empty.ndim):
            reached, free = np.moveaxis(outside, axis, 0), np.moveaxis(empty, axis, 0)
            for order in (range(1, len(free)), range(len(free) - 2, -1, -1)):
                for place in order:
                    reached[place] |= reached[place - order.step] & free[place]
    return ~outside


def size_at(box: Sequence[int], spacing: Sequence[float], target: Sequence[float]) -> tuple[int, ...]:
    """Voxels that a box has at another spacing: floor(n * spacing / target + 1/2), at least 1.

    >>> size_at((10, 10), (1.0, 3.0), (1.5, 1.5))
    (7, 20)
    """
    steps = zip(box, spacing, target, strict=True)
    return tuple(max(1, math.floor(n * step / aim + 0.5)) for n, step, aim in steps)


def resampled(image: np.ndarray, size: Sequence[int], out: np.ndarray | None = None) -> np.ndarray:
    """One channel at another size: `resample_image`, slab by slab, to spare memory.

    Args:
      image: `[*spatial]`.
      size: the new spatial size.
      out: where to write it, float32 `[*size]`; by default a new array, or the image where nothing changes.

    Returns:
      float32 `[*size]`.

    >>> resampled(np.array([[0.0, 4.0]]), (1, 4)).tolist()
    [[0.0, 1.0, 3.0, 4.0]]
    """
    if out is None and image.shape == tuple(size) and image.dtype == np.float32:
        return image
    whole = np.empty(tuple(size), np.float32) if out is None else out
    for slab in slabs(image.shape, size):
        whole[slab.here] = slab.of(image[slab.there])
    return whole


def resample_classes(labels: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Labels on another grid of the same box: each goes where its share of the new voxel is the largest.

    The share is the linear interpolation of "has this label" (`resampled`: half-pixel centres, the kernel widened where
    the grid becomes coarser). The nearest label would be one line shorter, but makes steps of borders where the grid
    becomes finer, and takes one voxel of many where it becomes coarser. Of equal shares the lower label wins.

    Args:
      labels: int `[*spatial]`.
      size: the new spatial size.

    Returns:
      Labels `[*size]` of the same type, unchanged where the size is.

    >>> resample_classes(np.array([0, 0, 1, 1, 2, 2]), (3,)).tolist()
    [0, 1, 2]
    """
    if labels.shape == tuple(size):
        return labels
    whole = np.empty(tuple(size), labels.dtype)
    for slab in slabs(labels.shape, size):
        rows, target = labels[slab.there], whole[slab.here]
        found = np.unique(rows)  # of the others no new voxel has a share
        target[...] = found[largest((slab.of(rows == label) for label in found), target.shape)]
    return whole


def resample_scores(scores: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """The class with the largest score on another grid of the same box, scores interpolated linearly.

    Args:
      scores: floating point `[*spatial, class]`.
      size: the new spatial size.

    Returns:
      Numbers of classes, uint16 `[*size]`, the first of equals.

    >>> resample_scores(np.array([[0.9, 0.1], [0.2, 0.8]]), (4,)).tolist()
    [0, 0, 1, 1]
    """
    return resample_score_rows([scores], scores.shape[:-1], size)


def resample_score_rows(rows: Iterable[np.ndarray], shape: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """What `resample_scores` makes of consecutive rows of scores, of which no more are held than a slab needs.

    Args:
      rows: floating point `[some, *shape[1:], class]`; together they have the shape.
      shape: of the scores, `[*spatial]`.
      size: the new spatial size.

    Returns:
      Numbers of classes, uint16 `[*size]`.

    >>> resample_score_rows(iter([np.array([[0.9, 0.1]]), np.array([[0.2, 0.8]])]), (2,), (4,)).tolist()
    [0, 0, 1, 1]
    """
    whole = np.empty(tuple(size), np.uint16)
    coming = iter(rows)
    held, first = next(coming), 0  # and the row of the scores that it begins with
    for slab in slabs(shape, size):
        while slab.there.stop > first + len(held):
            held = np.concatenate([held, next(coming)])
        held, first = held[slab.there.start - first :], slab.there.start
        part, target = held[: slab.there.stop - slab.there.start], whole[slab.here]
        target[...] = largest((slab.of(part[..., number]) for number in range(part.shape[-1])), target.shape)
    return whole


def largest(scores: Iterable[np.ndarray], size: Sequence[int]) -> np.ndarray:
    """The place of the largest of several scores at each voxel, the first one of equals, one score in memory at a time.

    >>> largest(iter([np.array([0.5, 0.2]), np.array([0.5, 0.8])]), (2,)).tolist()
    [0, 1]
    """
    place, best = np.zeros(tuple(size), np.uint16), np.full(tuple(size), -np.inf, np.float32)
    for number, score in enumerate(scores):
        better = score > best
        place[better] = number
        np.copyto(best, score, where=better)
    return place
