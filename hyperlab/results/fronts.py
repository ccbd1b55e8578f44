"""Which points no other beats in two columns."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from hyperlab import pareto
from hyperlab.errors import ConfigError
from hyperlab.results import checks


class Front(NamedTuple):
    """Points in two columns.

    Attributes:
      points: those that have both values, with `on_front`.
      excluded: the rows that cannot be placed, because one of their values is missing.
      x, y: what the columns are called.
      directions: `min` or `max` for each of them.
    """

    points: pd.DataFrame
    excluded: pd.DataFrame
    x: str
    y: str
    directions: tuple[str, str]


def front(
    frame: pd.DataFrame,
    x: str,
    y: str,
    directions: Sequence[str] = ("min", "max"),
    *,
    by: Sequence[str] | str | None = None,
) -> Front:
    """The points that are not dominated, in any two columns or metrics.

    Args:
      frame: a row a point; or, with `by`, rows of `results`.
      x: a column; with `by` also a metric. Of both the mean over a group is taken.
      y: the same.
      directions: `min` or `max` for x and for y: the default is a cost against a score.
      by: the columns that make a point, such as `("arm", "compression")`; None takes each row as one.

    Raises:
      ConfigError: an unknown column, metric or direction.
      DataError: with `by`, rows of several studies, data sets or splits that `by` does not keep apart.

    >>> frame = pd.DataFrame({"arm": ["a", "b", "c"], "macs": [1.0, 2.0, 3.0], "dice": [0.8, 0.7, 0.9]})
    >>> front(frame, "macs", "dice").points["on_front"].tolist()
    [True, False, True]

    >>> rows = pd.DataFrame({"arm": ["a", "a", "b"], "macs": [1, 1, 2], "metric": "dice", "value": [0.8, 0.7, 0.6]})
    >>> front(rows, "macs", "dice", by="arm").points[["arm", "macs", "dice", "on_front"]].values.tolist()
    [['a', 1.0, 0.75, True], ['b', 2.0, 0.6, False]]
    """
    if len(directions) != 2:
        raise ConfigError(f"directions are {tuple(directions)}, expected two of min and max, for {x!r} and for {y!r}")
    points = frame if by is None else _points(frame, x, y, [by] if isinstance(by, str) else list(by))
    ways = dict(zip((x, y), directions, strict=True))
    marked = points.assign(on_front=pareto.front(points, ways))
    out = points.index.isin(pareto.excluded(points, ways))
    return Front(marked[~out], points[out], x, y, (directions[0], directions[1]))


def _points(frame: pd.DataFrame, x: str, y: str, by: list[str]) -> pd.DataFrame:
    checks.columns(frame, by, "by")
    rows = frame.dropna(subset=by)
    metrics = [name for name in (x, y) if name not in frame.columns]
    if metrics:
        checks.columns(frame, ("metric", "value"), f"{metrics[0]!r} is no column; frame")
    chosen = pd.concat([checks.metric(rows, name) for name in metrics]) if metrics else rows
    checks.comparable(chosen, by)
    found = []
    for name in (x, y):
        part = (
            chosen[chosen["metric"] == name].assign(**{name: lambda part: part["value"]}) if name in metrics else chosen
        )
        # NaN is kept: a point with a failed seed is not the mean of the others
        means = part.groupby(by, observed=True, sort=False)[name].agg(lambda values: values.mean(skipna=False))
        found.append(means)
    return pd.concat(found, axis=1).astype(float).reset_index()
