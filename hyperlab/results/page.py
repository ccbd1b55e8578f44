"""The page of all runs under a folder: what became of them, and the spread of what was asked for."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from hyperlab.errors import WorkdirError
from hyperlab.files import write_atomically
from hyperlab.report.page import Page
from hyperlab.results import figures as draw
from hyperlab.results import spread
from hyperlab.train.run_folder import CONFIG, RUN

CSV, HTML = "results.csv", "results.html"
# The beginning of a table of this module: another results.csv is a run's or a sweep's own, and is never written over.
OURS = "run,study,name,status,error,"
COLUMNS = ("run", "study", "status", "error", "rows", "started", "seconds", "git", "dirty", "version", "jax", "device")


def write_csv(folder: Path, frame: pd.DataFrame) -> Path:
    """Writes all rows of a frame of `hyperlab.results` as `results.csv`.

    Raises:
      WorkdirError: the folder is a run's own, holds a `results.csv` of another kind, or cannot be written.
    """
    path = _free(Path(folder)) / CSV
    try:
        if path.exists() and not _begins_with(path, OURS):
            raise WorkdirError(f"{path} is a table of another kind, which stays; name a folder: --out DIR")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, frame.to_csv(index=False))
    except OSError as error:
        raise WorkdirError(f"{path} cannot be written: {error.strerror}; name a folder: --out DIR") from error
    return path


def write(
    folder: Path, runs: pd.DataFrame, frame: pd.DataFrame, by: Sequence[str] = (), title: str = "Results across runs"
) -> Path:
    """Writes `results.html`: a table of the runs, and with `by` one of the spread of each metric, with a figure.

    Args:
      folder: gets the page, and figures in `results_figures/`.
      runs: of `hyperlab.results.runs`.
      frame: of `hyperlab.results.results`, or some of its rows.
      by: columns that make a group of the spread.
      title: of the page.

    Raises:
      WorkdirError: the folder is a run's own, or cannot be written.
      ConfigError: an unknown column in `by`.
    """
    folder = _free(Path(folder))
    page = Page(title)
    page.findings(summary(runs))
    page.heading("Runs")
    page.table(run_table(runs), "Seconds are of all starts that said when they ended.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if by:
            _spreads(page, folder, frame, list(by))
        else:
            page.heading("Results")
            page.table(measured(frame), "What was measured; choose what makes a group, and the spread of each follows.")
            page.code("hyperlab results ROOT --by arm --metric METRIC --where split=test")
        return page.write(folder / HTML)
    except OSError as error:
        raise WorkdirError(f"{folder} cannot be written: {error.strerror}; name a folder: --out DIR") from error


def summary(runs: pd.DataFrame) -> list[str]:
    """How many runs there are, of which studies, and what became of them, in sentences.

    >>> summary(pd.DataFrame({"study": ["pruning", "pruning"], "status": ["finished", "broken"], "rows": [5, 0]}))
    ['2 runs of pruning, 5 rows of results.', '1 finished; 1 broken.']
    """
    studies = ", ".join(sorted(map(str, runs["study"].dropna().unique()))) or "no known study"
    sentences = [f"{len(runs)} run{'s' * (len(runs) != 1)} of {studies}, {int(runs['rows'].sum()):,} rows of results."]
    counts = runs["status"].value_counts()
    named = [f"{n} {status}" for status, n in counts.items() if n]
    return sentences + ([f"{'; '.join(named)}."] if named else [])


def run_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs as text, with the keys of configs that were asked for."""
    shown = runs[[*COLUMNS, *(name for name in runs.columns if name.startswith("config."))]].copy()
    shown["started"] = shown["started"].dt.strftime("%Y-%m-%d %H:%M")
    return as_text(shown.drop(columns=[name for name in ("error", "dirty") if shown[name].isna().all()]))


def measured(frame: pd.DataFrame) -> pd.DataFrame:
    """What there is to group by: the arms, seeds and metrics of each study."""
    rows = []
    for study, part in frame.dropna(subset=["study"]).groupby("study", observed=True, sort=False):
        values = {
            name: list(map(str, part[name].dropna().unique())) for name in ("arm", "metric", "split") if name in part
        }
        counts = {"runs": part["run"].nunique(), "seeds": part["seed"].nunique() if "seed" in part else 0}
        rows.append({"study": study, **counts, **{name: ", ".join(found) or "-" for name, found in values.items()}})
    return as_text(pd.DataFrame(rows))


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Cells for readers: four digits, whole numbers without a point, a dash where nothing is.

    >>> as_text(pd.DataFrame({"n": [1.0, 0.123456], "arm": ["a", None]})).values.tolist()
    [['1', 'a'], ['0.1235', '-']]
    """
    return pd.DataFrame({name: [_cell(value) for value in table[name]] for name in table.columns})


def _cell(value) -> str:
    if pd.isna(value):
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"
    return str(value)


def _spreads(page: Page, folder: Path, frame: pd.DataFrame, by: list[str]) -> None:
    by = [name for name in by if name != "metric"]
    for metric, rows in frame.groupby("metric", observed=True, sort=False):
        table = spread(rows, by)
        page.heading(f"{metric}")
        page.table(as_text(table), _note(table))
        if len(table) <= draw.MOST_ROWS:
            path = folder / "results_figures" / f"{_file_name(str(metric))}.png"
            page.figure(*draw.spread(path, table, by, str(metric)))


def _note(table: pd.DataFrame) -> str:
    mixed = int((table["rows"] > table["seeds"]).sum())
    note = "Over finite values; a description, no inference."
    return f"{note} {mixed} groups hold several rows a seed: more columns belong into --by." if mixed else note


def _free(folder: Path) -> Path:
    """Refuses the folder of a run, whose own files have these names."""
    if (folder / RUN).exists() or (folder / CONFIG).exists():
        raise WorkdirError(f"{folder} is the folder of a run, whose own results stay; name another: --out DIR")
    return folder


def _file_name(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in text)


def _begins_with(path: Path, text: str) -> bool:
    with path.open(errors="replace") as file:
        return file.read(len(text)) == text
