"""Tables of runs one below the other, their columns as numbers or as categories."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def join(tables: Sequence[pd.DataFrame], kept: Sequence[str]) -> dict[str, np.ndarray | pd.Categorical]:
    """The columns of several tables; what one does not have is missing there, and columns without any value go.

    Args:
      tables: each with its columns.
      kept: columns that are there in any case.

    >>> table = join([pd.DataFrame({"at": [0.5]}), pd.DataFrame({"at": ["prior"], "n": [True]})], ["seed"])
    >>> table["at"].tolist(), table["n"].tolist(), table["seed"].tolist()
    (['0.5', 'prior'], [nan, 1.0], [nan, nan])
    """
    found = {}
    for name in dict.fromkeys([*kept, *(name for table in tables for name in table.columns)]):
        parts = [table[name].to_numpy() if name in table.columns else np.full(len(table), np.nan) for table in tables]
        values = column(np.concatenate([*parts, np.zeros(0)]))
        if name in kept or not pd.isna(values).all():
            found[str(name)] = values
    return found


def column(values: np.ndarray) -> np.ndarray | pd.Categorical:
    """Numbers and booleans as float64, NaN where nothing is; with any text among them, a category of texts."""
    if values.dtype != object:
        return values.astype(np.float64)
    codes, found = pd.factorize(values)
    if not any(isinstance(value, str) for value in found):
        return np.array([*found, np.nan], np.float64)[codes]  # -1 is the last
    return categories([value if isinstance(value, str) else f"{float(value)!r}".removesuffix(".0") for value in found],
                      codes)  # fmt: skip


def categories(texts: Sequence[str | None], places: np.ndarray | None = None) -> pd.Categorical:
    """Texts as a category, in the order in which they occur.

    Args:
      texts: or None, which is missing.
      places: int, for each row the place of its text, -1 where nothing is; by default one row a text.
    """
    codes, found = pd.factorize(np.array(list(texts), object))
    codes = codes if places is None else np.append(codes, -1)[places]
    return pd.Categorical.from_codes(codes, pd.Index(found, dtype=object), validate=False)
