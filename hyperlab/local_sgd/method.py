"""A method put together, and what drives it through the training loop."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Key, PyTree, Shaped

from hyperlab.errors import ConfigError
from hyperlab.local_sgd import steps
from hyperlab.local_sgd.config import Config
from hyperlab.local_sgd.gradients import inner_optimizer
from hyperlab.local_sgd.plan import Plan
from hyperlab.local_sgd.state import LocalState, create, shardings


class Method(NamedTuple):
    """The pure functions of one method; see `hyperlab.local_sgd.steps`.

    Attributes:
      config: what it was built from.
      mesh: the mesh over which replicas are sharded, or None.
      create: `create(inner) -> LocalState`.
      local_step: `local_step(state, batch, key) -> (state, metrics)`, without communication.
      replica_step: `replica_step(state, batch, key, index) -> (state, metrics)`, of one replica alone.
      synchronous_step: as `local_step`, with averaged gradients.
      group_step: `group_step(state, size) -> state`.
      outer_step: `outer_step(state, fragments=None) -> state`.
    """

    config: Config
    mesh: Mesh | None
    create: Callable[[PyTree], LocalState]
    local_step: Callable[..., PyTree]
    replica_step: Callable[..., PyTree]
    synchronous_step: Callable[..., PyTree]
    group_step: Callable[..., PyTree]
    outer_step: Callable[..., PyTree]

    def round(
        self, state: LocalState, batches: PyTree[Shaped[Array, "steps replicas ..."]], key: Key[Array, ""]
    ) -> tuple[LocalState, PyTree]:
        """A whole round as one function: local steps over the leading axis of `batches`, then the outer step.

        Args:
          state: at a boundary.
          batches: leaves `[steps, replicas, ...]`; another number of steps compiles anew.
          key: the run's key.

        Returns:
          The state and the metrics, `[steps, replicas, ...]`.
        """
        state, metrics = jax.lax.scan(lambda carry, batch: self.local_step(carry, batch, key), state, batches)
        return self.outer_step(state), metrics


def build(
    config: Config,
    make_step: Callable[[optax.GradientTransformation], steps.InnerStep],
    optimizer: optax.GradientTransformation,
    mesh: Mesh | None = None,
) -> Method:
    """A method from its description and the step of one replica.

    Args:
      config: the method.
      make_step: `make_step(optimizer) -> step`, where `step(inner, batch, key) -> (inner, metrics)` trains one replica;
        for instance `functools.partial(hyperlab.train.step.train_step, loss_fn)`. It is called twice, because in a
        synchronous step the optimizer averages gradients first.
      optimizer: the inner optimizer.
      mesh: a mesh with an axis `replica` (`mesh_shape`), or None for one device.

    Returns:
      Pure functions, to be compiled by the caller or driven by a `Driver`.

    >>> from hyperlab.train import state, step
    >>> loss = lambda params, collections, batch, keys: (jnp.square(params["x"] - batch).mean(), step.Aux())
    >>> optimizer = optax.sgd(0.5)
    >>> method = build(Config(replicas=2, period=1), lambda opt: step.train_step(loss, opt), optimizer)
    >>> start = method.create(state.create({"params": {"x": jnp.zeros(())}}, optimizer))
    >>> after, _ = method.local_step(start, jnp.array([[1.0], [3.0]]), jax.random.key(0))
    >>> after.inner.params["x"].tolist(), float(method.outer_step(after).params["x"])
    ([1.0, 3.0], 2.0)
    """
    local = make_step(optimizer)
    sending = inner_optimizer(optimizer, config, mesh)
    synchronous = make_step(steps.averaged(optimizer, mesh) if sending is optimizer else sending)
    return Method(
        config,
        mesh,
        lambda inner: create(inner, config),
        steps.local_step(local, config, mesh),
        steps.replica_step(local, config),
        steps.synchronous_step(synchronous, config, mesh),
        steps.group_step(optimizer, config, mesh),
        steps.outer_step(optimizer, config, mesh),
    )


class Driver:
    """A step function for the training loop: local or synchronous steps, and the synchronisations that are due.

    The step that the state holds is read once, at the first call; from then on the driver counts, so the host never
    waits for a device. Hence a driver is for one run (`rewind` begins another); after a restart a new one finds its
    place by itself.

    Args:
      method: from `build`.
      total_steps: the steps of the whole run; the last one ends the round early.
      in_turn: runs local steps one replica after another instead of all in one `jax.vmap`: for convolutions on a CPU,
        on one device.
      compiler_options: for `jax.jit`, for instance `hyperlab.train.compiler.options()`.

    >>> from hyperlab.train import state, step
    >>> loss = lambda params, collections, batch, keys: (jnp.square(params["x"] - batch).mean(), step.Aux())
    >>> optimizer = optax.sgd(0.5)
    >>> method = build(Config(replicas=2, period=2), lambda opt: step.train_step(loss, opt), optimizer)
    >>> driver, batch = Driver(method), jnp.array([[1.0], [3.0]])
    >>> moved = method.create(state.create({"params": {"x": jnp.zeros(())}}, optimizer))
    >>> for _ in range(3):
    ...     moved, metrics = driver(moved, batch, jax.random.key(0))
    >>> int(moved.rounds), int(moved.since[0]), float(moved.params["x"])
    (1, 1, 2.0)
    """

    def __init__(
        self,
        method: Method,
        total_steps: int | None = None,
        *,
        in_turn: bool = False,
        compiler_options: Mapping[str, Any] | None = None,
    ):
        if in_turn and method.mesh is not None:
            raise ConfigError("in_turn=True is for one device: over a mesh, replicas train side by side")
        self.method, self.plan, self.in_turn = method, Plan(method.config, total_steps), in_turn
        self._options = {"donate_argnums": 0, "compiler_options": compiler_options}
        self._programs: dict[tuple[Any, ...], Callable[..., Any]] = {}
        self._step: int | None = None

    def __call__(self, state: LocalState, batch: PyTree, key: Key[Array, ""]) -> tuple[LocalState, PyTree]:
        """One step; the state given to it is used up."""
        if self._step is None:
            self._step = self._begin(state)
        event = self.plan.at(self._step)
        if event.synchronous:
            state, metrics = self._program(("step",), self.method.synchronous_step, state)(state, batch, key)
        else:
            state, metrics = self._local(state, batch, key)
        if event.group is not None:
            state = self._program(("group", event.group), lambda s: self.method.group_step(s, event.group), state)(
                state
            )
        if event.fragments:
            state = self._program(
                ("outer", event.fragments), lambda s: self.method.outer_step(s, event.fragments), state
            )(state)
        self._step += 1
        return state, metrics

    def rewind(self) -> None:
        """Forgets the step, so that another state may be driven by the programs that are compiled."""
        self._step = None

    def _local(self, state: LocalState, batch: PyTree, key: jax.Array) -> tuple[LocalState, PyTree]:
        moving, whole = state.locally()
        if self.in_turn:
            program, found = self._program(("step", "in turn"), self.method.replica_step, moving), []
            for index in range(self.method.config.replicas):
                moving, metrics = program(moving, batch, key, np.int32(index))
                found.append(metrics)
            metrics = jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)
        else:
            moving, metrics = self._program(("step", "local"), self.method.local_step, moving)(moving, batch, key)
        return whole(moving), metrics

    def _begin(self, state: LocalState) -> int:
        step, config = int(state.step), self.method.config
        if state.replicas != config.replicas:
            raise ConfigError(
                f"the state has {state.replicas} replicas, the method {config.replicas}: "
                "local_sgd.resize(state, replicas) changes them at a round boundary"
            )
        # fewer steps than planned are a round that was begun anew (another number of replicas, a run that goes on after
        # its end); more are a synchronisation that this method would have made and another one did not
        since, planned = np.asarray(state.since), self._since(step)
        if (since > planned).any():
            raise ConfigError(
                f"at step {step} the state is {since.tolist()} steps past its last synchronisations, under this method "
                f"it would be {planned}: it was trained with another period; continue with that one to the end of the "
                "round, or end the round here with outer_step(state) of the method it came from"
            )
        return step

    def _since(self, step: int) -> list[int]:
        config = self.method.config
        return [
            next((step - 1 - at for at in range(step - 1, -1, -1) if self._touches(at, index)), step)
            for index in range(config.groups)
        ]

    def _touches(self, step: int, fragment: int) -> bool:
        event = self.plan.at(step)
        return event.synchronous or fragment in event.fragments

    def _program(self, name: tuple[Any, ...], function: Callable[..., PyTree], state: LocalState) -> Callable[..., Any]:
        if name not in self._programs:
            options: dict[str, Any] = dict(self._options)
            if self.method.mesh is not None:
                # a compiler that is free to choose would leave every replica on every device
                where = shardings(state, self.method.mesh)
                options["out_shardings"] = (where, None) if name[0] == "step" else where
            self._programs[name] = jax.jit(function, **options)
        return self._programs[name]
