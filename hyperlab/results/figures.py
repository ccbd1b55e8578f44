"""Pictures of results across runs: the spread of groups, contrasts, and a front."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hyperlab.errors import ConfigError
from hyperlab.report import figures
from hyperlab.results import Front

MOST_ROWS = 120  # lines of text that a figure can hold


def spread(path: Path, table: pd.DataFrame, by: Sequence[str], label: str) -> tuple[Path, str]:
    """Draws what `hyperlab.results.spread` found: median, mean, and the range of the values, a line a group.

    Args:
      path: of the PNG; a PDF lies beside it.
      table: of `spread`, of one metric.
      by: the columns that name a group.
      label: of the axis.

    Returns:
      The path, and what is to be seen.

    Raises:
      ConfigError: no groups, or more than a figure can hold.
    """
    _check(len(table))
    figure, (axes,) = figures.grid(1, 1, width=8.0, height=max(1.8, 0.28 * len(table) + 0.9))
    places = np.arange(len(table))
    axes.hlines(places, table["lowest"], table["highest"], color=figures.COLOURS[0], alpha=0.4, linewidth=4)
    axes.plot(table["median"], places, "|", color=figures.COLOURS[0], markersize=12, label="median")
    axes.plot(table["mean"], places, ".", color="black", markersize=5, label="mean")
    names = [f"{_named(row, by)} (n={row['seeds']})" for _, row in table.iterrows()]
    _rows(axes, places, names, label)
    axes.legend(frameon=False, fontsize=8, bbox_to_anchor=(1, 1), loc="upper left")
    return figures.save(figure, path), f"{label}: median, mean and range over seeds, for each {', '.join(by)}."


def contrasts(path: Path, table: pd.DataFrame, label: str) -> tuple[Path, str]:
    """Draws what `hyperlab.results.compare` found: every seed, the mean and its t interval, a line a contrast.

    Args and errors: see `spread`; the differences of seeds are in `table.attrs`.
    """
    _check(len(table))
    figure, (axes,) = figures.grid(1, 1, width=8.0, height=max(1.8, 0.75 * len(table) + 0.8))
    differences = table.attrs["differences"]
    for place, (each, (_, row)) in enumerate(zip(differences.values(), table.iterrows(), strict=True)):
        figures.points(axes, place, np.array(each), (row["low"], row["high"]), figures.COLOURS[0])
    axes.axvline(0, color="black", linewidth=0.8)
    _rows(axes, np.arange(len(table)), list(differences), label)
    return figures.save(figure, path), f"{label}: the difference of every seed, the mean and its t interval after Holm."


def front(path: Path, found: Front, name: str = "arm") -> tuple[Path, str]:
    """Draws points in two columns: those on the front coloured and joined, the others grey.

    Args:
      path: of the PNG.
      found: of `hyperlab.results.front`.
      name: the column that tells the points of the front apart by colour, where it exists.
    """
    figure, (axes,) = figures.grid(1, 1, width=7.0, height=4.5)
    best = found.points[found.points["on_front"]].sort_values(found.x)
    others = found.points[~found.points["on_front"]]
    axes.plot(others[found.x], others[found.y], "o", color="#9a9a9a", markersize=4, label="dominated")
    axes.plot(best[found.x], best[found.y], "-", color="black", linewidth=0.8, alpha=0.6)
    groups = best.groupby(name, sort=False, observed=True) if name in best.columns else [("the front", best)]
    groups = list(groups)
    marks = figures.marks([str(value) for value, _ in groups])
    for value, group in groups:
        mark = marks[str(value)]
        axes.plot(group[found.x], group[found.y], mark["marker"], color=mark["color"], markersize=7, label=str(value))
    axes.set(xlabel=f"{found.x} ({_way(found.directions[0])})", ylabel=f"{found.y} ({_way(found.directions[1])})")
    axes.legend(frameon=False, fontsize=8, bbox_to_anchor=(1, 1), loc="upper left")
    left = f" {len(found.excluded)} cannot be placed." if len(found.excluded) else ""
    return figures.save(
        figure, path
    ), f"{found.y} against {found.x}; {len(best)} points of {len(found.points)} are best.{left}"


def _check(count: int) -> None:
    if not 0 < count <= MOST_ROWS:
        raise ConfigError(
            f"{count} groups, expected 1 to {MOST_ROWS} in one figure; choose rows, or fewer columns in by"
        )


def _named(row: pd.Series, by: Sequence[str]) -> str:
    return ", ".join(f"{row[name]:g}" if isinstance(row[name], float) else str(row[name]) for name in by)


def _rows(axes, places: np.ndarray, names: Sequence[str], label: str) -> None:
    axes.set_yticks(places, names, fontsize=7)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.invert_yaxis()
    axes.set_xlabel(label)


def _way(direction: str) -> str:
    return "less is better" if direction == "min" else "more is better"
