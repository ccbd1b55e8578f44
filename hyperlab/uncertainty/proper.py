"""Proper scores of class probabilities, and the overlap of the masks that they give; one value an image.

Scores are sums and counts (`Metric`), so that a region may be empty in some image: pooled pixels are
`Metric(scores.total.sum(), scores.count.sum()).finish()`, the mean over images is that of `scores.finish()`, NaN where
an image has no pixel in the region.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from hyperlab.metrics import segmentation
from hyperlab.metrics.metric import Metric
from hyperlab.uncertainty.given import check_predictions

SMALLEST = 1e-7


class Overlap(NamedTuple):
    """Overlap of prediction and truth for each image and foreground class, float32 `[n, C - 1]`; NaN where undefined.

    Attributes:
      dice: 2 TP / (2 TP + FP + FN).
      iou: TP / (TP + FP + FN).
      precision: TP / (TP + FP); undefined where nothing was predicted.
      recall: TP / (TP + FN); undefined where there is nothing to find.
    """

    dice: Float[Array, "n C-1"]
    iou: Float[Array, "n C-1"]
    precision: Float[Array, "n C-1"]
    recall: Float[Array, "n C-1"]


def nll(
    probabilities: Float[Array, "n *spatial C"],
    labels: Shaped[Array, " n *spatial"],
    mask: Bool[Array, " n *spatial"] | None = None,
) -> Metric:
    """Negative log likelihood in nats, -ln max(p_label, 1e-7), summed over the pixels of each image.

    Args:
      probabilities: `[n, *spatial, C]`, sum 1 over the classes.
      labels: int `[n, *spatial]`.
      mask: bool `[n, *spatial]`, the pixels that count; by default all.

    Returns:
      Totals and counts `[n]`.

    >>> nll(jnp.array([[[0.5, 0.5], [0.0, 1.0]]]), jnp.array([[0, 1]])).finish() / jnp.log(2)
    Array([0.5], dtype=float32)
    """
    check_predictions(probabilities, labels, mask)
    chosen = jnp.take_along_axis(probabilities.astype(jnp.float32), labels[..., None], -1)[..., 0]
    return _sums(-jnp.log(jnp.maximum(chosen, SMALLEST)), mask)


def brier_over_classes(
    probabilities: Float[Array, "n *spatial C"],
    labels: Shaped[Array, " n *spatial"],
    mask: Bool[Array, " n *spatial"] | None = None,
) -> Metric:
    """The Brier score over all classes, sum_c (p_c - [c = label])^2, from 0 to 2; the arguments are those of `nll`.

    >>> brier_over_classes(jnp.array([[[0.5, 0.5]]]), jnp.array([[0]])).finish()
    Array([0.5], dtype=float32)

    (Brier, 1950, "Verification of forecasts expressed in terms of probability".)
    """
    check_predictions(probabilities, labels, mask)
    target = jax.nn.one_hot(labels, probabilities.shape[-1])
    return _sums(jnp.square(probabilities.astype(jnp.float32) - target).sum(-1), mask)


def overlap(
    probabilities: Float[Array, "n *spatial C"], labels: Shaped[Array, " n *spatial"], absent: float = float("nan")
) -> Overlap:
    """Dice, IoU, precision and recall of the most probable class.

    Args:
      probabilities: `[n, *spatial, C]`.
      labels: int `[n, *spatial]`.
      absent: Dice and IoU where a class is in neither; 1.0 is the convention of some papers.

    >>> overlap(jnp.array([[[0.5, 0.5], [0.2, 0.8]]]), jnp.array([[1, 1]])).recall
    Array([[0.5]], dtype=float32)
    """
    check_predictions(probabilities, labels)
    cells = segmentation.counts(segmentation.predicted_labels(probabilities), labels, probabilities.shape[-1])
    found = cells.true_positive
    precision, recall = (_share(found, found + wrong) for wrong in (cells.false_positive, cells.false_negative))
    return Overlap(segmentation.dice_of(cells, absent), segmentation.iou_of(cells, absent), precision, recall)


def _sums(values: jax.Array, mask: jax.Array | None) -> Metric:
    axes = tuple(range(1, values.ndim))
    if mask is None:
        return Metric(values.sum(axes), jnp.full(values.shape[:1], values[0].size, jnp.float32))
    return Metric(jnp.where(mask, values, 0).sum(axes), mask.sum(axes).astype(jnp.float32))


def _share(part: jax.Array, whole: jax.Array) -> jax.Array:
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), jnp.nan).astype(jnp.float32)
