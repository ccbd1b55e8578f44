"""What the rescaling study measured, read from its run folder: networks on fresh seeds, costs, contrasts."""

import dataclasses
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
import pandas as pd

from hyperlab import pareto
from hyperlab.metrics import statistics
from hyperlab.metrics.defined import mean_defined, mean_dice
from hyperlab.report.finished import Finished
from hyperlab.studies.rescaling.arms import ARMS, CASES, Cell, cells_of, inference_name, widths_of
from hyperlab.train.phases import REPORT, report_seeds
from hyperlab.train.units import Measurements

DIRECTIONS = {"dice": "max", "macs": "min"}
MEANS, DIFFERENCES = (0.0, 1.0), (-1.0, 1.0)  # what a mean of Dice can be, and what a difference of two


@dataclasses.dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes:
      config: as it ran.
      choices: what tuning chose, by arm.
      runs: `{arm: {cell: [measurements of each seed]}}`.
      inference: `{width: costs of the primary, one row a factor, which is its index}`.
      training: `{arm: {cell: what training one such network costs}}`.
      notes: what was done to the data, in sentences.
      classes: names of the foreground classes.
      cases: names of the test images; none in a run that kept no names.
    """

    config: Any
    choices: dict[str, Any]
    runs: dict[str, dict[Cell, list[Measurements]]]
    inference: dict[float, pd.DataFrame]
    training: dict[str, dict[Cell, dict[str, float]]]
    notes: list[str]
    classes: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()

    @property
    def reference(self) -> float:
        """The largest compared factor."""
        return max(self.config.factors)

    def label(self, arm: str) -> str:
        """What the report calls an arm."""
        return self.choices[arm]["label"]

    def macs(self, factor: float, width: float = 1.0) -> float:
        """Multiply-accumulates of the primary on one image."""
        return float(self.inference[width].loc[factor, "macs"])

    def scores(self, arm: str, factor: float, split: str = "test") -> np.ndarray:
        """Dice of each seed at a factor: mean over subjects, then classes."""
        for cell, seeds in self.runs[arm].items():
            points = points_of(cell, seeds[0])
            if (factor, 1.0) in points:
                return np.array([mean_dice(one[f"{split}/dice"][points.index((factor, 1.0))]) for one in seeds])
        return np.array([])

    def compared(self, arm: str) -> np.ndarray:
        """`[seeds]`, test Dice, mean over the compared factors."""
        return np.mean([self.scores(arm, factor) for factor in self.config.factors], 0)

    def curve(self, arm: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps, and `[seeds, steps]` validation Dice along training: mean over an arm's networks."""
        cells = list(self.runs[arm].values())
        return cells[0][0]["curve/step"], np.mean([[one["curve/dice"] for one in seeds] for seeds in cells], 0)

    def train_seconds(self, arm: str) -> float:
        """Seconds of training the most expensive network of an arm, compilation counted."""
        return max(cost["train_seconds"] for cost in self.training[arm].values())

    def seconds_at(self, arm: str, steps: np.ndarray) -> np.ndarray:
        """Seconds of training after so many steps, the most expensive of an arm's networks."""
        cost = max(self.training[arm].values(), key=lambda cost: cost["train_seconds"])
        return cost["compile_seconds"] + np.asarray(steps) * cost["step_seconds"]


def points_of(cell: Cell, measured: Measurements) -> list[tuple[float, float]]:
    """Factor and width of everything that a network was measured at; before there were slimmable ones, of its own."""
    factors = measured["factors"].tolist()
    widths = measured["widths"].tolist() if "widths" in measured else [cell.width] * len(factors)
    return list(zip(factors, widths, strict=True))


def read(folder: Path) -> Study:
    """A finished study.

    Raises:
      WorkdirError: it is not finished there.
    """
    finished = Finished(folder)
    config, choices, known = ml_collections.ConfigDict(finished.config), finished.choices, finished.unit
    runs, training, widths = {}, {}, {1.0}
    seeds = report_seeds(config)
    for arm in config.arms:
        rate = choices[arm]["learning_rate"]
        cells = cells_of(arm, config)
        runs[arm] = {cell: [known(cell.unit_name(REPORT, rate, seed)) for seed in seeds] for cell in cells}
        costs = {cell: known(cell.cost_name) for cell in cells}
        training[arm] = {cell: {key: float(value) for key, value in cost.items()} for cell, cost in costs.items()}
        widths |= {width for cell in cells for width in widths_of(cell, config)}
    tables = {width: pd.DataFrame(known(inference_name(width))) for width in widths}
    inference = {width: table.set_index("rescaling_factor") for width, table in tables.items()}
    names = finished.unit_if_there(CASES) or {"names": np.array([]), "classes": np.array([])}
    classes, cases = (tuple(map(str, names[key])) for key in ("classes", "names"))
    return Study(config, choices, runs, inference, training, finished.notes, classes[1:], cases)


def optimizer_name(config: Any) -> str:
    """The optimizer of a config, whose `optimizer` is a name, or a group with a name in it."""
    return config.optimizer if isinstance(config.optimizer, str) else config.optimizer["name"]


def rate_is_constant(config: Any) -> bool:
    """Whether the learning rate stays what it is along a training: a point of its curve is a shorter training then."""
    if isinstance(config.optimizer, str):
        return True
    return config.optimizer.get("schedule", "constant") in ("constant", "none", "", None)


def test_dice(cell: Cell, measured: Measurements, factor: float, width: float) -> dict[str, Any] | None:
    """Test Dice of one network at a point: mean over subjects of each one's mean over classes, bootstrap interval.

    Returns:
      `estimate`, `low`, `high` (None under ten subjects, where an interval would be too short), `subjects`; None where
      the study did not measure the point, or no subject has a value.
    """
    points = points_of(cell, measured)
    if (factor, width) not in points:
        return None
    subjects = mean_defined(measured["test/dice"][points.index((factor, width))], -1)
    return pareto.told_of_cases(subjects)


def results(study: Study) -> pd.DataFrame:
    """Tidy: one row for each arm, network, seed, split, factor and class; `dice` is the mean over subjects."""
    rows = []
    for arm, cells in study.runs.items():
        for cell, seeds in cells.items():
            for one in seeds:
                for split in ("validation", "test"):
                    for place, (factor, width) in enumerate(points_of(cell, one)):
                        dice = one[f"{split}/dice"][place]
                        common = {
                            "arm": arm,
                            "trained_at": "prior" if cell.factor is None else cell.factor,
                            "width": width,
                            "learning_rate": float(one["learning_rate"]),
                            "seed": int(one["seed"]),
                            "split": split,
                            "rescaling_factor": factor,
                            "macs": study.macs(factor, width),
                            "train_seconds": study.training[arm][cell]["train_seconds"],
                            "subjects": len(dice),
                        }
                        values = {"mean": mean_dice(dice)}
                        values |= {f"class_{k + 1}": mean_dice(dice[:, k : k + 1]) for k in range(dice.shape[1])}
                        rows += [{**common, "class": name, "dice": value} for name, value in values.items()]
    return pd.DataFrame(rows)


def points(study: Study) -> pd.DataFrame:
    """One row for each arm, network and factor: test Dice over seeds, cost, and whether the point is on the front."""
    table = results(study)
    table = table[(table["split"] == "test") & (table["class"] == "mean")]
    keys = ["arm", "trained_at", "width", "rescaling_factor", "macs", "train_seconds"]
    grouped = table.groupby(keys, sort=False)["dice"]
    frame = grouped.agg(dice="mean", low="min", high="max", seeds="size").reset_index()
    frame["relative_macs"] = frame["macs"] / study.macs(study.reference)
    frame["on_front"] = pareto.front(frame, DIRECTIONS)
    return frame


def contrasts(study: Study) -> dict[str, dict[str, statistics.Contrast]]:
    """The contrasts that the config names, on test Dice, mean over the compared factors; paired by seed."""
    pairs = {}
    for name in study.config.contrasts:
        first, second = statistics.names_of(name)
        pairs[name] = (study.compared(first), study.compared(second))
    return {f"{optimizer_name(study.config)}/Dice": statistics.contrasts(pairs, bounds=DIFFERENCES)}


def by_factor(study: Study, first: str, second: str) -> pd.DataFrame:
    """First less second at every compared factor, with intervals that hold together (Bonferroni over factors).

    `non_inferior` is said where the whole interval is above minus the margin, `superior` where it is above 0,
    `inferior` where it is below; a smaller number of seeds than five makes no claim.
    """
    rows, factors = [], list(study.config.factors)
    for factor in factors:
        a, b = study.scores(first, factor), study.scores(second, factor)
        c = statistics.paired_contrast(a, b, confidence=1 - 0.05 / len(factors), bounds=DIFFERENCES)
        rows.append(
            {
                "rescaling_factor": factor,
                "first": float(a.mean()),
                "second": float(b.mean()),
                "difference": c.mean,
                "low": c.low,
                "high": c.high,
                "non_inferior": c.low > -study.config.margin,
                "superior": c.low > 0,
                "inferior": c.high < 0,
                "clipped": c.clipped,
                "seeds": c.n,
            }
        )
    return pd.DataFrame(rows)


def equal_seconds(study: Study) -> pd.DataFrame:
    """Validation Dice of every arm at equal steps, and at the seconds after which the cheapest arm is done.

    While the learning rate is constant, a point along a run is a shorter run; see `rate_is_constant`.
    """
    arms = [arm for arm in study.config.arms if not ARMS[arm].by_width]
    budget = min(study.train_seconds(arm) for arm in arms)
    shortest = min(study.curve(arm)[0][-1] for arm in arms)
    rows = []
    for arm in arms:
        steps, dice = study.curve(arm)
        within = np.flatnonzero(study.seconds_at(arm, steps) <= budget * (1 + 1e-9))
        equal = np.flatnonzero(steps <= shortest)[-1]
        last = within[-1] if len(within) else 0
        rows.append(
            {
                "arm": study.label(arm),
                "steps": int(steps[equal]),
                "Dice at equal steps": float(dice[:, equal].mean()),
                "seconds": budget,
                "steps within them": int(steps[last]),
                "Dice at equal seconds": float(dice[:, last].mean()),
            }
        )
    return pd.DataFrame(rows)
