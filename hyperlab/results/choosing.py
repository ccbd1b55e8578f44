"""Some rows of a table, chosen by `COLUMN=VALUE`."""

from collections.abc import Sequence

import pandas as pd

from hyperlab.errors import ConfigError, nearest
from hyperlab.results import checks


def choose(frame: pd.DataFrame, where: Sequence[str], metrics: Sequence[str] = ()) -> pd.DataFrame:
    """The rows with some values, and of some metrics.

    Args:
      frame: of `hyperlab.results`.
      where: `COLUMN=VALUE`, all of which must hold; several values of one column as separate entries add up.
      metrics: names; empty keeps all.

    Raises:
      ConfigError: an entry without `=`, an unknown column, value or metric.

    >>> frame = pd.DataFrame({"arm": ["a", "b"], "seed": [0.0, 1.0], "metric": "dice", "value": 0.5})
    >>> choose(frame, ["seed=1"], ["dice"])["arm"].tolist()
    ['b']
    """
    asked: dict[str, list[str]] = {"metric": list(metrics)} if metrics else {}
    for entry in where:
        name, equals, value = entry.partition("=")
        if not equals:
            raise ConfigError(f"where {entry}: expected COLUMN=VALUE, for instance split=test")
        asked.setdefault(name, []).append(value)
    checks.columns(frame, list(asked), "where")
    for name, values in asked.items():
        texts = _texts(frame[name])
        known = set(texts.dropna().unique())
        if missing := next((value for value in values if value not in known), None):
            raise ConfigError(f"no row has {name} {missing!r}; {nearest(missing, known)}")
        frame = frame[texts.isin(values)]
    return frame


def _texts(column: pd.Series) -> pd.Series:
    """A column as it is typed: 4 and not 4.0."""
    return column.map(
        lambda value: f"{value:g}" if isinstance(value, float) else str(value), na_action="ignore"
    ).astype(object)
