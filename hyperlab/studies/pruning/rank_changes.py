"""Where along a curve the order of two methods changes, with intervals: "A above B up to 8x, not separable at 16x"."""

from collections.abc import Iterable
from itertools import combinations, groupby
from typing import NamedTuple

import pandas as pd

from hyperlab.errors import DataError, nearest
from hyperlab.metrics import statistics

ABOVE, BELOW, LEVEL, UNCLAIMED = "above", "below", "not separable", "no claim"


class RankChange(NamedTuple):
    """Two methods along a curve.

    Attributes:
      first: a method.
      second: the other.
      points: one row a compression: `compression`, `difference` (first less second), `low`, `high`, `seeds`, `outcome`.
      sentence: the outcomes in words.
      reverses: `above` at one compression and `below` at another.
    """

    first: str
    second: str
    points: pd.DataFrame
    sentence: str
    reverses: bool


def rank_change(
    results: pd.DataFrame,
    first: str,
    second: str,
    *,
    value: str = "value",
    along: str = "compression",
    better: str = "higher",
    confidence: float = 0.95,
) -> RankChange:
    """Compares two methods at every point of their curves, paired by seed.

    At each compression that both have, the difference over their common seeds has a t interval. Intervals hold
    together (Bonferroni over the points): with few seeds and many points they are wide, and "not separable" says that
    they are, not that methods are equal. Under three seeds nothing is claimed.

    Args:
      results: tidy, one row a run: `method`, `along`, `seed`, `value`.
      first: a method.
      second: another.
      value: the column that is compared, finite: a failed run has been given a score before.
      along: the column with the requested compression.
      better: `higher` or `lower`.
      confidence: of all intervals together.

    Raises:
      DataError: an unknown method or column, a run that is there twice, or no common compression and seed.

    >>> rows = [(m, c, s, 0.9 - 0.01 * s + (0.1 if (m == "A") == (c < 8) else 0.001 * s))
    ...         for m in "AB" for c in (2, 4, 8) for s in range(5)]
    >>> frame = pd.DataFrame(rows, columns=["method", "compression", "seed", "value"])
    >>> change = rank_change(frame, "A", "B")
    >>> change.sentence, change.reverses
    ('A above B up to 4x, below from 8x', True)
    """
    curves = [_curve(results, method, value, along) for method in (first, second)]
    common = curves[0].index.intersection(curves[1].index)
    if not len(common):
        raise DataError(f"{first!r} and {second!r} have no {along} and seed in common; a difference is paired by seed")
    together = pd.DataFrame({"first": curves[0][common], "second": curves[1][common]})
    groups = list(together.groupby(level=along))
    rows = []
    for compression, pair in groups:
        level = 1 - (1 - confidence) / len(groups)
        c = statistics.paired_contrast(pair["first"], pair["second"], better=better, confidence=level)
        outcome = {"better": ABOVE, "worse": BELOW}.get(c.verdict, UNCLAIMED if c.label == "no claim" else LEVEL)
        rows.append((float(compression), c.mean, c.low, c.high, c.n, outcome))
    points = pd.DataFrame(rows, columns=["compression", "difference", "low", "high", "seeds", "outcome"])
    reverses = {ABOVE, BELOW} <= set(points["outcome"])
    return RankChange(first, second, points, _sentence(first, second, points), reverses)


def rank_changes(results: pd.DataFrame, pairs: Iterable[tuple[str, str]] | None = None, **options) -> list[RankChange]:
    """`rank_change` of several pairs; by default of every two methods, in the order of the table.

    Many pairs are a description of the study; claims are the contrasts that its config names.
    """
    pairs = combinations(results["method"].unique(), 2) if pairs is None else pairs
    return [rank_change(results, first, second, **options) for first, second in pairs]


def orders(
    results: pd.DataFrame, *, value: str = "value", along: str = "compression", better: str = "higher"
) -> pd.DataFrame:
    """The order of the methods by their mean at each compression, whether or not intervals tell them apart.

    Returns:
      A table with one row a compression: `along`, `order` (best first), `changed` (against the row above).

    >>> frame = pd.DataFrame({"method": ["A", "B"] * 2, "compression": [2, 2, 4, 4], "value": [0.9, 0.8, 0.5, 0.7]})
    >>> orders(frame)["order"].tolist()
    ['A > B', 'B > A']
    """
    means = results.groupby([along, "method"])[value].mean()
    rows, before = [], None
    for compression, of_point in means.groupby(level=along):
        ranked = of_point.droplevel(along).sort_values(ascending=better == "lower", kind="stable")
        order = " > ".join(map(str, ranked.index))
        rows.append((compression, order, "-" if before is None else ("yes" if order != before else "no")))
        before = order
    return pd.DataFrame(rows, columns=[along, "order", "changed"])


def _curve(results: pd.DataFrame, method: str, value: str, along: str) -> pd.Series:
    for column in ("method", "seed", along, value):
        if column not in results.columns:
            raise DataError(f"results have no column {column!r}; {nearest(column, map(str, results.columns))}")
    own = results[results["method"] == method]
    if not len(own):
        raise DataError(f"no results of method {method!r}; {nearest(method, results['method'].unique())}")
    curve = own.set_index([along, "seed"])[value]
    if curve.index.has_duplicates:
        compression, seed = curve.index[curve.index.duplicated()][0]
        raise DataError(f"{method!r} has several values at {along} {compression:g} and seed {seed}; one is expected")
    return curve


def _sentence(first: str, second: str, points: pd.DataFrame) -> str:
    stretches = [
        (outcome, [row.compression for row in rows])
        for outcome, rows in groupby(points.itertuples(), key=lambda row: row.outcome)
    ]
    if len(stretches) == 1:
        outcome, xs = stretches[0]
        where = "throughout" if len(xs) > 1 else f"at {xs[0]:g}x"
        return _words(first, second, outcome) + f" {where}{_measured(xs)}"
    parts = []
    for place, (outcome, xs) in enumerate(stretches):
        said = _words(first, second, outcome) if place == 0 else outcome
        if place == 0:
            where = f"up to {xs[-1]:g}x"
        elif place == len(stretches) - 1:
            where = f"from {xs[0]:g}x"
        else:
            where = f"at {xs[0]:g}x" if len(xs) == 1 else f"from {xs[0]:g}x to {xs[-1]:g}x"
        parts.append(f"{said} {where}")
    return ", ".join(parts)


def _words(first: str, second: str, outcome: str) -> str:
    return f"{first} {outcome} {second}" if outcome in (ABOVE, BELOW) else f"{first} and {second} {outcome}"


def _measured(xs: list[float]) -> str:
    return f" ({xs[0]:g}x to {xs[-1]:g}x)" if len(xs) > 1 else ""
