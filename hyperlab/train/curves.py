"""A learning curve in arrays of fixed size, so that it is saved with the state of its training."""

from collections.abc import Mapping
from typing import Any

import numpy as np


class Curve:
    """What is measured of a training at its evaluations.

    Attributes:
      step: the evaluated steps: 0, every so many, and the last.
      values: `{name: float64 [evaluations, ...]}`, NaN where nothing was measured yet.

    Args:
      steps: of the training.
      every: steps between two evaluations; 0: the last state alone.
      shapes: of what is measured, by name.

    >>> curve = Curve(5, every=2, shapes={"dice": ()})
    >>> curve.put(2, dice=0.5)
    >>> curve.step.tolist(), curve.values["dice"].tolist()
    ([0, 2, 4, 5], [nan, 0.5, nan, nan])
    """

    def __init__(self, steps: int, every: int, shapes: Mapping[str, tuple[int, ...]]):
        due = range(0, steps + 1, every) if every else ()
        self.step = np.array(sorted({*due, steps}))
        self.values = {name: np.full((len(self.step), *shape), np.nan) for name, shape in shapes.items()}

    def put(self, step: int, **measured: Any) -> None:
        """Writes what was measured at a step that is evaluated."""
        index = int(np.searchsorted(self.step, step))
        for name, value in measured.items():
            self.values[name][index] = value
