"""The report of a sweep: one table over the rows, made from the rows' own results."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hyperlab.report import figures
from hyperlab.report.page import Page

METRICS = {"steps_to_target": "steps to the target", "accuracy": "final accuracy", "dice": "final Dice"}


def write(folder: Path, rows: Sequence[str], outcome: Mapping[str, str]) -> Path:
    """Writes `results.csv`, `contrasts.csv`, a figure and `report.html` of all rows that have results.

    Args:
      folder: holds one run folder a row.
      rows: the names of all rows, in order; a row without results stays in the table as such.
      outcome: what became of the rows that were asked for.
    """
    folder = Path(folder)
    results, contrasts = (_joined(folder, rows, f"{name}.csv") for name in ("results", "contrasts"))
    page = Page(f"Sweep: {folder.name}")
    page.paragraph(f"{len(rows)} rows; {results['row'].nunique() if len(results) else 0} have results.", "lead")
    page.table(pd.DataFrame([_status(folder, row, outcome) for row in rows]))
    if len(results):
        results.to_csv(folder / "results.csv", index=False)
        contrasts.to_csv(folder / "contrasts.csv", index=False)
        for metric, title in METRICS.items():
            if metric not in set(results["metric"]):
                continue
            page.heading(f"{title[0].upper()}{title[1:]}")
            page.table(_table(results, metric), "Median over fresh seeds, with the lowest and the highest run.")
            path = figures.save(_figure(results, metric, title), folder / "figures" / f"{metric}.png")
            page.figure(path, f"{title}: every seed, and the median, for each arm and row.")
        page.heading("Contrasts, as named before the runs")
        shown = contrasts.assign(
            difference=[f"{m:+.4g} [{lo:+.4g}, {hi:+.4g}]" for m, lo, hi in contrasts[["mean", "low", "high"]].values]
        )
        page.table(
            shown[["row", "optimizer", "metric", "contrast", "difference", "verdict"]],
            "Corrected within a row and a metric, not over the rows of the sweep: with many rows, some intervals "
            "exclude 0 by chance alone.",
        )
    return page.write(folder / "report.html")


def _joined(folder: Path, rows: Sequence[str], name: str) -> pd.DataFrame:
    parts = [pd.read_csv(folder / row / name).assign(row=row) for row in rows if (folder / row / name).exists()]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["row"])


def _status(folder: Path, row: str, outcome: Mapping[str, str]) -> dict[str, str]:
    record = folder / row / "run.json"
    known = json.loads(record.read_text())["starts"][-1].get("exit_reason", "running") if record.exists() else "-"
    report = os.path.join(row, "report.html")
    return {"row": row, "status": outcome.get(row, known), "report": report if (folder / report).exists() else "-"}


def _table(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    chosen = results[results.metric == metric]
    rows = []
    for (row, optimizer), group in chosen.groupby(["row", "optimizer"], sort=False):
        cells = {
            arm: f"{v.median():.4g} [{v.min():.4g}, {v.max():.4g}]"
            for arm, v in group.groupby("arm", sort=False)["value"]
        }
        rows.append({"row": row, "optimizer": optimizer, **cells})
    return pd.DataFrame(rows).fillna("-")


def _figure(results: pd.DataFrame, metric: str, title: str):
    chosen = results[results.metric == metric]
    arms, rows = list(dict.fromkeys(chosen.arm)), list(dict.fromkeys(chosen.row))
    figure, (axes,) = figures.grid(1, 1, width=8.0, height=0.5 * len(rows) + 1.5)
    for index, arm in enumerate(arms):
        colour, offset = figures.COLOURS[index % len(figures.COLOURS)], 0.7 * (index + 0.5) / len(arms) - 0.35
        for position, row in enumerate(rows):
            values = chosen[(chosen.arm == arm) & (chosen.row == row)]["value"].to_numpy()
            label = arm if position == 0 else None
            axes.plot(values, np.full(len(values), position + offset), ".", color=colour, alpha=0.4, markersize=4)
            axes.plot(np.median(values), position + offset, "|", color=colour, markersize=9, label=label)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel=title)
    axes.legend(frameon=False, fontsize=8, bbox_to_anchor=(1, 1), loc="upper left")
    return figure
