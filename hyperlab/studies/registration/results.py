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
from hyperlab.studies.registration import ARMS
from hyperlab.train.phases import REPORT, TUNE, report_seeds

BY_WEIGHT = ("moved", "moved_labels", "displacement")  # the parts of an example that there are for each weight
FAMILIES = {"Dice at the chosen weight": "higher", "loss over the identity's, mean over weights": "lower"}


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
        return values[:, int(np.argmin(np.abs(self.weight - weight)))]

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
    folder = Path(folder)
    finished = Finished(folder)
    config, content, unit = finished.config, finished.choices, finished.unit
    identity = unit(f"identity/{REPORT}")
    seeds = report_seeds(config)
    arms = {"identity": _arm(folder, config, "identity", {"label": "identity"}, identity, (0,), [[identity]])}
    for name, choice in content["arms"].items():
        if name == "pairwise":
            runs, its_seeds = [[unit(f"pairwise/{REPORT}")]], (0,)
        elif ARMS[name].hypernetwork:
            runs, its_seeds = [[unit(f"{name}/{REPORT}/{seed}")] for seed in seeds], tuple(seeds)
        else:
            runs = [[unit(f"{name}/{w:g}/{REPORT}/{seed}") for w in config["weights"]] for seed in seeds]
            its_seeds = tuple(seeds)
        arms[name] = _arm(folder, config, name, choice, identity, its_seeds, runs)
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

    def value(arm: ArmResult, family: str) -> np.ndarray:
        if family.startswith("Dice"):
            return arm.at(arm.mean_dice, arm.choice["weight"])
        shared = np.isclose(arm.weight[:, None], config["weights"]).any(1)[: arm.loss.shape[1]]
        # A run that went non-finite has no loss: it counts as no registration, and is counted apart.
        return np.nan_to_num(arm.loss[:, shared].mean(1), nan=1.0, posinf=1.0)

    return {
        family: statistics.contrasts(
            {name: tuple(value(arms[arm], family) for arm in name.split(" - ")) for name in config["contrasts"]},
            better=better,
        )
        for family, better in FAMILIES.items()
    }


def contrast_rows(compared: dict[str, dict[str, statistics.Contrast]]) -> pd.DataFrame:
    """One row for each family and contrast."""
    return pd.DataFrame(
        {"metric": family, "contrast": name}
        | {key: getattr(c, key) for key in ("mean", "low", "high", "p", "n", "verdict", "label")}
        for family, named in compared.items()
        for name, c in named.items()
    )


def subject_gain(arm: ArmResult, other: ArmResult) -> np.ndarray:
    """`[subjects]`: mean over seeds of the Dice of an arm minus another's, each at the weight that it chose."""
    own, its = (mean_defined(a.at(a.dice, a.choice.get("weight", 0.0)), -1).mean(0) for a in (arm, other))
    return own - its


def _arm(folder, config, name, choice, identity, seeds, runs) -> ArmResult:
    """An arm from its units: `runs[seed]` is one unit, or one for each weight."""

    def gathered(key: str) -> np.ndarray:
        return np.stack([np.concatenate([unit[key] for unit in units]) for units in runs])

    losses = [np.concatenate([relative_objective(unit, identity) for unit in units]) for units in runs]
    first = runs[0][0]
    examples = {key.removeprefix("example/") for key in first if key.startswith("example/")}
    both = {key: np.concatenate([unit[f"example/{key}"] for unit in runs[0]]) for key in examples & set(BY_WEIGHT)}
    both |= {key: first[f"example/{key}"] for key in examples - set(BY_WEIGHT)}
    # "mip--tune--..." but not "mip_long--...": a unit's name begins with that of its arm.
    tuned = [np.load(path) for path in (folder / "units").glob(f"{name}--*.npz") if f"--{TUNE}--" in path.name]
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
