"""The report of a sweep: what became of every row, and one table over the rows, made from their own results."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd

from hyperlab.metrics.statistics import Contrast
from hyperlab.report import figures, sections
from hyperlab.report.page import Page
from hyperlab.report.tables import write_table
from hyperlab.results.folders import tidy
from hyperlab.train.heartbeat import State

METRICS = {
    "steps_to_target": "steps to the target",
    "accuracy": "final accuracy",
    "dice": "final Dice",
    "ged": "distance between candidates and annotations (GED)",
}
# What tells results of one arm and seed apart, in the tables of the seven studies.
KEYS = (
    *("optimizer", "task", "support_size", "candidates", "compression", "period", "replicas", "dropout_rate"),
    *("train_share", "part", "answer", "stage", "split"),
)
MOST_LINES = 40  # of a figure; more cannot be read


class Compared(NamedTuple):
    """Rows of a sweep that were compared, or why they could not be.

    Attributes:
      metric: what was compared.
      scope: which results, in words.
      contrasts: with every seed's difference, by name.
      problem: empty, or the reason.
    """

    metric: str
    scope: str
    contrasts: Mapping[str, Contrast] = MappingProxyType({})
    problem: str = ""


def write(folder: Path, states: Mapping[str, State], compared: Sequence[Compared] = ()) -> Path:
    """Writes `results.csv`, `contrasts.csv`, `between.csv`, figures and `report.html` of all rows that have results.

    Args:
      folder: holds one run folder a row.
      states: what became of every row, in order; one without results stays in the table, with its last error line.
      compared: the comparisons of rows that the config file names.
    """
    folder, rows = Path(folder), list(states)
    results, contrasts = (_joined(folder, rows, f"{name}.csv") for name in ("results", "contrasts"))
    page = Page(f"Sweep: {folder.name}")
    page.paragraph(_lead(states, results), "lead")
    page.table(pd.DataFrame([_status(folder, row, state) for row, state in states.items()]))
    if compared:
        _between(page, folder, compared)
    if len(results):
        write_table(folder / "results.csv", results)
        _results(page, tidy(results), folder / "figures")
    if len(contrasts):
        write_table(folder / "contrasts.csv", contrasts)
        _contrasts(page, contrasts)
    return page.write(folder / "report.html")


def _lead(states: Mapping[str, State], results: pd.DataFrame) -> str:
    names = [state.name for state in states.values()]
    counts = ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))
    return f"{len(names)} rows: {counts}; {results['row'].nunique() if len(results) else 0} have results."


def _status(folder: Path, row: str, state: State) -> dict[str, str]:
    report = os.path.join(row, "report.html")
    became = f"{state.name}: {state.detail}" if state.detail else state.name
    return {"row": row, "state": became, "report": report if (folder / report).exists() else "-"}


def _between(page: Page, folder: Path, compared: Sequence[Compared]) -> None:
    page.heading("Rows against rows, as named before they ran")
    for one in compared:
        if one.problem:  # the page is also written while rows are still to run
            page.paragraph(f"{one.metric} cannot be compared yet: {one.problem}")
    found = [one for one in compared if not one.problem]
    if not found:
        return
    families = {f"{one.scope}/{one.metric}": one.contrasts for one in found}
    write_table(folder / "between.csv", sections.contrast_rows(families, "of"))
    page.figure(*figures.contrasts(folder / "figures" / "between.png", families, "difference of two rows"))
    page.table(
        sections.contrast_table(families, "of"), "Paired by seed; comparisons of one metric are corrected together."
    )


def _results(page: Page, results: pd.DataFrame, folder: Path) -> None:
    for metric, title in METRICS.items():
        chosen = results[results["metric"] == metric].dropna(subset="value")
        if not len(chosen):
            continue
        keys = ["row", *(key for key in KEYS if key in chosen and chosen[key].nunique(dropna=False) > 1)]
        page.heading(f"{title[0].upper()}{title[1:]}")
        page.table(_table(chosen, keys), "Median over fresh seeds, with the lowest and the highest run.")
        if len(chosen[keys].drop_duplicates()) <= MOST_LINES:
            path = figures.save(_figure(chosen, keys, title), folder / f"{metric}.png")
            page.figure(path, f"{title}: every seed, and the median, for each arm and line of the table.")


def _contrasts(page: Page, contrasts: pd.DataFrame) -> None:
    shown = contrasts.assign(
        difference=[f"{m:+.4g} [{lo:+.4g}, {hi:+.4g}]" for m, lo, hi in contrasts[["mean", "low", "high"]].values]
    )
    shown = shown.drop(columns=["mean", "low", "high", "p", "n", "label"], errors="ignore").astype(object)
    page.heading("Contrasts, as named before the runs")
    page.table(
        shown.where(shown.notna(), "-"),  # rows need not name the same groups
        "Corrected within a row and a metric, not over the rows of the sweep: with many rows, some intervals "
        "exclude 0 by chance alone.",
    )


def _joined(folder: Path, rows: Sequence[str], name: str) -> pd.DataFrame:
    """The tables of all rows that have one with something in it; the first column names the row."""
    parts = []
    for row in rows:
        path = folder / row / name
        if path.exists() and path.stat().st_size > 1:
            part = pd.read_csv(path)
            part.insert(0, "row", row)
            parts.append(part)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["row"])


def _table(results: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    lines = []
    for values, group in results.groupby(keys, sort=False, dropna=False):
        cells = {
            arm: f"{v.median():.4g} [{v.min():.4g}, {v.max():.4g}]"
            for arm, v in group.groupby("arm", sort=False)["value"]
        }
        lines.append({key: _text(value) for key, value in zip(keys, values, strict=True)} | cells)
    return pd.DataFrame(lines).fillna("-")


def _text(value: object) -> str:
    if isinstance(value, float):
        return "-" if np.isnan(value) else f"{value:g}"
    return str(value)


def _figure(results: pd.DataFrame, keys: list[str], title: str):
    arms = list(dict.fromkeys(results["arm"]))
    lines = list(results.groupby(keys, sort=False, dropna=False))
    marks = figures.marks(arms)
    figure, (axes,) = figures.grid(1, 1, width=8.0, height=0.5 * len(lines) + 1.5)
    labelled = set()
    for position, (_, group) in enumerate(lines):
        for index, arm in enumerate(arms):
            values = group[group["arm"] == arm]["value"].to_numpy()
            if not len(values):
                continue
            height = position + 0.7 * (index + 0.5) / len(arms) - 0.35
            colour, label = marks[arm]["color"], None if arm in labelled else arm
            labelled.add(arm)
            axes.plot(values, np.full(len(values), height), ".", color=colour, alpha=0.4, markersize=4)
            axes.plot(np.median(values), height, "|", color=colour, markersize=9, label=label)
    axes.set_yticks(range(len(lines)), [" ".join(_text(v) for v in values) for values, _ in lines], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel=title)
    axes.legend(frameon=False, fontsize=8, bbox_to_anchor=(1, 1), loc="upper left")
    return figure
