"""Sums for reliability: confidences of pixels and whether they came true, in bins of equal width or of equal mass.

Two questions, never mixed: `top_label` asks of the largest probability of each pixel how often its class is right,
`marginal` of the probability of one class, whether it is the largest or not, how often that class is there. Both give
a confidence and whether it came true. These are put into bins of equal width, whose sums may be added over images
and batches, or into bins of equal mass, which depend on all values together and are therefore made once, on the
host. Errors are made of the sums in `calibration`. A `mask` restricts any of this to a region.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer, Real, Shaped
from numpy.typing import ArrayLike

from hyperlab.errors import ConfigError, DataError
from hyperlab.uncertainty.given import check_predictions

BINS = 15


class Reliability(NamedTuple):
    """Sums for each bin: what a reliability diagram shows, and what every error is made of.

    The sums of images and batches may be added (`pooled`), which errors may not.

    Attributes:
      count: int32 `[..., bins]`, how many values a bin holds.
      confidence: float32 `[..., bins]`, the sum of their confidences.
      correct: float32 `[..., bins]`, how many came true.
    """

    count: Integer[Array | np.ndarray, "... bins"]  # type: ignore[assignment] # hides the method of tuples
    confidence: Float[Array | np.ndarray, "... bins"]
    correct: Float[Array | np.ndarray, "... bins"]


class Diagram(NamedTuple):
    """The points of a reliability diagram, `[..., bins]`; NaN in empty bins.

    Attributes:
      confidence: mean confidence in the bin.
      accuracy: the share that came true.
      share: of all values that are in the bin.
    """

    confidence: Float[Array | np.ndarray, "... bins"]
    accuracy: Float[Array | np.ndarray, "... bins"]
    share: Float[Array | np.ndarray, "... bins"]


# -- what is asked ------------------------------------------------------------------------------------------------


def top_label(
    probabilities: Float[Array, "n *spatial C"], labels: Shaped[Array, " n *spatial"]
) -> tuple[Float[Array, " n *spatial"], Bool[Array, " n *spatial"]]:
    """The largest probability of each pixel, and whether its class is the label.

    Args:
      probabilities: `[n, *spatial, C]`; the first of several equal maxima counts, and a pixel with a NaN is wrong.
      labels: int `[n, *spatial]`.

    Returns:
      Confidence float32 and correctness bool, `[n, *spatial]`.

    >>> top_label(jnp.array([[0.25, 0.75]]), jnp.array([0]))
    (Array([0.75], dtype=float32), Array([False], dtype=bool))
    """
    check_predictions(probabilities, labels)
    confidence = probabilities.astype(jnp.float32).max(-1)
    return confidence, (probabilities.argmax(-1) == labels) & ~jnp.isnan(confidence)


def marginal(
    probabilities: Float[Array, "n *spatial C"], labels: Shaped[Array, " n *spatial"], label: int
) -> tuple[Float[Array, " n *spatial"], Bool[Array, " n *spatial"]]:
    """The probability of one class at each pixel, and whether the pixel has that label.

    Args:
      probabilities: `[n, *spatial, C]`.
      labels: int `[n, *spatial]`.
      label: the class, in 0..C-1.

    Returns:
      Confidence float32 and truth bool, `[n, *spatial]`.

    >>> marginal(jnp.array([[0.25, 0.75]]), jnp.array([0]), 0)
    (Array([0.25], dtype=float32), Array([ True], dtype=bool))
    """
    check_predictions(probabilities, labels)
    if not 0 <= label < probabilities.shape[-1]:
        raise ConfigError(f"label is {label}, expected a class in 0..{probabilities.shape[-1] - 1}")
    return probabilities[..., label].astype(jnp.float32), labels == label


# -- bins ---------------------------------------------------------------------------------------------------------


def equal_width(
    confidence: Float[Array, " n *spatial"],
    correct: Bool[Array, " n *spatial"],
    mask: Bool[Array, " n *spatial"] | None = None,
    bins: int = BINS,
) -> Reliability:
    """Sums of each image in bins of equal width; may be jitted with static `bins`.

    Bin k of K holds the confidences in ((k - 1) / K, k / K], and the first one 0 as well.

    Args:
      confidence: `[n, *spatial]` in 0..1; a NaN that counts makes the last bin NaN.
      correct: bool `[n, *spatial]`.
      mask: bool `[n, *spatial]`, the pixels that count; by default all.
      bins: how many.

    Returns:
      Sums `[n, bins]`, one row an image.

    >>> equal_width(jnp.array([[0.5, 0.65, 0.95, 1.0]]), jnp.array([[True, False, True, True]]), bins=2).count
    Array([[1, 3]], dtype=int32)

    (Naeini, Cooper and Hauskrecht, 2015; Guo, Pleiss, Sun and Weinberger, 2017, arXiv 1706.04599.)
    """
    if bins < 1:
        raise ConfigError(f"{bins} bins, expected at least 1")
    n, size = confidence.shape[0], int(np.prod(confidence.shape[1:], dtype=int))
    place = jnp.where(jnp.isnan(confidence), bins, jnp.ceil(confidence * bins)).astype(jnp.int32)
    place = jnp.clip(place - 1, 0, bins - 1)
    if mask is not None:
        place = jnp.where(mask, place, bins)  # a bin that is thrown away
    # Rows of about the root of the size are summed before the rows are: a float32 sum of millions one by one drifts.
    width = max(1, math.isqrt(size))
    rows = max(1, -(-size // width))
    row = jnp.arange(size)[None] // width + rows * jnp.arange(n)[:, None]
    place = (row * (bins + 1) + place.reshape(n, size)).ravel()

    def total(values: jax.Array) -> jax.Array:
        sums = jax.ops.segment_sum(values.ravel(), place, n * rows * (bins + 1))
        return sums.reshape(n, rows, bins + 1)[..., :bins].sum(1)

    return Reliability(
        total(jnp.ones(confidence.shape, jnp.int32)),
        total(confidence.astype(jnp.float32)),
        total(correct.astype(jnp.float32)),
    )


def equal_mass(
    confidence: ArrayLike, correct: ArrayLike, mask: ArrayLike | None = None, bins: int = BINS
) -> Reliability:
    """Sums in bins that hold as many values each, on the host ("adaptive" bins).

    The values are ordered by confidence and cut into groups whose sizes differ by one at most. Equal confidences
    stand for their mean correctness, so that a cut between them does not depend on the order in which they came.

    Args:
      confidence: of any shape, all of whose values are pooled; for one image alone, pass that image.
      correct: bool, of the same shape.
      mask: bool, of the same shape, the values that count; by default all.
      bins: how many; with fewer values than bins, some stay empty.

    Returns:
      Sums `[bins]` (float64).

    Raises:
      DataError: shapes differ, `correct` is not bool, or a confidence that counts is NaN or negative.

    >>> equal_mass([0.5, 0.75, 1.0, 0.75], [True, False, True, True], bins=2).correct
    array([1.5, 1.5])

    (Nixon, Dusenberry, Zhang, Jerfel and Tran, 2019, arXiv 1904.01685; ties as here are this library's choice.)
    """
    if bins < 1:
        raise ConfigError(f"{bins} bins, expected at least 1")
    values, came_true = np.asarray(confidence, np.float32), np.asarray(correct)
    if values.shape != came_true.shape or came_true.dtype != bool:
        raise DataError(
            f"confidence has shape {values.shape}, correct {came_true.shape} of {came_true.dtype}; expected the same "
            f"shape and bool"
        )
    if mask is not None:
        values, came_true = values[np.asarray(mask)], came_true[np.asarray(mask)]
    if not (values >= 0).all():
        raise DataError(f"{np.isnan(values).sum()} of {values.size} confidences are NaN, or some are negative")
    # Floats from 0 on are ordered like their bits. With the outcome as a last bit, they are sorted together, which is
    # several times as fast as finding an order and applying it to both.
    keys = np.sort((values.ravel() + np.float32(0)).view(np.uint32).astype(np.uint64) << 1 | came_true.ravel())
    ranked, right = (keys >> 1).astype(np.uint32).view(np.float32), np.append(0, np.cumsum(keys & 1, dtype=np.int64))
    edges = np.arange(bins + 1) * ranked.size // bins
    inside = edges[edges < ranked.size]
    first, last = (np.searchsorted(ranked, ranked[inside], side) for side in ("left", "right"))
    until = np.full(bins + 1, right[-1], float)
    until[: inside.size] = right[first] + (right[last] - right[first]) * (inside - first) / np.maximum(last - first, 1)
    sums = [ranked[low:high].sum(dtype=float) for low, high in zip(edges[:-1], edges[1:], strict=True)]
    return Reliability(np.diff(edges), np.array(sums), np.diff(until))


def pooled(sums: Reliability) -> Reliability:
    """The sums of all images together: the leading axis is summed.

    >>> pooled(Reliability(*[jnp.ones((3, 2))] * 3)).count
    Array([3., 3.], dtype=float32)
    """
    return Reliability(*(part.sum(0) for part in sums))


def diagram(sums: Reliability) -> Diagram:
    """Mean confidence, accuracy and share of each bin.

    >>> diagram(Reliability(jnp.array([0, 4]), jnp.array([0.0, 3.0]), jnp.array([0.0, 2.0]))).accuracy
    Array([nan, 0.5], dtype=float32)
    """
    count = jnp.asarray(sums.count)
    filled = jnp.where(count > 0, count, jnp.nan)
    return Diagram(sums.confidence / filled, sums.correct / filled, shares(count))


# -- parts --------------------------------------------------------------------------------------------------------


def shares(count: Real[Array | np.ndarray, "*rest bins"]) -> Float[Array, "*rest bins"]:
    """The share of all values that each bin holds, `[..., bins]`; NaN where there are none."""
    return jnp.asarray(count / or_nan(count.sum(-1, keepdims=True)))


def or_nan(count: Real[Array | np.ndarray, "..."]) -> Float[Array, "..."]:
    """Counts to divide by: NaN in place of 0."""
    return jnp.where(count > 0, count, jnp.nan)
