"""Selective prediction: what is the risk of those that are kept, when the most uncertain are referred to a reader?

The unit is whatever is passed: pixels, objects or images. Curves over different units answer different questions and
are not to be compared. The error of a pixel or object is 0 or 1, that of an image is 1 - Dice.

Units of equal uncertainty have no order. Each stands for the mean error of its group, which is what a random order
among them gives on average, so no result depends on how a sort treats ties.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from hyperlab.errors import ConfigError, DataError
from hyperlab.metrics.statistics import Interval
from hyperlab.uncertainty.resampling import interval

ROUNDING = 1e-9


class RiskCoverage(NamedTuple):
    """A risk-coverage curve.

    Attributes:
      coverage: `[n]`, k / n for k = 1..n: the share that is kept, the most certain first.
      risk: `[n]`, the mean error of those.
    """

    coverage: Float[np.ndarray, " n"]
    risk: Float[np.ndarray, " n"]


class DiceCoverage(NamedTuple):
    """Coverage and mean Dice of the images that are kept, `[images]` each."""

    coverage: Float[np.ndarray, " images"]
    mean_dice: Float[np.ndarray, " images"]


class Threshold(NamedTuple):
    """An uncertainty up to which images are accepted, chosen on validation data.

    Attributes:
      value: accept where uncertainty <= value; minus infinity accepts nothing.
      target: the mean Dice that was asked for.
      coverage: the share of the validation images that it accepts.
      mean_dice: their mean Dice; NaN where nothing is accepted.
      images: of the validation set.
    """

    value: float
    target: float
    coverage: float
    mean_dice: float
    images: int


class Acceptance(NamedTuple):
    """What a threshold does on other images; intervals over images.

    Attributes:
      coverage: the share that is accepted.
      mean_dice: of the accepted; NaN where there is none.
      below: the share of the accepted whose Dice is under the target.
      oracle_coverage: the largest share with a mean Dice of the target if images were ordered by their Dice.
      oracle_mean_dice: of as many images as are accepted, taken by their Dice: the best there is at this coverage.
      oracle_below: the share under the target of these.
      random_mean_dice: of images that are accepted at random: the mean of all.
      random_below: the share under the target of these.
      excluded: images without a Dice (NaN), which are left out of everything.
    """

    coverage: Interval
    mean_dice: Interval
    below: Interval
    oracle_coverage: float
    oracle_mean_dice: float
    oracle_below: float
    random_mean_dice: float
    random_below: float
    excluded: int


# -- curves -------------------------------------------------------------------------------------------------------


def risk_coverage(uncertainty: ArrayLike, errors: ArrayLike) -> RiskCoverage:
    """The mean error of the k most certain units for every k, averaged over the orders of tied ones.

    Args:
      uncertainty: `[n]`, of pixels, objects or images; pass one kind only.
      errors: `[n]`, bool or in 0..1.

    Raises:
      DataError: shapes differ or are empty, or a value is NaN.

    >>> curve = risk_coverage([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1])
    >>> curve.risk.round(3).tolist(), round(aurc(curve), 6)
    ([0.0, 0.0, 0.333, 0.5], 0.208333)

    (El-Yaniv and Wiener, 2010; Geifman and El-Yaniv, 2017, arXiv 1705.08500.)
    """
    uncertainty, errors = _columns(uncertainty, errors)
    order = np.argsort(uncertainty)
    uncertainty, errors = uncertainty[order], errors[order].astype(float)
    first = np.flatnonzero(np.concatenate([[True], uncertainty[1:] != uncertainty[:-1]]))
    if first.size < errors.size:
        ties = np.diff(first, append=errors.size)
        errors = np.repeat(np.add.reduceat(errors, first) / ties, ties)
    kept = np.arange(1, errors.size + 1)
    return RiskCoverage(kept / errors.size, np.cumsum(errors) / kept)


def oracle(errors: ArrayLike) -> RiskCoverage:
    """The curve of the best order there is: by the error itself.

    >>> oracle([1, 0]).risk.tolist()
    [0.0, 0.5]
    """
    errors = np.sort(_columns(errors, errors)[1]).astype(float)
    kept = np.arange(1, errors.size + 1)
    return RiskCoverage(kept / errors.size, np.cumsum(errors) / kept)


def dice_coverage(uncertainty: ArrayLike, dice: ArrayLike) -> DiceCoverage:
    """Mean Dice of the k most certain images for every k: 1 - risk, with an error of 1 - Dice.

    Args:
      uncertainty: `[images]`.
      dice: `[images]`, without NaN: leave out and count images without a Dice before.

    Returns:
      Coverage and mean Dice, `[images]` each.

    >>> dice_coverage([0.3, 0.1], [0.5, 1.0])
    DiceCoverage(coverage=array([0.5, 1. ]), mean_dice=array([1.  , 0.75]))
    """
    curve = risk_coverage(uncertainty, 1 - np.asarray(dice, float))
    return DiceCoverage(curve.coverage, 1 - curve.risk)


# -- areas and points ---------------------------------------------------------------------------------------------


def aurc(curve: RiskCoverage) -> float:
    """Area under the risk-coverage curve: the mean of risk(k) over k = 1..n. A random order has the error rate."""
    return float(curve.risk.mean())


def excess_aurc(curve: RiskCoverage, errors: ArrayLike) -> float:
    """What the area is more than that of the best order of the same errors, at least 0.

    For errors of 0 and 1 with rate r and many units, the best area is about r + (1 - r) ln(1 - r); here it is exact.

    >>> excess_aurc(risk_coverage([0.1, 0.2], [1, 0]), [1, 0])
    0.5

    (Geifman, Uziel and El-Yaniv, 2019, arXiv 1805.08206.)
    """
    return aurc(curve) - aurc(oracle(errors))


def augrc(curve: RiskCoverage) -> float:
    """Area under the generalised risk curve: the mean over k of (errors among the k most certain) / n.

    >>> augrc(risk_coverage([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]))
    0.1875

    (Traub et al., 2024, arXiv 2407.01032; as a mean over k, not by the trapezoid rule.)
    """
    return float((curve.risk * curve.coverage).mean())


def coverage_at_risk(curve: RiskCoverage, risk: float) -> float:
    """The largest share that can be kept at a mean error of at most `risk`; 0 if none.

    >>> coverage_at_risk(risk_coverage([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]), 0.34)
    0.75
    """
    held = np.flatnonzero(curve.risk <= risk + ROUNDING)
    return float(curve.coverage[held[-1]]) if held.size else 0.0


def risk_at_coverage(curve: RiskCoverage, coverage: float) -> float:
    """The mean error when the smallest share of at least `coverage` is kept.

    Raises:
      ConfigError: a coverage outside 0..1.

    >>> risk_at_coverage(risk_coverage([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]), 0.9)
    0.5
    """
    if not 0 < coverage <= 1:
        raise ConfigError(f"coverage is {coverage}, expected more than 0 and at most 1")
    return float(curve.risk[math.ceil(coverage * curve.risk.size - ROUNDING) - 1])


# -- accepting images unseen --------------------------------------------------------------------------------------


def choose_threshold(uncertainty: ArrayLike, dice: ArrayLike, target: float = 0.9) -> Threshold:
    """The largest uncertainty up to which the mean Dice of validation images is at least `target`.

    Images of equal uncertainty are accepted together, as a threshold does. Without one that reaches the target,
    nothing is accepted.

    Args:
      uncertainty: `[images]` of the validation set, never of the test set.
      dice: `[images]`; images where it is NaN are left out.
      target: mean Dice of the accepted.

    >>> choose_threshold([0.1, 0.2, 0.3, 0.4], [1.0, 0.9, 0.8, 0.5])
    Threshold(value=0.3, target=0.9, coverage=0.75, mean_dice=0.9, images=4)
    """
    uncertainty, dice, _ = _known(uncertainty, dice)
    order = np.argsort(uncertainty)
    ranked, means = uncertainty[order], np.cumsum(dice[order]) / np.arange(1, dice.size + 1)
    possible = np.append(ranked[1:] != ranked[:-1], True) & (means >= target - ROUNDING)
    if not possible.any():
        return Threshold(-math.inf, target, 0.0, math.nan, dice.size)
    last = int(np.flatnonzero(possible)[-1])
    return Threshold(float(ranked[last]), target, (last + 1) / dice.size, float(means[last]), dice.size)


def accept(uncertainty: ArrayLike, dice: ArrayLike, threshold: Threshold, *, seed: int = 0) -> Acceptance:
    """What a threshold from validation data accepts among test images, with bootstrap intervals over images.

    The threshold stays as it is in every resample, so the intervals do not speak of its choice. The oracle and the
    lot stand beside: what an order by the true Dice would reach, and what no order at all.

    Args:
      uncertainty: `[images]` of the test set.
      dice: `[images]`; images where it is NaN are left out and counted.
      threshold: of `choose_threshold`.
      seed: of the resampling.

    >>> chosen = choose_threshold([0.1, 0.2, 0.3, 0.4], [1.0, 0.9, 0.8, 0.5])
    >>> result = accept([0.1, 0.25, 0.3, 0.9], [0.95, 0.8, 1.0, 0.7], chosen)
    >>> result.coverage.estimate, round(result.below.estimate, 3), result.oracle_coverage
    (0.75, 0.333, 0.75)
    """
    uncertainty, dice, excluded = _known(uncertainty, dice)
    accepted, low, target = uncertainty <= threshold.value, dice < threshold.target - ROUNDING, threshold.target
    best = -np.sort(-dice)
    taken = best[: int(accepted.sum())]
    return Acceptance(
        interval(lambda a: a.mean(-1), accepted, seed=seed),
        interval(_mean_where, accepted, dice, seed=seed),
        interval(_mean_where, accepted, low, seed=seed),
        coverage_at_risk(oracle(1 - dice), 1 - target),
        float(taken.mean()) if taken.size else math.nan,
        float((taken < target - ROUNDING).mean()) if taken.size else math.nan,
        float(dice.mean()),
        float(low.mean()),
        excluded,
    )


# -- parts --------------------------------------------------------------------------------------------------------


def _mean_where(chosen: np.ndarray, values: np.ndarray) -> np.ndarray:
    count = chosen.sum(-1)
    return np.where(count > 0, (chosen * values).sum(-1) / np.maximum(count, 1), np.nan)


def _columns(uncertainty: Any, values: Any) -> tuple[np.ndarray, np.ndarray]:
    uncertainty, values = np.asarray(uncertainty), np.asarray(values)
    if uncertainty.ndim != 1 or uncertainty.shape != values.shape or not uncertainty.size:
        raise DataError(
            f"uncertainty has shape {uncertainty.shape}, errors {values.shape}; expected one axis, the same in both, "
            f"with at least one unit (flatten pixels before)"
        )
    if np.isnan(uncertainty).any() or np.isnan(values).any():
        raise DataError("uncertainty or errors hold NaN, which has no rank: leave those units out and count them")
    return uncertainty, values


def _known(uncertainty: Any, dice: Any) -> tuple[np.ndarray, np.ndarray, int]:
    uncertainty, dice = np.asarray(uncertainty, float), np.asarray(dice, float)
    known = ~np.isnan(dice)
    if known.shape != uncertainty.shape:
        raise DataError(f"uncertainty has shape {uncertainty.shape}, dice {dice.shape}, expected the same")
    return *_columns(uncertainty[known], dice[known]), int((~known).sum())
