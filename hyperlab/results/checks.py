"""What must be so before rows are set side by side; each refusal names the rows' difference."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hyperlab.errors import ConfigError, DataError, nearest

SAME = ("study", "fingerprint", "split")


def columns(frame: pd.DataFrame, names: Sequence[str], what: str) -> None:
    """Refuses names that are no columns.

    Raises:
      ConfigError: the first of them, with the nearest column.
    """
    for name in names:
        if name not in frame.columns:
            raise ConfigError(f"{what}: unknown column {name!r}; {nearest(str(name), map(str, frame.columns))}")


def metric(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of one metric.

    Raises:
      ConfigError: there are none; the nearest metric is named.
      DataError: the frame has no rows at all.
    """
    columns(frame, ("metric", "value"), "frame")
    rows = frame[frame["metric"] == name]
    if not len(rows):
        if not len(frame):
            raise DataError(f"no rows are left to look for {name!r} in: what they were chosen by occurs nowhere")
        known = frame["metric"].dropna().unique()
        raise ConfigError(f"unknown metric {name!r}; {nearest(str(name), map(str, known))}")
    return rows


def comparable(rows: pd.DataFrame, allowed: Sequence[str] = ()) -> None:
    """Refuses rows of several studies, data sets or splits.

    Args:
      rows: of a frame of results.
      allowed: columns in which they may differ, because the caller keeps them apart.

    Raises:
      DataError: the column, what occurs in it, and how to choose.
    """
    for name in SAME:
        if name not in rows.columns or name in allowed:
            continue
        found = list(rows[name].unique())
        if len(found) > 1:
            runs = f" (runs {shown(rows['run'].unique())})" if name != "split" and "run" in rows.columns else ""
            example = next(value for value in found if not pd.isna(value))
            raise DataError(
                f"the rows differ in {name}: {shown(found)}{runs}; such rows are not comparable, choose one, for "
                f"instance frame[frame[{name!r}] == {example!r}]"
            )


def single(rows: pd.DataFrame, keys: Sequence[str]) -> None:
    """Refuses several rows with the same keys.

    Raises:
      DataError: the columns in which such rows differ.
    """
    twice = rows.duplicated(list(keys), keep=False)
    if not twice.any():
        return
    ignored = {*keys, "value", "n"}
    first = next(iter(rows[twice].groupby(list(keys), observed=True, sort=False, dropna=False)))[1]
    differing = [name for name in rows.columns if name not in ignored and first[name].nunique(dropna=False) > 1]
    at = ", ".join(f"{key} {shown([value])}" for key, value in first.iloc[0][list(keys)].items())
    raise DataError(
        f"{len(first)} rows with {at}, expected one; they differ in "
        f"{', '.join(differing[:6]) or 'nothing but the value'}: choose one of each, or average over a column by over="
    )


def shown(values: Sequence) -> str:
    """Some values, as text.

    >>> shown(["test", float("nan"), 3.0])
    "'test', nothing, 3"
    """
    texts = [
        "nothing" if pd.isna(v) else f"{v:g}" if isinstance(v, int | float | np.number) else repr(str(v))
        for v in values
    ]
    return ", ".join(texts[:4]) + (f" and {len(texts) - 4} more" if len(texts) > 4 else "")
