"""One rescaling factor for a budget: chosen on the validation split, its accuracy told from the test split.

The factor that looks best on some cases looks better there than it is. So the choice reads validation rows alone, and
what is reported of the chosen factor comes from test rows, which had no part in it.
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from hyperlab.errors import ConfigError, DataError, nearest
from hyperlab.metrics.bounds import Bounds
from hyperlab.metrics.statistics import Interval
from hyperlab.pareto.intervals import case_mean, over_cases, over_seeds

ROUNDING = 1e-9
NAMES = {"dice": "Dice", "iou": "IoU"}
COSTS = {"macs": ("fewer MACs", "more MACs"), "latency": ("lower latency", "higher latency")}


class Selection(NamedTuple):
    """The chosen factor and what may be said of it.

    Attributes:
      rescaling_factor: the chosen one.
      cost: what it costs, in the unit of the column.
      relative_cost: its cost over that of the reference.
      validation: its mean on the validation split, which chose it: optimistic.
      test: its mean on the test split, with a bootstrap interval over cases.
      test_seeds: the same mean with a t interval over seeds.
      reference: the rescaling factor it is compared to.
      difference: chosen less reference on the test split, paired by seed and case, interval over cases.
      difference_seeds: the same with an interval over seeds.
      undefined: test cases without a value in every seed of either factor; they are left out.
      sentence: all of it in words.
    """

    rescaling_factor: float
    cost: float
    relative_cost: float
    validation: float
    test: Interval
    test_seeds: Interval
    reference: float
    difference: Interval
    difference_seeds: Interval
    undefined: int
    sentence: str


def select(
    frame: pd.DataFrame,
    *,
    budget: float | None = None,
    cost: str = "macs",
    tolerance: float | None = None,
    metric: str = "dice",
    better: str = "higher",
    reference: float | None = None,
    bounds: Bounds | None = None,
) -> Selection:
    """The best factor within a budget, the cheapest within a tolerance of the best, or both.

    With a budget, factors that cost more are out. Of the rest, without a tolerance the best on validation is taken;
    with one, the cheapest whose validation mean is at most `tolerance` worse than the best. Ties go to the cheaper.

    Args:
      frame: one row for each split, seed, case and factor, with the columns `rescaling_factor`, `split` (`validation`
        or `test`), `seed`, `case` (a subject), the metric and the cost. Rows of one arm alone. NaN where the metric
        is undefined.
      budget: the most that may be spent, in the unit of `cost`.
      cost: a column, for instance `macs` or `latency`, the median of whose rows is what a factor costs; or
        `relative_` and a column: as a share of what the reference costs.
      tolerance: how much worse than the best on validation is accepted, in the unit of the metric.
      metric: the column that measures accuracy.
      better: `higher` or `lower`.
      reference: the factor to compare to; by default the largest.
      bounds: the least and the most that the metric can be, for instance 0 and 1: t intervals over seeds are cut
        there, those of differences accordingly.

    Raises:
      ConfigError: neither budget nor tolerance, a budget below the cheapest factor, an unknown column or reference.
      DataError: rows are missing, doubled or without any value, or a value is beyond the bounds.

    >>> rows = [
    ...     (factor, split, 0, case, macs, dice + case / 100)
    ...     for factor, macs, dice in [(0.1, 20.0, 0.7), (0.3, 53.0, 0.79), (0.5, 100.0, 0.8)]
    ...     for split in ("validation", "test")
    ...     for case in range(10)
    ... ]
    >>> frame = pd.DataFrame(rows, columns=["rescaling_factor", "split", "seed", "case", "macs", "dice"])
    >>> print(select(frame, tolerance=0.02).sentence)
    phi 0.3: 47 % fewer MACs than phi 0.5, Dice -0.010 [-0.010, -0.010] on 10 test cases, 1 seed
    >>> select(frame, budget=0.25, cost="relative_macs").rescaling_factor
    0.1
    """
    column = cost if cost in frame.columns else cost.removeprefix("relative_")
    _check(frame, column, metric, better, budget, tolerance)
    factors = sorted(frame["rescaling_factor"].unique())
    reference = factors[-1] if reference is None else _known(reference, factors)
    costs = frame.groupby("rescaling_factor")[column].median()
    relative = costs / costs[reference]
    priced = costs if column == cost else relative
    validation = {factor: case_mean(table) for factor, table in _tables(frame, "validation", metric).items()}
    chosen = _choose(validation, priced, budget, cost, tolerance, better)

    tables = _tables(frame, "test", metric)
    own, other = tables[chosen], tables[reference]
    differences = own - other
    undefined = int(np.isnan(differences).all(0).sum())
    result = Selection(
        float(chosen),
        float(costs[chosen]),
        float(relative[chosen]),
        validation[chosen],
        over_cases(own),
        over_seeds(own, bounds=bounds),
        float(reference),
        over_cases(differences),
        over_seeds(differences, bounds=bounds and (bounds[0] - bounds[1], bounds[1] - bounds[0])),
        undefined,
        "",
    )
    return result._replace(sentence=_sentence(result, column, metric, len(own)))


# -- the choice ---------------------------------------------------------------------------------------------------


def _choose(
    validation: dict[float, float],
    costs: pd.Series,
    budget: float | None,
    cost: str,
    tolerance: float | None,
    better: str,
) -> float:
    affordable = [factor for factor in validation if budget is None or costs[factor] <= budget * (1 + ROUNDING)]
    if not affordable:
        cheapest = min(validation, key=lambda factor: costs[factor])
        raise ConfigError(
            f"a budget of {budget:g} {cost} is below the cheapest factor: {cheapest:g} costs {costs[cheapest]:g}"
        )
    sign = 1 if better == "higher" else -1
    best = max(sign * validation[factor] for factor in affordable)
    slack = (tolerance or 0.0) + ROUNDING
    return min(
        (factor for factor in affordable if sign * validation[factor] >= best - slack),
        key=lambda factor: (costs[factor], factor),
    )


def _tables(frame: pd.DataFrame, split: str, metric: str) -> dict[float, np.ndarray]:
    """The metric of each factor as `[seeds, cases]`, in the same order for all."""
    rows = frame[frame["split"] == split]
    if rows.empty:
        raise DataError(f"no rows of the {split} split; splits are {sorted(map(str, frame['split'].unique()))}")
    keys = ["rescaling_factor", "seed", "case"]
    if (doubled := rows.duplicated(keys)).any():
        first = rows.loc[doubled, keys].iloc[0].to_dict()
        raise DataError(f"{split} has several rows for {first}; give the rows of one arm (and one class) alone")
    seeds, cases = rows["seed"].nunique(), rows["case"].nunique()
    counts = rows.groupby("rescaling_factor").size().reindex(frame["rescaling_factor"].unique(), fill_value=0)
    if len(short := counts[counts != seeds * cases]):
        factor, count = short.index[0], short.iloc[0]
        raise DataError(
            f"{split} has {count} rows for factor {factor:g}, expected {seeds} seeds x {cases} cases: a failed run "
            f"is a row with a score (for instance 0), not a missing one"
        )
    ordered = rows.sort_values(keys)
    return {factor: part[metric].to_numpy(float).reshape(seeds, cases) for factor, part in ordered.groupby(keys[0])}


# -- words --------------------------------------------------------------------------------------------------------


def _sentence(result: Selection, column: str, metric: str, seeds: int) -> str:
    metric = NAMES.get(metric, metric)
    where = f"{result.difference.n} test cases, {seeds} seed{'s' * (seeds > 1)}"
    if result.rescaling_factor == result.reference:
        return f"phi {result.reference:g}, the reference: {metric} {_words(result.test, '.3f')} on {where}"
    fewer, more = COSTS.get(column, (f"less {column}", f"more {column}"))
    saved = 1 - result.relative_cost
    share = f"{abs(saved):.0%}".replace("%", " %")
    return (
        f"phi {result.rescaling_factor:g}: {share} {fewer if saved >= 0 else more} than phi {result.reference:g}, "
        f"{metric} {_words(result.difference, '+.3f')} on {where}"
    )


def _words(interval: Interval, form: str) -> str:
    if math.isnan(interval.low):
        return f"{interval.estimate:{form}} (no interval under 10 cases)"
    plain = form.removeprefix("+")
    return f"{interval.estimate:{form}} [{interval.low:{plain}}, {interval.high:{plain}}]"


# -- refusals -----------------------------------------------------------------------------------------------------


def _check(
    frame: pd.DataFrame, column: str, metric: str, better: str, budget: float | None, tolerance: float | None
) -> None:
    for name in ("rescaling_factor", "split", "seed", "case", metric, column):
        if name not in frame.columns:
            raise ConfigError(f"the frame has no column {name!r}; {nearest(name, map(str, frame.columns))}")
    if budget is None and tolerance is None:
        raise ConfigError("neither a budget nor a tolerance; without one of them the best factor is no choice")
    if tolerance is not None and not tolerance >= 0:
        raise ConfigError(f"tolerance is {tolerance}, expected 0 or more, in the unit of {metric}")
    if better not in ("higher", "lower"):
        raise ConfigError(f"better is {better!r}; {nearest(better, ('higher', 'lower'))}")
    costs = frame.groupby("rescaling_factor")[column].median()
    if not np.isfinite(costs.to_numpy(float)).all():
        raise DataError(f"{column} is not known for factors {costs.index[~np.isfinite(costs)].tolist()}")


def _known(reference: float, factors: list[float]) -> float:
    near = min(factors, key=lambda factor: abs(factor - reference))
    if not math.isclose(near, reference, rel_tol=1e-6):
        raise ConfigError(f"no rows of the reference factor {reference:g}; factors are {[float(f) for f in factors]}")
    return near
