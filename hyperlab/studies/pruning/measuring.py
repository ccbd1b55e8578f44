"""What is measured of the networks of the study: along a training, after it, and of several networks as one."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from hyperlab.data.splits import fingerprint
from hyperlab.tasks import Task
from hyperlab.train import curves
from hyperlab.train.state import TrainState
from hyperlab.train.units import Measurements


class Curve(curves.Curve):
    """Validation scores along a training.

    Attributes:
      best: `variables` where the score was best, of the networks from a step on, in host arrays; None: none is kept.

    Args:
      task: what is scored.
      steps: of the training.
      every: steps between two evaluations.
      like: variables of the network, or their shapes.
      best_after: the step after which networks compete to be the best; None: none is kept.
    """

    def __init__(self, task: Task, steps: int, every: int, like: Any, best_after: int | None = None):
        super().__init__(steps, every, {"score": ()})
        self.task, self.best_after, self.every = task, best_after, every
        self.best: dict[str, Any] | None = None
        if best_after is not None:
            variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
            self.best = {"variables": variables, "score": np.zeros(()), "found": np.zeros((), bool)}

    @property
    def kept(self) -> dict[str, Any]:
        """What a training saves with its state."""
        return {"curve": self.values} | ({} if self.best is None else {"best": self.best})

    def evaluate(self, current: TrainState, step: int, stop: Any) -> None:
        """Scores a state: a callback of the training loop."""
        score = float(np.mean(self.task.measure(current.variables, "validation")[self.task.score]))
        self.put(step, score=score)
        if self.best is None or step <= (self.best_after or 0):
            return
        if not self.best["found"] or score >= self.best["score"]:
            found = {"variables": jax.device_get(current.variables), "score": score, "found": True}
            jax.tree.map(np.copyto, self.best, found)

    def measurements(self) -> Measurements:
        """`curve/step` and `curve/score`."""
        return {"curve/step": self.step, "curve/score": self.values["score"]}


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
