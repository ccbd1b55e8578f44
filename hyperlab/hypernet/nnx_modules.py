"""NNX factories as primaries: the module is rebuilt around the variables that are given, at every call.

Parameters (`nnx.Param`) are what can be generated. Everything else that an array is in (batch statistics, variables
of other types, plain arrays) is the collection `batch_stats`. Random streams are no variables: they are fixed, as for
evaluation, until `rngs` reseeds them by name.
"""

import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from hyperlab import trees
from hyperlab.errors import HyperlabError, ParameterTreeError
from hyperlab.hypernet.contract import Primary, bound, is_mutable, parameters_of, switches_of
from hyperlab.roles.owners import nnx_factory


def nnx() -> Any:
    """`flax.nnx`: a slow import that most users do not need."""
    from flax import nnx

    return nnx


def from_nnx(
    factory: Callable[..., Any], train: bool | None = None, modes: dict[bool, Primary] | None = None
) -> Primary:
    """A `Primary` from a factory `rngs -> flax.nnx.Module`; see `as_primary`.

    Args:
      factory: gets `nnx.Rngs` with the streams `params` and `dropout`, and a default one for any other name.
      train: the mode that the module is put into (`module.train()`, `module.eval()`); None leaves it as it is.
      modes: the primaries of both modes, made once: what is compiled for a module that was handed out stays.
    """
    modes, factory = {} if modes is None else modes, nnx_factory(factory)

    def build(key: Any) -> Any:
        params_key, dropout_key = jax.random.split(key)
        default = jax.random.fold_in(key, 2)
        module = factory(nnx().Rngs(default, params=params_key, dropout=dropout_key))
        if not isinstance(module, nnx().Module):
            raise HyperlabError(f"the NNX factory returned a {type(module).__name__}; expected a flax.nnx.Module")
        _own_arrays(module)
        if train is not None:
            module.train() if train else module.eval()
        return module

    def init(key: jax.Array, *inputs: PyTree, **kwargs: Any) -> dict[str, Any]:
        return _collections(build(key))

    def merged(variables: PyTree) -> Any:
        # The graph is rebuilt from an abstract module: no parameter is drawn here. It is split inside of the trace,
        # since arrays that are no variables are leaves there, and parts of the graph once they are shapes.
        graphs = []

        def split(key: jax.Array) -> Any:
            graph, *states = _split(build(key))
            graphs.append(graph)
            return states

        (params, streams, rest), graph = jax.eval_shape(split, jax.random.key(0)), graphs[-1]
        params, rest = _filled(params, variables["params"]), _filled(rest, variables.get("batch_stats", {}))
        return nnx().merge(graph, params, _still(streams), rest)

    def apply(variables: PyTree, *inputs: PyTree, rngs: Any = None, mutable: Any = False, **kwargs: Any) -> Any:
        module = merged(variables)
        _reseed(module, rngs)
        if rngs is not None and "rngs" in parameters_of(module.__call__):  # streams of its own for each call
            kwargs.setdefault("rngs", nnx().Rngs(**rngs) if isinstance(rngs, Mapping) else nnx().Rngs(rngs))
        given = {} if train is None else switches_of(module.__call__, train)
        outputs = bound(module, given)(*inputs, **kwargs)
        if not mutable:
            return outputs
        updated = _collections(module)
        names = [name for name in updated if name != "params" and is_mutable(mutable, name)]
        return outputs, {name: updated[name] for name in names}

    def network(variables: PyTree) -> Any:
        module = merged(variables)
        if not hasattr(module, "apply"):
            module.apply = apply  # a module of NNX has none of its own: `network.apply(theta, x)` as for all others
        return module

    def switched(train: bool) -> Primary:
        if train not in modes:
            modes[train] = from_nnx(factory, train, modes)
        return modes[train]

    return Primary(init, apply, factory, switched, network)


def _own_arrays(module: Any) -> None:
    """Says of plain arrays that they are data: flax 0.12 sees it of arrays, and not of traced ones."""
    for _, node in nnx().iter_graph(module):
        for name, value in list(vars(node).items()) if isinstance(node, nnx().Pytree) else ():
            if isinstance(value, jax.core.Tracer):
                setattr(node, name, nnx().data(value))


def _split(module: Any) -> tuple[Any, Any, Any, Any]:
    return nnx().split(module, nnx().Param, nnx().RngState, ...)


def _collections(module: Any) -> dict[str, Any]:
    _, params, _, rest = _split(module)
    return {"params": _pure(params)} | ({"batch_stats": _pure(rest)} if rest else {})


def _leaves(state: Any) -> list[tuple[tuple[Any, ...], Any, list[trees.Keys], Any]]:
    """Each variable of a state: its place, itself, the string keys of its leaves, and its value."""
    found = []
    for place, variable in nnx().to_flat_state(state):
        value = variable.get_value() if isinstance(variable, nnx().Variable) else variable
        inside = jax.tree_util.tree_flatten_with_path(value)[0]
        keys = [(*(str(key) for key in place), *trees.keys_of(path)) for path, _ in inside]
        found.append((place, variable, keys, value))
    return found


def _pure(state: Any) -> dict[str, Any]:
    """An NNX state as nested dicts with string keys."""
    return trees.nest_keys(
        {
            key: leaf
            for _, _, keys, value in _leaves(state)
            for key, leaf in zip(keys, jax.tree.leaves(value), strict=True)
        }
    )


def _filled(state: Any, values: Mapping[str, Any]) -> Any:
    """The state with other values, which have the structure that `_pure` gives."""
    given = {trees.keys_of(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(values)[0]}
    leaves = _leaves(state)
    if {key for _, _, keys, _ in leaves for key in keys} != set(given):
        trees.check_same(values, _pure(state), "NNX variables", ParameterTreeError)
    filled = {}
    for place, variable, keys, value in leaves:
        new = jax.tree.unflatten(jax.tree.structure(value), [given[key] for key in keys])
        filled[place] = variable.replace(new) if isinstance(variable, nnx().Variable) else new
    return nnx().from_flat_state(filled)


def _still(streams: Any) -> Any:
    """Fixed random streams, as for evaluation; stacked ones (of layers that are scanned) keep their shape."""

    def fixed(leaf: Any) -> Any:
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jnp.zeros(leaf.shape, leaf.dtype)
        key = jnp.zeros((), leaf.dtype)
        return jax.random.split(key, math.prod(leaf.shape)).reshape(leaf.shape) if leaf.shape else key

    return jax.tree.map(fixed, streams)


def _reseed(module: Any, rngs: Mapping[str, jax.Array] | jax.Array | None) -> None:
    """Reseeds streams by name; a name that the module's `Rngs` answers from their default gets a stream.

    One key, as Linen takes it too, is for all streams that there are.
    """
    holders = [node for _, node in nnx().iter_graph(module) if isinstance(node, nnx().Rngs)]
    if rngs is not None and not isinstance(rngs, Mapping):
        streams = {node.tag for _, node in nnx().iter_graph(module) if isinstance(node, nnx().RngStream)}
        rngs = {name: jax.random.fold_in(rngs, zlib.crc32(name.encode())) for name in sorted(streams)}
    for node in holders:
        for name in sorted(set(rngs or ()) - set(node)) if "default" in node else ():
            key = jnp.broadcast_to(node.default.key[...], node.default.key.shape)
            setattr(node, name, nnx().RngStream(key, tag=name))
    nnx().reseed(module, policy="match_shape", **(rngs or {}))


def streams_of(rngs: Any) -> Any:
    """Random streams as `apply` takes them: of `nnx.Rngs` the next key of each; no streams are None."""
    if type(rngs).__name__ == "Rngs" and isinstance(rngs, nnx().Rngs):
        return {name: stream() for name, stream in rngs.items()}
    return (rngs or None) if isinstance(rngs, Mapping) else rngs


def variables_of(given: Any) -> Any:
    """Variables by collection, of an NNX module or an `nnx.State` as well; anything else as it is."""
    if type(given).__module__.startswith("flax.linen") or isinstance(given, dict | list | tuple):
        return given
    if isinstance(given, nnx().Module):
        return _collections(given)
    if isinstance(given, nnx().State):
        params, _, rest = nnx().split_state(given, nnx().Param, nnx().RngState, ...)
        return {"params": _pure(params or rest)} | ({"batch_stats": _pure(rest)} if params and rest else {})
    return given
