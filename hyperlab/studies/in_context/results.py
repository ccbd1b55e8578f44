"""What the in-context study measured, read from its run folder: Dice of every query, by arm, task and support size."""

import dataclasses
from pathlib import Path
from typing import Any, cast

import ml_collections
import numpy as np
import pandas as pd

from hyperlab.in_context.baselines import BASELINES, NEAREST
from hyperlab.metrics import statistics
from hyperlab.metrics.defined import mean_defined, mean_of_groups
from hyperlab.report.finished import Finished
from hyperlab.studies.in_context.arms import ARMS, BASELINE_SCORES, CASES, Cell
from hyperlab.train.phases import REPORT, report_seeds
from hyperlab.train.units import Measurements

COMPARED = (NEAREST, "unet_support")  # what every arm is shown against


@dataclasses.dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes:
      config: as it ran.
      choices: what tuning chose, by arm.
      runs: `{arm: [measurements of each seed]}`.
      baselines: Dice of what needs no network.
      cases: of the held-out tasks: subjects of the queries, and some pictures.
    """

    config: Any
    choices: dict[str, Any]
    runs: dict[str, list[Measurements]]
    baselines: Measurements
    cases: Measurements

    @property
    def tasks(self) -> list[str]:
        """Names of the held-out tasks."""
        return [key.removeprefix("groups/") for key in self.cases if key.startswith("groups/")]

    @property
    def largest(self) -> int:
        """The largest support size, at which all arms are compared."""
        return max(self.config.support_sizes)

    def label(self, arm: str) -> str:
        """What the report calls an arm or a baseline."""
        return self.choices[arm]["label"] if arm in self.choices else arm

    def queries(self, arm: str, task: str, size: int) -> np.ndarray | None:
        """Dice `[seeds, queries]`, mean over support draws; None where the arm was not measured at that size."""
        key = f"dice/{task}/{size}"
        if arm in BASELINES:
            return mean_defined(self.baselines[f"dice/{arm}/{task}/{size}"], 0)[None]
        if key not in self.runs[arm][0]:
            return None
        return np.stack([mean_defined(one[key], 0) for one in self.runs[arm]])

    def subjects(self, arm: str, task: str, size: int) -> np.ndarray | None:
        """Dice `[seeds, subjects]`: the mean over each subject's queries."""
        values = self.queries(arm, task, size)
        if values is None:
            return None
        return mean_of_groups(values, self.cases[f"groups/{task}"])

    def compared(self, arm: str, task: str) -> np.ndarray:
        """The same at the largest support size, at which every arm was measured."""
        return cast("np.ndarray", self.subjects(arm, task, self.largest))

    def by_seed(self, arm: str, size: int | None = None) -> np.ndarray:
        """Dice `[seeds]`: mean over subjects, then over tasks; at the largest support size by default."""
        size = self.largest if size is None else size
        found = [cast("np.ndarray", self.subjects(arm, task, size)) for task in self.tasks]
        return mean_defined(np.stack([mean_defined(one, 1) for one in found]), 0)


def read(folder: Path) -> Study:
    """A finished study.

    Raises:
      WorkdirError: it is not finished there.
    """
    finished = Finished(folder)
    config, choices, known = ml_collections.ConfigDict(finished.config), finished.choices, finished.unit
    runs = {}
    for arm in config.arms:
        rate = choices[arm]["learning_rate"]
        runs[arm] = [known(Cell(arm).unit_name(REPORT, rate, seed)) for seed in report_seeds(config)]
    return Study(config, choices, runs, known(BASELINE_SCORES), known(CASES))


def results(study: Study) -> pd.DataFrame:
    """Tidy: one row for each arm or baseline, seed, task and support size; Dice is the mean over subjects."""
    rows = []
    for arm in (*study.config.arms, *BASELINES):
        for task in study.tasks:
            for size in study.config.support_sizes:
                values = study.subjects(arm, task, size)
                for place, one in enumerate(() if values is None else values):
                    seed = None if arm in BASELINES else int(study.runs[arm][place]["seed"])
                    common = {"arm": arm, "seed": seed, "task": task, "support_size": size, "subjects": len(one)}
                    rows.append({**common, "dice": float(mean_defined(one, 0))})
    return pd.DataFrame(rows)


def gains(study: Study, arm: str, task: str) -> dict[str, statistics.Interval | None]:
    """Dice of an arm on a task, and its gains over `COMPARED`, with bootstrap intervals over subjects.

    Seeds are averaged first. The keys are `dice`, and of `COMPARED` what is in the study; an interval is None with
    fewer than ten subjects.
    """
    own = mean_defined(study.compared(arm, task), 0)
    result = {"dice": statistics.mean_over_subjects(own)}
    for other in COMPARED:
        if other in BASELINES or other in study.runs:
            less = mean_defined(study.compared(other, task), 0)
            result[other] = statistics.mean_over_subjects(own - less)
    return result


def contrasts(study: Study) -> dict[str, dict[str, statistics.Contrast]]:
    """The contrasts that the config names, on Dice at the largest support size, mean over tasks; paired by seed."""
    pairs = {}
    for name in study.config.contrasts:
        first, second = statistics.names_of(name)
        pairs[name] = (study.by_seed(first), study.by_seed(second))
    return {f"{study.config.optimizer}/Dice": statistics.contrasts(pairs)}


def ensembles(study: Study, arm: str) -> np.ndarray | None:
    """Dice `[seeds, ensemble sizes]`, mean over queries, then tasks; None for an arm without support sets."""
    if not ARMS[arm].across_tasks:
        return None
    tasks = [np.stack([mean_defined(one[f"ensemble/{task}"], 1) for one in study.runs[arm]]) for task in study.tasks]
    return mean_defined(np.stack(tasks), 0)
