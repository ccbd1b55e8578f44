"""The statistics of every study: paired contrasts with Holm's correction, bootstrap, survival curves.

The unit is the seed for claims about training and the subject for claims about data, never a slice or a pixel.
Runs are paired by seed; at most three contrasts are named before a study runs. "Better" is said only where the
interval excludes 0, and otherwise "not separable with n seeds", which does not say that two arms are equal.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float
from numpy.typing import ArrayLike

from hyperlab.errors import ConfigError, DataError, nearest
from hyperlab.metrics.bounds import Bounds, check_inside, clip_interval

MOST_CONTRASTS = 3
FEWEST_SEEDS_OF_A_CLAIM, FEWEST_SEEDS = 3, 5
FEWEST_UNITS_OF_A_BOOTSTRAP = 10
ROUNDING = 1e-6  # relative: metrics are computed in float32


class Contrast(NamedTuple):
    """A paired comparison of two arms, with all its points.

    Attributes:
      differences: `[n]`, first minus second for each seed.
      mean: their mean.
      low: lower end of the t interval, at the level that Holm's procedure gives this contrast.
      high: upper end.
      p: two-sided p value after Holm's correction.
      n: how many seeds.
      verdict: `better`, `worse`, `not separable with n seeds` or `no claim with n seeds`.
      label: `no claim` under 3 seeds, `look` with 3 or 4, else empty.
      clipped: whether the t interval went beyond what a difference can be, and was cut there.
    """

    differences: Float[np.ndarray, " n"]
    mean: float
    low: float
    high: float
    p: float
    n: int
    verdict: str
    label: str
    clipped: bool = False


class Interval(NamedTuple):
    """An estimate with its confidence interval."""

    estimate: float
    low: float
    high: float
    n: int


class Range(NamedTuple):
    """The median with the smallest and the largest value: a description of few seeds, no inference."""

    median: float
    low: float
    high: float
    n: int


class Survival(NamedTuple):
    """A step function: `survival[i]` is the share that has not arrived from `times[i]` until the next time."""

    times: Float[np.ndarray, " times"]
    survival: Float[np.ndarray, " times"]


# -- contrasts ----------------------------------------------------------------------------------------------------


def names_of(contrast: str) -> tuple[str, str]:
    """The two arms that a contrast compares, by its name.

    >>> names_of("slowmo - local")
    ('slowmo', 'local')
    """
    first, second = contrast.split(" - ")
    return first, second


def contrasts(
    pairs: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    better: str = "higher",
    confidence: float = 0.95,
    bounds: Bounds | None = None,
) -> dict[str, Contrast]:
    """Compares pairs of arms seed by seed, corrected together by Holm's procedure.

    With d_s = first_s - second_s over n seeds, the interval is mean(d) +- t_(n-1) sd(d) / sqrt(n). In the order
    of their p values, the contrasts are held to the levels alpha/m, alpha/(m-1), ..., and from the first that is
    not rejected on all keep its level. So an interval excludes 0 exactly where Holm's procedure rejects. The
    decisions hold together at the level alpha; the intervals of rejected contrasts cover one by one.

    Differences without any spread (to a millionth of the values) have no t interval. Where they are all 0, the
    arms are not separable. Where they are all the same other number, p is that of the sign test, 2^(1-n), and the
    interval is that number if this rejects, else unbounded: alone, six identical differences are needed (p = .03).

    Args:
      pairs: at most three, `name -> (first [n], second [n])`, in the same order of seeds, finite: a failed run
        must have been given a score before (for instance that of guessing).
      better: `higher` (accuracy) or `lower` (loss, steps).
      confidence: of the whole family, in 0..1.
      bounds: what a difference can be at least and at most, for instance -1 and 1 of a Dice. A t interval of few
        seeds knows nothing of them; what lies beyond is cut off, and the contrast says so. They hold 0, so a cut
        changes no verdict.

    Returns:
      A contrast for each name, in the given order.

    Raises:
      ConfigError: more than three contrasts, an unknown `better`, or bounds without 0 between them.
      DataError: the arms differ in length, have no seeds, or hold a value that is not finite, or differ by more than
        the bounds allow.

    >>> first, second = np.array([0.91, 0.93, 0.92, 0.95, 0.94]), np.array([0.80, 0.83, 0.81, 0.80, 0.85])
    >>> result = contrasts({"ours - theirs": (first, second), "first - itself": (first, first)})
    >>> [(one.verdict, round(one.mean, 3)) for one in result.values()]
    [('better', 0.112), ('not separable with 5 seeds', 0.0)]
    >>> few = contrasts({"ours - theirs": ([0.1, 0.8], [0.7, 0.6])}, bounds=(-1.0, 1.0))["ours - theirs"]
    >>> round(few.mean, 3), few.low, few.high, few.clipped
    (-0.2, -1.0, 1.0, True)

    (Holm, 1979, "A simple sequentially rejective multiple test procedure".)
    """
    if len(pairs) > MOST_CONTRASTS:
        raise ConfigError(
            f"{len(pairs)} contrasts ({', '.join(pairs)}), at most {MOST_CONTRASTS} can be named before a study "
            f"runs; report the others as descriptions"
        )
    if better not in ("higher", "lower"):
        raise ConfigError(f"better is {better!r}; {nearest(better, ('higher', 'lower'))}")
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence is {confidence}, expected a number between 0 and 1, for instance 0.95")
    if bounds is not None and not bounds[0] < 0 < bounds[1]:
        raise ConfigError(f"bounds of a difference are {bounds}, expected 0 between them, for instance (-1.0, 1.0)")
    differences = {name: _differences(name, *pair) for name, pair in pairs.items()}
    for name, d in differences.items():
        check_inside(f"{name}: differences", d, bounds)
    raw = np.array([_p_value(d) for d in differences.values()])
    levels = _holm_levels(raw, 1 - confidence)
    return {
        name: _contrast(d, p, level, better, bounds)
        for (name, d), p, level in zip(differences.items(), holm(raw), levels, strict=True)
    }


def paired_contrast(
    first: ArrayLike,
    second: ArrayLike,
    *,
    better: str = "higher",
    confidence: float = 0.95,
    bounds: Bounds | None = None,
) -> Contrast:
    """A single contrast, that is, one of a family of one; see `contrasts`.

    >>> result = paired_contrast([3.0, 5.0, 4.0], [1.0, 2.0, 1.5], better="lower")
    >>> result.verdict, result.label, result.mean
    ('worse', 'look', 2.5)
    """
    return contrasts({"": (first, second)}, better=better, confidence=confidence, bounds=bounds)[""]


def holm(p_values: ArrayLike) -> Float[np.ndarray, " n"]:
    """p values adjusted by Holm's procedure, in the given order.

    With p_(1) <= ... <= p_(m), adjusted_(i) = max_(j <= i) min(1, (m - j + 1) p_(j)).

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p_values = np.asarray(p_values, float)
    if not np.all((p_values >= 0) & (p_values <= 1)):  # NaN fails both comparisons
        raise DataError(f"p values are {p_values.tolist()}, expected numbers in 0..1")
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    factors = np.arange(len(p_values), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p_values[order]), 1)
    return adjusted


# -- bootstrap and description ------------------------------------------------------------------------------------


def bootstrap(
    values: ArrayLike,
    statistic: Callable[..., Any] = np.median,
    *,
    confidence: float = 0.95,
    method: str = "percentile",
    resamples: int = 9999,
    seed: int = 0,
) -> Interval:
    """A bootstrap interval of a statistic over subjects, or over 10 seeds and more.

    Args:
      values: `[units]`, one value a subject or a seed, finite.
      statistic: a function of an array, and of an `axis` where it can.
      confidence: of the interval.
      method: `percentile`, which suits a median; `BCa` (Efron, 1987) corrects bias and skewness of smooth
        statistics such as a mean.
      resamples: how many.
      seed: of the resampling.

    Raises:
      DataError: fewer than 10 units, where such intervals are too short; a value that is not finite.
      ConfigError: an unknown method.

    >>> bootstrap(np.arange(20.0), np.mean, method="BCa").estimate
    9.5
    """
    values = _finite("values", values)
    if method not in ("percentile", "BCa"):
        raise ConfigError(f"unknown bootstrap method {method!r}; {nearest(method, ('percentile', 'BCa'))}")
    if len(values) < FEWEST_UNITS_OF_A_BOOTSTRAP:
        raise DataError(
            f"a bootstrap over {len(values)} units, expected at least {FEWEST_UNITS_OF_A_BOOTSTRAP}: with fewer "
            f"its intervals are too short; show every value, or the median with the range"
        )
    estimate = float(statistic(values))
    if np.ptp(values) == 0:
        return Interval(estimate, estimate, estimate, len(values))
    interval = scipy.stats.bootstrap(
        (values,),
        statistic,
        n_resamples=resamples,
        confidence_level=confidence,
        method=method,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(estimate, float(interval.low), float(interval.high), len(values))


def mean_over_subjects(values: np.ndarray) -> Interval | None:
    """The mean of what is defined, with its bootstrap interval; None with too few subjects for one.

    Args:
      values: `[subjects]`, NaN where undefined.

    >>> mean_over_subjects(np.array([*range(10), np.nan])).estimate
    4.5
    """
    values = values[~np.isnan(values)]
    return bootstrap(values, np.mean) if len(values) >= FEWEST_UNITS_OF_A_BOOTSTRAP else None


def median_range(values: ArrayLike) -> Range:
    """The median, the smallest and the largest value; infinity stands for "not reached".

    Raises:
      DataError: no values, or a NaN.

    >>> median_range([50.0, 40.0, 90.0, np.inf, 45.0])
    Range(median=50.0, low=40.0, high=inf, n=5)
    """
    values = np.asarray(values, float)
    if not len(values) or np.isnan(values).any():
        raise DataError(f"a median of {values.tolist()}, expected one number or more and no NaN")
    return Range(float(np.median(values)), float(values.min()), float(values.max()), len(values))


# -- time until something happens ---------------------------------------------------------------------------------


def kaplan_meier(steps: ArrayLike, reached: ArrayLike) -> Survival:
    """The share of runs that has not reached a target yet, where some runs end before they do.

    S(t) = prod_(t_i <= t) (1 - d_i / n_i), with d_i runs that reach the target at t_i out of n_i that were
    observed until then. A run that did not reach it is censored at its last step: it is counted, not dropped.

    Args:
      steps: `[runs]`, at least 0; the step at which a run reached the target, or the last that was observed.
      reached: bool `[runs]`.

    Returns:
      The curve, from time 0 on.

    Raises:
      DataError: lengths differ, no runs, or a step is negative or not finite.

    >>> curve = kaplan_meier([10, 20, 20, 30], [True, True, False, True])
    >>> curve.times.tolist(), curve.survival.tolist()
    ([0.0, 10.0, 20.0, 30.0], [1.0, 0.75, 0.5, 0.0])

    (Kaplan and Meier, 1958, "Nonparametric estimation from incomplete observations".)
    """
    steps, reached = _finite("steps", steps), np.asarray(reached, bool)
    if steps.shape != reached.shape or (steps < 0).any():
        raise DataError(
            f"steps {steps.tolist()} and reached {reached.tolist()}: expected as many of each, steps at least 0"
        )
    curve = scipy.stats.ecdf(scipy.stats.CensoredData.right_censored(steps, ~reached)).sf
    start = ([], []) if curve.quantiles[0] == 0 else ([0.0], [1.0])
    return Survival(np.append(start[0], curve.quantiles), np.append(start[1], curve.probabilities))


def median_time(steps: ArrayLike, reached: ArrayLike) -> float | None:
    """The first time by which at least half of the runs have reached the target; None where they never do.

    >>> median_time([10, 20, 30], [True, True, True]), median_time([10, 99, 99], [True, False, False])
    (20.0, None)
    """
    times, survival = kaplan_meier(steps, reached)
    arrived = np.flatnonzero(survival <= 0.5 + 1e-9)  # a product of fractions may miss one half by rounding
    return float(times[arrived[0]]) if len(arrived) else None


# -- parts --------------------------------------------------------------------------------------------------------


def _finite(what: str, values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, float)
    if values.ndim != 1 or not len(values):
        raise DataError(f"{what} have shape {values.shape}, expected one axis with at least one value")
    if not np.isfinite(values).all():
        raise DataError(
            f"{what} are not finite at {np.flatnonzero(~np.isfinite(values)).tolist()}: score failed runs before "
            f"they are compared (for instance as guessing), and count them apart; dropping them flatters the arm"
        )
    return values


def _differences(name: str, first: ArrayLike, second: ArrayLike) -> np.ndarray:
    first, second = _finite(f"{name}: first values", first), _finite(f"{name}: second values", second)
    if len(first) != len(second):
        raise DataError(f"{name}: {len(first)} values against {len(second)}; a contrast is paired by seed")
    differences = first - second
    # Equal differences of rounded numbers come out unequal in the last digits: that is no spread.
    rounding = ROUNDING * max(np.abs(first).max(), np.abs(second).max())
    if np.ptp(differences) <= rounding:
        middle = np.median(differences)
        differences = np.full(len(differences), 0.0 if abs(middle) <= rounding else middle)
    return differences


def _p_value(differences: np.ndarray) -> float:
    if np.ptp(differences) == 0:
        return 1.0 if differences[0] == 0 else 2.0 ** (1 - len(differences))
    return float(scipy.stats.ttest_1samp(differences, 0).pvalue)


def _holm_levels(p_values: np.ndarray, alpha: float) -> np.ndarray:
    """The level at which Holm's procedure tests each hypothesis; from the first that stands on, that one's."""
    levels, level, stands = np.empty(len(p_values)), 0.0, False
    for place, which in enumerate(np.argsort(p_values, kind="stable")):
        if not stands:
            level = alpha / (len(p_values) - place)
            stands = p_values[which] >= level
        levels[which] = level
    return levels


def _contrast(differences: np.ndarray, p: float, level: float, better: str, bounds: Bounds | None = None) -> Contrast:
    n, mean = len(differences), float(differences.mean())
    if np.ptp(differences) > 0:
        low, high = map(float, scipy.stats.ttest_1samp(differences, 0).confidence_interval(1 - level))
    elif mean == 0:
        low = high = 0.0
    else:
        low, high = (mean, mean) if _p_value(differences) < level else (-np.inf, np.inf)
    ends = (low, high)
    low, high = clip_interval(low, high, bounds)
    if n < FEWEST_SEEDS_OF_A_CLAIM:
        verdict, label = f"no claim with {n} seed{'s' * (n > 1)}", "no claim"
    else:
        label = "look" if n < FEWEST_SEEDS else ""
        if low <= 0 <= high:
            verdict = f"not separable with {n} seeds"
        else:
            verdict = "better" if (mean > 0) == (better == "higher") else "worse"
    return Contrast(differences, mean, low, high, float(p), n, verdict, label, (low, high) != ends)
