"""The look of all figures, and the two ways in which runs are drawn: a band, and every point."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.files import writing

# Okabe and Ito's palette, told apart by readers with any colour vision.
COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
    "#8c8c8c",
    "#b2a100",
    "#7b3294",
)


MARKERS = "osD^v"


def marks(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """A colour and a marker for each of up to fifty lines; the first ten differ by colour alone.

    >>> marks([str(place) for place in range(11)])["10"]
    {'color': '#0072b2', 'marker': 's'}
    """
    count = len(COLOURS)
    return {
        name: {"color": COLOURS[place % count], "marker": MARKERS[place // count % len(MARKERS)]}
        for place, name in enumerate(names)
    }


def grid(rows: int = 1, columns: int = 1, *, width: float = 4.0, height: float = 3.2, **options: Any):
    """A figure with `rows x columns` axes (a flat array), without a window and without global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.ravel(figure.subplots(rows, columns, squeeze=False, **options))
    for one in axes:
        one.grid(alpha=0.2)
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def legend_below(figure: Any, axes: Any, *, fontsize: float = 8, **options: Any) -> None:
    """One legend below all axes, in as many columns as its longest label leaves room for; a long one adds height.

    Args:
      figure: from `grid`.
      axes: whose labels are shown.
      fontsize: in points.
      **options: for matplotlib's legend.
    """
    from matplotlib.font_manager import FontProperties

    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return
    font, renderer = FontProperties(size=fontsize), figure.canvas.get_renderer()
    widest = max(renderer.get_text_width_height_descent(label, font, False)[0] for label in labels)
    column = widest + 5 * fontsize * figure.dpi / 72  # with the handle and the gaps
    columns = max(1, min(int(figure.bbox.width / column), len(labels)))
    figure.legend(
        handles, labels, fontsize=fontsize, frameon=False, loc="outside lower center", ncols=columns, **options
    )
    lines = -(-len(labels) // columns)
    figure.set_figheight(figure.get_figheight() + max(0, lines - 2) * 1.7 * fontsize / 72)


def stretch_towards_one(axes: Any) -> None:
    """A y axis of scores on which halving the distance to 1 is one step, wherever it happens: a failure leaves room."""
    axes.set_yscale("function", functions=(lambda y: -np.log10(np.maximum(1 - y, 1e-4)), lambda y: 1 - 10.0**-y))


def band(axes: Any, x: np.ndarray, runs: np.ndarray, colour: str, label: str = "", **options: Any) -> None:
    """The median over runs as a line, and the range from the lowest to the highest run as a band.

    Args:
      axes: where to draw.
      x: `[points]`.
      runs: `[runs, points]`; NaN is left out.
      colour: of line and band.
      label: for the legend.
      **options: of the line.
    """
    finite = np.where(np.isfinite(runs), runs, np.nan)
    kept = ~np.isnan(finite).all(0)
    x, finite = np.asarray(x)[kept], finite[:, kept]
    if not len(x):
        axes.plot([], [], color=colour, label=f"{label} (no finite values)", **options)
        return
    axes.fill_between(x, np.nanmin(finite, 0), np.nanmax(finite, 0), color=colour, alpha=0.15, linewidth=0)
    axes.plot(x, np.nanmedian(finite, 0), color=colour, label=label, **options)


def points(axes: Any, row: float, values: np.ndarray, interval: Sequence[float], colour: str) -> None:
    """Every value on a line, with the mean and its interval: how a paired contrast is shown."""
    values = np.asarray(values)
    jitter = np.linspace(-0.18, 0.18, len(values))
    axes.plot(values, row + jitter, "o", color=colour, alpha=0.5, markersize=4)
    middle = float(np.mean(values))
    low, high = (bound if np.isfinite(bound) else middle for bound in interval)
    axes.errorbar(middle, row, xerr=[[middle - low], [high - middle]], fmt="D", color="black", markersize=5, capsize=4)


def contrasts(path: Path, compared: Any, label: str) -> tuple[Path, str]:
    """Draws the contrasts of each family `group/metric`, and says what is to be seen.

    Args:
      path: of the PNG.
      compared: `{group/metric: {name: statistics.Contrast}}`.
      label: of the axis.
    """
    rows = [
        (f"{family.rpartition('/')[0]}\n{name}", c) for family, named in compared.items() for name, c in named.items()
    ]
    figure, (axes,) = grid(1, 1, width=8.0, height=max(1.8, 0.75 * len(rows) + 0.8))
    for row, (_, one) in enumerate(rows):
        points(axes, row, one.differences, (one.low, one.high), COLOURS[0])
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=8)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.invert_yaxis()
    axes.locator_params(axis="x", nbins=6)  # names may leave the axis little room
    axes.set_xlabel(label)
    return save(figure, path), "The named contrasts: every seed, the mean and its t interval after Holm."


def save_all(drawn: Iterable[tuple[str, Any, str]], folder: Path) -> dict[str, tuple[Path, str]]:
    """Saves the figures that there are.

    Args:
      drawn: name, figure (None where there is nothing to draw) and caption of each.
      folder: of the files.

    Returns:
      `{name: (path, caption)}`, in their order.
    """
    kept = ((name, figure, caption) for name, figure, caption in drawn if figure is not None)
    return {name: (save(figure, folder / f"{name}.png"), caption) for name, figure, caption in kept}


def save(figure: Any, path: Path) -> Path:
    """Writes a PNG for the page, and a PDF beside it for a paper."""
    for target, options in ((path, {"dpi": 130}), (path.with_suffix(".pdf"), {"metadata": {"CreationDate": None}})):
        with writing(target) as partial:
            figure.savefig(partial, **options)
    return path
