"""Metrics of class probabilities, and of several samples of them; sums and counts until `finish`.

Every metric takes the optional weights of `evaluation_batches`, with 0 on rows that are padding. A row with a
NaN in it (a network that diverged) is wrong for the accuracy, and makes every other metric NaN.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import entr
from jaxtyping import Array, Float, Integer, Real

from hyperlab.metrics.metric import Metric, mean_over

BINS = 15


class Calibration(NamedTuple):
    """Sums for each bin of confidence: what a reliability diagram shows, and what `ece` is made of.

    Attributes:
      confidence: `[bins]`, sum of the top-label probabilities.
      correct: `[bins]`, how many of the predictions were right.
      count: `[bins]`, how many there were.
    """

    confidence: Float[Array, "... bins"]
    correct: Float[Array, "... bins"]
    count: Float[Array, "... bins"]  # type: ignore[assignment] # hides the method of tuples

    def finish(self) -> Float[Array, "..."]:
        """The expected calibration error."""
        return jnp.abs(self.correct - self.confidence).sum(-1) / self.count.sum(-1)


def finish(metric: Metric | Calibration) -> Float[Array, "..."]:
    """The value of a metric once all batches are added; leading axes (runs) are kept."""
    return metric.finish()


# -- of one prediction an example ---------------------------------------------------------------------------------


def accuracy(
    probabilities: Float[Array, "n classes"], labels: Integer[Array, " n"], weights: Real[Array, " n"] | None = None
) -> Metric:
    """The share of examples whose most probable class is the label.

    The first of several equal maxima counts. A row with a NaN is wrong: `argmax` would return the place of
    the NaN, and so call a diverged network right wherever that happens to be the label.

    Args:
      probabilities: `[n, classes]`; logits have the same accuracy.
      labels: int `[n]`.
      weights: `[n]`, 0 on padding.

    >>> finish(accuracy(jnp.array([[0.9, 0.1], [0.2, 0.8], [jnp.nan, jnp.nan]]), jnp.array([0, 1, 0])))
    Array(0.6666667, dtype=float32)
    """
    return mean_over(_correct(probabilities, labels), weights)


def nll(
    probabilities: Float[Array, "n classes"], labels: Integer[Array, " n"], weights: Real[Array, " n"] | None = None
) -> Metric:
    """Negative log likelihood of the label in nats: -log p_label.

    A probability that underflowed to 0 counts as the smallest normal float32, 2^-126 (87.3 nats): one
    such example is heavily punished but does not hide all the others.

    Args:
      probabilities: `[n, classes]`, rows sum to 1.
      labels: int `[n]`.
      weights: `[n]`, 0 on padding.

    >>> finish(nll(jnp.array([[0.5, 0.5], [0.25, 0.75]]), jnp.array([0, 0]))) / jnp.log(2)
    Array(1.5, dtype=float32)
    """
    chosen = jnp.take_along_axis(probabilities.astype(jnp.float32), labels[:, None], -1)[:, 0]
    values = -jnp.log(jnp.maximum(chosen, jnp.finfo(jnp.float32).tiny))
    return mean_over(_nan_if_any(values, probabilities), weights)


def brier(
    probabilities: Float[Array, "n classes"], labels: Integer[Array, " n"], weights: Real[Array, " n"] | None = None
) -> Metric:
    """The Brier score: sum over the classes of (p_k - [k = label])^2, from 0 to 2.

    This is the form over all classes (Brier, 1950); the binary form over one class is half of it.

    Args:
      probabilities: `[n, classes]`, rows sum to 1.
      labels: int `[n]`.
      weights: `[n]`, 0 on padding.

    >>> finish(brier(jnp.array([[0.5, 0.5], [0.0, 1.0]]), jnp.array([0, 1])))
    Array(0.25, dtype=float32)
    """
    target = jax.nn.one_hot(labels, probabilities.shape[-1])
    return mean_over(jnp.square(probabilities.astype(jnp.float32) - target).sum(-1), weights)


def ece(
    probabilities: Float[Array, "n classes"],
    labels: Integer[Array, " n"],
    weights: Real[Array, " n"] | None = None,
    bins: int = BINS,
) -> Calibration:
    """Expected calibration error of the top label, in bins of equal width.

    ECE = sum_m (n_m / n) |accuracy_m - confidence_m| = sum_m |correct_m - confidence sum_m| / n

    The confidence of an example is its largest probability, and bin m of M holds the confidences in
    ((m - 1) / M, m / M]. The sums of batches may be added, which the errors of batches may not. The
    estimate is biased upwards, the more the fewer examples there are in a bin (Guo, Pleiss, Sun and Weinberger,
    2017, arXiv 1706.04599, after Naeini, Cooper and Hauskrecht, 2015).

    Args:
      probabilities: `[n, classes]`, rows sum to 1.
      labels: int `[n]`.
      weights: `[n]`, 0 on padding.
      bins: how many.

    Returns:
      Sums for each bin.

    >>> finish(ece(jnp.array([[0.75, 0.25], [0.75, 0.25]]), jnp.array([0, 1])))
    Array(0.25, dtype=float32)
    """
    confidence = _nan_if_any(probabilities.astype(jnp.float32).max(-1), probabilities)
    weights = jnp.ones(confidence.shape) if weights is None else weights.astype(jnp.float32)
    edges = jnp.arange(1, bins) / bins
    place = jnp.searchsorted(edges, confidence)  # NaN sorts into the last bin
    rows = jnp.stack([confidence, _correct(probabilities, labels), jnp.ones_like(confidence)], -1)
    rows = jnp.where(weights[:, None] > 0, rows * weights[:, None], 0)
    return Calibration(*jax.ops.segment_sum(rows, place, bins).T)


# -- of several samples -------------------------------------------------------------------------------------------


def predictive(probabilities: Float[Array, "samples n classes"]) -> Float[Array, "n classes"]:
    """The mean of the class probabilities over samples.

    Args:
      probabilities: `[samples, n, classes]`.

    Returns:
      float32 `[n, classes]`.
    """
    return probabilities.astype(jnp.float32).mean(0)


def disagreement(probabilities: Float[Array, "samples n classes"], weights: Real[Array, " n"] | None = None) -> Metric:
    """The share of pairs of samples whose most probable classes differ; 0 for one sample.

    With c_k of S samples for class k: 1 - sum_k c_k (c_k - 1) / (S (S - 1)), the mean over examples.

    Args:
      probabilities: `[samples, n, classes]`.
      weights: `[n]`, 0 on padding.

    >>> finish(disagreement(jnp.array([[[0.9, 0.1]], [[0.8, 0.2]], [[0.3, 0.7]]])))
    Array(0.6666667, dtype=float32)
    """
    samples, _, classes = probabilities.shape
    votes = jax.nn.one_hot(probabilities.argmax(-1), classes).sum(0)
    pairs = max(samples * (samples - 1), 1)
    differing = (samples * samples - jnp.square(votes).sum(-1)) / pairs
    return mean_over(_nan_if_any(differing, probabilities.sum(0)), weights)


def mutual_information(
    probabilities: Float[Array, "samples n classes"], weights: Real[Array, " n"] | None = None
) -> Metric:
    """Mutual information of prediction and sample in nats: the entropy of the mean less the mean entropy.

    I = H(mean_s p_s) - mean_s H(p_s), between 0 (all samples agree) and log(min(samples, classes)).
    (Houlsby, Huszar, Ghahramani and Lengyel, 2011, arXiv 1112.5745.)

    Args:
      probabilities: `[samples, n, classes]`, rows sum to 1.
      weights: `[n]`, 0 on padding.

    >>> finish(mutual_information(jnp.array([[[1.0, 0.0]], [[0.0, 1.0]]]))) / jnp.log(2)
    Array(1., dtype=float32)
    """
    probabilities = probabilities.astype(jnp.float32)
    values = entr(probabilities.mean(0)).sum(-1) - entr(probabilities).sum(-1).mean(0)
    return mean_over(values, weights)


def _correct(probabilities: jax.Array, labels: jax.Array) -> jax.Array:
    right = probabilities.argmax(-1) == labels
    return (right & ~jnp.isnan(probabilities).any(-1)).astype(jnp.float32)


def _nan_if_any(values: jax.Array, rows: jax.Array) -> jax.Array:
    return jnp.where(jnp.isnan(rows).any(-1), jnp.nan, values)
