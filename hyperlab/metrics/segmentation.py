"""Overlap of label maps: Dice and IoU for each case and class on the device, F1 of objects on the host.

A case is what one row of a result speaks of: one image, or one subject whose slices are pooled before anything is
divided (`groups`). Background, class 0, is left out. A class that is absent from a case in truth and prediction has no
Dice: it is NaN and is counted, never 1 and never dropped in silence. Classes are averaged last.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage

from hyperlab.errors import ConfigError, DataError


class Counts(NamedTuple):
    """How many pixels (or voxels) of each case and foreground class are right and wrong; int32 `[n, classes - 1]`.

    Counts of slices may be added, which their Dice may not.

    Attributes:
      true_positive: of the class in truth and prediction.
      false_positive: in the prediction alone.
      false_negative: in the truth alone.
      true_negative: in neither.
    """

    true_positive: jax.Array
    false_positive: jax.Array
    false_negative: jax.Array
    true_negative: jax.Array


class ClassMeans(NamedTuple):
    """Means over cases, one a class, beside the number of cases that they rest on.

    Attributes:
      mean: `[classes - 1]` over the cases where the value is defined; NaN where it is nowhere.
      defined: int32 `[classes - 1]`, in how many cases it is.
      undefined: int32 `[classes - 1]`, in how many it is not.
    """

    mean: jax.Array
    defined: jax.Array
    undefined: jax.Array


class ObjectCounts(NamedTuple):
    """How many objects were found, invented and missed; those of several images are added field by field."""

    true_positive: int
    false_positive: int
    false_negative: int

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); NaN where there is no object in truth and prediction."""
        return _ratio(2 * self.true_positive, 2 * self.true_positive + self.false_positive + self.false_negative)

    @property
    def precision(self) -> float:
        """TP / (TP + FP); NaN where nothing was predicted."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """TP / (TP + FN); NaN where there is nothing to find."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def count_error(self) -> int:
        """Predicted objects less true ones."""
        return self.false_positive - self.false_negative


# -- on the device ------------------------------------------------------------------------------------------------


def predicted_labels(logits: jax.Array) -> jax.Array:
    """The most probable class of each pixel; -1, which is no class, where a logit is NaN.

    `argmax` alone would return the place of the NaN, and call a diverged network right wherever that is the label.

    Args:
      logits: `[..., classes]`; the first of several equal maxima counts.

    Returns:
      int32 `[...]`.

    >>> predicted_labels(jnp.array([[0.1, 0.9], [jnp.nan, 0.0]]))
    Array([ 1, -1], dtype=int32)
    """
    return jnp.where(jnp.isnan(logits).any(-1), -1, logits.argmax(-1)).astype(jnp.int32)


def counts(
    predictions: jax.Array, labels: jax.Array, classes: int, *, groups: jax.Array | None = None, subjects: int = 0
) -> Counts:
    """Right and wrong pixels of each case and foreground class.

    Args:
      predictions: int `[n, *spatial]`, label maps.
      labels: int `[n, *spatial]`, the truth.
      classes: how many there are, background (0) included; at least 2.
      groups: int `[n]`, the subject of each image in 0..subjects-1, whose counts are pooled; by default each
        image is a case of its own. Images of other subjects (-1, a padded row) are left out.
      subjects: how many there are, with `groups`.

    Returns:
      Counts `[n, classes - 1]`, or `[subjects, classes - 1]` with `groups`.

    Raises:
      DataError: shapes differ, or the maps are not of integers.
      ConfigError: fewer than 2 classes, or `groups` without `subjects`.

    >>> prediction, truth = jnp.array([[0, 1, 1, 2]]), jnp.array([[0, 1, 2, 2]])
    >>> result = counts(prediction, truth, 3)
    >>> result.true_positive.tolist(), result.false_positive.tolist(), result.false_negative.tolist()
    ([[1, 1]], [[1, 0]], [[0, 1]])
    """
    check_maps(predictions, labels, classes)
    if groups is not None and subjects < 1:
        raise ConfigError(f"groups were given with subjects={subjects}; say how many subjects there are, at least 1")
    axes, result = tuple(range(1, labels.ndim)), []
    for label in range(1, classes):
        predicted, true = predictions == label, labels == label
        cells = (predicted & true, predicted & ~true, ~predicted & true, ~predicted & ~true)
        result.append([cell.sum(axes, dtype=jnp.int32) for cell in cells])
    table = [jnp.stack(column, -1) for column in zip(*result, strict=True)]
    if groups is not None:
        table = [jax.ops.segment_sum(column, jnp.asarray(groups), subjects) for column in table]
    return Counts(*table)


def dice(
    predictions: jax.Array,
    labels: jax.Array,
    classes: int,
    *,
    groups: jax.Array | None = None,
    subjects: int = 0,
    absent: float = float("nan"),
) -> jax.Array:
    """The Dice coefficient of each case and foreground class: 2 TP / (2 TP + FP + FN), in 0..1.

    Args:
      predictions: int `[n, *spatial]`, label maps.
      labels: int `[n, *spatial]`, the truth.
      classes: how many there are, background (0) included.
      groups: int `[n]`, the subject of each image: its slices are pooled, so that a slice with three pixels of a
        class does not weigh as much as one with a thousand.
      subjects: how many there are, with `groups`.
      absent: the value where a class is in neither map; 1.0 is the convention of some papers.

    Returns:
      float32 `[n, classes - 1]`, or `[subjects, classes - 1]` with `groups`.

    >>> dice(jnp.array([[0, 1, 1, 1]]), jnp.array([[0, 0, 1, 1]]), 3)
    Array([[0.8, nan]], dtype=float32)

    (Dice, 1945, "Measures of the amount of ecologic association between species".)
    """
    return dice_of(counts(predictions, labels, classes, groups=groups, subjects=subjects), absent)


def iou(
    predictions: jax.Array,
    labels: jax.Array,
    classes: int,
    *,
    groups: jax.Array | None = None,
    subjects: int = 0,
    absent: float = float("nan"),
) -> jax.Array:
    """Intersection over union of each case and foreground class: TP / (TP + FP + FN); the rest as in `dice`.

    >>> iou(jnp.array([[0, 1, 1, 1, 1]]), jnp.array([[0, 0, 0, 1, 1]]), 2)
    Array([[0.5]], dtype=float32)
    """
    return iou_of(counts(predictions, labels, classes, groups=groups, subjects=subjects), absent)


def dice_of(cells: Counts, absent: float = float("nan")) -> jax.Array:
    """Dice from counts; see `dice`."""
    true_positive, wrong = _float(cells.true_positive), _float(cells.false_positive) + _float(cells.false_negative)
    return _share(2 * true_positive, 2 * true_positive + wrong, absent)


def iou_of(cells: Counts, absent: float = float("nan")) -> jax.Array:
    """Intersection over union from counts; see `iou`."""
    true_positive, wrong = _float(cells.true_positive), _float(cells.false_positive) + _float(cells.false_negative)
    return _share(true_positive, true_positive + wrong, absent)


def over_cases(values: jax.Array) -> ClassMeans:
    """The mean of each class over the cases where it is defined, and over how many it is and is not.

    Args:
      values: `[n, classes - 1]`, NaN where undefined.

    >>> result = over_cases(jnp.array([[0.75, jnp.nan], [0.25, 1.0]]))
    >>> result.mean.tolist(), result.undefined.tolist()
    ([0.5, 1.0], [0, 1])
    """
    known = ~jnp.isnan(values)
    defined = known.sum(0, dtype=jnp.int32)
    total = jnp.where(known, values, 0).sum(0)
    return ClassMeans(_share(total, _float(defined), jnp.nan), defined, values.shape[0] - defined)


# -- objects, on the host -----------------------------------------------------------------------------------------


def object_counts(prediction: np.ndarray, truth: np.ndarray, threshold: float = 0.5) -> ObjectCounts:
    """Objects of one image that were found, invented and missed.

    An object is found where a predicted one overlaps it with an intersection over union of more than `threshold`.
    From one half on, each object can be matched by one other at most, so the matching is unique.

    Args:
      prediction: `[*spatial]`; a bool mask, whose connected components (over faces) are the objects, or an int map
        that gives each object a number of its own, 0 for background.
      truth: the same.
      threshold: in 0.5..1.

    Raises:
      DataError: shapes differ, or a map is neither bool nor int.
      ConfigError: a threshold outside 0.5..1.

    >>> truth, found = np.array([[1, 1, 0, 2, 2, 2]]), np.array([[True, True, False, False, False, True]])
    >>> object_counts(found, truth), object_counts(found, truth).f1
    (ObjectCounts(true_positive=1, false_positive=1, false_negative=1), 0.5)
    """
    if not 0.5 <= threshold < 1:
        raise ConfigError(
            f"threshold is {threshold}, expected 0.5 or more and less than 1: below, one object may match several"
        )
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.shape != truth.shape:
        raise DataError(f"prediction has shape {prediction.shape}, truth {truth.shape}")
    (first, predicted), (second, true) = _instances("prediction", prediction), _instances("truth", truth)
    overlap = np.bincount((first * (true + 1) + second).ravel(), minlength=(predicted + 1) * (true + 1))
    overlap = overlap.reshape(predicted + 1, true + 1)
    union = overlap.sum(1, keepdims=True) + overlap.sum(0, keepdims=True) - overlap
    found = int((overlap[1:, 1:] > threshold * union[1:, 1:]).sum())
    return ObjectCounts(found, predicted - found, true - found)


def total_objects(parts: Sequence[ObjectCounts]) -> ObjectCounts:
    """The counts of several images together: the F1 of a set is that of its pooled counts.

    >>> total_objects([ObjectCounts(1, 0, 0), ObjectCounts(1, 2, 0)]).f1
    0.6666666666666666
    """
    return ObjectCounts(*(sum(column) for column in zip(*parts, strict=True))) if parts else ObjectCounts(0, 0, 0)


# -- parts --------------------------------------------------------------------------------------------------------


def check_maps(predictions, labels, classes: int) -> None:
    """Refuses label maps that do not belong together.

    Raises:
      DataError: shapes differ, or the maps are not of integers.
      ConfigError: fewer than 2 classes.
    """
    if classes < 2:
        raise ConfigError(f"{classes} classes, expected at least 2: background counts as class 0")
    if predictions.shape != labels.shape:
        raise DataError(f"predictions have shape {predictions.shape}, labels {labels.shape}, expected the same")
    for what, values in (("predictions", predictions), ("labels", labels)):
        if not jnp.issubdtype(values.dtype, jnp.integer):
            raise DataError(
                f"{what} are {values.dtype}, expected integer label maps; predicted_labels(logits) makes them of logits"
            )


def _float(values: jax.Array) -> jax.Array:
    return values.astype(jnp.float32)


def _share(part: jax.Array, whole: jax.Array, empty: float) -> jax.Array:
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), empty)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _instances(what: str, values: np.ndarray) -> tuple[np.ndarray, int]:
    if values.dtype == bool:
        return scipy.ndimage.label(values)
    if not np.issubdtype(values.dtype, np.integer):
        raise DataError(f"{what} is {values.dtype}, expected a bool mask or an int map of objects")
    numbers, places = np.unique(np.append(values.ravel(), 0), return_inverse=True)
    places = places[:-1].reshape(values.shape)
    background = int(np.searchsorted(numbers, 0))
    if background:
        raise DataError(f"{what} holds {numbers[0]}, expected 0 for background and positive numbers for objects")
    return places, len(numbers) - 1
