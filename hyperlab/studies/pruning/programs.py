"""A training step under masks, compiled: masks, rate and seed are values, so that one program serves all.

Masks are in the optimizer's state. Between steps, on the host, they may be replaced, see `plan`; the step is the same.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from hyperlab import pruning
from hyperlab.tasks import Task
from hyperlab.train import compiler, optimizers, schedules, state
from hyperlab.train.step import Aux, train_step
from hyperlab.train.units import memoize_method

STREAMS = ("augmentation", "dropout")  # of random keys in a step


class Programs:
    """The programs of a task.

    Args:
      task: network and data.
      optimizer: the recipe of all trainings, see `hyperlab.train.optimizers.recipe`.
    """

    def __init__(self, task: Task, optimizer: Mapping[str, Any]):
        self.task, self.optimizer = task, dict(optimizer)

    @property
    @memoize_method
    def init(self) -> Callable:
        """`key -> variables`."""
        return jax.jit(self.task.init, compiler_options=compiler.options_once())

    def start(self, variables: Any, masks: Any, rate: float, steps: int) -> state.TrainState:
        """The state before the first step: pruned entries are zero; masks and rate are values in it.

        Args:
          variables: to start from.
          masks: a tree like the parameters.
          rate: of learning, before the schedule.
          steps: of the training, with which a schedule ends.
        """
        tx, _ = self._program
        start = state.create({**variables, "params": pruning.apply(variables["params"], masks)}, tx)
        return schedules.with_length(optimizers.with_learning_rate(with_masks(start, masks), rate), steps)

    @property
    def step(self) -> Callable:
        """The compiled step of a training: `(state, (examples, indices), key) -> (state, metrics)`."""
        return self._program[1]

    @property
    @memoize_method
    def _program(self) -> tuple[optax.GradientTransformation, Callable]:
        def loss(params: Any, collections: Any, batch: tuple[Any, Any], keys: Any) -> tuple[jax.Array, Aux]:
            value, changed = self.task.loss(params, collections, *batch, keys)
            return value, Aux({}, changed or None)

        params = jax.eval_shape(self.task.init, jax.random.key(0))["params"]
        tx = pruning.masked(optimizers.build(optimizers.recipe(self.optimizer, learning_rate=0.0), params))
        step = train_step(loss, tx, streams=STREAMS)
        return tx, compiler.Program(step, donate_argnums=0, compiler_options=compiler.options())

    # -- what scores look at ------------------------------------------------------------------------------------

    @memoize_method
    def gradients(self, task: Task) -> Callable:
        """`(params, collections, examples, indices) -> tree` like what a task prunes; see `Task.gradients`."""
        return jax.jit(task.gradients, compiler_options=compiler.options())


def with_masks(current: state.TrainState, masks: Any) -> state.TrainState:
    """A state under other masks: pruned entries become zero, and moments of regrown ones start at zero."""
    params = pruning.apply(current.params, masks)
    return dataclasses.replace(current, params=params, opt_state=pruning.set_masks(current.opt_state, masks))
