"""Connected components of a predicted mask: a table of them, their number over samples, and which are right.

A map of pixels is read one object at a time: each object has the mean uncertainty of its pixels, so that objects can
be sorted for a reader, and the errors of objects can be ranked by it (`selective`, at object level).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Array, Bool, Float, Int, Shaped
from numpy.typing import ArrayLike

from hyperlab.errors import DataError


class SampleInterval(NamedTuple):
    """A number over the samples of a network: its mean and the range that holds the middle 95 % of the samples.

    This describes samples. It is no confidence interval: nothing says that the truth lies in it as often.
    """

    mean: float
    low: float
    high: float
    samples: int


class ObjectMatch(NamedTuple):
    """Which predicted objects are true ones.

    Attributes:
      error: bool `[objects]`, in the order of `object_table`: not matched by any true object.
      iou: float `[objects]`, the largest intersection over union with a true object; 0 where it touches none.
      missed: how many true objects are not matched.
    """

    error: Bool[np.ndarray, " objects"]
    iou: Float[np.ndarray, " objects"]
    missed: int


def components(mask: Shaped[Array | np.ndarray, "*spatial"]) -> tuple[Int[np.ndarray, "*spatial"], int]:
    """The connected components (over faces) of a mask as an int map, 1..objects, and how many there are.

    >>> components(np.array([[True, False, True]]))
    (array([[1, 0, 2]], dtype=int32), 2)
    """
    mask = np.asarray(mask)
    if mask.dtype != bool:
        raise DataError(f"the mask is {mask.dtype}, expected bool, for instance mean[..., 1] > 0.5 or labels == 1")
    return scipy.ndimage.label(mask)


def object_table(
    mask: Shaped[Array | np.ndarray, "*spatial"], maps: Mapping[str, ArrayLike]
) -> dict[str, Shaped[np.ndarray, " objects"]]:
    """One row an object of one image.

    Args:
      mask: bool `[*spatial]`, the prediction.
      maps: `[*spatial]` by name, for instance the probability of the class and several uncertainties.

    Returns:
      Columns of equal length, which `pandas.DataFrame` takes: `object` (its number, from 1), `centre_0`, `centre_1`,
      ... (mean pixel index on each axis), `area` (pixels), `touches_border`, and `mean_NAME` of each map. Without
      objects all are empty.

    Raises:
      DataError: a map has another shape, or the mask is not bool.

    >>> mask = np.array([[1, 1, 0, 0], [0, 0, 0, 1]], bool)
    >>> table = object_table(mask, {"epistemic": np.arange(8.0).reshape(2, 4)})
    >>> {name: column.tolist() for name, column in table.items() if name in ("area", "centre_1", "mean_epistemic")}
    {'centre_1': [0.5, 3.0], 'area': [2, 1], 'mean_epistemic': [0.5, 7.0]}
    """
    numbered, count = components(mask)
    for name, values in maps.items():
        if np.shape(values) != numbered.shape:
            raise DataError(f"map {name!r} has shape {np.shape(values)}, the mask {numbered.shape}, expected the same")
    places = np.nonzero(numbered)
    which = numbered[places]
    area = np.bincount(which, minlength=count + 1)[1:]

    def mean(values: ArrayLike) -> np.ndarray:
        return np.bincount(which, values, minlength=count + 1)[1:] / area

    last = np.array(numbered.shape) - 1
    border = np.any([(axis == 0) | (axis == end) for axis, end in zip(places, last, strict=True)], axis=0)
    return {
        "object": np.arange(1, count + 1),
        **{f"centre_{axis}": mean(index) for axis, index in enumerate(places)},
        "area": area,
        "touches_border": mean(border) > 0,
        **{f"mean_{name}": mean(np.asarray(values)[places].astype(float)) for name, values in maps.items()},
    }


def match_objects(
    mask: Shaped[Array | np.ndarray, "*spatial"], truth: Shaped[Array | np.ndarray, "*spatial"]
) -> ObjectMatch:
    """Which objects of a prediction overlap a true one with an intersection over union of more than one half.

    From one half on, each object can be matched by one other at most, so the matching is unique: found is
    `(~error).sum()`, invented `error.sum()`.

    Args:
      mask: bool `[*spatial]`, the prediction.
      truth: bool `[*spatial]`, whose components are the true objects, or int, where each has a number of its own.

    Raises:
      DataError: shapes differ.

    >>> match_objects(np.array([[1, 1, 0, 0, 1]], bool), np.array([[1, 1, 1, 0, 0]], bool))
    ObjectMatch(error=array([False,  True]), iou=array([0.66666667, 0.        ]), missed=0)
    """
    (first, predicted), truth = components(mask), np.asarray(truth)
    if first.shape != truth.shape:
        raise DataError(f"the mask has shape {first.shape}, truth {truth.shape}, expected the same")
    if truth.dtype == bool:
        second, true = components(truth)
    else:
        numbers, second = np.unique(np.append(0, truth), return_inverse=True)
        second, true = second[1:].reshape(truth.shape), len(numbers) - 1
    overlap = np.bincount((first * (true + 1) + second).ravel(), minlength=(predicted + 1) * (true + 1))
    overlap = overlap.reshape(predicted + 1, true + 1)
    union = overlap.sum(1, keepdims=True) + overlap.sum(0, keepdims=True) - overlap
    iou = (overlap[1:, 1:] / np.maximum(union[1:, 1:], 1)).max(1, initial=0.0)
    return ObjectMatch(iou <= 0.5, iou, true - int((iou > 0.5).sum()))


def object_samples(masks: Shaped[Array | np.ndarray, " T *spatial"]) -> dict[str, SampleInterval]:
    """Number of objects and foreground area over the samples of one image.

    Args:
      masks: bool `[T, *spatial]`, the mask of each sample.

    Returns:
      `objects`, `area` (pixels, of all objects) and `mean_area` (of the objects of a sample, 0 where it has none).

    >>> masks = np.array([[[1, 0, 1]], [[1, 1, 1]]], bool)
    >>> object_samples(masks)["objects"].mean, object_samples(masks)["area"].mean
    (1.5, 2.5)
    """
    masks = np.asarray(masks)
    if masks.ndim < 2 or not len(masks):
        raise DataError(f"masks have shape {masks.shape}, expected [T, *spatial] with at least one sample")
    counts = np.array([components(mask)[1] for mask in masks])
    areas = masks.sum(tuple(range(1, masks.ndim)))
    columns = {"objects": counts, "area": areas, "mean_area": areas / np.maximum(counts, 1)}
    return {name: _middle(values) for name, values in columns.items()}


def _middle(values: np.ndarray) -> SampleInterval:
    low, high = np.quantile(values, [0.025, 0.975])
    return SampleInterval(float(values.mean()), float(low), float(high), len(values))
