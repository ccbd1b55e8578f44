"""Two figures of the survey's page: how little papers compare, and what they publish on two networks."""

from pathlib import Path

import numpy as np
import pandas as pd

from hyperlab.data import published
from hyperlab.data.published import Survey
from hyperlab.errors import DataError
from hyperlab.report import overlay
from hyperlab.report.figures import COLOURS, grid, save
from hyperlab.studies.pruning_survey.results import compares_to, curve_lengths

SHOWN = (("ImageNet", "VGG-16"), ("ImageNet", "ResNet-50"))


def comparisons(survey: Survey, path: Path) -> Path:
    """Histograms: to how many papers of the corpus a paper compares, and of how many points a curve consists."""
    figure, axes = grid(1, 2, width=4.4)
    counts = pd.Series([len(others) for others in compares_to(survey.papers).values()])
    lengths = curve_lengths(survey.results)
    for panel, values, title, x in (
        (axes[0], counts, "Papers a paper compares to", "papers of the corpus"),
        (axes[1], lengths, "Points of a curve", "points on a standard network"),
    ):
        # of integers, every value is a bar, gaps included
        bars = np.bincount(values.to_numpy(int)) if len(values) else np.zeros(1)
        panel.bar(np.arange(len(bars)), bars, color=COLOURS[0])
        panel.set(title=title, xlabel=x)
        panel.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set_ylabel("papers")
    axes[1].set_ylabel("curves")
    return save(figure, path)


def trade_offs(survey: Survey, path: Path) -> Path | None:
    """Published changes of Top-1 against compression on two networks; None where nobody reports on them."""
    points = published.operating_points(survey)
    found = {}
    for pair in SHOWN:
        try:
            found[pair] = [c for c in published.curves(points, *pair) if len(c.x)]
        except DataError:
            continue
    found = {pair: curves for pair, curves in found.items() if curves}
    if not found:
        return None
    figure, axes = grid(1, len(found), width=5.2, height=5.6)
    for panel, (pair, curves) in zip(axes, found.items(), strict=True):
        panel.set_xscale("log", base=2)
        overlay.draw(panel, curves, columns=2)
        panel.set(title=" / ".join(pair), xlabel="compression", ylabel="change of Top-1, points")
    return save(figure, path)
