"""Figures of several pruning studies on one page: a row a network and track, a colour a method, on all of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hyperlab.report import figures
from hyperlab.studies.pruning import results as measured
from hyperlab.studies.pruning.arms import TRACKS, control_of, find

if TYPE_CHECKING:
    from hyperlab.studies.pruning.suite import Suite

WATERMARK = "DIFFERENT PARENTS"
_NAMES = {
    "compression": "compression (parameters before / after)",
    "speedup": "theoretical speedup (MACs before / after)",
}
_LINES = ("-", "--", ":", "-.")  # of the runs of one network


def curves(path: Path, suite: "Suite") -> tuple[Path, str]:
    """Test scores against compression and against theoretical speedup; see the caption.

    Args:
      path: of the PNG file.
      suite: a `suite.Suite`.
    """
    rows = [
        (network, track)
        for network, runs in suite.networks.items()
        for track in dict.fromkeys(track for run in runs for track in run.study.tracks)
    ]
    labels = dict.fromkeys(run.study.label(name) for run in suite.runs for name in _own(run.study))
    marks = figures.marks(list(labels))
    figure, axes = figures.grid(len(rows), 2, width=5.2, height=3.6)
    for row, (network, track) in enumerate(rows):
        for one, axis in zip(axes[2 * row : 2 * row + 2], measured.AXES, strict=True):
            for place, run in enumerate(suite.networks[network]):
                for name in _own(run.study):
                    if find(name).parent == track:
                        style = {**marks[run.study.label(name)], "linestyle": _LINES[place % len(_LINES)]}
                        _curve(one, *run.study.curve(name, axis), suite.label(network, run, name), style)
            one.set_xscale("log", base=2)
            ticks = sorted(
                {1.0, *(point for run in suite.networks[network] for point in run.study.config.compressions)}
            )
            one.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            one.set_xlabel(_NAMES[axis])
            one.set_title(f"{network}, {TRACKS[track]}", fontsize=8)
        axes[2 * row].set_ylabel(f"test {suite.networks[network][0].study.metric}")
        axes[2 * row].legend(fontsize=6, loc="lower left")
    return _save(figure, path, bool(suite.across)), (
        "Test scores against compression and against theoretical speedup, means over seeds with sample standard "
        "deviations. A method looks the same on all networks; several runs of a network differ by their lines. "
        "Controls with another method's shares of the tensors are in the tables."
    )


def contrasts(path: Path, compared: pd.DataFrame, marked: bool) -> tuple[Path, str]:
    """Every contrast on every network: all seeds, the mean and its interval.

    Args:
      path: of the PNG file.
      compared: of `suite.contrasts`.
      marked: whether the figure carries the watermark.
    """
    compared = compared.sort_values(["at", "contrast"], kind="stable").reset_index(drop=True)
    figure, (axes,) = figures.grid(1, 1, width=9.0, height=max(1.8, 0.7 * len(compared) + 0.8))
    for row, one in compared.iterrows():
        figures.points(axes, row, one["differences"], (one["low"], one["high"]), figures.COLOURS[0])
    axes.axvline(0, color="black", linewidth=0.8)
    names = [f"{one.contrast}, at {one.at}\n{one.network} [{one.run}]" for one in compared.itertuples()]
    axes.set_yticks(range(len(compared)), names, fontsize=7)
    axes.set_ylim(-0.6, len(compared) - 0.4)
    axes.invert_yaxis()
    axes.set_xlabel("difference of the mean test score; every point is a seed")
    return _save(figure, path, marked), "The named contrasts of every run: every seed, the mean and its t interval."


def _own(study: measured.Study) -> list[str]:
    """The methods without the controls that have another method's shares."""
    return [name for name in study.methods if control_of(name) is None]


def _curve(axes: Any, x: Any, scores: Any, label: str, style: dict[str, str]) -> None:
    axes.plot(x, scores.mean(0), label=label, markersize=3, linewidth=1.4, **style)
    if len(scores) > 1:
        sd = scores.std(0, ddof=1)
        axes.errorbar(x, scores.mean(0), sd, fmt="none", ecolor=style["color"], alpha=0.5, capsize=2)


def _save(figure: Any, path: Path, marked: bool) -> Path:
    look = {"fontsize": 22, "color": "#b00000", "alpha": 0.3, "rotation": 20, "ha": "center", "va": "center"}
    for one in figure.axes if marked else ():  # each panel, so that none loses its mark when it is cut out
        one.text(0.5, 0.5, WATERMARK, transform=one.transAxes, **look)
    return figures.save(figure, path)
