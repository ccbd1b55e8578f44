"""What a map measured, read from its run folder: one row a run, and what an arm comes to."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hyperlab.hypernet import probes
from hyperlab.metrics import statistics
from hyperlab.report.finished import Finished
from hyperlab.studies.stability.arms import SHOWN, Setting
from hyperlab.studies.stability.laws import cells_of
from hyperlab.studies.stability.results import steps_of
from hyperlab.studies.stability.tasks import Wording
from hyperlab.train.phases import REPORT, report_seeds

PLACE = ["primary", "law", "optimizer"]  # in which arms are compared
LAST = 10  # steps: a loss that stays above the first one in all of them is above it for good
ENOUGH = 0.95  # of the best mean accuracy of any arm in a place


class ArmOfMap(NamedTuple):
    """What an arm comes to over a whole map.

    Attributes:
      label: what the page calls it.
      runs: how many.
      diverged: how many of them diverged.
      windows: `[places]`, how wide the range of rates is that is good enough; see `window`.
      steps: median steps to the target over all runs at all rates; None where half of them never reach it.
      never: runs that never reach it.
    """

    label: str
    runs: int
    diverged: int
    windows: np.ndarray
    steps: float | None
    never: int

    @property
    def share(self) -> float:
        """Of its runs that diverged."""
        return self.diverged / self.runs

    @property
    def window(self) -> float:
        """Median over places."""
        return float(np.median(self.windows))


def diverged(loss: np.ndarray, finite: np.ndarray) -> np.ndarray:
    """Which runs diverged: parameters that are not finite in the end, or a loss that ends above its first value.

    Args:
      loss: `[runs, steps]`, of the batches.
      finite: `[runs]`, whether all parameters are finite in the end.

    Returns:
      bool `[runs]`. A loss is above its first value for good where it is in each of the last ten steps; a loss that
      is not finite is above it.

    >>> falling, rising = np.linspace(2, 1, 20), np.linspace(2, 3, 20)
    >>> diverged(np.stack([falling, rising, falling]), np.array([1, 1, 0]))
    array([False,  True,  True])
    """
    first, last = loss[:, :1], loss[:, -LAST:]
    return ~((last <= first).any(1) & np.asarray(finite, bool))


def window(rates: np.ndarray, scores: np.ndarray, best: float) -> float:
    """The widest unbroken range of rates that reach 95 % of the best: largest over smallest; 0 where none does.

    >>> window(np.array([0.01, 0.03, 0.1, 0.3]), np.array([0.92, 0.95, 0.5, 0.96]), best=0.96)
    3.0
    """
    widest, first = 0.0, None
    for rate, score in zip(rates, scores, strict=True):
        if not score >= ENOUGH * best:
            first = None
            continue
        first = rate if first is None else first
        widest = max(widest, float(rate / first))
    return round(widest, 6)


def read(
    folder: Path, cells: Callable[[Any], Sequence[Any]] = cells_of, also: Sequence[str] = ()
) -> tuple[dict[str, Any], Wording, pd.DataFrame, dict[str, str], dict[str, str]]:
    """A complete map.

    Args:
      folder: of the run.
      cells: of a config.
      also: further final measurements of every run, by name.

    Returns:
      Its config, how to speak of the task, one row a run, and labels and definitions of the arms. A run has the fields
      of its cell, `learning_rate`, `seed`, `score`, `finite`, `diverged`, `first_loss`, `steps`, `reached`, and `also`.

    Raises:
      WorkdirError: the map is not finished there.
    """
    finished, rows = Finished(folder), []
    config, labels, definitions = finished.config, {}, {}
    for cell in cells(config):
        choice = finished.choices[cell.key]
        labels[cell.arm] = SHOWN.get(choice["label"], choice["label"])
        definitions[cell.arm] = choice["definition"]
        runs = finished.unit(cell.unit_name(REPORT, Setting(choice["initializer"], ()), report_seeds(config)))
        time, reached = probes.steps_to_target(steps_of(config, runs), runs["curve/score"], config["target_score"])
        columns = {
            "learning_rate": runs["learning_rate"].astype(float),
            "seed": runs["seed"],
            "score": runs["final/score"],
            "finite": runs["final/finite"] > 0,
            "diverged": diverged(runs["curve/loss"], runs["final/finite"]),
            "first_loss": runs["curve/loss"][:, 0],
            "steps": time,
            "reached": reached,
            **{name: runs[f"final/{name}"] for name in also},
        }
        rows.append(pd.DataFrame(columns).assign(**cell._asdict()))
    return config, Wording(**finished.json("task.json")), pd.concat(rows, ignore_index=True), labels, definitions


def summarised(runs: pd.DataFrame, labels: dict[str, str]) -> dict[str, ArmOfMap]:
    """What each arm comes to. Good enough is measured by the best mean accuracy of any arm in the same place."""
    means = runs.groupby([*PLACE, "arm", "learning_rate"])["score"].mean()
    best = means.groupby(PLACE).max()
    found = {}
    for name, label in labels.items():
        own = runs[runs.arm == name]
        windows = [
            window(one.index.get_level_values("learning_rate").to_numpy(), one.to_numpy(), best[place])
            for place, one in means.xs(name, level="arm").groupby(PLACE)
        ]
        reached = own.reached.to_numpy(bool)
        median = statistics.median_time(own.steps.to_numpy(float), reached)
        found[name] = ArmOfMap(
            label, len(own), int(own.diverged.sum()), np.array(windows), median, int((~reached).sum())
        )
    return found


def verdict(arms: dict[str, ArmOfMap]) -> str:
    """The answer in a sentence: which arms diverge no more often than MIP and have windows no narrower; none needs to.

    Without MIP among the arms it is about the arm that diverges least.
    """
    about = "mip" if "mip" in arms else min(arms, key=lambda name: (arms[name].share, -arms[name].window))
    own = arms[about]
    told = (
        f"{own.label} diverged in {own.diverged} of {own.runs} runs, and its window of good rates is {own.window:.3g} "
    )
    told += "times wide (median)"
    better = [
        arm
        for name, arm in arms.items()
        if name not in (about, "plain")
        and arm.diverged <= own.diverged
        and arm.window >= own.window
        and (arm.diverged < own.diverged or arm.window > own.window)
    ]
    if not better:
        return f"{told}; no other way to generate parameters is better on one of the two and as good on the other."
    named = "; ".join(f"{arm.label}, {arm.diverged} and {arm.window:.3g} times" for arm in better)
    return f"{told}, and it is not the most stable: better on one of the two and as good on the other are {named}."
