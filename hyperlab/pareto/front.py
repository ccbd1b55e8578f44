"""The points that no other point beats, and the volume that they rule over.

Directions are always stated: `{"dice": "max", "macs": "min"}`. A point is on the front if no other is at least as good
in every column and better in one; points that tie exactly are on it together. A row with a NaN in one of the columns
(a failed run, a cost that a backend does not state) is neither on the front nor does it beat anything; `excluded` lists
such rows, so that a table never shrinks in silence.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from hyperlab.errors import ConfigError, DataError, nearest


class Hypervolume(NamedTuple):
    """A volume beside the reference point that it is measured from, without which it says nothing."""

    value: float
    reference: dict[str, float]


def front(frame: pd.DataFrame, directions: Mapping[str, str]) -> pd.Series:
    """Which rows are not dominated.

    Args:
      frame: one row a point.
      directions: `max` or `min` for each column that counts, at least one.

    Returns:
      bool, with the index of `frame`.

    Raises:
      ConfigError: an unknown column or direction.

    >>> frame = pd.DataFrame({"dice": [0.9, 0.8, 0.8, np.nan], "macs": [10, 5, 7, 1]}, index=[0.5, 0.3, 0.4, 0.1])
    >>> front(frame, {"dice": "max", "macs": "min"}).tolist()
    [True, True, False, False]
    """
    costs = _costs(frame, directions)
    known = ~np.isnan(costs).any(1)
    points = costs[known]
    on_front = [not ((points <= point).all(1) & (points < point).any(1)).any() for point in points]
    result = np.zeros(len(frame), bool)
    result[known] = on_front
    return pd.Series(result, index=frame.index, name="on_front")


def excluded(frame: pd.DataFrame, directions: Mapping[str, str]) -> pd.Index:
    """The rows that cannot be placed, because a column that counts is NaN.

    >>> frame = pd.DataFrame({"dice": [0.9, np.nan]}, index=[0.5, 0.1])
    >>> excluded(frame, {"dice": "max"}).tolist()
    [0.1]
    """
    return frame.index[np.isnan(_costs(frame, directions)).any(1)]


def hypervolume(frame: pd.DataFrame, directions: Mapping[str, str], reference: Mapping[str, float]) -> Hypervolume:
    """The area that the points dominate up to a reference point; exact, for two columns.

    A larger area is a better front. Areas compare at the same reference point alone, which is why it is kept with the
    result. Points that are not better than it in both columns add nothing, nor do rows with a NaN.

    Args:
      frame: one row a point.
      directions: `max` or `min` for each of two columns.
      reference: a bad value for each of them, for instance a Dice of 0 and the largest cost.

    Raises:
      ConfigError: not two columns, an unknown column or direction, or a reference without a finite value for each.

    >>> frame = pd.DataFrame({"dice": [0.9, 0.5], "macs": [3.0, 1.0]})
    >>> hypervolume(frame, {"dice": "max", "macs": "min"}, {"dice": 0.0, "macs": 4.0})
    Hypervolume(value=1.9, reference={'dice': 0.0, 'macs': 4.0})

    (Zitzler and Thiele, 1998, "Multiobjective optimization using evolutionary algorithms".)
    """
    if len(directions) != 2:
        raise ConfigError(f"a hypervolume over {list(directions)}, expected two columns")
    if set(reference) != set(directions) or not np.isfinite(list(reference.values())).all():
        raise ConfigError(f"reference is {dict(reference)}, expected a finite number for each of {list(directions)}")
    corner = _costs(pd.DataFrame([reference]), directions)[0]
    costs = _costs(frame, directions)
    with np.errstate(invalid="ignore"):
        points = costs[(costs < corner).all(1)]
    area, floor = 0.0, corner[1]
    for first, second in points[np.lexsort((points[:, 1], points[:, 0]))]:
        if second < floor:
            area += (corner[0] - first) * (floor - second)
            floor = second
    return Hypervolume(float(area), {name: float(reference[name]) for name in directions})


def _costs(frame: pd.DataFrame, directions: Mapping[str, str]) -> np.ndarray:
    """The columns as numbers of which less is better; float `[rows, columns]`."""
    if not directions:
        raise ConfigError("no directions; expected for instance {'dice': 'max', 'macs': 'min'}")
    for column, direction in directions.items():
        if column not in frame.columns:
            raise ConfigError(f"unknown column {column!r}; {nearest(column, map(str, frame.columns))}")
        if direction not in ("max", "min"):
            raise ConfigError(f"direction of {column!r} is {direction!r}; {nearest(str(direction), ('max', 'min'))}")
    try:
        values = frame[list(directions)].to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise DataError(f"columns {list(directions)} are not numbers: {error}") from error
    return values * np.array([[-1.0 if direction == "max" else 1.0 for direction in directions.values()]])
