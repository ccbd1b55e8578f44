"""Does a paper's curve beat another's? Point by point, by Pareto dominance first and by interpolation second.

The rules are those of the survey of pruning papers (Blalock et al., 2020, arXiv 2003.03033); both axes are better when
they are higher. Unlike the survey's program, a point is dominated by a single other point, never by several together,
and slopes of the hull are those of the points that are left on it.
"""

from typing import NamedTuple, cast

import numpy as np
import pandas as pd

DOMINATED, BELOW, INCOMPARABLE, ABOVE, DOMINANT = -2, -1, 0, 1, 2


class Comparison(NamedTuple):
    """How often each outcome occurs among the points of one paper against another's curve."""

    dominated: int
    below: int
    incomparable: int
    above: int
    dominant: int


def compare(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Each point of `a` on its Pareto front against the curve of `b`.

    The curve is the concave hull of b's Pareto front. A point of `a` that a vertex of the curve dominates is -2; one
    that dominates a vertex is 2; else it is -1 below the straight line between the vertices beside it, 1 above, and 0
    on it or outside the curve's range of x.

    Args:
      a: `[points, 2]`.
      b: `[points, 2]`.

    Returns:
      int `[front]`, for a's Pareto front by rising x.

    >>> b = np.array([[2.0, 0.0], [8.0, -0.06]])
    >>> compare(np.array([[1.0, 0.01], [4.0, -0.01], [7.0, -0.055]]), b).tolist()
    [0, 1, -1]
    >>> compare(np.array([[8.0, -0.05]]), b).tolist(), compare(np.array([[2.0, -0.01]]), b).tolist()
    ([2], [-2])
    """
    front, curve = pareto_front(a), concave_hull(pareto_front(b))
    return np.array([_outcome(point, curve) for point in front])


def pareto_front(points: np.ndarray) -> np.ndarray:
    """The points, without copies, that no other point beats in one axis and equals or beats in both; by rising x."""
    points = np.unique(np.asarray(points, float), axis=0)
    return points[[not _dominates(points, point).any() for point in points]]


def concave_hull(front: np.ndarray) -> np.ndarray:
    """The vertices of the smallest concave curve over a Pareto front: slopes fall from left to right.

    >>> concave_hull(np.array([[1.0, 0.0], [2.0, -0.5], [3.0, -0.6]])).tolist()
    [[1.0, 0.0], [3.0, -0.6]]
    """
    vertices: list[np.ndarray] = []
    for point in front:
        while len(vertices) > 1 and _slope(vertices[-1], point) > _slope(vertices[-2], vertices[-1]):
            vertices.pop()
        vertices.append(point)
    return np.array(vertices)


def comparisons(points: pd.DataFrame, compares_to: dict[str, set[str]]) -> pd.DataFrame:
    """Every comparison that a paper claims, on each network, axis and metric that both papers report.

    Args:
      points: of `operating_points`, with the columns `paper`, `dataset`, `architecture`, `metric`, `compression`,
        `speedup`, `change`.
      compares_to: the papers that each paper compares to.

    Returns:
      One row a comparison: `paper`, `other`, the network, `against`, `metric`, and the counts of `Comparison`.
    """
    rows = []
    for (dataset, architecture, metric), network in points.groupby(["dataset", "architecture", "metric"]):
        for against in ("compression", "speedup"):
            known = network[network[against].notna()]
            curves = {paper: own[[against, "change"]].to_numpy(float) for paper, own in known.groupby("paper")}
            for paper, a in curves.items():
                for other in sorted(compares_to.get(paper, set()) & set(curves) - {paper}):
                    outcomes = compare(a, curves[other])
                    counts = Comparison(*(int((outcomes == which).sum()) for which in range(DOMINATED, DOMINANT + 1)))
                    where = {"dataset": dataset, "architecture": architecture, "against": against, "metric": metric}
                    rows.append({"paper": paper, "other": other, **where, **counts._asdict()})
    return pd.DataFrame(
        rows, columns=["paper", "other", "dataset", "architecture", "against", "metric", *Comparison._fields]
    )


def _outcome(point: np.ndarray, curve: np.ndarray) -> int:
    if _dominates(curve, point).any():
        return DOMINATED
    if any(_dominates(point[None], vertex)[0] for vertex in curve):
        return DOMINANT
    x, y = curve.T
    if not x[0] <= point[0] <= x[-1]:
        return INCOMPARABLE
    return int(np.sign(point[1] - np.interp(point[0], x, y)))


def _dominates(points: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Which of the points are as good as `point` in both axes and better in one; bool `[points]`."""
    return cast("np.ndarray", (points >= point).all(1) & (points > point).any(1))


def _slope(left: np.ndarray, right: np.ndarray) -> float:
    return float((right[1] - left[1]) / (right[0] - left[0]))
