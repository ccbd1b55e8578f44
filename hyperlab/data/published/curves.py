"""Trade-off curves out of tables of published results, as change from the same source's unpruned network."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from hyperlab.data.published.table import UNPRUNED
from hyperlab.errors import ConfigError, DataError, nearest

AXES = ("compression", "speedup")


class Curve(NamedTuple):
    """One method of one source on one network.

    Attributes:
      label: source and method, for a legend.
      source: who published it.
      method: as the source calls it.
      year: of publication; NaN where the table has none.
      x: `[points]`, compression or theoretical speedup, rising.
      change: `[points]`, metric less that of the source's own unpruned network, a fraction.
      sd: `[points]`, sample standard deviation; NaN where none is known.
      rows: `[points]`, how many rows of the table are in a point.
      against: what x is, `compression` or `speedup`.
      citation: where it comes from.
    """

    label: str
    source: str
    method: str
    year: float
    x: np.ndarray
    change: np.ndarray
    sd: np.ndarray
    rows: np.ndarray
    against: str
    citation: str


def curves(
    frame: pd.DataFrame,
    dataset: str,
    architecture: str,
    *,
    metric: str = "top1",
    against: str = "compression",
    corrected: bool = False,
) -> list[Curve]:
    """One curve for each method of each source (and parent) on one network.

    Rows at the same x are one point, their mean, with their sample standard deviation; of a single row, the standard
    deviation is the published one. The source's unpruned network is the first point of all its curves, where the table
    has it. Rows that could not be read are left out.

    Args:
      frame: of `read_table`, `packaged` or `operating_points`, or several of them concatenated.
      dataset: as the table spells it.
      architecture: likewise.
      metric: `top1` or `top5`, or what else the table has.
      against: `compression` or `speedup`, what x is.
      corrected: multiply by `accuracy_factor` where there is one: the change in the share of correct samples instead
        of the published one.

    Returns:
      Curves by year, then label; each has at least one point beside the unpruned network.

    Raises:
      ConfigError: `against` is neither of the two.
      DataError: the table has no such network or metric; the nearest are named.

    >>> from hyperlab.data.published.table import packaged
    >>> found = curves(packaged(), "ImageNet", "ResNet-18", against="speedup")
    >>> [curve.method for curve in found]
    ['global gradient', 'global magnitude', 'layerwise gradient', 'layerwise magnitude']
    >>> found[1].x.tolist(), found[1].change.round(4).tolist()
    ([1.0, 1.67, 2.68, 4.48, 9.94], [0.0, 0.0023, -0.0122, -0.0559, -0.189])
    """
    if against not in AXES:
        raise ConfigError(f"against is {against!r}; {nearest(against, AXES)}")
    rows = _network(frame, dataset, architecture, metric)
    rows = rows[rows["change"].notna() & rows[against].notna()]
    factor = rows["accuracy_factor"].fillna(1.0) if corrected else 1.0
    rows = rows.assign(
        x=rows[against].round(6),
        change=rows["change"] * factor,
        sd=rows["sd"] * factor,
        parent=rows["parent"].fillna(""),
    )
    found = []
    for (source, parent), own in rows.groupby(["source", "parent"], sort=False):
        unpruned = own[own["method"] == UNPRUNED]
        for method, points in own[own["method"] != UNPRUNED].groupby("method", sort=False):
            found.append(_curve(pd.concat([unpruned, points]), source, parent, method, against))
    return sorted(found, key=lambda curve: (np.nan_to_num(curve.year, nan=np.inf), curve.label))


def at(curve: Curve, x: Sequence[float] | np.ndarray) -> np.ndarray:
    """The change at given compressions or speedups: straight lines over log2 x, NaN outside the measured range.

    >>> ones = np.ones(2)
    >>> curve = Curve("a", "a", "m", 2020.0, np.array([2.0, 8.0]), np.array([0.0, -0.1]), ones, ones, "compression", "")
    >>> at(curve, [1, 2, 4, 8, 16]).tolist()
    [nan, 0.0, -0.05, -0.1, nan]
    """
    return np.interp(np.log2(np.asarray(x, float)), np.log2(curve.x), curve.change, left=np.nan, right=np.nan)


def _network(frame: pd.DataFrame, dataset: str, architecture: str, metric: str) -> pd.DataFrame:
    rows = frame[(frame["dataset"] == dataset) & (frame["architecture"] == architecture)]
    if not len(rows):
        known = (frame["dataset"] + " / " + frame["architecture"]).unique()
        given = f"{dataset} / {architecture}"
        raise DataError(f"no published results on {given!r}; {nearest(given, known)}")
    if metric not in set(rows["metric"]):
        raise DataError(f"no {metric!r} on {dataset} / {architecture}; {nearest(metric, rows['metric'].unique())}")
    return rows[rows["metric"] == metric]


def _curve(points: pd.DataFrame, source: str, parent: str, method: str, against: str) -> Curve:
    grouped = points.groupby("x", sort=True)
    rows = grouped.size().to_numpy()
    spread, published = grouped["change"].std(ddof=1).to_numpy(), grouped["sd"].first().to_numpy()
    # A source that is one method, such as a paper of the survey, has a method named after it.
    label = method if method.startswith(source) else f"{source}, {method}"
    return Curve(
        label=label + (f", parent {parent}" if parent else ""),
        source=source,
        method=method,
        year=float(points["year"].iloc[-1]),
        x=np.array(list(grouped.groups), float),
        change=grouped["change"].mean().to_numpy(),
        sd=np.where(rows > 1, spread, published),
        rows=rows,
        against=against,
        citation=str(points["citation"].iloc[-1]),
    )
