"""What the stochastic study measured, read from its run folder: by arm, task, number of candidates and query."""

import dataclasses
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
import pandas as pd

from hyperlab.metrics import statistics
from hyperlab.metrics.defined import mean_defined, mean_of_groups
from hyperlab.report.finished import Finished
from hyperlab.studies.stochastic.arms import ARMS, CASES, OPTIMUM, Cell
from hyperlab.studies.stochastic.scoring import LABELS, MEASURES, OF_MODES
from hyperlab.train.phases import REPORT, report_seeds
from hyperlab.train.units import Measurements

COMPARED = ("ged", "best", "mean")  # measures of the contrasts


@dataclasses.dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes:
      config: as it ran.
      choices: what tuning chose, by network.
      runs: `{network: [measurements of each seed]}`.
      optimum: what draws from the truth have, where it is known.
      cases: of the held-out tasks: subjects of the queries, probabilities of modes, and some pictures.
    """

    config: Any
    choices: dict[str, Any]
    runs: dict[str, list[Measurements]]
    optimum: Measurements
    cases: Measurements

    @property
    def tasks(self) -> list[str]:
        """Names of the held-out tasks."""
        return [key.removeprefix("groups/") for key in self.cases if key.startswith("groups/")]

    @property
    def counts(self) -> list[int]:
        """Numbers of candidates, increasing; arms are compared at the last."""
        return sorted(self.config.candidates)

    def known(self, task: str) -> bool:
        """Whether the distribution of a task's masks is."""
        return f"ged/{task}" in self.optimum

    def measures(self, task: str) -> list[str]:
        """What was measured at every number of candidates."""
        return [*MEASURES, *(OF_MODES if self.known(task) else ())]

    def seeds(self, arm: str) -> list[Measurements]:
        """Measurements of each seed of the network that an arm answers with."""
        return self.runs[ARMS[arm].learner]

    def queries(self, arm: str, measure: str, task: str) -> np.ndarray:
        """`[seeds, numbers of candidates, queries]`; of `hungarian` the last number alone, of `frequencies` by mode."""
        values = np.stack([one[f"{measure}/{arm}/{task}"] for one in self.seeds(arm)])
        return values[:, None] if measure == "hungarian" else values

    def subjects(self, arm: str, measure: str, task: str) -> np.ndarray:
        """`[seeds, numbers of candidates, subjects]`: the mean over each subject's queries."""
        return _of_subjects(self.queries(arm, measure, task), self.cases[f"groups/{task}"])

    def best_possible(self, measure: str, task: str) -> np.ndarray:
        """What draws from a known truth have: `[numbers of candidates]`, mean over subjects."""
        return _mean(_of_subjects(self.optimum[f"{measure}/{task}"], self.cases[f"groups/{task}"]), -1)

    def by_seed(self, arm: str, measure: str, task: str) -> np.ndarray:
        """`[seeds]`: mean over subjects, with the most candidates."""
        return _mean(self.subjects(arm, measure, task)[:, -1], 1)


def read(folder: Path) -> Study:
    """A finished study.

    Raises:
      WorkdirError: it is not finished there.
    """
    finished = Finished(folder)
    config, choices, known = ml_collections.ConfigDict(finished.config), finished.choices, finished.unit
    runs = {}
    for name, choice in choices.items():
        rate = choice["learning_rate"]
        runs[name] = [known(Cell(name).unit_name(REPORT, rate, seed)) for seed in report_seeds(config)]
    return Study(config, choices, runs, known(OPTIMUM), known(CASES))


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean of what is defined, in the precision of what was measured."""
    return mean_defined(values, axis).astype(values.dtype)


def _of_subjects(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Means over the queries of each subject, likewise."""
    return mean_of_groups(values, groups).astype(values.dtype)


def results(study: Study) -> pd.DataFrame:
    """Tidy: one row for each arm, seed, task and number of candidates; all measures are means over subjects."""
    rows = []
    for arm in study.config.arms:
        for task in study.tasks:
            values = {m: _mean(study.subjects(arm, m, task), -1) for m in study.measures(task)}
            matched = _mean(study.subjects(arm, "hungarian", task), -1)
            for place, seed in enumerate(study.seeds(arm)):
                for index, count in enumerate(study.counts):
                    row = {"arm": arm, "seed": int(seed["seed"]), "task": task, "candidates": count}
                    row |= {measure: float(value[place, index]) for measure, value in values.items()}
                    rows.append(row | ({"hungarian": float(matched[place, 0])} if count == study.counts[-1] else {}))
    return pd.DataFrame(rows)


def interval(study: Study, arm: str, measure: str, task: str, less: str | None = None) -> statistics.Interval | None:
    """Mean over subjects with the most candidates, seeds averaged first, with a bootstrap interval over subjects.

    Args:
      study: the study.
      arm: whose.
      measure: which.
      task: on which.
      less: an arm whose values are subtracted, subject by subject.

    Returns:
      None with fewer than ten subjects, where such intervals are too short.
    """
    values = _mean(study.subjects(arm, measure, task)[:, -1], 0)
    if less is not None:
        values = values - _mean(study.subjects(less, measure, task)[:, -1], 0)
    return statistics.mean_over_subjects(values)


def contrasts(study: Study) -> dict[str, dict[str, statistics.Contrast]]:
    """The contrasts that the config names, for each of `COMPARED` and each held-out task; paired by seed."""
    families = {}
    for task in study.tasks:
        for measure in COMPARED:
            pairs = {}
            for name in study.config.contrasts:
                first, second = statistics.names_of(name)
                pairs[name] = study.by_seed(first, measure, task), study.by_seed(second, measure, task)
            family = f"{study.config.optimizer}/{LABELS[measure]}, {task}"
            families[family] = statistics.contrasts(pairs, better=MEASURES[measure])
    return families


def answer(study: Study, compared: dict[str, dict[str, statistics.Contrast]], name: str, task: str) -> str:
    """In a sentence, whether the first arm of a contrast beats the second in both measures on a task."""
    found = {m: compared[f"{study.config.optimizer}/{LABELS[m]}, {task}"][name] for m in COMPARED}
    first, second = (ARMS[arm].label for arm in statistics.names_of(name))
    better = [LABELS[measure] for measure in ("ged", "best") if found[measure].verdict == "better"]
    said = {2: "Yes, in both", 1: f"Shown in {' and '.join(better)} alone", 0: "Not shown in either"}[len(better)]
    label = f" ({found['ged'].label})" if found["ged"].label else ""
    listed = "; ".join(
        f"{LABELS[m]} {c.mean:+.3f} [{c.low:+.3f}, {c.high:+.3f}], {c.verdict}" for m, c in found.items()
    )
    return (
        f"{task}: does {first} with {study.counts[-1]} candidates beat {second} in unbiased GED and in best-candidate "
        f"Dice? {said}{label}. Differences over seeds: {listed} (of GED, below 0 is better)."
    )
