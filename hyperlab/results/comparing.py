"""Two arms, or two runs, seed by seed."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hyperlab.errors import ConfigError, DataError, nearest
from hyperlab.metrics import statistics
from hyperlab.results import checks


def compare(
    frame: pd.DataFrame,
    metric: str,
    a: str,
    b: str | Sequence[str],
    *,
    column: str = "arm",
    by: Sequence[str] | str = (),
    over: Sequence[str] | str = (),
    better: str = "higher",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Is `a` better than `b`? Differences paired by seed, with a t test, and a bootstrap where there are seeds enough.

    All contrasts of a call are corrected together by Holm's procedure, and there are at most three, as in a study. They
    were not named before the runs were seen, so their verdicts are exploratory; `contrasts.csv` of a run is not.

    Args:
      frame: of `results`, cut down to what is compared: one study, one data set, one split.
      metric: which rows.
      a: a value of `column`.
      b: another, or several: `a` is compared with each.
      column: what tells `a` from `b`: `arm`, `run`, `config.KEY`, or any other.
      by: columns whose values are compared each for itself.
      over: columns to average over first, such as `task`; each seed of `a` and `b` must have the same values there.
      better: `higher` or `lower`.
      confidence: of the family of contrasts.

    Returns:
      A row a contrast: the columns of `by`, `contrast`, `metric`, `mean` (of a minus b), `low`, `high` (t interval),
      `median`, `median_low`, `median_high` (bootstrap over seeds, NaN under 10), `p`, `n` (seeds), `verdict`, `label`:
      `no claim` with 1 or 2 seeds, `look` with 3 or 4. `attrs["differences"]` has every seed's, by contrast.

    Raises:
      ConfigError: an unknown column, metric or value; more than three contrasts.
      DataError: rows that differ in study, data or split; several rows a seed (what they differ in is named); seeds
        without a partner; a value that is not finite.

    >>> frame = pd.DataFrame({"arm": ["a"] * 3 + ["b"] * 3, "seed": [0, 1, 2] * 2, "metric": "dice",
    ...                       "value": [0.9, 0.8, 0.95, 0.7, 0.65, 0.7]})
    >>> compare(frame, "dice", "a", "b")[["contrast", "n", "verdict", "label"]].values.tolist()
    [['a - b', 3, 'better', 'look']]
    """
    others = [b] if isinstance(b, str) or not isinstance(b, Sequence) else list(b)
    by, over = ([names] if isinstance(names, str) else list(names) for names in (by, over))
    checks.columns(frame, [column, "seed", *by, *over], "compare")
    rows = checks.metric(frame, metric)
    for value in (a, *others):
        if not (rows[column] == value).any():
            known = [str(each) for each in rows[column].dropna().unique()]
            raise ConfigError(f"no row of {metric!r} has {column} {value!r}; {nearest(str(value), known)}")
    rows = rows[rows[column].isin([a, *others])]
    checks.comparable(rows, (column,) if column == "study" else ())
    checks.single(rows, [column, "seed", *by, *over])

    pairs: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    groups: dict[str, dict] = {}
    for other in others:
        for values, group in rows.groupby(by, observed=True, sort=False) if by else [((), rows)]:
            at = dict(zip(by, values, strict=True))
            name = f"{a} - {other}" + "".join(f", {key} {value}" for key, value in at.items())
            pairs[name] = _paired(group, column, a, other, over, name)
            groups[name] = at | {"contrast": f"{a} - {other}"}
    found = statistics.contrasts(pairs, better=better, confidence=confidence)
    table = pd.DataFrame([groups[name] | {"metric": metric} | _row(one, confidence) for name, one in found.items()])
    table.attrs["differences"] = {name: one.differences.tolist() for name, one in found.items()}
    return table


def _paired(
    rows: pd.DataFrame, column: str, a: str, b: str, over: Sequence[str], name: str
) -> tuple[np.ndarray, np.ndarray]:
    """The values of both, in the order of their common seeds, `[seeds]` each."""
    sides = [rows[rows[column] == value].set_index(["seed", *over])["value"].sort_index() for value in (a, b)]
    first, second = sides
    if not first.index.equals(second.index):
        alone = first.index.symmetric_difference(second.index)
        what = " and ".join(["seed", *over])
        raise DataError(
            f"{name}: {len(alone)} of {what} are on one side only, {checks.shown([str(each) for each in alone])}; a "
            "comparison is paired: choose rows that both have, and say so"
        )
    # a mean must not pass over a value that is missing
    return tuple(side.groupby(level=0).agg(lambda each: each.mean(skipna=False)).to_numpy(float) for side in sides)


def _row(one: statistics.Contrast, confidence: float) -> dict:
    few = one.n < statistics.FEWEST_UNITS_OF_A_BOOTSTRAP
    boot = None if few else statistics.bootstrap(one.differences, confidence=confidence)
    return {
        "mean": one.mean,
        "low": one.low,
        "high": one.high,
        "median": float(np.median(one.differences)),
        "median_low": boot.low if boot else np.nan,
        "median_high": boot.high if boot else np.nan,
        "p": one.p,
        "n": one.n,
        "verdict": one.verdict,
        "label": one.label,
    }
