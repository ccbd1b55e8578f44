"""What a synchronisation does to what is neither parameter nor anchor: optimizer buffers, batch statistics."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree, Shaped

from hyperlab import trees

# Gradients that wait for more of them are no momenta, and the counters of how many wait are those of no buffer.
WAITING = {optax.MultiStepsState: ("inner_opt_state",), optax.ApplyEvery: ()}  # and which field is not part of it


def buffers(opt_state: PyTree, params: PyTree) -> PyTree:
    """Which leaves of an optimizer state are buffers of a parameter: momenta, moments, running means.

    A buffer is a floating (or complex) leaf whose path ends with that of a parameter and whose shape is the same, as in
    every optax optimizer, also in groups. Statistics of other shapes (factored second moments) are none, and neither
    are gradients that wait for others (`optax.MultiSteps`, `optax.apply_every`): each replica keeps its own.

    Args:
      opt_state: an optimizer state, stacked over replicas or not.
      params: the parameters, stacked alike.

    Returns:
      A tree like `opt_state`, of bool.

    >>> params = {"w": jnp.ones(2)}
    >>> buffers(optax.adam(0.1).init(params), params)[0].count, buffers(optax.adam(0.1).init(params), params)[0].mu
    (False, {'w': True})
    """
    shapes = {path: leaf.shape for path, leaf in trees.flatten(params).items()}

    waiting = tuple(_waiting(opt_state))

    def is_buffer(keys: Any, leaf: Any) -> bool:
        if _is_below(keys, waiting):
            return False
        path = "/" + trees.path_of(keys)
        # "kernel" ends "conv/kernel" too: the longest name is the parameter's own
        name = max((name for name in shapes if path.endswith("/" + name) or not name), key=len, default=None)
        return name is not None and leaf.shape == shapes[name] and bool(jnp.issubdtype(leaf.dtype, jnp.inexact))

    return jax.tree_util.tree_map_with_path(is_buffer, opt_state)


def reset(
    optimizer: optax.GradientTransformation,
    opt_state: PyTree[Shaped[Array, "replicas ..."]],
    params: PyTree[Shaped[Array, "replicas ..."]],
) -> PyTree:
    """Buffers at their beginning, with the counters that belong to them (Adam's bias correction).

    Counters of schedules, and learning rates, have no buffers beside them and stay as they are. So do gradients that
    wait for others, with their counter, so that a round may be shorter than an accumulation.

    Args:
      optimizer: the inner optimizer.
      opt_state: its state, leaves `[replicas, ...]`.
      params: the parameters, leaves `[replicas, ...]`.

    >>> optimizer = optax.chain(optax.scale_by_adam(), optax.scale_by_schedule(lambda step: -0.1))
    >>> params = jnp.ones((1, 2))
    >>> state = jax.vmap(optimizer.init)(params)
    >>> _, state = jax.vmap(optimizer.update)(params, state)
    >>> moved = reset(optimizer, state, params)
    >>> float(moved[0].mu.max()), int(moved[0].count[0]), int(moved[1].count[0])
    (0.0, 0, 1)
    """
    fresh = jax.vmap(optimizer.init)(params)
    own = jax.tree_util.tree_leaves_with_path(buffers(opt_state, params))
    homes = {_home(keys) for keys, mine in own if mine} - {None}
    waiting = tuple(_waiting(opt_state))

    def begun(keys: Any, mine: Any, new: Any, old: Any) -> Any:
        counter = keys and jnp.issubdtype(old.dtype, jnp.integer) and _home(keys) in homes
        return new if mine or (counter and not _is_below(keys, waiting)) else old

    return jax.tree_util.tree_map_with_path(begun, buffers(opt_state, params), fresh, opt_state)


def _waiting(state: PyTree, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths, as tuples of keys, of what accumulates gradients, however deep in other wrappers."""
    found = jax.tree_util.tree_leaves_with_path(state, is_leaf=lambda node: type(node) in WAITING)
    for keys, node in found:
        for field in node._fields if type(node) in WAITING else ():
            path = (*above, *keys, jax.tree_util.GetAttrKey(field))
            if field in WAITING[type(node)]:
                yield from _waiting(getattr(node, field), path)
            else:
                yield path


def _is_below(keys: tuple[Any, ...], paths: tuple[Any, ...]) -> bool:
    return any(tuple(keys[: len(path)]) == path for path in paths)


def _home(keys: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Where the innermost named tuple of a path is: its fields belong together."""
    named = [at for at, key in enumerate(keys) if isinstance(key, jax.tree_util.GetAttrKey)]
    return keys[: named[-1]] if named else None


def moments(collections: PyTree[Shaped[Array, "replicas ..."]], shared: PyTree) -> PyTree:
    """Collections in a form whose mean over replicas can be combined: second moments in the place of variances.

    A variance is a leaf `var` beside a leaf `mean`, as Linen's `BatchNorm` has them. The moment is taken about the
    last shared mean, because mean squares minus squared means lose their digits where means are large.

    Args:
      collections: leaves `[replicas, ...]`.
      shared: the combined ones of the last synchronisation, leaves `[...]`.
    """
    given, center = trees.flatten(collections), trees.flatten(shared)

    def moment(path: str, leaf: Any) -> Any:
        mean = _mean_beside(path, given)
        return leaf if mean is None else leaf + jnp.square(jnp.abs(given[mean] - center[mean][None]))

    return trees.unflatten({path: moment(path, leaf) for path, leaf in given.items()}, collections)


def combined(means: PyTree, shared: PyTree) -> PyTree:
    """The combined collections of all replicas from the mean of their `moments`; dtypes are those of `shared`.

    The variance of the union of samples is the mean of variances plus the variance of means. Integers are rounded.

    >>> stats = {"mean": jnp.array([0.0, 2.0]), "var": jnp.array([1.0, 1.0])}
    >>> start = {"mean": jnp.array(0.0), "var": jnp.array(1.0)}
    >>> found = combined(jax.tree.map(lambda leaf: leaf.mean(0), moments(stats, start)), start)
    >>> float(found["mean"]), float(found["var"])
    (1.0, 2.0)
    """
    given, center = trees.flatten(means), trees.flatten(shared)

    def final(path: str, leaf: Any) -> Any:
        mean = _mean_beside(path, given)
        if mean is not None:
            leaf = jnp.maximum(leaf - jnp.square(jnp.abs(given[mean] - center[mean])), 0)
        old = center[path]
        return (leaf if jnp.issubdtype(old.dtype, jnp.inexact) else jnp.round(leaf)).astype(old.dtype)

    return trees.unflatten({path: final(path, leaf) for path, leaf in given.items()}, shared)


def _mean_beside(path: str, leaves: dict[str, Any]) -> str | None:
    parent, _, name = path.rpartition("/")
    mean = f"{parent}/mean" if parent else "mean"
    return mean if name == "var" and mean in leaves else None
