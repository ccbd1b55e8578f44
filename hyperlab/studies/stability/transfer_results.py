"""What a study of transfer comes to: how far the best rate moved as the primary grew, and what keeping it costs."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hyperlab.studies.stability import map_results
from hyperlab.studies.stability.sizes import cells_of
from hyperlab.studies.stability.tasks import Wording

STEP = 3.5  # a grid of factors of 3, whose rates are rounded: a best rate that moved by no more than one of them stayed
AXES = {"width": "depth", "depth": "width"}  # what grows, and what is at its smallest meanwhile


class Moved(NamedTuple):
    """What became of the best rate of an arm with an optimizer while the primary grew along an axis.

    Attributes:
      label: of the arm.
      optimizer: its name.
      axis: `width` or `depth`.
      sizes: along the axis, rising.
      best: `[sizes]`, the rate with the lowest loss, which is the median over seeds.
      least: `[sizes]`, that loss.
      kept: `[sizes]`, the loss at the rate that was best at the smallest size.
      by_seed: `[seeds]`, by what factor the best rate of each seed fell from the smallest to the largest size.
      at_edge: whether a best rate is the first or the last of the grid, so that it may lie further out.
    """

    label: str
    optimizer: str
    axis: str
    sizes: tuple[int, ...]
    best: np.ndarray
    least: np.ndarray
    kept: np.ndarray
    by_seed: np.ndarray
    at_edge: bool

    @property
    def fell(self) -> float:
        """By what factor the best rate fell from the smallest to the largest size; below 1 it rose."""
        return float(self.best[0] / self.best[-1])

    @property
    def stays(self) -> bool:
        """Whether it moved by at most one rate of the grid, at every size."""
        factors = self.best[0] / self.best
        return bool((np.maximum(factors, 1 / factors) <= STEP).all())


def read(folder: Path) -> tuple[dict[str, Any], Wording, pd.DataFrame, dict[str, str], dict[str, str]]:
    """A complete study: as `map_results.read`, and with `nll`, the held-out loss; NaN is infinite."""
    config, wording, runs, labels, definitions = map_results.read(folder, cells_of, ("nll",))
    return config, wording, runs.assign(nll=runs.nll.astype(float).fillna(np.inf)), labels, definitions


def summarised(runs: pd.DataFrame, labels: dict[str, str]) -> list[Moved]:
    """How far the best rate moved, of every arm with every optimizer, along both axes."""
    found = []
    for axis, other in AXES.items():
        along = runs[runs[other] == runs[other].min()]
        if along[axis].nunique() < 2:
            continue
        for (optimizer, arm), own in along.groupby(["optimizer", "arm"], sort=False):
            found.append(_moved(own, labels[str(arm)], str(optimizer), axis))
    return found


def _moved(own: pd.DataFrame, label: str, optimizer: str, axis: str) -> Moved:
    losses = own.groupby([axis, "learning_rate"])["nll"].median().unstack()  # [sizes, rates]
    rates = losses.columns.to_numpy(float)
    places = losses.to_numpy().argmin(1)
    of_seeds = own.pivot_table("nll", ["seed", axis], "learning_rate", aggfunc="first", dropna=False)
    lowest = pd.Series(rates[of_seeds.to_numpy().argmin(1)], of_seeds.index).unstack()  # [seeds, sizes]
    return Moved(
        label=label,
        optimizer=optimizer,
        axis=axis,
        sizes=tuple(int(size) for size in losses.index),
        best=rates[places],
        least=losses.to_numpy().min(1),
        kept=losses.to_numpy()[:, places[0]],
        by_seed=(lowest.iloc[:, 0] / lowest.iloc[:, -1]).to_numpy(),
        at_edge=bool(((places == 0) | (places == len(rates) - 1)).any()),
    )


def verdict(moved: list[Moved]) -> str:
    """The answer in a sentence for each axis: where the best rate stayed with every optimizer, and where it did not."""
    return " ".join(_said([one for one in moved if one.axis == axis]) for axis in AXES if _any(moved, axis))


def _any(moved: list[Moved], axis: str) -> bool:
    return any(one.axis == axis for one in moved)


def _said(moved: list[Moved]) -> str:
    first, last, axis = moved[0].sizes[0], moved[0].sizes[-1], moved[0].axis
    parts = []
    for label in dict.fromkeys(one.label for one in moved):
        own = [one for one in moved if one.label == label]
        factors = " and ".join(f"{one.fell:.2g} ({one.optimizer})" for one in own)
        stays = "it stays" if all(one.stays for one in own) else "it does not stay"
        parts.append(f"{label}, by {factors}: {stays}")
    return f"From {axis} {first:,} to {last:,} the best rate falls, for {'; '.join(parts)}."
