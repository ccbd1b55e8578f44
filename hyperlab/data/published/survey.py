"""The sheets of the survey of 81 pruning papers, and the operating points that can be drawn from them.

Blalock, Gonzalez Ortiz, Frankle and Guttag (2020), "What is the state of neural network pruning?", arXiv 2003.03033.
Their sheets lie beside the code of ShrinkBench, under the MIT licence, and are not part of this library.
"""

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from hyperlab.data.published import imputation
from hyperlab.data.published.table import COLUMNS
from hyperlab.errors import DataError, nearest

SHEETS = {
    "results": "Results-Grid view.csv",
    "papers": "Papers-Grid view.csv",
    "models": "Models-Grid view.csv",
    "datasets": "Datasets-Grid view.csv",
    "venues": "Venues-Grid view.csv",
}
ORIGIN = (
    "they are in the repository JJGO/shrinkbench on GitHub (MIT licence), in the folder "
    "analysis/assets/existing-results (the survey's assets); copy that folder, or give the root of a checkout"
)
UNKNOWN = "???"  # what the survey writes where a paper does not say
_FOLDERS = (".", "analysis/assets/existing-results", "assets/existing-results", "existing-results")
RESULT_COLUMNS = (
    "Name", "Paper", "Dataset", "Model", "Method", "Notes", "NumTrials", *imputation.PERCENT, *imputation.PLAIN,
)  # fmt: skip
PAPER_COLUMNS = ("Name", "Date", "AuthorName", "Venue", "Compares To")


class Survey(NamedTuple):
    """The sheets as they are: text, empty where nothing was reported.

    Attributes:
      results: one row a reported operating point.
      papers: one row a paper, by `Name`.
      models: one row an architecture; None where the sheet is not there, as for the next two.
      datasets: one row a data set.
      venues: one row a venue.
      folder: where they were read.
    """

    results: pd.DataFrame
    papers: pd.DataFrame
    models: pd.DataFrame | None
    datasets: pd.DataFrame | None
    venues: pd.DataFrame | None
    folder: Path


def read_survey(root: str | Path) -> Survey:
    """Reads the survey's sheets.

    Args:
      root: the folder with the sheets, or a checkout of the repository that has them.

    Returns:
      The sheets, with spaces around cells stripped. Results and papers are required.

    Raises:
      DataError: a required sheet is missing (it says where they come from), lacks a column, or a result names a paper
        that the sheet of papers does not have.
    """
    root = Path(root).expanduser()
    required = [SHEETS["results"], SHEETS["papers"]]
    folder = next((root / f for f in _FOLDERS if all((root / f / name).is_file() for name in required)), None)
    if folder is None:
        found = [name for name in SHEETS.values() if (root / name).is_file()]
        raise DataError(
            f"{root} does not hold the survey's sheets {' and '.join(map(repr, required))}"
            f"{f' (it has {found})' if found else ''}; {ORIGIN}"
        )
    sheets: dict[str, Any] = {key: _sheet(folder / name) for key, name in SHEETS.items()}
    _check_columns(folder / SHEETS["results"], sheets["results"], RESULT_COLUMNS)
    _check_columns(folder / SHEETS["papers"], sheets["papers"], PAPER_COLUMNS)
    papers = sheets["papers"]["Name"]
    if papers.duplicated().any():
        raise DataError(f"{folder / SHEETS['papers']}: {papers[papers.duplicated()].iloc[0]!r} is there twice")
    strangers = sorted(set(sheets["results"]["Paper"]) - set(papers))
    if strangers:
        raise DataError(
            f"{folder / SHEETS['results']}: paper {strangers[0]!r} is not in {SHEETS['papers']!r}; "
            f"{nearest(strangers[0], papers)}"
        )
    return Survey(**sheets, folder=folder)


def operating_points(survey: Survey, *, proposals_only: bool = True, pool_alexnet: bool = False) -> pd.DataFrame:
    """The reported points that can be drawn: change of accuracy against compression or theoretical speedup.

    The steps are those of `imputation`, in its order: per cent to fractions, accuracy from error, change from
    accuracy and original accuracy, shares kept, labels, exclusions. The number of trials stays unknown where a paper
    does not state it. What a paper states beside "compression" is taken as the survey's authors entered it.

    Args:
      survey: of `read_survey`.
      proposals_only: leave out reproduced baselines and the results that the survey's authors exclude.
      pool_alexnet: add rows of AlexNet and of CaffeNet once more, as architecture `Alex/CaffeNet`.

    Returns:
      A table as `read_table` gives, one row for each point and metric (`top1`, `top5`), with the additional columns
      `paper` (its key in the survey) and `row` (of the results sheet). Every row has a change, and a compression or a
      speedup.
    """
    rows = imputation.impute(survey.results, survey.papers)
    rows = imputation.proposals(rows) if proposals_only else rows
    rows = imputation.with_pooled_alexnet(rows) if pool_alexnet else rows
    tables = []
    for metric, key in (("top1", "Top1"), ("top5", "Top5")):
        table = pd.DataFrame(
            {
                "source": rows["PrettyName"],
                "method": rows["Label"],
                "dataset": rows["Dataset"],
                "architecture": rows["Model"],
                "metric": metric,
                "parent": "",
                "figure": rows["Notes"],
                "citation": "paper " + rows["Paper"] + " of the survey of Blalock et al. (2020), arXiv 2003.03033",
                "note": "",
                "compression": rows["Compression"],
                "speedup": rows["Speedup"],
                "mean": rows[key],
                "sd": rows["stdTop1"] if key == "Top1" else float("nan"),
                "change": rows[f"d{key}"],
                "seeds": rows["NumTrials"],
                "year": rows["Year"],
                "reading_error": float("nan"),
                "accuracy_factor": float("nan"),
                "paper": rows["Paper"],
                "row": rows["Name"],
            }
        )
        known = table["change"].notna() & (table["compression"].notna() | table["speedup"].notna())
        tables.append(table[known])
    return pd.concat(tables, ignore_index=True)[[*COLUMNS, "paper", "row"]]


def _sheet(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    return frame.apply(lambda column: column.str.strip())


def _check_columns(path: Path, frame: pd.DataFrame, expected: tuple[str, ...]) -> None:
    missing = [name for name in expected if name not in frame.columns]
    if missing:
        raise DataError(f"{path}: no column {missing[0]!r}; {nearest(missing[0], frame.columns)}")
