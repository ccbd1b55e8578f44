"""Columns of a large table as arrays: numbers, and texts as codes into a list.

The cache holds them, and frames are made of them.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd


class Text(NamedTuple):
    """A column of text.

    Attributes:
      codes: int32 `[rows]`, places in `values`; -1 where nothing is.
      values: the different texts.
    """

    codes: np.ndarray
    values: list[str]


Column = np.ndarray | Text
Columns = dict[str, Column]


def of_frame(frame: pd.DataFrame) -> Columns:
    """The columns of a frame: numbers and booleans as float64, all else as text.

    >>> table = of_frame(pd.DataFrame({"arm": ["a", "b", "a"], "n": [1, 2, 3]}))
    >>> table["arm"].codes.tolist(), table["arm"].values, table["n"].tolist()
    ([0, 1, 0], ['a', 'b'], [1.0, 2.0, 3.0])
    """
    return {str(name): _column(frame[name]) for name in frame.columns}


def of_values(values: Sequence) -> Text:
    """A column of text from strings and None."""
    return _column(pd.Series(list(values), dtype=object), text=True)


def join(tables: Sequence[Mapping[str, Column]], lengths: Sequence[int]) -> Columns:
    """Tables one below the other; what one does not have is missing there (NaN, or -1).

    Args:
      tables: each with its columns; a column that is text in one of them becomes text in all.
      lengths: rows of each.
    """
    names = list(dict.fromkeys(name for table in tables for name in table))
    return {name: _joined([table.get(name) for table in tables], lengths) for name in names}


def take(table: Mapping[str, Column], rows: np.ndarray) -> Columns:
    """The rows at some places, or where a mask is true."""
    return {
        name: Text(column.codes[rows], column.values) if isinstance(column, Text) else column[rows]
        for name, column in table.items()
    }


def canonical(table: Mapping[str, Column], first: Sequence[str], last: Sequence[str], kept: Collection[str]) -> Columns:
    """The table as it would be if it had been read just now, whatever was joined and taken away before.

    Columns without any value go, but for those of `kept`; text that is numbers throughout is numbers, as it is to
    a reader of CSV; the order is `first`, then by name, then `last`.

    >>> canonical({"z": np.zeros(1), "x": Text(np.array([1]), ["a", "2.5"]), "arm": np.ones(1)}, ["arm"], [], ["z"])
    {'arm': array([1.]), 'x': array([2.5]), 'z': array([0.])}
    """
    found = {name: _numbers(column) for name, column in table.items()}
    found = {name: column for name, column in found.items() if name in kept or not _is_empty(column)}
    others = sorted(found.keys() - {*first, *last})
    return {name: found[name] for name in (*first, *others, *last) if name in found}


def series(column: Column) -> pd.Categorical | np.ndarray:
    """What a frame takes as a column: numbers, or a category without the values that do not occur."""
    if not isinstance(column, Text):
        return column
    used = _used(column)
    renumbered = np.append(np.cumsum(used, dtype=np.int32) - 1, np.int32(-1))  # -1 stays -1
    values = [value for value, occurs in zip(column.values, used, strict=True) if occurs]
    codes = column.codes if used.all() else renumbered[column.codes]
    return pd.Categorical.from_codes(codes, pd.Index(values, dtype=object), validate=False)


def _used(column: Text) -> np.ndarray:
    """Which of the values occur; bool `[values]`."""
    return np.bincount(column.codes + 1, minlength=len(column.values) + 1)[1:] > 0


def _is_empty(column: Column) -> bool:
    return bool((column.codes < 0).all() if isinstance(column, Text) else np.isnan(column).all())


def _numbers(column: Column) -> Column:
    if not isinstance(column, Text):
        return column
    used, numbers = _used(column), np.full(len(column.values) + 1, np.nan)
    try:
        for place in np.flatnonzero(used):
            numbers[place] = float(column.values[place])
    except ValueError:
        return column
    return numbers[column.codes]  # -1 is the last, which is NaN


def _column(values: pd.Series, text: bool = False) -> Column:
    if not text:
        if pd.api.types.is_numeric_dtype(values):  # booleans too
            return values.to_numpy(np.float64, na_value=np.nan)
        if set(pd.unique(values.dropna())) <= {True, False} and values.notna().any():
            return values.map({True: 1.0, False: 0.0}).to_numpy(np.float64)
    codes, found = pd.factorize(values)
    return Text(codes.astype(np.int32), [str(value) for value in found])


def _joined(parts: Sequence[Column | None], lengths: Sequence[int]) -> Column:
    if not any(isinstance(part, Text) for part in parts):
        return np.concatenate(
            [np.full(n, np.nan) if part is None else part for part, n in zip(parts, lengths, strict=True)]
        )
    places: dict[str, int] = {}
    codes = []
    for part, length in zip(parts, lengths, strict=True):
        if part is None:
            codes.append(np.full(length, -1, np.int32))
            continue
        if not isinstance(part, Text):
            part = of_values([None if np.isnan(value) else repr(float(value)).removesuffix(".0") for value in part])
        own = np.array([places.setdefault(value, len(places)) for value in part.values] + [-1], np.int32)
        codes.append(own[part.codes])  # -1 is the last of them
    return Text(np.concatenate(codes), list(places))
