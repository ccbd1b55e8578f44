"""What values spread over: a description of groups, no inference."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hyperlab.results import checks


def spread(frame: pd.DataFrame, by: Sequence[str] | str = ("study", "run", "arm", "metric")) -> pd.DataFrame:
    """Median, mean, lowest and highest value of each group, with how many seeds and rows it has.

    Nothing is refused here, so a group may mix what should be kept apart: where `rows` exceeds `seeds`, a group holds
    several rows a seed (splits, tasks, compressions), and more columns belong into `by`.

    Args:
      frame: of `results`, or some of its rows.
      by: columns; the groups keep the order in which they occur.

    Returns:
      A row a group: the columns of `by`, then `median`, `mean`, `sd` (of the sample, NaN for one), `lowest`, `highest`
      (all of the finite values), `seeds`, `rows`, `missing` (rows whose value is NaN or infinite).

    Raises:
      ConfigError: an unknown column.

    >>> frame = pd.DataFrame({"arm": ["a", "a", "b"], "seed": [0, 1, 0], "value": [0.5, 0.7, np.nan]})
    >>> spread(frame, "arm").values.tolist()
    [['a', 0.6, 0.6, 0.14142135623730948, 0.5, 0.7, 2, 2, 0], ['b', nan, nan, nan, nan, nan, 1, 1, 1]]
    """
    by = [by] if isinstance(by, str) else list(by)
    checks.columns(frame, [*by, "seed", "value"], "by")
    rows = frame[frame["value"].notna() | frame[by].notna().all(axis=1)]  # a run without results has no groups
    finite = rows["value"].where(np.isfinite(rows["value"]))
    grouped = rows.assign(finite=finite).groupby(by, observed=True, sort=False, dropna=False)
    found = grouped.agg(
        median=("finite", "median"),
        mean=("finite", "mean"),
        sd=("finite", "std"),
        lowest=("finite", "min"),
        highest=("finite", "max"),
        seeds=("seed", "nunique"),
        rows=("value", "size"),
        known=("finite", "count"),
    )
    found["missing"] = found["rows"] - found.pop("known")
    return found.reset_index()
