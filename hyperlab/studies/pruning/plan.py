"""The masks that a training starts with, and how they change between its steps: in rounds, gradually, by exchange."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab import pruning
from hyperlab.studies.pruning import masking
from hyperlab.studies.pruning.arms import Method
from hyperlab.studies.pruning.programs import Programs, with_masks
from hyperlab.tasks import Task
from hyperlab.train.state import TrainState

Event = Callable[[TrainState], TrainState]


class Plan:
    """The masks of one training.

    Attributes:
      held: the current masks, a tree like what the task prunes of host arrays, which a training saves with its state.
      events: what changes them, and with them the state, before a step: `{step: event}`.

    Args:
      method: which.
      programs: of the task.
      task: that of the programs, or that at one of its operating points.
      variables: of the network that is pruned.
      compression: at the end.
      config: of the study, with `rounds` and `masks_until`.
      steps: of the training.
      seed: of the examples that scores look at.
      keys: `masks` and `grow`, of what is drawn.
    """

    def __init__(
        self,
        method: Method,
        programs: Programs,
        task: Task,
        variables: Any,
        compression: float,
        *,
        config: Any,
        steps: int,
        seed: int,
        keys: Mapping[str, jax.Array],
    ):
        self.method, self.programs, self.task = method, programs, task
        self.seed, self.keys = seed, keys
        self.until = max(1, round(config.masks_until * steps))
        self.events: dict[int, Event] = {}
        first: float | None = compression  # at which masks are made before the first step
        if method.when in ("iterative", "gradual"):
            ratios = self._ratios(compression, config.rounds)
            first = ratios.pop(0, None)
            self.events = {step: self._prune_further(ratio) for step, ratio in ratios.items()}
        elif method.when in ("set", "rigl"):
            every = max(1, self.until // (4 * config.rounds))
            self.events = {step: self._exchange(step) for step in range(every, self.until, every)}
        dense = pruning.dense(jax.eval_shape(task.pruned, variables["params"]))
        self.held = jax.tree.map(np.array, dense if first is None else self._made(variables, first))

    @property
    def masks(self) -> Any:
        """The current ones, on the device."""
        return jax.tree.map(jnp.asarray, self.held)

    def _ratios(self, compression: float, rounds: int) -> dict[int, float]:
        """Compressions by the step from which they hold."""
        every = max(1, self.until // rounds)
        if self.method.when == "iterative":
            return dict(pruning.schedules.iterative(compression, rounds, every))
        return dict(pruning.schedules.cubic(compression, 0, self.until, every))

    def _made(self, variables: Any, compression: float, current: Any = None) -> Any:
        key = jax.random.clone(self.keys["masks"])
        return masking.make(
            self.method, self.programs, variables, compression, seed=self.seed, key=key, current=current, task=self.task
        )

    def _hold(self, current: TrainState, masks: Any) -> TrainState:
        jax.tree.map(np.copyto, self.held, jax.device_get(masks))
        return with_masks(current, self.task.parameter_masks(masks, current.params))

    def _prune_further(self, compression: float) -> Event:
        return lambda current: self._hold(current, self._made(current.variables, compression, self.masks))

    def _exchange(self, step: int) -> Event:
        """Some kept entries against some that are not, by the rule of the method."""

        def event(current: TrainState) -> TrainState:
            rule, grads = self.method.when, None
            if rule == "rigl":
                grads = masking.gradients(self.programs, self.task, current.variables, self.seed + step)
            share, key = pruning.drop_fraction(step, self.until), jax.random.fold_in(self.keys["grow"], step)
            weights = self.task.pruned(current.params)
            return self._hold(current, pruning.move(rule, weights, self.masks, share, grads=grads, key=key))

        return event
