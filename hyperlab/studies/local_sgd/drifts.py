"""How far replicas had drifted apart at some round ends of a training, in arrays of fixed size."""

from typing import Any

import numpy as np

from hyperlab.train.units import Measurements


class Drifts:
    """The drift at round ends that are far enough apart.

    Attributes:
      kept: `step` and every measure, `[most]`; a step of 0 is one that was not measured.

    Args:
      steps: of the training.
      points: the most round ends that are compared, about.
      names: of the measures.
    """

    def __init__(self, steps: int, points: int, names: Any):
        self.apart = steps // points
        most = steps // max(1, self.apart) + 1
        self.kept = {"step": np.zeros(most, int), **{name: np.full(most, np.nan, np.float32) for name in names}}

    def is_due(self, step: int) -> bool:
        """Whether to measure at a round end."""
        last = self.kept["step"].max()
        return not last or step >= last + self.apart

    def put(self, step: int, measured: Any) -> None:
        """Writes what was measured at a round end."""
        place = np.count_nonzero(self.kept["step"])
        for name, value in {"step": step, **measured}.items():
            self.kept[name][place] = value

    def measurements(self) -> Measurements:
        """`drift/<measure>` and `drift/step`, of what was measured; nothing where nothing was."""
        count = np.count_nonzero(self.kept["step"])
        return {f"drift/{name}": values[:count] for name, values in self.kept.items()} if count else {}
