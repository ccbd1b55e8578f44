"""Overlap of label maps: Dice and IoU for each case and class, on the device.

A case is what one row of a result speaks of: one image, or one subject whose slices are pooled before anything is
divided (`groups`). Background, class 0, is left out. A class that is absent from a case in truth and prediction has no
Dice: it is NaN and is counted, never 1 and never dropped in silence. Classes are averaged last.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, Shaped

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

    true_positive: Int[Array, "n classes-1"]
    false_positive: Int[Array, "n classes-1"]
    false_negative: Int[Array, "n classes-1"]
    true_negative: Int[Array, "n classes-1"]


def predicted_labels(logits: Float[Array, "*pixels classes"]) -> Int[Array, "*pixels"]:
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
    predictions: Integer[Array, " n *spatial"],
    labels: Integer[Array, " n *spatial"],
    classes: int,
    *,
    groups: Integer[Array | np.ndarray, " n"] | None = None,
    subjects: int = 0,
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


def labels_on_host(logits: Float[np.ndarray, "*pixels classes"]) -> Int[np.ndarray, "*pixels"]:
    """`predicted_labels` of an array on the host, of logits or probabilities: nothing is compiled for its shape.

    >>> labels_on_host(np.array([[0.1, 0.9], [np.nan, 0.0]]))
    array([ 1, -1], dtype=int32)
    """
    return np.where(np.isnan(logits).any(-1), -1, logits.argmax(-1)).astype(np.int32)


def counts_on_host(
    predictions: Integer[np.ndarray, " n *spatial"], labels: Integer[np.ndarray, " n *spatial"], classes: int
) -> Counts:
    """`counts` of arrays on the host: nothing is compiled for their shape, as cases of many sizes need.

    Args:
      predictions: int `[n, *spatial]`, label maps; -1 is no class.
      labels: int `[n, *spatial]`, the truth.
      classes: how many there are, background (0) included.

    Returns:
      Counts `[n, classes - 1]`, as `counts` gives them.

    >>> prediction, truth = np.array([[0, 1, 1, 2]]), np.array([[0, 1, 2, 2]])
    >>> result = counts_on_host(prediction, truth, 3)
    >>> result.true_positive.tolist(), result.false_positive.tolist(), result.false_negative.tolist()
    ([[1, 1]], [[1, 0]], [[0, 1]])
    """
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    check_maps(predictions, labels, classes)
    found: list[np.ndarray] = []
    for prediction, truth in zip(predictions, labels, strict=True):
        pairs = truth.ravel().astype(np.int64) * (classes + 1) + prediction.ravel() + 1
        table = np.bincount(pairs, minlength=classes * (classes + 1)).reshape(classes, classes + 1)
        both = np.diagonal(table[:, 1:])[1:]
        mine, theirs = table[:, 2:].sum(0), table[1:].sum(1)
        found.append(np.stack([both, mine - both, theirs - both, truth.size - mine - theirs + both]))
    cells = np.array(found, np.int32).reshape(len(labels), 4, classes - 1)
    return Counts(*(cells[:, place] for place in range(4)))  # type: ignore[arg-type]  # on the host


def dice(
    predictions: Integer[Array, " n *spatial"],
    labels: Integer[Array, " n *spatial"],
    classes: int,
    *,
    groups: Integer[Array | np.ndarray, " n"] | None = None,
    subjects: int = 0,
    absent: float = float("nan"),
) -> Float[Array, "cases {classes}-1"]:
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
    predictions: Integer[Array, " n *spatial"],
    labels: Integer[Array, " n *spatial"],
    classes: int,
    *,
    groups: Integer[Array | np.ndarray, " n"] | None = None,
    subjects: int = 0,
    absent: float = float("nan"),
) -> Float[Array, "cases {classes}-1"]:
    """Intersection over union of each case and foreground class: TP / (TP + FP + FN); the rest as in `dice`.

    >>> iou(jnp.array([[0, 1, 1, 1, 1]]), jnp.array([[0, 0, 0, 1, 1]]), 2)
    Array([[0.5]], dtype=float32)
    """
    return iou_of(counts(predictions, labels, classes, groups=groups, subjects=subjects), absent)


def dice_of(cells: Counts, absent: float = float("nan")) -> Float[Array, "n foreground"]:
    """Dice from counts; see `dice`."""
    true_positive, wrong = _float(cells.true_positive), _float(cells.false_positive) + _float(cells.false_negative)
    return _share(2 * true_positive, 2 * true_positive + wrong, absent)


def iou_of(cells: Counts, absent: float = float("nan")) -> Float[Array, "n foreground"]:
    """Intersection over union from counts; see `iou`."""
    true_positive, wrong = _float(cells.true_positive), _float(cells.false_positive) + _float(cells.false_negative)
    return _share(true_positive, true_positive + wrong, absent)


# -- parts --------------------------------------------------------------------------------------------------------


def check_maps(
    predictions: Shaped[Array | np.ndarray, "..."], labels: Shaped[Array | np.ndarray, "..."], classes: int
) -> None:
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
