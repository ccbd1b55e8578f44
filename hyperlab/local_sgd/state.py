"""The state of a run of replicas: all of it, so that a run goes on from the middle of a round."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree, Shaped
from numpy.typing import ArrayLike

from hyperlab import trees
from hyperlab.errors import ConfigError, MeshError, PatternError
from hyperlab.local_sgd import compression
from hyperlab.local_sgd.config import Config
from hyperlab.local_sgd.packing import AXIS, mean_over_replicas


@struct.dataclass
class LocalState:
    """Replicas on a leading axis, and what they share.

    The shared parameters are what is evaluated and exported, never a replica that has drifted.

    Attributes:
      step: int32 `[]`, steps so far.
      since: int32 `[fragments]`, steps since each fragment was synchronised; all 0 at a boundary.
      rounds: int32 `[]`, synchronisations so far (synchronous steps are none).
      inner: the inner training state of every replica, leaves `[replicas, ...]`.
      anchor: the shared parameters, of the last synchronisation, in float32.
      shared: the combined other collections.
      outer: the outer optimizer's state, one a fragment.
      residual: what compression left behind, leaves `[replicas, ...]`; `{}` where there is none, or of gradients.
    """

    step: jax.Array
    since: jax.Array
    rounds: jax.Array
    inner: PyTree
    anchor: PyTree
    shared: PyTree
    outer: PyTree
    residual: PyTree

    @property
    def params(self) -> PyTree:
        """The shared parameters: an evaluation takes this state as it takes an ordinary one."""
        return self.anchor

    @property
    def collections(self) -> PyTree:
        """The combined other collections."""
        return self.shared

    @property
    def variables(self) -> dict[str, PyTree]:
        """What a Linen `apply` takes."""
        return {"params": self.anchor, **self.shared}

    @property
    def replicas(self) -> int:
        """How many replicas the state holds."""
        return jax.tree.leaves(self.inner)[0].shape[0]

    def locally(self) -> tuple["LocalState", Callable[["LocalState"], "LocalState"]]:
        """The state without what local steps leave alone, and the function that puts it back.

        A compiled program has its price for every argument, also for one that it returns as it was.
        """
        waiting: dict[str, Any] = {name: getattr(self, name) for name in ("anchor", "shared", "outer", "residual")}
        without: dict[str, Any] = dict.fromkeys(waiting)
        return dataclasses.replace(self, **without), lambda moved: dataclasses.replace(moved, **waiting)


def create(inner: PyTree, config: Config) -> LocalState:
    """The state before the first step: every replica is a copy of `inner`.

    Parameters that are integers (index tables) are no numbers to average: each replica keeps its own, the anchor those
    that it began with.

    A pure function of arrays, as `hyperlab.train.state.create`: under `jax.jit` with `out_shardings` no device ever
    holds all replicas.

    Args:
      inner: a training state, a `flax.struct` dataclass with `params`, `opt_state` and `collections`.
      config: the method.

    Returns:
      The state; it shares no memory with `inner`, so a step may donate it.

    Raises:
      ConfigError: `inner` lacks one of the three.
    """
    for name in ("params", "opt_state", "collections", "replace"):
        if not hasattr(inner, name):
            raise ConfigError(
                f"the inner state {type(inner).__name__} has no {name!r}; expected a flax.struct dataclass "
                "with params, opt_state and collections, such as hyperlab.train.state.TrainState"
            )
    anchor = jax.tree.map(lambda leaf: jnp.array(leaf, _wide(leaf), copy=True), inner.params)
    outer = config.outer_transformation()
    owner = fragment_of(anchor, config)
    residual = {}
    if config.compression is not None and config.kind != "synchronous":
        sent = jax.tree.map(lambda leaf: leaf if is_averaged(leaf) else None, anchor)
        residual = compression.begin(config.compression, sent, config.replicas, config.error_feedback)
    return LocalState(
        step=jnp.zeros((), jnp.int32),
        since=jnp.zeros(config.groups, jnp.int32),
        rounds=jnp.zeros((), jnp.int32),
        inner=replicate(inner, config.replicas),
        anchor=anchor,
        shared=jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), inner.collections),
        outer=tuple(outer.init(part(anchor, owner, index)) for index in range(config.groups)),
        residual=residual,
    )


def replicate(tree: PyTree, replicas: int) -> PyTree:
    """Copies of every leaf on a new leading axis.

    >>> replicate(jnp.ones(3), 2).shape
    (2, 3)
    """
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (replicas, *jnp.shape(leaf))), tree)


def fragment_of(params: PyTree, config: Config) -> PyTree:
    """The index of each leaf's fragment, in a tree like the parameters; -1 for integers, which are in none.

    Raises:
      PatternError: a pattern matches no leaf, or a leaf matches no pattern, or a fragment is left empty.

    >>> fragment_of({"a": 0, "b": 0}, Config(period=2, fragments=("b", "**")))
    {'a': 1, 'b': 0}
    """
    paths = list(trees.flatten(params))
    fragments = [(one,) if isinstance(one, str) else one for one in config.fragments or ("**",)]
    rules = [(pattern, index) for index, patterns in enumerate(fragments) for pattern in patterns]
    for pattern, _ in rules:
        trees.select(paths, pattern)  # a pattern without a leaf is an error, and it names the nearest
    owner = trees.assign(paths, rules)
    for index, patterns in enumerate(fragments):
        if index not in owner.values():
            named = patterns[0] if len(patterns) == 1 else patterns
            raise PatternError(f"fragment {named!r} is empty: the patterns before it take all that it matches")
    averaged = {path: is_averaged(leaf) for path, leaf in trees.flatten(params).items()}
    return trees.unflatten({path: index if averaged[path] else -1 for path, index in owner.items()}, params)


def is_averaged(leaf: Any) -> bool:
    """Whether a parameter is a real or complex number; integers are not averaged.

    >>> is_averaged(jnp.ones(2)), is_averaged(jnp.arange(2))
    (True, False)
    """
    return not hasattr(leaf, "dtype") or bool(jnp.issubdtype(leaf.dtype, jnp.inexact))


def strided(params: PyTree, count: int) -> tuple[tuple[str, ...], ...]:
    """Patterns of so many fragments: the top level's modules in their order, dealt out in turn.

    Fragments of layers that lie apart did slightly better than fragments of neighbours (Douillard et al. 2025,
    arXiv 2501.18512).

    Raises:
      ConfigError: fewer modules than fragments.

    >>> strided({"a": {"bias": 0, "kernel": 0}, "b": {"kernel": 0}, "c": 0}, 2)
    (('a/**', 'c'), ('b/**',))
    """
    keys = [trees.keys_of(keys) for keys, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    paths = zip(trees.paths_of(keys), keys, strict=True)
    # The name of a module may hold slashes itself (`mlp/~/linear_0`); where the path escapes them, it holds none.
    names = [(own[0] if path == "/".join(own) else path.partition("/")[0], len(own) > 1) for path, own in paths]
    modules = list(dict.fromkeys(f"{name}/**" if inside else name for name, inside in names))
    if not 1 <= count <= len(modules):
        raise ConfigError(f"{count} fragments of {len(modules)} modules ({', '.join(modules)}); at most one of each")
    return tuple(tuple(modules[index::count]) for index in range(count))


def part(tree: PyTree, owner: PyTree, index: int) -> PyTree:
    """The leaves of one fragment; the others are None, which is no leaf.

    >>> part({"a": 1, "b": 2}, {"a": 0, "b": 1}, 1)
    {'a': None, 'b': 2}
    """
    return jax.tree.map(lambda mine, leaf: leaf if mine == index else None, owner, tree)


def mesh_shape(replicas: int, devices: int) -> dict[str, int]:
    """A mesh for any number of replicas on any number of devices, for `hyperlab.train.mesh.make_mesh`.

    Args:
      replicas: how many replicas; several share a device where there are more of them.
      devices: how many devices.

    Returns:
      Sizes of `replica` (the largest number that divides both) and `data` (devices within one replica).

    >>> mesh_shape(32, 1), mesh_shape(4, 8), mesh_shape(6, 4)
    ({'replica': 1, 'data': 1}, {'replica': 4, 'data': 2}, {'replica': 2, 'data': 2})
    """
    across = math.gcd(replicas, devices)
    return {AXIS: across, "data": devices // across}


def shardings(state: LocalState, mesh: Mesh) -> LocalState:
    """Where every leaf lives: replicas dealt out over the mesh axis `replica`, the rest whole on every device.

    Args:
      state: a state, or its `jax.eval_shape`.
      mesh: a mesh with an axis `replica`.

    Raises:
      MeshError: no such axis, or replicas that do not divide by its devices.
    """
    if AXIS not in mesh.shape:
        raise MeshError(f"the mesh {dict(mesh.shape)} has no axis {AXIS!r}: make it of local_sgd.mesh_shape(...)")
    if state.replicas % mesh.shape[AXIS]:
        raise MeshError(
            f"{state.replicas} replicas do not divide by the {mesh.shape[AXIS]} devices of mesh axis {AXIS!r}; "
            f"{mesh_shape(state.replicas, math.prod(mesh.shape.values()))} would do"
        )
    split, whole = NamedSharding(mesh, PartitionSpec(AXIS)), NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda _: whole, state).replace(
        inner=jax.tree.map(lambda _: split, state.inner), residual=jax.tree.map(lambda _: split, state.residual)
    )


def split_batch(
    batch: PyTree[Shaped[Array | np.ndarray, "batch ..."]], replicas: int
) -> PyTree[Shaped[Array | np.ndarray, "{replicas} rows ..."]]:
    """Deals the rows of a batch out to replicas: `[batch, ...]` becomes `[replicas, batch / replicas, ...]`.

    Raises:
      ConfigError: the rows do not divide by the replicas; the leaf and the nearest batch sizes are named.

    >>> split_batch({"x": np.arange(6)}, 2)["x"].tolist()
    [[0, 1, 2], [3, 4, 5]]
    """
    for path, leaf in trees.flatten(batch).items():
        rows = np.shape(leaf)[0] if np.ndim(leaf) else 0
        if rows % replicas or not rows:
            below = rows - rows % replicas
            sizes = f"{below} or {below + replicas}" if below else str(replicas)
            raise ConfigError(
                f"batch leaf {path!r} {np.shape(leaf)}: {rows} rows do not divide by {replicas} replicas; "
                f"a batch of {sizes} would"
            )
    return jax.tree.map(lambda leaf: leaf.reshape(replicas, -1, *leaf.shape[1:]), batch)


def check_boundary(since: ArrayLike, replicas: int, wanted: int) -> None:
    """Refuses another number of replicas in the middle of a round.

    Args:
      since: steps since each fragment was synchronised, of the state that was saved.
      replicas: how many replicas it has.
      wanted: how many are to go on.

    Raises:
      ConfigError: the numbers differ and a round is under way; the message says the ways out.
    """
    since = np.asarray(since)
    if replicas != wanted and since.any():
        raise ConfigError(
            f"the state is {int(since.max())} steps into a round of {replicas} replicas, whose local work {wanted} "
            f"replicas cannot go on with; either continue with {replicas} replicas to the end of the round, or end it "
            "here with outer_step(state), or go back to the last round boundary on disk"
        )


def resize(state: LocalState, replicas: int) -> LocalState:
    """The state with another number of replicas, all starting from the anchor; at a round boundary only.

    The anchor, the combined collections and the outer state do not depend on the number. The inner optimizer's
    momenta and moments start from the mean of the old ones, and so does what rounding left behind.

    Args:
      state: a state at a boundary.
      replicas: how many are to go on, at least 1.

    Returns:
      The new state; to be placed anew (`shardings`). Outer rate and momentum may want tuning again.

    Raises:
      ConfigError: in the middle of a round, or fewer than one replica.
    """
    if replicas < 1:
        raise ConfigError(f"replicas is a whole number of at least 1, got {replicas!r}")
    check_boundary(state.since, state.replicas, replicas)
    if replicas == state.replicas:
        return state
    inner = state.inner
    one = jax.tree.map(lambda leaf: leaf[0], inner)
    params = jax.tree.map(lambda leaf, shared: shared.astype(leaf.dtype), one.params, state.anchor)
    opt_state = jax.tree.map(_survivors, inner.opt_state)
    one = one.replace(params=params, opt_state=opt_state, collections=state.shared)
    return dataclasses.replace(
        state, inner=replicate(one, replicas), residual=replicate(mean_over_replicas(state.residual), replicas)
    )


def _survivors(leaf: jax.Array) -> jax.Array:
    """The mean of numbers; counters and masks are the same on every replica."""
    if is_averaged(leaf):
        return mean_over_replicas(leaf).astype(leaf.dtype)
    return leaf[0]


def _wide(leaf: Any) -> Any:
    return jnp.result_type(leaf, jnp.float32) if is_averaged(leaf) else leaf.dtype
