"""What the stability study measured, read from its run folder: arms on their fresh seeds, tables, contrasts."""

import dataclasses
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from hyperlab.hypernet import probes
from hyperlab.metrics import statistics
from hyperlab.report.finished import Finished
from hyperlab.studies.stability.arms import SHOWN, Cell, cells_of, chosen_setting
from hyperlab.studies.stability.tasks import Wording
from hyperlab.train.phases import REPORT, report_seeds

WINDOW = 50  # steps in which the variation of the gradient norm is taken


@dataclasses.dataclass(frozen=True)
class ArmResult:
    """One arm on its fresh seeds.

    Attributes:
      cell: arm and optimizer.
      choice: what tuning chose, from `choices.json`.
      runs: `{measurement: [runs, ...]}` as the unit kept it.
      steps: `[evaluations]`, of the learning curve.
      target: score that counts as arrived.
    """

    cell: Cell
    choice: dict[str, Any]
    runs: dict[str, np.ndarray]
    steps: np.ndarray
    target: float

    @property
    def label(self) -> str:
        """What the report calls it."""
        return SHOWN.get(self.choice["label"], self.choice["label"])

    @property
    def score(self) -> np.ndarray:
        """`[runs]`, final, on all test examples."""
        return self.runs["final/score"]

    @property
    def finite(self) -> np.ndarray:
        """`[runs]`, whether all parameters were finite at the end."""
        return self.runs["final/finite"] > 0

    @property
    def time(self) -> np.ndarray:
        """`[runs]`, steps until the target; the length of the run where it was not reached."""
        return probes.steps_to_target(self.steps, self.runs["curve/score"], self.target)[0]

    @property
    def reached(self) -> np.ndarray:
        """`[runs]`, whether the target was reached."""
        return probes.steps_to_target(self.steps, self.runs["curve/score"], self.target)[1]

    @property
    def worse(self) -> np.ndarray:
        """`[runs]`, finite but with a lower score at the end than at the start."""
        return self.finite & (self.runs["curve/score"][:, -1] < self.runs["curve/score"][:, 0])

    @property
    def windowed(self) -> np.ndarray:
        """`[runs]`, variation of the gradient norm within windows of training."""
        key = "curve/gradient_theta" if np.isfinite(self.runs["curve/gradient_theta"]).any() else "curve/gradient_omega"
        return probes.windowed_variation(self.runs[key], min(WINDOW, self.runs[key].shape[1]))

    @property
    def gammas(self) -> np.ndarray:
        """`[points]`, where the probes looked."""
        return self.runs["probe/gamma"][0, 0]

    def over_gamma(self, key: str, time: int) -> np.ndarray | None:
        """`[runs]`, variation over gamma of a probe, at its first (0) or last (-1) state; None without probes."""
        if f"probe/{key}" not in self.runs:
            return None
        return probes.coefficient_of_variation(self.runs[f"probe/{key}"][:, time], -1)

    def median_of(self, key: str, time: int) -> float | None:
        """Median over runs and gammas of a probe."""
        return finite_median(self.runs[f"probe/{key}"][:, time]) if f"probe/{key}" in self.runs else None

    def growth(self, time: int) -> float | None:
        """Median over runs: largest over smallest norm of theta on the upper 95 % of gamma's range."""
        if "probe/norm" not in self.runs:
            return None
        upper = self.runs["probe/norm"][:, time, 1:]
        return finite_median(upper.max(-1) / np.maximum(upper.min(-1), 1e-30))


Arms = dict[Cell, ArmResult]
Compared = dict[str, dict[str, dict[str, statistics.Contrast]]]  # {optimizer: {metric: {contrast: Contrast}}}
STEPS = "steps to target"


def read(folder: Path) -> tuple[dict[str, Any], Wording, Arms]:
    """The config, how to speak of the task, and the arms of a run folder that is complete.

    Raises:
      WorkdirError: the study is not finished there.
    """
    finished, arms = Finished(folder), {}
    config = finished.config
    for cell in cells_of(config):
        choice = finished.choices[cell.key]
        runs = finished.unit(cell.unit_name(REPORT, chosen_setting(choice), report_seeds(config)))
        arms[cell] = ArmResult(cell, choice, runs, steps_of(config, runs), config["target_score"])
    return config, Wording(**finished.json("task.json")), arms


def steps_of(config: dict[str, Any], runs: dict[str, np.ndarray]) -> np.ndarray:
    """`[evaluations]`, of the learning curve; those of a first fit count as steps of training."""
    first = int(runs["first_steps"][0]) if "first_steps" in runs else 0
    return first + np.arange(runs["curve/score"].shape[1]) * config["evaluate_every"]


def of_optimizer(arms: Arms, optimizer: str) -> dict[str, ArmResult]:
    """The arms that were trained with an optimizer, by their names."""
    return {cell.arm: arm for cell, arm in arms.items() if cell.optimizer == optimizer}


def results(wording: Wording, arms: Arms) -> pd.DataFrame:
    """Tidy: one row for each optimizer, arm, seed and metric; the score has the task's name for it."""
    name_of_score = wording.score.lower()
    rows = []
    for cell, arm in arms.items():
        values = {k.removeprefix("final/"): v for k, v in arm.runs.items() if k.startswith("final/")}
        values |= {
            "mean_score": arm.runs["curve/score"].mean(1),
            "steps_to_target": arm.time,
            "reached": arm.reached,
            "worse_than_start": arm.worse,
            "gradient_norm_variation_in_windows": arm.windowed,
        }
        for probe in ("norm", "gradient_theta", "gradient_omega", "rms_ratio", "delta_ratio"):
            for time, when in ((0, "initial"), (-1, "final")):
                if f"probe/{probe}" in arm.runs:
                    values[f"{probe}_mean_over_gamma_{when}"] = arm.runs[f"probe/{probe}"][:, time].mean(-1)
                    values[f"{probe}_variation_over_gamma_{when}"] = cast("np.ndarray", arm.over_gamma(probe, time))
        values = {metric.replace("score", name_of_score): v for metric, v in values.items()}
        for index, seed in enumerate(arm.runs["seed"]):
            common = {
                "optimizer": cell.optimizer,
                "arm": cell.arm,
                "initializer": arm.choice["initializer"],
                "learning_rate": arm.choice["learning_rate"],
                "split": "test",
                "seed": int(seed),
            }
            rows += [{**common, "metric": metric, "value": float(v[index])} for metric, v in values.items()]
    return pd.DataFrame(rows)


def contrasts(config: dict[str, Any], wording: Wording, arms: Arms) -> Compared:
    """The contrasts that the config names, paired by seed, for each optimizer and metric.

    Steps to the target count as the length of the run where it is not reached, so no run is dropped. Contrasts
    beyond three a family are an error of the config.
    """
    metrics = ((STEPS, "lower", lambda arm: arm.time), (wording.score, "higher", lambda arm: arm.score))
    compared: Compared = {}
    for optimizer in config["optimizers"]:
        trained = of_optimizer(arms, optimizer)
        pairs = {name: [trained[arm] for arm in statistics.names_of(name)] for name in config["contrasts"]}
        compared[optimizer] = {
            metric: statistics.contrasts({name: tuple(map(value, pair)) for name, pair in pairs.items()}, better=better)
            for metric, better, value in metrics
        }
    return compared


def families(compared: Compared) -> dict[str, dict[str, statistics.Contrast]]:
    """The same as `{optimizer/metric: {contrast: Contrast}}`, for tables of all of them."""
    return {
        f"{optimizer}/{metric}": named for optimizer, metrics in compared.items() for metric, named in metrics.items()
    }


def finite_median(values: np.ndarray) -> float:
    """Median of what is finite: runs that failed are counted in columns of their own."""
    values = np.asarray(values)[np.isfinite(values)]
    return float(np.median(values)) if values.size else float("nan")
