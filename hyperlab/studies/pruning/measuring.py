"""What is measured of the networks of the study: along a training, after it, and of several networks as one."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from hyperlab.data.splits import fingerprint
from hyperlab.tasks import Task
from hyperlab.train.state import TrainState
from hyperlab.train.units import Measurements


class Curve:
    """Validation scores along a training.

    Attributes:
      best: `variables` where the score was best, of the networks from a step on; empty before.

    Args:
      task: what is scored.
      best_after: the step after which networks compete to be the best; None: none is kept.
    """

    def __init__(self, task: Task, best_after: int | None = None):
        self.task, self.best_after = task, best_after
        self.best: dict[str, Any] = {}
        self._points: list[tuple[int, float]] = []

    def evaluate(self, current: TrainState, step: int, stop: Any) -> None:
        """Scores a state: a callback of the training loop."""
        score = float(np.mean(self.task.measure(current.variables, "validation")[self.task.score]))
        self._points.append((step, score))
        if self.best_after is None or step <= self.best_after:
            return
        if not self.best or score >= self.best["score"]:
            self.best.update(score=score, variables=jax.device_get(current.variables))

    def measurements(self) -> Measurements:
        """`curve/step` and `curve/score`."""
        steps, scores = [step for step, _ in self._points], [score for _, score in self._points]
        return {"curve/step": np.array(steps), "curve/score": np.array(scores)}


def measured(task: Task, variables: Any, part: str, stage: str = "") -> Measurements:
    """`<part>/<metric>` of a network, behind the name of a stage where there is one."""
    return {f"{stage}{part}/{name}": values for name, values in task.measure(variables, part).items()}


def joined(networks: Sequence[Measurements]) -> Measurements:
    """One of several networks, each of an operating point: means, all that is of one point, counts of failures."""
    found = {}
    for name in dict.fromkeys(name for one in networks for name in one):
        values = [one[name] for one in networks if name in one]
        if name == "mask":
            found[name] = np.array(fingerprint(*values))
        elif name == "collapsed":
            found[name] = np.sum(values)
        else:
            found[name] = values[0] if values[0].dtype.kind not in "fiu" else np.mean(values, axis=0)
    return found
