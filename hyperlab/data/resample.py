"""Images and masks brought to one size, on the host, before training: linear for grey values, nearest for labels."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, overload

import numpy as np

from hyperlab.errors import DataError


@overload
def as_size(size: int | Sequence[int], dims: Literal[2]) -> tuple[int, int]: ...


@overload
def as_size(size: int | Sequence[int], dims: int) -> tuple[int, ...]: ...


def as_size(size: int | Sequence[int], dims: int) -> tuple[int, ...]:
    """A size in pixels along each axis; one number stands for all axes.

    Raises:
      DataError: another number of axes, or a size below 1.

    >>> as_size(64, 2)
    (64, 64)
    """
    sizes = (size,) * dims if isinstance(size, (int, np.integer)) else tuple(size)
    if len(sizes) != dims or any(int(n) != n or n < 1 for n in sizes):
        raise DataError(f"size is {size}, expected {dims} whole numbers of at least 1 (or one for all axes)")
    return tuple(int(n) for n in sizes)


def resample_image(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Linear interpolation with half-pixel centres; where it shrinks, the kernel widens, so nothing aliases.

    Args:
      image: `[*spatial, channel]`.
      size: the new spatial size.

    Returns:
      float32 `[*size, channel]`, inside the range of the input.

    >>> resample_image(np.array([[0.0], [4.0]]), (4,)).ravel().tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    image = np.asarray(image, np.float32)
    for axis, n in enumerate(size):
        if image.shape[axis] != n:
            rows = np.moveaxis(image, axis, 0)
            resampled = _weights(image.shape[axis], n) @ rows.reshape(len(rows), -1)
            image = np.moveaxis(resampled.reshape(n, *rows.shape[1:]), 0, axis)
    return np.ascontiguousarray(image)


def resample_rows(image: np.ndarray, size: Sequence[int], start: int, stop: int) -> np.ndarray:
    """Some rows of what `resample_image` would give, without the others: `[stop - start, *size[1:], channel]`.

    >>> resample_rows(np.array([[0.0], [4.0]]), (4,), 1, 3).ravel().tolist()
    [1.0, 3.0]
    """
    image = np.asarray(image, np.float32)
    if len(image) == size[0]:
        image = image[start:stop]
    else:
        rows = _weights(len(image), size[0])[start:stop] @ image.reshape(len(image), -1)
        image = rows.reshape(stop - start, *image.shape[1:])
    return resample_image(image, (stop - start, *size[1:]))


@dataclass(frozen=True)
class Slab:
    """Rows of a resampled array, along its first axis, and the rows that decide them.

    Attributes:
      here: which rows of the resampled array.
      there: which ones of the source.
      size: of the whole resampled array.
      weights: sparse `[here, there]`, or None where the rows are the same.
    """

    here: slice
    there: slice
    size: tuple[int, ...]
    weights: Any

    def of(self, rows: np.ndarray) -> np.ndarray:
        """The rows `here`, float32, of the rows `there` of a source `[*spatial]`."""
        if self.weights is not None:
            flat = np.asarray(rows, np.float32).reshape(len(rows), -1)
            rows = (self.weights @ flat).reshape(-1, *rows.shape[1:])
        return resample_image(rows[..., None], (len(rows), *self.size[1:]))[..., 0]


def slabs(shape: Sequence[int], size: Sequence[int], voxels: int = 1 << 20) -> Iterator[Slab]:
    """Cuts resampling into parts that need little memory; together they are what `resample_image` makes, to the bit.

    Args:
      shape: of the source, `[*spatial]`.
      size: the new one.
      voxels: about how many a part has, at least one row.

    >>> image = np.arange(12.0).reshape(4, 3)
    >>> parts = [slab.of(image[slab.there]) for slab in slabs(image.shape, (6, 5), voxels=5)]
    >>> len(parts), np.array_equal(np.concatenate(parts), resample_image(image[..., None], (6, 5))[..., 0])
    (6, True)
    """
    n, m = shape[0], size[0]
    step = max(1, voxels * m // max(math.prod(shape), math.prod(size), m * math.prod(shape[1:])))
    for start in range(0, m, step):
        here = slice(start, min(start + step, m))
        if n == m:
            yield Slab(here, here, tuple(size), None)
            continue
        rows = _weights(n, m)[here]
        there = slice(int(rows.indices.min()), int(rows.indices.max()) + 1)
        yield Slab(here, there, tuple(size), rows[:, there])


def scale_of(shapes: Sequence[Sequence[int]], size: Sequence[int]) -> float:
    """Pixels of a size for each pixel of shapes that were resampled to it: the mean over axes, the median over shapes.

    >>> scale_of([(256, 256), (256, 256), (512, 512)], (64, 64))
    0.25
    """
    volumes = np.prod(np.asarray(shapes, float), 1)
    return float(np.median((np.prod(size) / volumes) ** (1 / len(size))))


def resample_labels(labels: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """The label of the nearest pixel, with half-pixel centres: `[*spatial]` to `[*size]`.

    >>> resample_labels(np.array([0, 1, 2, 3]), (2,)).tolist()
    [1, 3]
    """
    for axis, n in enumerate(size):
        source = labels.shape[axis]
        if source != n:
            # floor of (i + 1/2) * source / n in whole numbers, which no rounding can move
            labels = labels.take((2 * np.arange(n) + 1) * source // (2 * n), axis)
    return np.ascontiguousarray(labels)


def pad_or_crop(array: np.ndarray, size: Sequence[int], value: float = 0) -> np.ndarray:
    """Centres an array in another size: what is too long is cut, what is too short is filled.

    Args:
      array: `[*spatial, ...]`; axes beyond `size` stay as they are.
      size: the new spatial size.
      value: the filling.

    Returns:
      `[*size, ...]`. The centre keeps its place: on an odd difference the smaller half comes first.

    >>> pad_or_crop(np.array([1, 2, 3]), (5,)).tolist(), pad_or_crop(np.array([1, 2, 3, 4]), (2,)).tolist()
    ([0, 1, 2, 3, 0], [2, 3])
    """
    for axis, n in enumerate(size):
        surplus = array.shape[axis] - n
        if surplus > 0:
            array = array.take(np.arange(surplus // 2, surplus // 2 + n), axis)
        elif surplus < 0:
            widths = [(0, 0)] * array.ndim
            widths[axis] = (-surplus // 2, -surplus - -surplus // 2)
            array = np.pad(array, widths, constant_values=value)
    return np.ascontiguousarray(array)


def cropped_rows(rows: Iterable[np.ndarray], shape: Sequence[int], size: Sequence[int]) -> Iterator[np.ndarray]:
    """What `pad_or_crop` leaves of an array that is no smaller than the size, of its consecutive rows.

    Args:
      rows: `[some, *shape[1:], ...]`.
      shape: of all of them together.
      size: the centred part that is left.

    >>> [part.tolist() for part in cropped_rows(iter([np.arange(2), np.arange(2, 5)]), (5,), (3,))]
    [[1], [2, 3]]
    """
    start = (shape[0] - size[0]) // 2
    stop, at = start + size[0], 0
    for part in rows:
        kept = part[max(0, start - at) : max(0, stop - at)]
        at += len(part)
        if len(kept):
            yield pad_or_crop(kept, (len(kept), *size[1:]))


def unit_range(image: np.ndarray, low: float = 0, high: float = 100, joint: bool = False) -> np.ndarray:
    """Maps two percentiles of each channel to 0 and 1 and clips: float32; zeros where a channel is constant.

    Args:
      image: `[*spatial, channel]`, finite.
      low: the percentile that becomes 0; 0 is the minimum.
      high: the percentile that becomes 1; 100 is the maximum.
      joint: take the percentiles over all channels together, which keeps colours.
    """
    image = np.asarray(image, np.float32)
    spatial = tuple(range(image.ndim - (not joint)))
    bottom, top = np.percentile(image, (low, high), axis=spatial, keepdims=True)
    span = np.where(top > bottom, top - bottom, 1)
    return np.clip((image - bottom) / span, 0, 1).astype(np.float32)


@lru_cache(maxsize=512)
def _weights(source: int, size: int):
    """Sparse float32 `[size, source]`: a triangle about each new centre, as wide as the coarser grid's step."""
    from scipy.sparse import csr_array

    scale = max(source / size, 1.0)
    centres = (np.arange(size) + 0.5) * source / size - 0.5
    distance = np.abs(centres[:, None] - np.arange(source)) / scale
    # at the border the kernel is cut and its weights rescaled, which clamps positions outside
    weights = np.maximum(1 - distance, 0)
    # a product of small dense matrices would wake the threads of the linear algebra library for each image
    return csr_array((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))
