"""What the pruning study measured, read from its run folder: scores and sizes on fresh seeds, tables, contrasts."""

import dataclasses
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
import pandas as pd

from hyperlab.metrics import statistics
from hyperlab.report.finished import Finished
from hyperlab.studies.pruning.arms import DENSE, PARENT, UNPRUNED, cells_of, find, unpruned_name
from hyperlab.train.phases import REPORT, report_seeds
from hyperlab.train.units import Measurements

GRID = 33  # speedups at which two methods are compared
AXES = ("compression", "speedup")
STAGES = {"": "last", "pruned": "pruned", "selected": "selected"}  # prefix of measurements -> column


@dataclasses.dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes:
      config: as it ran.
      task: the contents of `task.json`.
      choices: what tuning chose, of the parent and of every method.
      runs: `{method: {compression: [measurements of each seed]}}`; what nothing is pruned of is at 1.
      unpruned: the parents as they are, one a seed.
    """

    config: Any
    task: dict[str, Any]
    choices: dict[str, Any]
    runs: dict[str, dict[float, list[Measurements]]]
    unpruned: list[Measurements]

    @property
    def metric(self) -> str:
        """What the score is called."""
        return self.task["score"]

    @property
    def methods(self) -> list[str]:
        """All that prune, controls included."""
        return [name for name in self.runs if name not in UNPRUNED]

    @property
    def tracks(self) -> list[str]:
        """The tracks that the study has, by what is pruned: a `trained` network or an `initial` one."""
        return list(dict.fromkeys(find(name).parent for name in self.methods))

    def of_track(self, track: str) -> list[str]:
        """The methods of a track."""
        return [name for name in self.methods if find(name).parent == track]

    def label(self, name: str) -> str:
        """What the report calls a method."""
        return self.choices[name]["label"]

    def compressions(self, name: str) -> list[float]:
        """Those that a method was measured at, in order."""
        return sorted(self.runs[name])

    def score(self, name: str, compression: float, *, stage: str = "", part: str = "test") -> np.ndarray:
        """`[seeds]`: the mean over examples, after the last step unless another stage is named."""
        key = "/".join(filter(None, (stage, part, self.metric)))
        return np.array([one[key].mean() for one in self.runs[name][compression]])

    def at_one(self, name: str) -> np.ndarray:
        """`[seeds]`: the point at compression 1 of a method's curve: the parent, or training without pruning."""
        if find(name).parent == "trained":
            return self.parent_score
        return self.score(DENSE["initial"], 1.0)

    @property
    def parent_score(self) -> np.ndarray:
        """`[seeds]`: test score of the parents as they are."""
        return np.array([one[f"test/{self.metric}"].mean() for one in self.unpruned])

    def size(self, name: str, compression: float, field: str) -> np.ndarray:
        """`[seeds]`: a field of `metrics.compression.Compression.row`."""
        return np.array([float(one[f"size/{field}"]) for one in self.runs[name][compression]])

    def curve(self, name: str, axis: str) -> tuple[np.ndarray, np.ndarray]:
        """`[points]`, mean reached compression or theoretical speedup, and `[seeds, points]` test scores, from 1 on."""
        field = {"compression": "compression_ratio", "speedup": "theoretical_speedup"}[axis]
        points = self.compressions(name)
        x = np.array([1.0, *(self.size(name, one, field).mean() for one in points)])
        return x, np.stack([self.at_one(name), *(self.score(name, one) for one in points)], 1)

    def compared(self, name: str) -> np.ndarray:
        """`[seeds]`: test score, mean over the compared compressions."""
        return np.mean([self.score(name, one) for one in self.config.compared], 0)


def read(folder: Path) -> Study:
    """A finished study.

    Raises:
      WorkdirError: it is not finished there.
    """
    finished = Finished(folder)
    config, choices = ml_collections.ConfigDict(finished.config), finished.choices
    seeds = report_seeds(config)
    runs = {}
    for name, choice in choices.items():
        if name == PARENT:
            continue
        rate = choice["learning_rate"]
        runs[name] = {
            float(cell.compression): [finished.unit(cell.unit_name(REPORT, rate, seed)) for seed in seeds]
            for cell in cells_of(name, config)
        }
    unpruned = [finished.unit(unpruned_name(seed)) for seed in seeds]
    task = finished.json("task.json")
    return Study(config, task, choices, runs, unpruned)


def results(study: Study) -> pd.DataFrame:
    """Tidy: one row for each method, compression, seed, split, stage and metric.

    `stage` is `pruned` (before training on), `last` (after it) or `selected` (where validation was best).
    """
    rows = []
    for name, points in study.runs.items():
        for compression, seeds in points.items():
            for one in seeds:
                sizes = {key.removeprefix("size/"): v.item() for key, v in one.items() if key.startswith("size/")}
                common = {
                    "arm": name,
                    "track": find(name).track,
                    "data": study.task["data"],
                    "architecture": study.task["architecture"],
                    "compression": compression,
                    "seed": int(one["seed"]),
                    "learning_rate": float(one["learning_rate"]),
                    "examples_seen": study.task["examples_seen"],
                    "parent": str(one["parent"]),
                    "masks": str(one["mask"]),
                    "collapsed": int(one["collapsed"]),
                    **sizes,
                }
                rows += [{**common, **row} for row in _measured(one)]
    for one in study.unpruned:
        common = {"arm": PARENT, "data": study.task["data"], "architecture": study.task["architecture"]}
        common |= {"compression": 1.0, "seed": int(one["seed"]), "parent": str(one["parent"])}
        rows += [{**common, **row} for row in _measured(one)]
    return pd.DataFrame(rows)


def _measured(one: Measurements) -> list[dict[str, Any]]:
    rows = []
    for key, values in one.items():
        *stage, part, metric = ("", *key.split("/"))[-3:]
        if part in ("validation", "test") and key.count("/") <= 2:
            name = STAGES.get("".join(stage))
            if name:
                rows.append({"split": part, "stage": name, "metric": metric, "value": values.mean(), "n": len(values)})
    return rows


def contrasts(study: Study) -> dict[str, dict[str, statistics.Contrast]]:
    """The contrasts that the config names, paired by seed: `{axis/metric: {contrast: Contrast}}`.

    At equal compression, means over the compared compressions; at equal speedup, over speedups that both reach.
    """
    found = {}
    pairs = {}
    for name in study.config.contrasts:
        first, second = statistics.names_of(name)
        pairs[name] = (study.compared(first), study.compared(second))
    if pairs:
        found[f"equal compression/{study.metric}"] = statistics.contrasts(pairs)
    reached = {name: at_equal_speedup(study, *statistics.names_of(name)) for name in study.config.speedup_contrasts}
    pairs = {name: pair for name, pair in reached.items() if pair is not None}
    if pairs:
        found[f"equal speedup/{study.metric}"] = statistics.contrasts(pairs)
    return found


def speedups(study: Study, first: str, second: str) -> tuple[float, float] | None:
    """The range of theoretical speedups that two methods both reach when they prune; None if there is none."""
    curves = [study.curve(name, "speedup")[0][1:] for name in (first, second)]
    low, high = max(x.min() for x in curves), min(x.max() for x in curves)
    return (float(low), float(high)) if low < high else None


def at_equal_speedup(study: Study, first: str, second: str) -> tuple[np.ndarray, np.ndarray] | None:
    """`[seeds]` of each method: the mean score over a range of speedups, linear in the logarithm of the speedup.

    Nothing is extrapolated; None where the ranges do not meet.
    """
    reached = speedups(study, first, second)
    if reached is None:
        return None
    low, high = np.log2(reached)
    grid = np.linspace(low, high, GRID)
    values = []
    for name in (first, second):
        x, scores = study.curve(name, "speedup")
        order = np.argsort(x, kind="stable")
        values.append(np.array([np.interp(grid, np.log2(x[order]), row[order]).mean() for row in scores]))
    return values[0], values[1]


def middle(study: Study) -> float:
    """The compression that figures and tables show where they show one."""
    compared = sorted(study.config.compared)
    return compared[len(compared) // 2]


def free(study: Study, name: str, loss: float) -> float:
    """The largest compression up to which a method loses at most so much of the parent's score, mean over seeds.

    1 where even the smallest compression costs more.
    """
    best = 1.0
    for compression in study.compressions(name):
        if (study.at_one(name) - study.score(name, compression)).mean() > loss:
            break
        best = compression
    return best
