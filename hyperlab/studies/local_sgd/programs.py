"""What advances replicas, compiled: rates, outer numbers and seeds are values, so that few programs serve all arms.

Which of the programs runs after a step is decided on the host, by `local_sgd.Plan`: H, the switch of post-local SGD and
the groups of hierarchical SGD are no part of any program.
"""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from hyperlab import local_sgd
from hyperlab.errors import ConfigError
from hyperlab.studies.local_sgd.arms import EVERY, GROUPS, Arm
from hyperlab.studies.local_sgd.outer import adjustable, with_numbers
from hyperlab.studies.local_sgd.schedules import Schedule
from hyperlab.tasks import Task
from hyperlab.train import compiler, optimizers, state
from hyperlab.train.step import Aux, train_step
from hyperlab.train.units import memoize_method

STREAMS = ("augmentation", "dropout")  # of random keys in a step
TIMED_STEPS = 30  # that the seconds of a step are the median of


class Compiled(NamedTuple):
    """What advances replicas; every state that is given to one of the last four is used up.

    Attributes:
      create: `variables -> LocalState`.
      local: `(state, examples, indices, key) -> (state, metrics)`.
      synchronous: the same with averaged gradients.
      group: `size -> (state -> state)`.
      outer: `fragments -> (state -> state)`.
    """

    create: Callable
    local: Callable
    synchronous: Callable
    group: Callable
    outer: Callable


class Form(NamedTuple):
    """What programs depend on; arms that share it share them.

    Attributes:
      kind: `synchronous` where gradients are compressed; the rest is `local`, whose plan is nobody's business here.
      outer: see `Arm`.
      inner_state: see `Arm`.
      compression: see `Arm`.
      fragments: see `Arm`.
    """

    kind: str
    outer: str
    inner_state: str
    compression: str | None
    fragments: int


def method_of(
    arm: Arm, replicas: int, period: int, steps: int, params: Any = None, schedule: Callable | None = None
) -> local_sgd.Config:
    """The method of `local_sgd` that an arm is; its outer numbers are in the state (`outer.with_numbers`).

    Args:
      arm: which.
      replicas: how many.
      period: H.
      steps: of the whole training.
      params: the parameters or their shapes, where there are fragments of them.
      schedule: the factor of the inner rate at a step.

    Raises:
      ConfigError: a training too short for an arm that begins synchronously.
    """
    synchronous = period * round(arm.switch * steps / period)
    if arm.kind == "post_local" and not synchronous:
        raise ConfigError(
            f"{arm.label}: a training of {steps} steps on {replicas} replicas is too short: its first "
            f"{arm.switch:.0%}, which are synchronous, hold no period of {period} steps; "
            "take fewer replicas or a longer training"
        )
    return local_sgd.Config(
        arm.kind,
        replicas=replicas,
        period=1 if arm.kind == "synchronous" else period,
        inner_state=arm.inner_state,
        synchronous_steps=synchronous if arm.kind == "post_local" else 0,
        levels=((period // EVERY, replicas // GROUPS),) if arm.kind == "hierarchical" else (),
        outer=adjustable(arm.outer),
        learning_rate=schedule,
        compression=arm.compression,
        fragments=local_sgd.strided(params, arm.fragments) if arm.fragments else (),
    )


def form(arm: Arm) -> Form:
    """The form of an arm.

    >>> from hyperlab.studies.local_sgd.arms import find
    >>> form(find("synchronous")) == form(find("local")), form(find("powersgd")).kind
    (True, 'synchronous')
    """
    kind = "synchronous" if arm.kind == "synchronous" and arm.compression else "local"
    return Form(kind, arm.outer, arm.inner_state, arm.compression, arm.fragments)


class Programs:
    """The programs of a task with one number of replicas.

    Args:
      task: network and data.
      optimizer: settings of `hyperlab.train.optimizers`, without a rate.
      schedule: of the rate.
      replicas: how many.
      in_turn: local steps run one replica after another in place of all in one `jax.vmap`: convolutions whose kernels
        differ from replica to replica are slow on a CPU.
    """

    def __init__(
        self, task: Task, optimizer: Mapping[str, Any], schedule: Schedule, replicas: int, in_turn: bool = False
    ):
        self.task, self.optimizer, self.schedule, self.replicas = task, dict(optimizer), schedule, replicas
        self.in_turn = in_turn

    @property
    @memoize_method
    def init(self) -> Callable:
        """`key -> variables`."""
        return jax.jit(self.task.init, compiler_options=compiler.options_once())

    @property
    @memoize_method
    def shapes(self) -> Any:
        """Shapes of the parameters."""
        return jax.eval_shape(self.task.init, jax.random.key(0))["params"]

    def config(self, arm: Arm, period: int, steps: int) -> local_sgd.Config:
        """The method of an arm, for its plan and its traffic."""
        return method_of(arm, self.replicas, period, steps, self.shapes, self._factor(steps))

    def start(
        self, variables: Any, arm: Arm, period: int, numbers: Mapping[str, float], steps: int
    ) -> local_sgd.LocalState:
        """Replicas that start from the same variables; the numbers are values in their state.

        Args:
          variables: to start from.
          arm: what is done.
          period: H.
          numbers: `rate`, and what else the arm was tuned in.
          steps: of the training.
        """
        replicas = optimizers.with_learning_rate(self._of(arm, period, steps).create(variables), numbers["rate"])
        outer = with_numbers(replicas.outer, *arm.outer_numbers(numbers), numbers["rate"])
        return replicas.replace(outer=outer)

    def advance(
        self, arm: Arm, period: int, steps: int, at_round_end: Callable[[Any, int], None] | None = None
    ) -> Callable:
        """A step and what follows it, `(state, (examples, (step, indices)), key) -> (state, metrics)`.

        Args:
          arm: what is done.
          period: H.
          steps: how many; the last one ends its round.
          at_round_end: called with a state whose replicas have not been averaged yet, and its step.
        """
        compiled, plan = self._of(arm, period, steps), local_sgd.Plan(self.config(arm, period, steps), steps)

        def step(current, given, key):
            examples, (place, rows) = given
            event = plan.at(place)
            advanced = compiled.synchronous if event.synchronous else compiled.local
            current, metrics = advanced(current, examples, rows, key)
            if event.group is not None:
                current = compiled.group(event.group)(current)
            if event.fragments:
                if at_round_end is not None:
                    at_round_end(current, place + 1)
                current = compiled.outer(event.fragments)(current)
            return current, metrics

        return step

    def _of(self, arm: Arm, period: int, steps: int) -> Compiled:
        accumulated = period if arm.accumulate else 1
        return self._compiled(form(arm), steps // accumulated, accumulated)

    @property
    @memoize_method
    def drift(self) -> Callable:
        """`state -> scalars`: how far replicas are apart."""
        return jax.jit(local_sgd.divergence.drift, compiler_options=compiler.options())

    def step_seconds(self, indices: Any, supply: Callable) -> float:
        """Measured seconds of a local step, compiled before: the median over some steps.

        Args:
          indices: `[steps, replicas, ...]`.
          supply: `(step, indices) -> (examples, (step, indices))`, see `Study.supply`.
        """
        compiled = self._compiled(Form("local", "average", "maintain", None, 0), 0, 1)
        current, key = compiled.create(self.init(jax.random.key(0))), jax.random.key(1)
        current = optimizers.with_learning_rate(current, 1e-3)
        seconds: list[float] = []
        for step in range(TIMED_STEPS + 1):
            examples, (_, rows) = supply((step, jax.tree.map(lambda leaf, at=step: leaf[at % len(leaf)], indices)))
            begun = time.perf_counter()
            current, _ = jax.block_until_ready(compiled.local(current, examples, rows, key))
            seconds.append(time.perf_counter() - begun)
        return float(np.median(seconds[1:]))

    def traffic(self, arm: Arm, period: int, steps: int, replicas: int | None = None) -> local_sgd.Traffic:
        """What the replicas of an arm send: by the ring formula, for this or another number of them."""
        config = self.config(arm, period, steps)
        tx = local_sgd.inner_optimizer(self.optimizer_for(steps, 1), config)
        abstract = jax.eval_shape(lambda key: _created(self.task.init(key), tx, config), jax.random.key(0))
        sent = local_sgd.traffic(abstract, config, steps, replicas)
        if not arm.accumulate:
            return sent
        # gradients of H batches are summed up where they are, and sent once
        rounds = steps // period
        return sent._replace(synchronous_steps=rounds, bytes_sent=rounds * sent.peak_bytes)

    # -- programs ----------------------------------------------------------------------------------------------

    @memoize_method
    def _factor(self, updates: int) -> Callable | None:
        """The schedule of so many updates; one function, so that what is compiled with it is compiled once."""
        return self.schedule.factor(updates)

    @memoize_method
    def optimizer_for(self, updates: int, accumulated: int) -> optax.GradientTransformation:
        """The inner optimizer of so many updates, each on the gradients of one or of several accumulated batches."""
        settings = {**self.optimizer, "schedule": None, "learning_rate": 0.0}
        tx, factor = optimizers.build(settings, self.shapes), self._factor(updates)
        # updates are linear in the rate, so that the factor may come last
        tx = tx if factor is None else optax.chain(tx, optax.scale_by_schedule(factor))
        return optax.MultiSteps(tx, accumulated).gradient_transformation() if accumulated > 1 else tx

    def _config(self, shape: Form, updates: int) -> local_sgd.Config:
        # H is the plan's business: a round of any length ends with the same program
        return local_sgd.Config(
            shape.kind,
            replicas=self.replicas,
            period=max(1, shape.fragments),
            inner_state=shape.inner_state,
            outer=adjustable(shape.outer),
            learning_rate=self._factor(updates),
            compression=shape.compression,
            fragments=local_sgd.strided(self.shapes, shape.fragments) if shape.fragments else (),
        )

    @memoize_method
    def _compiled(self, shape: Form, updates: int, accumulated: int) -> Compiled:
        tx, config = self.optimizer_for(updates, accumulated), self._config(shape, updates)
        stepping: tuple[Callable, Callable] = self._steps(shape._replace(outer="average"), updates, accumulated)
        method = local_sgd.build(config, lambda optimizer: None, tx)  # type: ignore[arg-type, return-value]  # unused here
        program = functools.partial(compiler.Program, donate_argnums=0, compiler_options=compiler.options())
        groups = functools.cache(lambda size: program(lambda current: method.group_step(current, size), "group step"))
        outer = functools.cache(lambda given: program(lambda current: method.outer_step(current, given), "outer step"))
        created = local_sgd.inner_optimizer(tx, config)
        return Compiled(jax.jit(lambda variables: _created(variables, created, config)), *stepping, groups, outer)

    @memoize_method
    def _steps(self, shape: Form, updates: int, accumulated: int) -> tuple[Callable, Callable]:
        """The two compiled steps, which do not depend on the outer optimizer."""
        tx, config = self.optimizer_for(updates, accumulated), self._config(shape, updates)

        def method(examples: Any) -> local_sgd.Method:
            def loss(params, collections, rows, keys):
                value, changed = self.task.loss(params, collections, examples, rows, keys)
                return value, Aux({}, changed or None)

            return local_sgd.build(config, functools.partial(train_step, loss, streams=STREAMS), tx)

        compiled = functools.partial(compiler.Program, donate_argnums=0, compiler_options=compiler.options())
        together = compiled(
            lambda moving, examples, rows, key: method(examples).local_step(moving, rows, key), "local step"
        )
        alone = compiled(
            lambda moving, examples, rows, key, index: method(examples).replica_step(moving, rows, key, index),
            "local step",
        )

        def local(current: local_sgd.LocalState, examples: Any, rows: Any, key: jax.Array) -> tuple[Any, Any]:
            moving, whole = current.locally()
            if not self.in_turn:
                moving, metrics = together(moving, examples, rows, key)
            else:
                for index in range(self.replicas):
                    moving, metrics = alone(moving, examples, rows, key, np.int32(index))
            return whole(moving), metrics  # type: ignore[possibly-undefined]  # one replica at least

        synchronous = compiled(
            lambda current, examples, rows, key: method(examples).synchronous_step(current, rows, key),
            "synchronous step",
        )
        return local, synchronous


def _created(variables: Any, tx: optax.GradientTransformation, config: local_sgd.Config) -> local_sgd.LocalState:
    return local_sgd.create(state.create(variables, tx), config)
