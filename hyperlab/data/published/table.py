"""The one form in which published results are kept: a tidy table in which every row carries its source.

A CSV file of this form has a header and one row a published operating point:

| column | content |
|---|---|
| `source` | who published it, short, for legends: `Li 2017`; every row has one |
| `method` | as the source calls it; `unpruned` is the source's own network at compression 1 |
| `dataset`, `architecture` | as the source calls them |
| `metric` | `top1`, `top5`, ... |
| `compression` | parameters before over parameters after; empty where the source gives a speedup alone |
| `speedup` | theoretical: multiply-adds before over multiply-adds after; empty where not given |
| `mean` | the metric, a fraction in 0..1; empty where it could not be read, and then `note` says why |
| `sd` | sample standard deviation over `seeds` runs, a fraction; empty where the source gives none |
| `change` | metric less that of the unpruned network, where a source gives the difference alone |
| `seeds` | how many runs; empty where the source does not say |
| `parent` | which unpruned network, where a source has several of one architecture |
| `year`, `citation`, `figure`, `note` | where it comes from |
| `reading_error` | half width of what a figure could be read to, a fraction |
| `accuracy_factor` | published value times this is the share of correct samples, where a source divides wrongly |

The first five columns and `mean` or `change` are required; the others may be missing.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from hyperlab.errors import DataError, nearest

REQUIRED = ("source", "method", "dataset", "architecture", "metric")
_TEXT = (*REQUIRED, "parent", "figure", "citation", "note")
_NUMBERS = ("compression", "speedup", "mean", "sd", "change", "seeds", "year", "reading_error", "accuracy_factor")
COLUMNS = (*_TEXT, *_NUMBERS)
UNPRUNED = "unpruned"
_NETWORK = ["source", "dataset", "architecture", "parent", "metric"]


def read_table(path: str | Path) -> pd.DataFrame:
    """A CSV file of published results.

    Args:
      path: the file.

    Returns:
      `COLUMNS`, text filled with empty strings and numbers with NaN. `change` is completed by the mean less the mean
      of the same source's network at compression 1, where the table has that.

    Raises:
      DataError: the file is missing, lacks a column, has an unknown one, a row without a source, a number out of
        its range, or an unexplained gap.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"{path} does not exist, expected a CSV file of published results")
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    unknown = [name for name in frame.columns if name not in COLUMNS]
    if unknown:
        raise DataError(f"{path}: unknown column {unknown[0]!r}; {nearest(unknown[0], COLUMNS)}")
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        raise DataError(f"{path}: no column {missing[0]!r}, expected {', '.join(REQUIRED)} and mean or change")
    frame = frame.reindex(columns=COLUMNS, fill_value="")
    for name in _NUMBERS:
        frame[name] = _numbers(path, frame[name])
    for name in REQUIRED:
        _refuse(path, frame[name].str.strip() == "", f"no {name}; every row carries its {name}")
    for name in ("compression", "speedup", "accuracy_factor"):
        _refuse(path, frame[name] <= 0, f"{name} must be above 0: it is old over new, never a share")
    for name in ("mean", "sd"):
        _refuse(path, (frame[name] < 0) | (frame[name] > 1), f"{name} must be a fraction in 0..1, not per cent")
    _refuse(path, frame["change"].abs() > 1, "change must be a fraction in -1..1, not per cent")
    unread = frame["mean"].isna() & frame["change"].isna()
    _refuse(path, unread & (frame["note"] == ""), "neither mean nor change, and no note that says why")
    nowhere = frame["compression"].isna() & frame["speedup"].isna()
    _refuse(path, nowhere, "neither compression nor speedup; such a row is no operating point")
    return complete_changes(frame)


def packaged() -> pd.DataFrame:
    """The published results that come with the library: figures that were read off, with how well they could be.

    They are those of the workshop paper to the survey (Gonzalez Ortiz, Blalock and Guttag, 2019): ResNet-18 on
    ImageNet, a VGG and ResNet-56 on CIFAR-10, and two parents of ResNet-56. Means there are over batches instead of
    samples, which `accuracy_factor` undoes.

    Returns:
      As `read_table` does.

    >>> table = packaged()
    >>> row = table[(table.architecture == "ResNet-18") & (table.method == "global magnitude")].iloc[-1]
    >>> float(row.compression), float(row.speedup), float(row["mean"]), round(float(row.change), 4)
    (16.0, 9.94, 0.5061, -0.189)

    (Gonzalez Ortiz, Blalock, Guttag, 2019, AI Systems workshop at SOSP; Blalock et al., 2020, arXiv 2003.03033.)
    """
    files = sorted(Path(__file__).parent.glob("*.csv"))
    return pd.concat([read_table(path) for path in files], ignore_index=True)


def complete_changes(frame: pd.DataFrame) -> pd.DataFrame:
    """`change` where it is missing: mean less the mean at compression 1 of the same source, network and metric.

    Raises:
      DataError: a source gives its unpruned network two values, without saying that there are two parents.

    >>> common = {"source": "A 2020", "dataset": "d", "architecture": "n", "parent": "", "metric": "top1"}
    >>> frame = pd.DataFrame([{**common, "compression": 1.0, "mean": 0.9, "change": np.nan},
    ...                       {**common, "compression": 4.0, "mean": 0.8, "change": np.nan}])
    >>> complete_changes(frame)["change"].round(3).tolist()
    [0.0, -0.1]
    """
    unpruned = frame[(frame["compression"] == 1) & frame["mean"].notna()]
    values = unpruned.groupby(_NETWORK)["mean"].agg(["first", "nunique"])
    twice = values.index[values["nunique"] > 1]
    if len(twice):
        raise DataError(
            f"{' / '.join(filter(None, twice[0]))} has several values at compression 1; if they are several parents, "
            f"name each in the column 'parent'"
        )
    reference = frame[_NETWORK].merge(values["first"], how="left", left_on=_NETWORK, right_index=True)["first"]
    return frame.assign(change=frame["change"].fillna(frame["mean"] - reference.to_numpy()))


def _numbers(path: Path, column: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(column.str.strip().replace("", np.nan), errors="coerce")
    _refuse(path, numbers.isna() & (column.str.strip() != ""), f"{column.name} is no number")
    _refuse(path, np.isinf(numbers), f"{column.name} is infinite")
    return numbers.astype(float)


def _refuse(path: Path, wrong: pd.Series, why: str) -> None:
    """Raises for the first wrong row, counted as a text editor does (the header is line 1)."""
    if wrong.any():
        raise DataError(f"{path}, row {int(np.flatnonzero(wrong)[0]) + 2}: {why}")
