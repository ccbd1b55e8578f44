"""The front of a pruned network that has one: the score at each point, against what is left to compute there."""

from pathlib import Path

import numpy as np
import pandas as pd

from hyperlab.report import figures
from hyperlab.studies.pruning import results as measured
from hyperlab.studies.pruning.arms import DENSE, control_of, find


def points(study: measured.Study) -> list[str]:
    """The points of the front, in order; none where the network has no front."""
    return sorted(study.task.get("front", {}), key=float)


def scores(study: measured.Study, name: str, compression: float) -> np.ndarray:
    """`[seeds, points]`: test score at each point after the last step."""
    runs = study.runs[name][compression]
    return np.array([[one[f"test/{study.metric}_at_{point}"].mean() for point in points(study)] for one in runs])


def macs(study: measured.Study, name: str, compression: float) -> np.ndarray:
    """`[points]`: multiply-accumulates that are left at each point, mean over seeds."""
    return np.array([study.size(name, compression, f"nonzero_macs_at_{point}").mean() for point in points(study)])


def figure(path: Path, study: measured.Study) -> tuple[Path, str]:
    """A panel for each method, a curve for each compression, a dot for each point of the front."""
    names = [name for name in study.methods if control_of(name) is None]
    drawn, axes = figures.grid(1, len(names), width=3.3, height=3.6, sharex=True, sharey=True)
    for one, name in zip(axes, names, strict=True):
        curves = [(DENSE[find(name).parent], 1.0), *((name, compression) for compression in study.compressions(name))]
        for (of, compression), colour in zip(curves, figures.COLOURS, strict=False):
            found = scores(study, of, compression)
            x, spread = macs(study, of, compression), found.std(0, ddof=1) if len(found) > 1 else None
            one.errorbar(
                x, found.mean(0), spread, color=colour, marker="o", markersize=3, linewidth=1.3, capsize=2,
                label=f"{compression:g}",
            )  # fmt: skip
        one.set_xscale("log")
        one.set_xlabel("MACs left")
        one.set_title(study.label(name), fontsize=9)
    axes[0].set_ylabel(f"test {study.metric}")
    figures.legend_below(drawn, axes[0], title="compression")
    shown = ", ".join(points(study))
    return figures.save(drawn, path), (
        f"The front: test {study.metric} at phi = {shown}, from left to right along each curve, against the "
        "multiply-accumulates that are left there on paper; a curve for each compression, 1 being the same training "
        f"without pruning. Means over {study.config.report_seeds} seeds, bars are sample standard deviations."
    )


def table(study: measured.Study) -> pd.DataFrame:
    """What pruning costs at each point: the mean difference from the same training without pruning."""
    rows = []
    for name in (name for name in study.methods if control_of(name) is None):
        dense = scores(study, DENSE[find(name).parent], 1.0)
        for compression in study.compressions(name):
            lost = (scores(study, name, compression) - dense).mean(0)
            row = {"method": study.label(name), "compression": f"{compression:g}"}
            rows.append(row | {f"phi = {point}": f"{one:+.4f}" for point, one in zip(points(study), lost, strict=True)})
    return pd.DataFrame(rows)
