"""What the local SGD study measured, read from its run folder: scores, communication, drift, predicted time."""

import dataclasses
from pathlib import Path
from typing import Any, cast

import ml_collections
import numpy as np
import pandas as pd

from hyperlab import local_sgd
from hyperlab.metrics import statistics
from hyperlab.report.finished import Finished
from hyperlab.studies.local_sgd.arms import Cell, find
from hyperlab.train.phases import REPORT, report_seeds
from hyperlab.train.units import Measurements

DRIFT = ("distance_mean", "distance_max", "cosine")


@dataclasses.dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes:
      config: as it ran.
      task: the contents of `task.json`.
      choices: what tuning chose, by the name of the cell.
      runs: `{cell: [measurements of each seed]}`.
    """

    config: Any
    task: dict[str, Any]
    choices: dict[str, Any]
    runs: dict[Cell, list[Measurements]]

    @property
    def metric(self) -> str:
        """What the score is called."""
        return self.task["score"]

    @property
    def arms(self) -> list[str]:
        """In the order of the config."""
        return list(dict.fromkeys(cell.arm for cell in self.runs))

    @property
    def largest(self) -> tuple[int, int]:
        """The H and the number of replicas at which arms are compared."""
        return max(self.config.periods), max(self.config.replicas)

    def label(self, arm: str) -> str:
        """What the report calls an arm."""
        return find(arm).label

    def cell(self, arm: str, period: int, replicas: int) -> Cell | None:
        """The cell of an arm at an H; of synchronous training, which has no H, its only one. None if it was not run."""
        wanted = Cell(arm, period if find(arm).has_period else 1, replicas)
        return wanted if wanted in self.runs else None

    def of(self, arm: str, replicas: int) -> list[Cell]:
        """The cells of an arm, by H."""
        return sorted(c for c in self.runs if c.arm == arm and c.replicas == replicas)

    def score(self, cell: Cell, part: str = "test") -> np.ndarray:
        """`[seeds]`: the mean over examples after the last step."""
        return np.array([one[f"{part}/{self.metric}"].mean() for one in self.runs[cell]])

    def sent(self, cell: Cell) -> dict[str, Any]:
        """What a cell sends, and the predicted seconds of its steps."""
        return self.task["cells"][cell.name]

    @property
    def failed(self) -> dict[Cell, int]:
        """How many of a cell's reported trainings ended with parameters that are not finite; where any did."""
        counts = {cell: sum(not one["finite"] for one in seeds) for cell, seeds in self.runs.items()}
        return {cell: count for cell, count in counts.items() if count}

    def drift(self, cell: Cell, name: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Steps `[points]` and a measure `[seeds, points]` at round ends; None where replicas are always the same."""
        if f"drift/{name}" not in self.runs[cell][0]:
            return None
        return self.runs[cell][0]["drift/step"], np.stack([one[f"drift/{name}"] for one in self.runs[cell]])

    def steps_to_target(self, cell: Cell) -> np.ndarray:
        """`[seeds]`: the first evaluated step at which the validation score reaches the target; NaN where none does."""
        found = []
        for one in self.runs[cell]:
            reached = one["curve/step"][one["curve/score"] >= self.config.target]
            found.append(float(reached[0]) if len(reached) else np.nan)
        return np.array(found)


def read(folder: Path) -> Study:
    """A finished study.

    Raises:
      WorkdirError: it is not finished there.
    """
    finished = Finished(folder)
    config = ml_collections.ConfigDict(finished.config)
    seeds = report_seeds(config)
    runs = {}
    for choice in finished.choices.values():
        cell = Cell(choice["arm"], choice["period"], choice["replicas"])
        runs[cell] = [finished.unit(cell.unit_name(REPORT, choice["trial"], seed)) for seed in seeds]
    task = finished.json("task.json")
    return Study(config, task, finished.choices, runs)


def results(study: Study) -> pd.DataFrame:
    """Tidy: one row for each arm, H, number of replicas, seed, split and metric; communication in every row."""
    rows = []
    for cell, seeds in study.runs.items():
        sent, choice = study.sent(cell), study.choices[cell.name]
        for one in seeds:
            common = {
                "arm": cell.arm,
                "period": cell.period,
                "replicas": cell.replicas,
                "data": study.task["data"],
                "architecture": study.task["architecture"],
                "partition": study.config.data.partition.kind,
                "seed": int(one["seed"]),
                "finite": bool(one["finite"]),
                **{key: sent[key] for key in ("local_batch", "global_batch", "steps", "examples")},
                **{key: sent[key] for key in ("rounds", "group_rounds", "bytes_sent", "bytes_per_step", "peak_bytes")},
                "share_of_synchronous_bytes": sent["share"],
                **{f"predicted_seconds/{link}": s * sent["steps"] for link, s in sent["step_seconds"].items()},
                "learning_rate": float(one["number/rate"]),
                "outer_rate": choice["outer_rate"],
                "outer_momentum": choice["outer_momentum"],
                "beta": choice["numbers"].get("beta"),
                **{name: float(one[f"drift/{name}"][-1]) for name in DRIFT if f"drift/{name}" in one},
            }
            for key, values in one.items():
                part, _, metric = key.partition("/")
                if part in ("validation", "test"):
                    rows.append({**common, "split": part, "metric": metric, "value": values.mean(), "n": len(values)})
    return pd.DataFrame(rows)


def contrasts(study: Study) -> dict[str, dict[str, statistics.Contrast]]:
    """The contrasts that the config names, paired by seed, at the largest H and number of replicas.

    Two families, each corrected by itself: the contrasts, and the parts of the gap between local and synchronous.
    """
    period, replicas = study.largest
    found = {}
    for family, names in (("arms", study.config.contrasts), ("parts of the gap", study.config.parts)):
        pairs = {}
        for name in names:
            first, second = (cast("Cell", study.cell(arm, period, replicas)) for arm in statistics.names_of(name))
            pairs[name] = (study.score(first), study.score(second))
        if pairs:
            found[f"{family}/{study.metric}"] = statistics.contrasts(pairs)
    return found


def gaps(study: Study) -> pd.DataFrame:
    """Every arm's distance from synchronous training with as many replicas, paired by seed: a description."""
    rows = []
    for cell in study.runs:
        synchronous = study.cell("synchronous", 1, cell.replicas)
        if synchronous is None or cell == synchronous:
            continue
        difference = study.score(cell) - study.score(synchronous)
        spread = difference.std(ddof=1) if len(difference) > 1 else float("nan")
        batch = study.sent(cell)["global_batch"]
        rows.append((cell.arm, cell.period, cell.replicas, batch, difference.mean(), spread))
    return pd.DataFrame(rows, columns=["arm", "period", "replicas", "global_batch", "gap", "sd"])


def predictions(study: Study) -> pd.DataFrame:
    """Predicted seconds of a step for 2 to 1024 replicas; no accuracy, which is known only where it was trained.

    Where `arm` is empty, all that is sent is float32: the same for every arm with that H. `speedup` is over synchronous
    steps of as many replicas that send float32.
    """
    links = {name: local_sgd.Link(*link) for name, link in study.task["links"].items()}
    payload = 4 * study.task["parameters"]
    rows = local_sgd.cost_model.table(
        study.task["compute_seconds"], payload, tuple(sorted({1, *study.config.periods})), links=links
    )
    table = pd.DataFrame(rows).assign(arm="", sent_as="float32")
    compressed = pd.DataFrame(study.task.get("predicted", []))
    if compressed.empty:
        return table
    synchronous = table[table["period"] == 1].set_index(["replicas", "link"])["seconds"]
    at = pd.MultiIndex.from_frame(compressed[["replicas", "link"]])
    compressed["speedup"] = synchronous.loc[at].to_numpy() / compressed["seconds"]
    return pd.concat([table, compressed], ignore_index=True)
