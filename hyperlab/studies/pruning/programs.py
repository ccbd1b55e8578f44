"""Training of a network under masks, compiled: masks, rate and seed are values, so that one program serves all.

Masks ride in the optimizer's state. Between steps, on the host, they may be replaced: in rounds, gradually, or by
exchanging entries. The step itself does not know.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from hyperlab import pruning
from hyperlab.tasks import Task
from hyperlab.train import compiler, optimizers, state
from hyperlab.train.loop import fit
from hyperlab.train.step import Aux, train_step
from hyperlab.train.units import kept

STREAMS = ("augmentation", "dropout")  # of random keys in a step


class Trial:
    """The programs of a task.

    Args:
      task: network and data.
      optimizer: settings of `hyperlab.train.optimizers`, without a rate.
    """

    def __init__(self, task: Task, optimizer: Mapping[str, Any]):
        self.task, self.optimizer = task, dict(optimizer)

    @functools.cached_property
    def init(self) -> Callable:
        """`key -> variables`."""
        return jax.jit(self.task.init, compiler_options=compiler.options_once())

    def train(
        self,
        variables: Any,
        masks: Any,
        *,
        rate: float,
        steps: int,
        indices: Callable[[int], Any],
        key: jax.Array,
        events: Mapping[int, Callable[[state.TrainState], state.TrainState]],
        evaluate: Callable[[state.TrainState, int], None],
        evaluate_every: int,
        progress: Any,
        stop: Any,
    ) -> state.TrainState | None:
        """Trains variables under masks; None after a stop.

        Args:
          variables: to start from; pruned entries are set to zero.
          masks: a tree like the parameters.
          rate: of learning, before the schedule.
          steps: how many.
          indices: of a step, which examples it sees.
          key: of augmentation and dropout.
          events: what happens to the state before a step.
          evaluate: called with a state and its step.
          evaluate_every: steps between evaluations.
          progress: told of every step.
          stop: an object with `.requested`.
        """
        tx, step = self._program(steps)
        start = state.create({**variables, "params": pruning.apply(variables["params"], masks)}, tx)
        start = optimizers.with_learning_rate(with_masks(start, masks), rate)
        examples, done = self.task.train(), iter(range(steps))

        def advance(current, rows, root_key):
            event = events.get(next(done))
            if event is not None:
                current = event(current)
            return step(current, (examples, rows), root_key)

        result = fit(
            start,
            advance,
            indices,
            total_steps=steps,
            root_key=key,
            evaluate=lambda current, index, _: evaluate(current, index),
            evaluate_every=evaluate_every,
            stop=stop,
            place=lambda rows: rows,
            progress=progress,
            on_nonfinite="ignore",  # failures are part of what is measured: a network of NaN is right nowhere
        )
        return None if stop.requested else result

    def _program(self, steps: int) -> tuple[optax.GradientTransformation, Callable]:
        """The optimizer of a length, whose schedule ends with it, and the compiled step."""
        return self._compiled(steps if self.optimizer.get("schedule") else 0)

    @kept
    def _compiled(self, steps: int) -> tuple[optax.GradientTransformation, Callable]:
        def loss(params, collections, batch, keys):
            value, changed = self.task.loss(params, collections, *batch, keys)
            return value, Aux({}, changed or None)

        schedule = {"name": "warmup_cosine", "total_steps": steps} if steps else None
        params = jax.eval_shape(self.task.init, jax.random.key(0))["params"]
        settings = {**self.optimizer, "schedule": schedule, "learning_rate": 0.0}
        tx = pruning.masked(optimizers.build(settings, params))
        step = train_step(loss, tx, streams=STREAMS)
        return tx, jax.jit(step, donate_argnums=0, compiler_options=compiler.options())

    # -- what scores look at ------------------------------------------------------------------------------------

    @kept
    def gradients(self, task: Task) -> Callable:
        """`(params, collections, examples, indices) -> tree` like what a task prunes; see `Task.gradients`."""
        return jax.jit(task.gradients, compiler_options=compiler.options())


def with_masks(current: state.TrainState, masks: Any) -> state.TrainState:
    """A state under other masks: pruned entries become zero, and moments of regrown ones start at zero."""
    params = pruning.apply(current.params, masks)
    return current.replace(params=params, opt_state=pruning.set_masks(current.opt_state, masks))
