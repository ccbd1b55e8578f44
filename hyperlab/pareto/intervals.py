"""Two spreads of one accuracy, kept apart: over cases and over seeds.

Over cases: what other subjects would have given the networks that were trained; a bootstrap of the subjects, each
subject's value being its mean over seeds. Over seeds: what other training runs would have given on these subjects; a
t interval of the runs' means, for a bootstrap of few runs is too short. Neither contains the other, and their
average says nothing.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from hyperlab.errors import DataError
from hyperlab.metrics import statistics
from hyperlab.metrics.bounds import Bounds, check_inside, clip_interval
from hyperlab.metrics.statistics import Interval


class Spread(NamedTuple):
    """The mean of a table `[seeds, cases]` with an interval each way.

    Attributes:
      cases: over cases; ends are NaN under 10 cases.
      seeds: over seeds; ends are NaN for one seed.
      undefined: how many cases have no value in any seed, and are in neither.
    """

    cases: Interval
    seeds: Interval
    undefined: int


def spread(values: ArrayLike, *, confidence: float = 0.95, seed: int = 0) -> Spread:
    """The mean with its interval over cases, and with its interval over seeds.

    Args:
      values: `[seeds, cases]`; a case is a subject, never a slice. NaN where undefined (an absent class).
      confidence: of each interval.
      seed: of the resampling.

    Raises:
      DataError: not a table, or no value is defined.

    >>> dice = np.linspace(0.7, 0.9, 20) + np.array([[-0.01], [0.01]])
    >>> result = spread(dice)
    >>> round(result.cases.estimate, 3), result.cases.n, result.seeds.n, result.undefined
    (0.8, 20, 2, 0)
    >>> bool(result.cases.low < 0.8 < result.cases.high), round(result.seeds.high - 0.8, 3)
    (True, 0.127)
    """
    values, undefined = _table(values)
    return Spread(_over_cases(values, confidence, seed), _over_seeds(values, confidence), undefined)


def case_mean(values: ArrayLike) -> float:
    """The mean over cases of each case's mean over seeds: the estimate of `over_cases`, without its interval.

    Args:
      values: `[seeds, cases]`, NaN where undefined.

    Raises:
      DataError: not a table, or no value is defined.

    >>> case_mean([[0.5, np.nan, 1.0], [0.7, np.nan, np.nan]])
    0.8
    """
    return float(np.nanmean(_table(values)[0], axis=0).mean())


def over_cases(values: ArrayLike, *, confidence: float = 0.95, seed: int = 0) -> Interval:
    """A bootstrap interval over cases (BCa) of the mean of each case's mean over seeds.

    Args:
      values: `[seeds, cases]`, NaN where undefined; a case without any value is left out.
      confidence: of the interval.
      seed: of the resampling.

    Returns:
      The mean over cases, the interval's ends (NaN under 10 cases: it would be too short), the number of cases.

    Raises:
      DataError: not a table, or no value is defined.
    """
    return _over_cases(_table(values)[0], confidence, seed)


def told_of_cases(values: ArrayLike) -> dict[str, float | int | None] | None:
    """What a network's card says of one value a case: `estimate`, `low`, `high` and `subjects`, as JSON.

    Args:
      values: `[cases]`, NaN where undefined.

    Returns:
      Ends are None under ten cases, where an interval would be too short; None altogether where no case has a value.

    >>> told_of_cases([0.5, 0.75])
    {'estimate': 0.625, 'low': None, 'high': None, 'subjects': 2}
    """
    values = np.asarray(values, float)
    if np.isnan(values).all():
        return None
    found = over_cases(values[None])
    low, high = (None if np.isnan(end) else float(end) for end in (found.low, found.high))
    return {"estimate": float(found.estimate), "low": low, "high": high, "subjects": int(found.n)}


def over_seeds(values: ArrayLike, *, confidence: float = 0.95, bounds: Bounds | None = None) -> Interval:
    """A t interval over seeds of each run's mean over cases.

    A case that is undefined in one run (its class was not there, and not predicted) counts in the others; where this
    happens the estimate may differ in the last digits from that of `over_cases`.

    Args:
      values: `[seeds, cases]`, NaN where undefined.
      confidence: of the interval.
      bounds: the least and the most that a value can be, for instance 0 and 1 of a Dice: the interval is cut there.

    Returns:
      The mean over runs, mean +- t_(n-1) sd / sqrt(n) (NaN for one run), the number of runs.

    Raises:
      DataError: not a table, or no value is defined, or a run has none; a value is beyond the bounds.

    >>> interval = over_seeds([[0.2], [0.9]], bounds=(0.0, 1.0))
    >>> round(interval.estimate, 3), interval.low, interval.high
    (0.55, 0.0, 1.0)
    """
    check_inside("values", values, bounds)
    interval = _over_seeds(_table(values)[0], confidence)
    low, high = clip_interval(interval.low, interval.high, bounds)
    return interval._replace(low=low, high=high)


def _over_cases(values: np.ndarray, confidence: float, seed: int) -> Interval:
    cases = np.nanmean(values, axis=0)
    if len(cases) < statistics.FEWEST_UNITS_OF_A_BOOTSTRAP:
        return Interval(float(cases.mean()), math.nan, math.nan, len(cases))
    return statistics.bootstrap(cases, np.mean, confidence=confidence, method="BCa", seed=seed)


def _over_seeds(values: np.ndarray, confidence: float) -> Interval:
    runs = np.nanmean(values, axis=1)
    mean, n = float(runs.mean()), len(runs)
    if n == 1:
        return Interval(mean, math.nan, math.nan, n)
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, n - 1) * runs.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def _table(values: Any) -> tuple[np.ndarray, int]:
    """The cases that have a value in some seed, and how many have none."""
    values = np.asarray(values, float)
    if values.ndim != 2 or not values.size:
        raise DataError(f"values have shape {values.shape}, expected [seeds, cases] with at least one of each")
    if np.isinf(values).any():
        raise DataError("values hold an infinity; score failed runs before they are averaged, and count them apart")
    known = ~np.isnan(values).all(0)
    if not known.any():
        raise DataError("no case has a value: the class is absent from all of them")
    if lost := np.flatnonzero(np.isnan(values).all(1)).tolist():
        raise DataError(f"runs {lost} have no value; score failed runs (for instance as 0) and count them apart")
    return values[:, known], int((~known).sum())
