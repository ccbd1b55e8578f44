"""Bootstrap intervals over images (or objects) of statistics of several columns; the images are drawn with all columns.

`metrics.statistics.bootstrap` takes one column and refuses fewer than 10 units. Here the estimate of few units is
kept, without an interval.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hyperlab.errors import DataError
from hyperlab.metrics.statistics import FEWEST_UNITS_OF_A_BOOTSTRAP, Interval

RESAMPLES = 2000
MOST_AT_ONCE = 1 << 21  # numbers of a column in memory


def interval(
    statistic: Callable[..., Any],
    *columns: ArrayLike,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """A percentile bootstrap interval over units.

    Args:
      statistic: a function of as many arrays `[draws, units]` as there are columns, that returns `[draws]`.
      *columns: `[units]` each.
      confidence: of the interval.
      resamples: how many.
      seed: of the resampling.

    Returns:
      The estimate from all units, and the interval over those resamples in which the statistic is defined (not NaN).
      Its ends are NaN with fewer than 10 units, where a bootstrap interval is too short, and without an estimate.

    Raises:
      DataError: columns differ in length.

    >>> interval(lambda values: values.mean(-1), np.arange(20.0))
    Interval(estimate=9.5, low=6.9, high=11.9, n=20)
    """
    arrays = [np.asarray(column) for column in columns]
    n = len(arrays[0])
    if any(column.shape != (n,) for column in arrays):
        raise DataError(f"columns have shapes {[column.shape for column in arrays]}, expected one value a unit in each")
    estimate = float(statistic(*(column[None] for column in arrays))[0]) if n else np.nan
    if n < FEWEST_UNITS_OF_A_BOOTSTRAP or np.isnan(estimate):
        return Interval(estimate, np.nan, np.nan, n)
    random, drawn = np.random.default_rng(seed), []
    for start in range(0, resamples, step := max(1, MOST_AT_ONCE // n)):
        draw = random.integers(0, n, (min(step, resamples - start), n))
        drawn.append(statistic(*(column[draw] for column in arrays)))
    found = np.concatenate(drawn)
    low, high = np.quantile(found[~np.isnan(found)], [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(estimate, float(low), float(high), n)
