"""One contract for every primary network: two pure functions, `init` and `apply`.

A Linen module, an NNX factory and a pair of functions all become a `Primary`; nothing else in hyperlab
knows which of them a network was.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperlab import trees
from hyperlab.errors import HyperlabError, ParameterTreeError


class Primary(NamedTuple):
    """A network as pure functions.

    Attributes:
      init: `(key, *inputs, **kwargs) -> variables`, with `variables["params"]` a tree of arrays.
      apply: `(variables, *inputs, rngs=, mutable=, **kwargs)`, returning what Linen's `apply` returns.
      module: the object it came from.
    """

    init: Callable[..., dict]
    apply: Callable[..., Any]
    module: Any


def as_primary(primary: Any) -> Primary:
    """A `Primary` from a Linen module, an NNX factory, or an `(init, apply)` pair.

    Args:
      primary: `flax.linen.Module`; a callable `rngs -> flax.nnx.Module` (an NNX instance already holds its
        parameters, so it cannot be initialised from a key); or `(init, apply)`, where `init(key, *inputs)`
        returns either Linen-like variables or a bare parameter tree, and `apply` takes the same.

    Raises:
      HyperlabError: it is none of these.
    """
    if isinstance(primary, Primary):
        return primary
    if isinstance(primary, nn.Module):
        return _from_linen(primary)
    if isinstance(primary, tuple) and len(primary) == 2 and all(callable(f) for f in primary):
        return _from_pair(*primary)
    if isinstance(primary, _nnx().Module):
        name = type(primary).__name__
        raise HyperlabError(
            f"{name} is an NNX instance, which already holds its parameters; give a factory instead: "
            f"hypernetize(lambda rngs: {name}(..., rngs=rngs), ...)"
        )
    if callable(primary):
        return _from_nnx(primary)
    raise HyperlabError(
        f"cannot use a {type(primary).__name__} as a primary network; expected a Linen module, an NNX factory "
        "(lambda rngs: Module(..., rngs=rngs)) or a pair (init, apply)"
    )


def tied_paths(primary: Primary, *inputs: Any, **kwargs: Any) -> dict[str, str]:
    """Leaves that are one and the same array: `{later path: first path}`.

    Found in the trace of `init`, without computing anything: tied leaves are the same traced value.
    """
    tree: dict = {}

    def init(key):
        tree["variables"] = primary.init(key, *inputs, **kwargs)["params"]
        first: dict[int, str] = {}
        tree["tied"] = {}
        for path, leaf in trees.flatten(tree["variables"]).items():
            if id(leaf) in first:
                tree["tied"][path] = first[id(leaf)]
            first.setdefault(id(leaf), path)
        return 0

    jax.eval_shape(init, jax.random.key(0))
    return tree["tied"]


def _from_linen(module: nn.Module) -> Primary:
    def init(key, *inputs, **kwargs):
        params_key, dropout_key = jax.random.split(key)
        variables = module.init({"params": params_key, "dropout": dropout_key}, *inputs, **kwargs)
        # Partitioning metadata describes the primary's own arrays; generated ones are sharded by path rules.
        return dict(nn.meta.unbox(variables))

    return Primary(init, module.apply, module)


def _from_pair(init: Callable, apply: Callable) -> Primary:
    bare: list[bool] = []

    def wrapped_init(key, *inputs, **kwargs):
        variables = init(key, *inputs, **kwargs)
        is_bare = not (isinstance(variables, Mapping) and "params" in variables)
        bare[:] = [is_bare]
        return {"params": variables} if is_bare else dict(variables)

    def wrapped_apply(variables, *inputs, rngs=None, mutable=False, **kwargs):
        if rngs is not None:
            kwargs["rngs"] = rngs
        if mutable:
            kwargs["mutable"] = mutable
        given = variables["params"] if bare and bare[0] else variables
        return apply(given, *inputs, **kwargs)

    return Primary(wrapped_init, wrapped_apply, (init, apply))


def _nnx():
    from flax import nnx  # a slow import that most users do not need

    return nnx


def _from_nnx(factory: Callable) -> Primary:
    nnx = _nnx()

    def build(key):
        params_key, dropout_key = jax.random.split(key)
        module = factory(nnx.Rngs(params=params_key, dropout=dropout_key))
        if not isinstance(module, nnx.Module):
            raise HyperlabError(f"the NNX factory returned a {type(module).__name__}; expected a flax.nnx.Module")
        return module

    def collections(module) -> tuple[Any, dict]:
        graph, params, rngs, rest = nnx.split(module, nnx.Param, nnx.RngState, ...)
        state = {"params": _pure(params)}
        if rest:
            state["batch_stats"] = _pure(rest)
        return (graph, params, rngs, rest), state

    def init(key, *inputs, **kwargs):
        return collections(build(key))[1]

    def apply(variables, *inputs, rngs=None, mutable=False, **kwargs):
        # The graph is rebuilt from an abstract module: no parameter is drawn here.
        graph, params, rng_state, rest = nnx.split(
            nnx.eval_shape(lambda: build(jax.random.key(0))), nnx.Param, nnx.RngState, ...
        )
        module = nnx.merge(
            graph,
            _filled(params, variables["params"]),
            _random_state(rng_state),
            _filled(rest, variables.get("batch_stats", {})),
        )
        nnx.reseed(module, **(rngs or {}))
        outputs = module(*inputs, **kwargs)
        if not mutable:
            return outputs
        updated = collections(module)[1]
        wanted = [mutable] if isinstance(mutable, str) else mutable
        names = [n for n in updated if n != "params" and (wanted is True or n in wanted)]
        return outputs, {name: updated[name] for name in names}

    return Primary(init, apply, factory)


def _pure(state: Any) -> dict:
    """An NNX state as nested dicts with string keys."""
    return trees.nest(trees.flatten(_nnx().to_pure_dict(state)))


def _filled(state: Any, values: dict) -> Any:
    nnx = _nnx()
    given = trees.flatten(values)
    wanted = nnx.to_pure_dict(state)
    if set(trees.flatten(wanted)) != set(given):
        trees.check_same(values, wanted, "NNX variables", ParameterTreeError)
    flat, structure = jax.tree_util.tree_flatten_with_path(wanted)
    nnx.replace_by_pure_dict(state, jax.tree.unflatten(structure, [given[trees.path_of(keys)] for keys, _ in flat]))
    return state


def _random_state(state: Any) -> Any:
    """Fixed random streams, as for evaluation; those in `rngs` are reseeded after the merge."""
    return jax.tree.map(
        lambda leaf: jax.random.key(0) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.uint32(0),
        state,
    )
