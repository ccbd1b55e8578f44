"""Other people's curves, faint, behind one's own.

What was published comes from other parents, other pipelines and other data splits: it can place one's own curve in a
landscape, and cannot be compared with it. The legend says so, and names every source.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperlab.data.published import Curve
from hyperlab.errors import ConfigError
from hyperlab.report.figures import COLOURS

WARNING = "published, other parents and pipelines: not comparable"
MARKERS = "ov^<>spdhX*"
POINTS = 100.0  # what a change of 1.0 is in points of accuracy


def draw(axes: Any, curves: Sequence[Curve], *, unit: float = POINTS, legend: bool = True, columns: int = 1) -> list:
    """Draws published curves behind what the axes hold.

    A colour is a year of publication, a marker a curve. Lines join measured points and end at the outermost of them.
    Bars are published standard deviations. The legend is an additional one, below the axes; the lines stay out of
    `axes.legend()` of one's own curves, whether that is called before or after.

    Args:
      axes: of matplotlib; x is compression (best on a scale of log2, which is left to the caller) or speedup, y the
        change of accuracy.
      curves: of `hyperlab.data.published.curves`, all against the same of the two.
      unit: what a change of 1.0 is on the y axis; 100 for points of accuracy, 1 for fractions.
      legend: whether to draw the legend below the axes.
      columns: of the legend.

    Returns:
      The lines, one a curve.

    Raises:
      ConfigError: curves against compression and against speedup together.

    >>> from hyperlab.data.published import curves, packaged
    >>> from hyperlab.report.figures import grid
    >>> figure, (axes,) = grid()
    >>> lines = draw(axes, curves(packaged(), "CIFAR-10", "CIFAR-VGG"))
    >>> len(lines), axes.get_legend_handles_labels()[1]
    (5, [])
    """
    kinds = {curve.against for curve in curves}
    if len(kinds) > 1:
        raise ConfigError(f"curves against {' and '.join(sorted(kinds))} in one panel; give those of one of the two")
    years = sorted({curve.year for curve in curves if np.isfinite(curve.year)})
    lines = []
    for place, curve in enumerate(curves):
        colour = COLOURS[years.index(curve.year) % len(COLOURS)] if curve.year in years else "#555555"
        (line,) = axes.plot(
            curve.x, unit * curve.change, color=colour, marker=MARKERS[place % len(MARKERS)], markersize=4,
            linewidth=1, alpha=0.4, zorder=1, label="_published",
        )  # fmt: skip
        known = np.isfinite(curve.sd)
        if known.any():
            axes.errorbar(
                curve.x[known], unit * curve.change[known], unit * curve.sd[known], fmt="none", ecolor=colour,
                alpha=0.3, linewidth=1, zorder=1, label="_published",
            )  # fmt: skip
        lines.append(line)
    if legend and lines:
        _legend(axes, lines, [curve.label for curve in curves], columns)
    return lines


def _legend(axes: Any, lines: list, labels: list[str], columns: int) -> None:
    from matplotlib.legend import Legend

    below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.18), "fontsize": 6, "title_fontsize": 7}
    added = Legend(axes, lines, labels, title=WARNING, ncols=columns, frameon=False, **below)
    axes.add_artist(added)
    added.set_clip_on(False)  # else the layout makes no room for it outside of the axes
