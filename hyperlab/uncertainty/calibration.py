"""Calibration errors: functions of the sums of bins (`reliability`), under names that say which.

- `expected_calibration_error`: sum_k (n_k / n) |accuracy_k - confidence_k|;
- `rms_calibration_error`: the root of the same sum of squares;
- `average_calibration_error`: the mean of |accuracy_k - confidence_k| over the bins that hold something, each with
  the same weight. MONAI calls this ACE; elsewhere ACE is the expected error over bins of equal mass;
- `maximum_calibration_error`: the largest of them;
- `debiased_l2_calibration_error`: the rms error, corrected for the bias of finite bins.

All but the last are biased upwards, the more the fewer pixels there are in a bin. Background, of which most pixels
are and which is easy, hides the rest, so they are also to be shown for a region without it.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from hyperlab.uncertainty.reliability import (
    BINS,
    Reliability,
    equal_mass,
    equal_width,
    marginal,
    or_nan,
    pooled,
    shares,
    top_label,
)


def expected_calibration_error(sums: Reliability) -> Float[Array, "..."]:
    """sum_k (n_k / n) |accuracy_k - confidence_k|, in 0..1; NaN without any value. Not of squares, as one peer has it.

    Args:
      sums: `[..., bins]`; leading axes (images) are kept.

    >>> expected_calibration_error(Reliability(jnp.array([2, 2]), jnp.array([1.0, 2.0]), jnp.array([2.0, 2.0])))
    Array(0.25, dtype=float32)
    """
    return _weighted(sums, jnp.abs(_gaps(sums)))


def rms_calibration_error(sums: Reliability) -> Float[Array, "..."]:
    """The root of sum_k (n_k / n) (accuracy_k - confidence_k)^2; at least the expected error. See there.

    >>> rms_calibration_error(Reliability(jnp.array([2, 2]), jnp.array([1.0, 1.0]), jnp.array([2.0, 2.0])))
    Array(0.5, dtype=float32)
    """
    return jnp.sqrt(_weighted(sums, jnp.square(_gaps(sums))))


def average_calibration_error(sums: Reliability) -> Float[Array, "..."]:
    """The mean of |accuracy_k - confidence_k| over bins that hold a value, each with equal weight.

    >>> average_calibration_error(Reliability(jnp.array([1, 9, 0]), jnp.array([1.0, 9.0, 0]), jnp.array([0, 9.0, 0])))
    Array(0.5, dtype=float32)
    """
    filled = jnp.asarray(sums.count) > 0
    return jnp.where(filled, jnp.abs(_gaps(sums)), 0).sum(-1) / or_nan(filled.sum(-1))


def maximum_calibration_error(sums: Reliability) -> Float[Array, "..."]:
    """The largest |accuracy_k - confidence_k| of a bin that holds a value, however few they are.

    >>> maximum_calibration_error(Reliability(jnp.array([1, 9]), jnp.array([1.0, 9.0]), jnp.array([0.0, 9.0])))
    Array(1., dtype=float32)
    """
    count = jnp.asarray(sums.count)
    return jnp.where(count.sum(-1) > 0, jnp.abs(_gaps(sums)).max(-1), jnp.nan)


def debiased_l2_calibration_error(sums: Reliability) -> Float[Array, "..."]:
    """The rms error, corrected for its upward bias in finite bins.

    The root of sum_k (n_k / n) [gap_k^2 - accuracy_k (1 - accuracy_k) / (n_k - 1)], gap_k = accuracy_k - confidence_k.

    The sum is an unbiased estimate of the squared error of the binned probabilities and may be negative; its root is
    then 0. Pixels of an image depend on each other, so chance adds more than is taken away here.

    >>> debiased_l2_calibration_error(Reliability(jnp.array([5]), jnp.array([4.5]), jnp.array([4.0])))
    Array(0., dtype=float32)

    (Kumar, Liang and Ma, 2019, arXiv 1909.10155.)
    """
    count = jnp.asarray(sums.count)
    accuracy = sums.correct / jnp.maximum(count, 1)
    chance = accuracy * (1 - accuracy) / jnp.maximum(count - 1, 1)
    return jnp.sqrt(jnp.maximum(_weighted(sums, jnp.square(_gaps(sums)) - chance), 0))


ERRORS = {
    "expected": expected_calibration_error,
    "rms": rms_calibration_error,
    "average": average_calibration_error,
    "maximum": maximum_calibration_error,
    "debiased_l2": debiased_l2_calibration_error,
}


@jax.jit
def all_errors(sums: Reliability) -> dict[str, Float[Array, "..."]]:
    """Every error by its name in `ERRORS`, `[...]` each.

    >>> {name: float(value) for name, value in all_errors(Reliability(*jnp.array([[4.0], [3.0], [2.0]]))).items()}
    {'average': 0.25, 'debiased_l2': 0.0, 'expected': 0.25, 'maximum': 0.25, 'rms': 0.25}
    """
    return {name: error(sums) for name, error in ERRORS.items()}


def calibration_table(
    probabilities: Float[Array | np.ndarray, "n *spatial C"],
    labels: Shaped[Array | np.ndarray, " n *spatial"],
    regions: Mapping[str, Bool[Array | np.ndarray, " n *spatial"] | None],
    bins: int = BINS,
) -> list[dict[str, Any]]:
    """All errors of a set of images, one row for each question, region and kind of bin.

    Args:
      probabilities: `[n, *spatial, C]`.
      labels: int `[n, *spatial]`.
      regions: bool masks `[n, *spatial]` by name, None for all pixels, for instance
        `{"image": None, "foreground": labels > 0, "band": ...}`.
      bins: how many.

    Returns:
      Rows with `question` (`top_label` or `marginal_1`, `marginal_2`, ...: the foreground classes), `region`,
      `binning` (`equal_width` or `equal_mass`), `aggregation` (`pooled` pixels, or `image_mean`: the mean of the
      errors of those images that have a pixel in the region; equal width only), `pixels`, `images` that count, and a
      column for each of `ERRORS`.

    >>> rows = calibration_table(jnp.array([[[0.25, 0.75]]]), jnp.array([[0]]), {"image": None})
    >>> [(row["question"], row["binning"], row["aggregation"], float(row["expected"])) for row in rows][:2]
    [('top_label', 'equal_width', 'pooled', 0.75), ('top_label', 'equal_width', 'image_mean', 0.75)]
    """
    probabilities, labels = jnp.asarray(probabilities), jnp.asarray(labels)
    questions = {"top_label": top_label(probabilities, labels)}
    questions |= {f"marginal_{k}": marginal(probabilities, labels, k) for k in range(1, probabilities.shape[-1])}
    binned, rows = jax.jit(equal_width, static_argnames="bins"), []
    for question, (confidence, correct) in questions.items():
        for region, mask in regions.items():
            mask = None if mask is None else jnp.asarray(mask)
            images = binned(confidence, correct, mask, bins=bins)
            known = np.asarray(images.count).sum(-1) > 0
            where = {"question": question, "region": region, "pixels": int(np.asarray(images.count).sum())}
            where["images"] = int(known.sum())
            mass = equal_mass(confidence, correct, mask, bins)
            each = {name: np.asarray(values)[known] for name, values in all_errors(images).items()}
            for binning, aggregation, values in (
                ("equal_width", "pooled", all_errors(pooled(images))),
                ("equal_width", "image_mean", {name: v.mean() if known.any() else np.nan for name, v in each.items()}),
                ("equal_mass", "pooled", all_errors(mass)),
            ):
                numbers = {name: float(value) for name, value in values.items()}
                rows.append({**where, "binning": binning, "aggregation": aggregation, **numbers})
    return rows


def _gaps(sums: Reliability) -> jax.Array:
    return (jnp.asarray(sums.correct) - sums.confidence) / jnp.maximum(jnp.asarray(sums.count), 1)


def _weighted(sums: Reliability, values: jax.Array) -> jax.Array:
    return (shares(jnp.asarray(sums.count)) * values).sum(-1)
