"""What a run of the registration study came to, from its run folder alone: arms on fresh seeds, tables, contrasts."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hyperlab.metrics import statistics
from hyperlab.metrics.defined import mean_defined
from hyperlab.registration import relative_objective
from hyperlab.report.finished import Finished
from hyperlab.studies.registration.arms import (
    ARMS,
    cells_of,
    chosen_setting,
    identity_name,
    pairwise_name,
    settings_tried,
)
from hyperlab.train.phases import REPORT, TUNE, report_seeds
from hyperlab.train.units import Measurements

BY_WEIGHT = ("moved", "moved_labels", "displacement")  # the parts of an example that there are for each weight


@dataclasses.dataclass(frozen=True, eq=False)
class ArmResult:
    """One arm on its fresh seeds, measured on the test split.

    Attributes:
      name: its key.
      choice: what tuning chose, from `choices.json`.
      seeds: the seeds of its runs; one entry for what has none.
      weight: `[weights]`, where it was measured.
      subjects: `[subjects]`.
      dice: `[seeds, weights, subjects, classes - 1]`; 0 where a network went non-finite.
      folding: `[seeds, weights, subjects]`, in 0..1.
      endpoint_error: `[seeds, weights, subjects]` in voxels, None where the truth is not known.
      loss: `[seeds, weights below 1]`, as a share of the identity's.
      seconds: `[seeds]`, of training (all networks of the seed), or of optimisation.
      compile_seconds: of its training program.
      steps: of training, for one seed.
      tuning_seconds: of all its tuning runs.
      failed: how many of its networks had a parameter that was not finite.
      example: arrays for figures, `{}` without.
    """

    name: str
    choice: dict[str, Any]
    seeds: tuple[int, ...]
    weight: np.ndarray
    subjects: np.ndarray
    dice: np.ndarray
    folding: np.ndarray
    endpoint_error: np.ndarray | None
    loss: np.ndarray
    seconds: np.ndarray
    compile_seconds: float
    steps: int
    tuning_seconds: float
    failed: int
    example: dict[str, np.ndarray]

    @property
    def label(self) -> str:
        """What the report calls it."""
        return self.choice["label"]

    @property
    def mean_dice(self) -> np.ndarray:
        """`[seeds, weights]`: classes are averaged, then subjects; a class that is absent is left out."""
        return mean_defined(mean_defined(self.dice, -1), -1)

    def at(self, values: np.ndarray, weight: float) -> np.ndarray:
        """`values` `[seeds, weights, ...]` at one weight: `[seeds, ...]`."""
        return values[:, self.weight.tolist().index(weight)]

    @property
    def chosen_dice(self) -> np.ndarray:
        """`[seeds]`, at the weight that was chosen on validation."""
        return self.at(self.mean_dice, self.choice["weight"])

    def mean_loss(self, weights: Sequence[float]) -> np.ndarray:
        """`[seeds]`, mean over some weights. A run that went non-finite has none: it counts as no registration."""
        given = np.isin(self.weight[: self.loss.shape[1]], weights)
        return np.nan_to_num(self.loss[:, given].mean(1), nan=1.0, posinf=1.0)

    def worse(self, weights: Sequence[float]) -> int:
        """How many losses, over seeds and some weights, are above the identity's: worse than no registration."""
        return int(sum((self.at(self.loss, weight) > 1).sum() for weight in weights))

    def cost(self) -> float:
        """Seconds of one seed's training, with the compilation of its program."""
        return float(np.median(self.seconds)) + self.compile_seconds


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, ArmResult]]:
    """The config, the description of the data and the arms of a run folder that is complete.

    Raises:
      WorkdirError: the study is not finished there.
    """
    finished = Finished(folder)
    config, content, unit = finished.config, finished.choices, finished.unit
    identity, start = unit(identity_name(REPORT)), {"label": "identity", "weight": config["weights"][0]}
    arms = {"identity": _arm(config, "identity", start, identity, (0,), [[identity]], [])}
    seeds = tuple(report_seeds(config))
    for name, choice in content["arms"].items():
        if name == "pairwise":
            tuned = [unit(pairwise_name(TUNE, one["learning_rate"])) for one in choice["tuning"]]
            runs = [[unit(pairwise_name(REPORT, choice["learning_rate"]))]]
            arms[name] = _arm(config, name, choice, identity, (0,), runs, tuned)
            continue
        cells = cells_of(name, config)
        runs = [
            [unit(cell.unit_name(REPORT, chosen_setting(cell, choice, config), seed)) for cell in cells]
            for seed in seeds
        ]
        tuned = [
            unit(cell.unit_name(TUNE, setting, seed))
            for cell in cells
            for setting in settings_tried(cell, choice, config)
            for seed in range(config["tuning_seeds"])
        ]
        arms[name] = _arm(config, name, choice, identity, seeds, runs, tuned)
    return config, content["data"], arms


def results(config: dict[str, Any], arms: dict[str, ArmResult]) -> pd.DataFrame:
    """Tidy: one row for each arm, seed, regularisation weight and metric; costs are repeated at every weight."""
    rows = []
    for name, arm in arms.items():
        for s, seed in enumerate(arm.seeds):
            for w, weight in enumerate(arm.weight):
                values = {"dice": arm.mean_dice[s, w], "folding": arm.folding[s, w].mean()}
                if w < arm.loss.shape[1]:
                    values["relative_loss"] = arm.loss[s, w]
                if arm.endpoint_error is not None:
                    values["endpoint_error"] = arm.endpoint_error[s, w].mean()
                values |= {"train_steps": arm.steps, "train_seconds": arm.seconds[s]}
                values |= {"compile_seconds": arm.compile_seconds, "tuning_seconds": arm.tuning_seconds}
                common = {"arm": name, "seed": seed, "weight": round(float(weight), 6), "split": "test"}
                rows += [{**common, "metric": metric, "value": float(v)} for metric, v in values.items()]
    return pd.DataFrame(rows)


def per_subject(data: dict[str, Any], arms: dict[str, ArmResult]) -> pd.DataFrame:
    """One row for each arm, seed, weight, subject and class: the Dice behind every mean."""
    rows = []
    for name, arm in arms.items():
        for (s, w, i, c), dice in np.ndenumerate(arm.dice):
            common = {"arm": name, "seed": arm.seeds[s], "weight": round(float(arm.weight[w]), 6)}
            rows.append({**common, "subject": int(arm.subjects[i]), "class": data["classes"][c + 1], "dice": dice})
    return pd.DataFrame(rows)


def contrasts(config: dict[str, Any], arms: dict[str, ArmResult]) -> dict[str, dict[str, statistics.Contrast]]:
    """The contrasts that the config names, paired by seed, in two families: `{family: {contrast: Contrast}}`."""
    pairs = {name: [arms[arm] for arm in statistics.names_of(name)] for name in config["contrasts"]}
    families = (
        ("Dice at the chosen weight", "higher", lambda arm: arm.chosen_dice),
        ("loss over the identity's, mean over weights", "lower", lambda arm: arm.mean_loss(config["weights"])),
    )
    return {
        family: statistics.contrasts({name: tuple(map(value, pair)) for name, pair in pairs.items()}, better=better)
        for family, better, value in families
    }


def subject_gain(arm: ArmResult, other: ArmResult) -> np.ndarray:
    """`[subjects]`: mean over seeds of the Dice of an arm minus another's, each at the weight that it chose."""
    own, its = (mean_defined(a.at(a.dice, a.choice["weight"]), -1).mean(0) for a in (arm, other))
    return own - its


def _arm(
    config: dict[str, Any],
    name: str,
    choice: dict[str, Any],
    identity: Measurements,
    seeds: tuple[int, ...],
    runs: list[list[Measurements]],
    tuned: list[Measurements],
) -> ArmResult:
    """An arm from its units: `runs[seed]` is one unit, or one for each weight; `tuned` are those of its tuning."""

    def gathered(key: str) -> np.ndarray:
        return np.stack([np.concatenate([unit[key] for unit in units]) for units in runs])

    losses = [np.concatenate([relative_objective(unit, identity) for unit in units]) for units in runs]
    first = runs[0][0]
    examples = {key.removeprefix("example/") for key in first if key.startswith("example/")}
    both = {key: np.concatenate([unit[f"example/{key}"] for unit in runs[0]]) for key in examples & set(BY_WEIGHT)}
    both |= {key: first[f"example/{key}"] for key in examples - set(BY_WEIGHT)}
    return ArmResult(
        name=name,
        choice=choice,
        seeds=seeds,
        weight=np.concatenate([unit["weight"] for unit in runs[0]]),
        subjects=first["subject"],
        dice=gathered("dice"),
        folding=gathered("folding"),
        endpoint_error=gathered("endpoint_error") if "endpoint_error" in first else None,
        loss=np.stack(losses),
        seconds=np.array([sum(float(unit.get("seconds", 0)) for unit in units) for units in runs]),
        compile_seconds=float(first.get("compile_seconds", 0.0)),
        steps=sum(len(unit.get("loss", ())) for unit in runs[0]) * config["steps_per_call"],
        tuning_seconds=sum(float(unit["seconds"]) for unit in tuned),
        failed=sum(not bool(unit.get("finite", True)) for units in runs for unit in units),
        example=both,
    )


def hypermorphs(arms: dict[str, ArmResult]) -> list[ArmResult]:
    """The arms that are one network for all weights."""
    return [arm for name, arm in arms.items() if name in ARMS and ARMS[name].hypernetwork]
