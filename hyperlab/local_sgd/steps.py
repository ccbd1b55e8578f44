"""The pure functions that advance replicas: a local step, a synchronous step, and the three kinds of synchronisation.

Parameters, batches and metrics have a leading axis of replicas. A local step is a `jax.vmap`, so it compiles to no
collective where that axis is sharded, whatever the number of replicas on a device; a synchronisation packs all that it
sends into one vector, so it compiles to one all-reduce. Which of them runs is decided on the host (`plan.Plan`): H is
no part of any program.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import PyTree

from hyperlab import prng
from hyperlab.errors import ConfigError
from hyperlab.local_sgd import policies
from hyperlab.local_sgd.compression import compressed_mean
from hyperlab.local_sgd.config import Config
from hyperlab.local_sgd.low_rank import RANKS
from hyperlab.local_sgd.packing import AXIS, everywhere, mean_over_axis, mean_over_groups, mean_over_replicas
from hyperlab.local_sgd.state import LocalState, fragment_of, is_averaged, part, replicate

InnerStep = Callable[[PyTree, PyTree, jax.Array], tuple[PyTree, PyTree]]


def averaged(
    optimizer: optax.GradientTransformation, mesh: Mesh | None = None
) -> optax.GradientTransformationExtraArgs:
    """The inner optimizer of synchronous steps: gradients are averaged over replicas first.

    Its state is that of `optimizer`, so the two may take turns. It runs under `jax.vmap(..., axis_name="replica")`.

    Args:
      optimizer: the inner optimizer.
      mesh: the mesh over which replicas are sharded: then gradients travel in one piece.
    """
    optimizer = optax.with_extra_args_support(optimizer)

    def update(grads: PyTree, state: PyTree, params: PyTree = None, **extra: Any) -> tuple[PyTree, PyTree]:
        means = mean_over_axis(grads, packed=mesh is not None)
        grads = jax.tree.map(lambda mean, grad: mean.astype(grad.dtype), means, grads)
        return optimizer.update(grads, state, params, **extra)

    return optax.GradientTransformationExtraArgs(optimizer.init, update)


def vmapped(step: InnerStep, replicas: int, mesh: Mesh | None = None) -> InnerStep:
    """One step of every replica, each with a key of its own that does not depend on how many there are.

    Args:
      step: `step(inner, batch, key) -> (inner, metrics)` of one replica, for instance of `hyperlab.train.train_step`.
      replicas: how many.
      mesh: a mesh with an axis `replica`, so that constraints on other axes inside the step know it.
    """
    axes: dict[str, Any] = {"axis_name": AXIS} | ({} if mesh is None else {"spmd_axis_name": AXIS})

    def call(inner: PyTree, batch: PyTree, key: jax.Array) -> tuple[PyTree, PyTree]:
        _check_batch(batch, replicas)
        keys = jax.vmap(prng.fold_in, (None, 0))(key, jnp.arange(replicas))
        return jax.vmap(step, **axes)(inner, batch, keys)

    return call


def local_step(step: InnerStep, config: Config, mesh: Mesh | None = None) -> Callable[..., Any]:
    """A step without communication: `local(state, batch, key) -> (state, metrics)`; batch leaves `[replicas, ...]`."""
    every_replica = vmapped(step, config.replicas, mesh)

    def local(state: LocalState, batch: PyTree, key: jax.Array) -> tuple[LocalState, PyTree]:
        inner, metrics = every_replica(state.inner, batch, key)
        return dataclasses.replace(state, step=state.step + 1, since=state.since + 1, inner=inner), metrics

    return local


def replica_step(step: InnerStep, config: Config) -> Callable[..., Any]:
    """The local step of one replica alone: `one(state, batch, key, index) -> (state, metrics)`.

    Called for every index in turn, it is a local step on one device, up to rounding. On a CPU, convolutions whose
    kernels differ from replica to replica take several times as long under `jax.vmap` as one after another.

    Args:
      step: as for `local_step`.
      config: the method.

    Returns:
      The function; `index` is traced, so one program does for all replicas. The last one counts the step.
    """

    def one(state: LocalState, batch: PyTree, key: jax.Array, index: jax.Array) -> tuple[LocalState, PyTree]:
        _check_batch(batch, config.replicas)
        mine, rows = jax.tree.map(lambda leaf: leaf[index], (state.inner, batch))
        new, metrics = step(mine, rows, prng.fold_in(key, index))
        inner = jax.tree.map(lambda leaf, value: leaf.at[index].set(value), state.inner, new)
        last = (index == config.replicas - 1).astype(jnp.int32)
        return dataclasses.replace(state, step=state.step + last, since=state.since + last, inner=inner), metrics

    return one


def synchronous_step(step: InnerStep, config: Config, mesh: Mesh | None = None) -> Callable[..., Any]:
    """A step of synchronous training, after which every replica is the anchor: `synchronous(state, batch, key)`.

    Args:
      step: as for `local_step`, but with the inner optimizer `averaged`.
      config: the method.
      mesh: needed where the state is sharded over `replica`.
    """
    every_replica = vmapped(step, config.replicas, mesh)

    def synchronous(state: LocalState, batch: PyTree, key: jax.Array) -> tuple[LocalState, PyTree]:
        inner, metrics = every_replica(state.inner, batch, key)
        anchor = jax.tree.map(lambda leaf, old: leaf.astype(old.dtype), _first(inner.params, mesh), state.anchor)
        inner, shared = _share(inner, state.shared, config, mesh)
        return dataclasses.replace(state, step=state.step + 1, inner=inner, anchor=anchor, shared=shared), metrics

    return synchronous


def group_step(optimizer: optax.GradientTransformation, config: Config, mesh: Mesh | None = None) -> Callable[..., Any]:
    """The average within groups of neighbouring replicas: `group(state, size) -> state`. The anchor stays."""

    def group(state: LocalState, size: int) -> LocalState:
        inner = state.inner
        numbers = jax.tree.map(lambda leaf: leaf if is_averaged(leaf) else None, inner.params)
        means = mean_over_groups({"params": numbers, "buffers": _buffers(inner, config)}, size, mesh is not None)
        params = jax.tree.map(
            lambda leaf, mean: leaf if mean is None else mean.astype(leaf.dtype), inner.params, means["params"]
        )
        inner = inner.replace(params=params, opt_state=_with_buffers(inner, means["buffers"], optimizer, config))
        return dataclasses.replace(state, inner=inner)

    return group


def outer_step(optimizer: optax.GradientTransformation, config: Config, mesh: Mesh | None = None) -> Callable[..., Any]:
    """The end of a round: `outer(state, fragments=None) -> state`; one all-reduce.

    The anchor moves by the outer optimizer on the mean pseudo-gradient, anchor minus replicas, and every replica
    restarts from it. With compression the pseudo-gradients are gathered as codes instead, or summed as factors in two
    all-reduces, and another all-reduce carries what else is shared.

    Args:
      optimizer: the inner optimizer, which begins the state that a `reset` goes back to.
      config: the method.
      mesh: needed where the state is sharded over `replica`: then what is sent travels in one piece.

    Returns:
      The function; `fragments` are the indices of those that are synchronised, by default all, and static.
    """
    transformation = config.outer_transformation()

    def outer(state: LocalState, fragments: tuple[int, ...] | None = None) -> LocalState:
        fragments = tuple(range(config.groups)) if fragments is None else fragments
        owner = fragment_of(state.anchor, config)
        chosen = jax.tree.map(lambda mine: mine in fragments, owner)
        inner = state.inner
        delta = jax.tree.map(
            lambda mine, old, leaf: old[None] - leaf.astype(old.dtype) if mine else None,
            chosen,
            state.anchor,
            inner.params,
        )
        others = {"buffers": _buffers(inner, config)}
        if 0 in fragments:  # collections have no fragments: they go with the first
            others["collections"] = policies.moments(inner.collections, state.shared)
        means, residual = _exchanged(delta, others, chosen, state.residual, config, mesh)
        anchor, states = state.anchor, list(state.outer)
        for index in fragments:
            rate = config.rate(state.step - state.since[index])
            updates, states[index] = transformation.update(
                part(means["delta"], owner, index), states[index], part(anchor, owner, index), learning_rate=rate
            )
            anchor = jax.tree.map(
                lambda mine, old, update, at=index: (old + update).astype(old.dtype) if mine == at else old,
                owner,
                anchor,
                updates,
            )
        params = jax.tree.map(
            lambda mine, shared, leaf: replicate(shared.astype(leaf.dtype), config.replicas) if mine else leaf,
            chosen,
            anchor,
            inner.params,
        )
        inner = inner.replace(params=params)
        inner = inner.replace(
            opt_state=_with_buffers(inner, replicate(means["buffers"], config.replicas), optimizer, config)
        )
        shared = state.shared
        if 0 in fragments:
            shared = policies.combined(means["collections"], shared)
            if config.collections == "share":
                inner = inner.replace(collections=replicate(shared, config.replicas))
        return dataclasses.replace(
            state,
            since=state.since.at[jnp.array(fragments)].set(0),
            rounds=state.rounds + 1,
            inner=inner,
            anchor=anchor,
            shared=shared,
            outer=tuple(states),
            residual=residual,
        )

    return outer


def _check_batch(batch: PyTree, replicas: int) -> None:
    for leaf in jax.tree.leaves(batch):
        if jnp.ndim(leaf) < 1 or leaf.shape[0] != replicas:
            raise ConfigError(
                f"a batch leaf of shape {jnp.shape(leaf)} has no leading axis of {replicas} replicas; "
                "local_sgd.split_batch(batch, replicas) makes one"
            )


def _exchanged(
    delta: PyTree, others: PyTree, chosen: Any, residual: PyTree, config: Config, mesh: Mesh | None
) -> tuple[PyTree, PyTree]:
    """The means over replicas of all that is sent, and the new residual."""
    if config.compression is None:
        return mean_over_replicas({"delta": delta, **others}, mesh is not None), residual
    # factors have no fragments, so their memory is no tree like the parameters
    factors = config.compression in RANKS
    mine = residual if factors else None
    if config.error_feedback and not factors:
        mine = jax.tree.map(lambda sent, left: left if sent else None, chosen, residual)
    means = functools.partial(mean_over_replicas, packed=mesh is not None)
    mean, lost = compressed_mean(delta, mine, config.compression, functools.partial(everywhere, mesh=mesh), means)
    if factors:
        residual = lost
    elif config.error_feedback:
        residual = jax.tree.map(lambda sent, old, new: new if sent else old, chosen, residual, lost)
    return {"delta": mean, **means(others)}, residual


def _first(params: PyTree, mesh: Mesh | None) -> PyTree:
    """The parameters of replicas that are all the same."""
    if mesh is None:
        return jax.tree.map(lambda leaf: leaf[0], params)
    # every device takes its own copy: an ordinary index would send that of one device to all others
    return jax.shard_map(
        lambda tree: jax.tree.map(lambda leaf: leaf[0], tree),
        mesh=mesh,
        in_specs=PartitionSpec(AXIS),
        out_specs=PartitionSpec(),
        check_vma=False,
    )(params)


def _share(inner: PyTree, shared: PyTree, config: Config, mesh: Mesh | None) -> tuple[PyTree, PyTree]:
    if not jax.tree.leaves(shared):
        return inner, shared
    shared = policies.combined(
        mean_over_replicas(policies.moments(inner.collections, shared), mesh is not None), shared
    )
    if config.collections == "share":
        inner = inner.replace(collections=replicate(shared, config.replicas))
    return inner, shared


def _buffers(inner: PyTree, config: Config) -> list[Any]:
    """The buffers that are sent: a list, empty but where they are averaged."""
    if config.inner_state != "average":
        return []
    marks = policies.buffers(inner.opt_state, inner.params)
    return [leaf for mine, leaf in zip(jax.tree.leaves(marks), jax.tree.leaves(inner.opt_state), strict=True) if mine]


def _with_buffers(inner: PyTree, means: list[Any], optimizer: optax.GradientTransformation, config: Config) -> PyTree:
    """The optimizer state after a synchronisation; `means` are those of `_buffers`, back on the axis of replicas."""
    if config.inner_state == "maintain":
        return inner.opt_state
    if config.inner_state == "reset":
        return policies.reset(optimizer, inner.opt_state, inner.params)
    marks = jax.tree.leaves(policies.buffers(inner.opt_state, inner.params))
    leaves, structure = jax.tree.flatten(inner.opt_state)
    given = iter(means)
    new = [next(given).astype(leaf.dtype) if mine else leaf for mine, leaf in zip(marks, leaves, strict=True)]
    return jax.tree.unflatten(structure, new)
