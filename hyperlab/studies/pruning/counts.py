"""What there is to prune of a task's network, and what masks leave of it: parameters, bits, multiply-accumulates."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from hyperlab import pruning
from hyperlab.metrics.compression import measure
from hyperlab.metrics.operations import macs, macs_per_kernel
from hyperlab.tasks import Task
from hyperlab.train.units import Measurements, memoize_method


class Counts:
    """Counts of a task's network.

    Attributes:
      pruned: shapes of what is pruned, see `Task.pruned`.
      prunable: paths of the parameters that may be pruned.
      ceiling: the compression that cannot be reached.
    """

    def __init__(self, task: Task):
        self.task = task
        self.pruned = jax.eval_shape(lambda key: task.pruned(task.init(key)["params"]), jax.random.key(0))
        self.prunable: list[str] = pruning.prunable_paths(self.pruned, task.prunable, task.exclude)
        self.ceiling: float = pruning.ceiling(self.pruned, self.prunable)

    @memoize_method
    def macs(self) -> tuple[dict[str, int], int]:
        """Multiply-accumulates for one example: of each kernel, and in all."""
        return self._macs(*self.task.example())

    @memoize_method
    def macs_at_points(self) -> dict[str, tuple[dict[str, int], int]]:
        """The same at each operating point of the task."""
        return {point: self._macs(*example) for point, example in self.task.operating_points().items()}

    def _macs(self, function: Callable, inputs: tuple) -> tuple[dict[str, int], int]:
        return macs_per_kernel(function, self.pruned, *inputs), macs(function, self.pruned, *inputs)

    def sizes(self, masks: Any, points: Sequence[str] = ()) -> Measurements:
        """Counts of a pruned network, `size/<field of metrics.compression.Compression.row>`.

        At operating points also `size/nonzero_macs_at_<point>`.
        """

        def count(kernels: dict[str, int], total: int) -> Any:
            return measure(self.pruned, masks, macs=kernels, total_macs=total, prunable=self.prunable)

        row = count(*self.macs()).row() | {
            f"nonzero_macs_at_{point}": count(*self.macs_at_points()[point]).nonzero_macs for point in points
        }
        return {f"size/{name}": np.array(value) for name, value in row.items() if value is not None}
