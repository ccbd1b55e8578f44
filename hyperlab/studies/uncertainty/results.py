"""What the uncertainty study measured, read from its run folder: scores of masks, of probabilities and of maps."""

import dataclasses
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
import pandas as pd

from hyperlab.metrics import statistics
from hyperlab.metrics.defined import mean_defined
from hyperlab.report.finished import Finished
from hyperlab.studies.uncertainty import choosing
from hyperlab.studies.uncertainty.arms import cells_of, compared, find, on_fewer
from hyperlab.studies.uncertainty.cells import (
    BASELINES,
    BASELINES_UNIT,
    IMAGES_UNIT,
    TEST,
    Cell,
    evaluated,
    untrained_name,
)
from hyperlab.train.phases import REPORT, report_seeds
from hyperlab.train.units import Measurements

NAMES = {  # what contrasts may be of; higher is better
    "dice": "Dice",
    "error_detection": "AUROC of pixel errors in the band",
    "independence": "1 - mean |correlation| of feature maps",
    "likelihood": "log likelihood a pixel (nats)",
}


@dataclasses.dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes:
      config: as it ran.
      data: the contents of `data.json`.
      choices: what tuning chose, by arm.
      runs: `{cell: [measurements of each seed]}`.
      baselines: see `baselines.measure`.
      untrained: probes of networks before their first step, by seed.
      images: the first test images and their labels, as `shown/images` and `shown/labels`.
      costs: of every arm, see `costs.measure`; those of runs before there were any are not there.
    """

    config: Any
    data: dict[str, Any]
    choices: dict[str, Any]
    runs: dict[Cell, list[Measurements]]
    baselines: Measurements
    untrained: list[Measurements]
    images: Measurements
    costs: dict[str, Measurements]

    @property
    def arms(self) -> list[str]:
        """In the order of the config."""
        return list(self.config.arms)

    @property
    def several(self) -> list[str]:
        """Arms that answer with several draws or networks, so that they have maps beside the entropy of one pass."""
        return [arm for arm in self.arms if find(arm).several]

    def label(self, arm: str) -> str:
        """What the report calls an arm or a baseline."""
        return BASELINES.get(arm) or find(arm).label

    def chosen(self, arm: str, share: float = 1.0) -> Cell:
        """An arm at the dropout rate that validation chose."""
        return choosing.best(self.choices, arm, share)

    def curve(self, arm: str) -> list[Cell]:
        """An arm at all its dropout rates."""
        return sorted(cells_of(arm, self.config))

    def final(self, arm: str) -> str:
        """The answer that stands for an arm."""
        return find(arm).answers(self.config)[-1]

    def map(self, arm: str) -> str:
        """The map that stands for an arm: one pass has no other than its entropy."""
        return self.config.judging["map"] if find(arm).several else "total"

    def each(self, cell: Cell, part: str, measure: str, answer: str = "") -> np.ndarray:
        """A measure of every seed, `[seeds, ...]`."""
        answer = answer or self.final(cell.arm)
        return np.stack([one[f"{part}/{answer}/{measure}"] for one in self.runs[cell]])

    def value(self, cell: Cell, part: str, measure: str, answer: str = "") -> np.ndarray:
        """A measure of every seed, `[seeds]`; of what every image has, the mean of where it is defined."""
        values = self.each(cell, part, measure, answer)
        return mean_defined(values.reshape(len(values), -1))

    def metric(self, cell: Cell, name: str) -> np.ndarray:
        """What contrasts are of, `[seeds]`; see `NAMES`. What is undefined counts as uninformative."""
        if name == "dice":
            return np.nan_to_num(self.value(cell, TEST, "dice"))
        if name == "likelihood":
            return -self.value(cell, TEST, "nll")
        if name == "error_detection":
            return np.nan_to_num(self.value(cell, TEST, f"auroc/band/{self.map(cell.arm)}"), nan=0.5)
        return np.nan_to_num(1 - self.correlation(cell))

    def has(self, arm: str, measure: str) -> bool:
        """Whether something was measured of an arm at its chosen dropout rate."""
        return measure in self.runs[self.chosen(arm)][0]

    def correlation(self, cell: Cell) -> np.ndarray:
        """Mean |R| between feature maps, over blocks, foreground and background: `[seeds]`."""
        keys = [f"probe/{region}/mean_absolute" for region in ("foreground", "background")]
        return mean_defined(np.array([[one.get(key, np.nan) for key in keys] for one in self.runs[cell]]))


def read(folder: Path) -> Study:
    """A finished study.

    Raises:
      WorkdirError: it is not finished.
    """
    finished = Finished(folder)
    config, choices = ml_collections.FrozenConfigDict(finished.config), finished.choices
    seeds, runs = report_seeds(config), {}
    for arm in choices:
        best = choosing.best(choices, arm)
        for cell in [*cells_of(arm, config), *on_fewer(arm, best.dropout_rate, config)]:
            rate = choosing.at(choices, cell)["learning_rate"]
            runs[cell] = [finished.unit(cell.unit_name(REPORT, rate, seed)) for seed in seeds]
    costs = {arm: finished.unit_if_there(choosing.best(choices, arm).cost_name) for arm in choices}
    return Study(
        config,
        finished.json("data.json"),
        choices,
        runs,
        finished.unit(BASELINES_UNIT),
        [finished.unit(untrained_name(seed)) for seed in seeds],
        finished.unit(IMAGES_UNIT),
        {arm: cost for arm, cost in costs.items() if cost is not None},
    )


def results(study: Study) -> pd.DataFrame:
    """One row for each arm, dropout rate, share of the training images, seed, part, answer and metric.

    A part is what answers are scored on; `n` is over how many images a value is the mean, 0 where it is of all pixels,
    objects or images together.
    """
    rows = []
    for cell, runs in study.runs.items():
        for one in runs:
            where = {"arm": cell.arm, "dropout_rate": cell.dropout_rate, "train_share": cell.share}
            where |= {"seed": int(one["seed"]), "learning_rate": float(one["learning_rate"])}
            rows += _rows(study, where, one, find(cell.arm).answers(study.config))
            for name, values in _under("probe/", one).items():
                value = float(mean_defined(np.ravel(values).astype(float)))
                rows.append({**where, "part": "probe", "answer": "pass", "metric": name, "value": value, "n": 0})
    for baseline in BASELINES:
        measured = _under(f"{baseline}/", study.baselines)
        rows += _rows(study, {"arm": baseline, "train_share": 1.0}, measured, ["pass"])
    return pd.DataFrame(rows)


def _rows(study: Study, where: dict[str, Any], measured: Measurements, answers: list[str]) -> list[dict[str, Any]]:
    rows = []
    for part in evaluated(study.config.data):
        for answer in answers:
            for name, values in _under(f"{part}/{answer}/", measured).items():
                if name.startswith("reliability/"):  # a diagram, for a figure
                    continue
                values = np.ravel(values).astype(float)
                n = int((~np.isnan(values)).sum()) if values.size > 1 else 0
                value = float(mean_defined(values))
                rows.append({**where, "part": part, "answer": answer, "metric": name, "value": value, "n": n})
    return rows


def _under(prefix: str, measured: Measurements) -> Measurements:
    """What is measured under a prefix, without it."""
    return {key[len(prefix) :]: values for key, values in measured.items() if key.startswith(prefix)}


def contrasts(study: Study) -> dict[str, dict[str, statistics.Contrast]]:
    """The contrasts that the config names, in one family: paired by seed, Holm's correction over all of them."""
    pairs = {}
    for contrast in study.config.contrasts:
        metric, first, second = compared(contrast)
        pairs[contrast] = (study.metric(study.chosen(first), metric), study.metric(study.chosen(second), metric))
    result: dict[str, dict[str, statistics.Contrast]] = {}
    for contrast, one in statistics.contrasts(pairs).items():
        metric, first, second = compared(contrast)
        result.setdefault(f"{metric}/test split", {})[f"{first} - {second}"] = one
    return result
