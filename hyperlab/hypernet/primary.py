"""One contract for every primary network: two pure functions, `init` and `apply`.

A Linen module, an NNX factory and a pair of functions all become a `Primary`; nothing else in hyperlab
knows which of them a network was.
"""

import dataclasses
from functools import partial
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import PyTree

from hyperlab import trees
from hyperlab.errors import HyperlabError
from hyperlab.hypernet import nnx_modules, pairs
from hyperlab.hypernet.contract import SWITCHES, Primary, bound, parameters_of, switches_of
from hyperlab.hypernet.layout import is_equinox

__all__ = ["Primary", "as_primary", "own_start", "start_keys", "tied_paths"]


def as_primary(primary: Any) -> Primary:
    """A `Primary` from a Linen module, an NNX factory, or an `(init, apply)` pair.

    Args:
      primary: `flax.linen.Module`; a callable `rngs -> flax.nnx.Module` (an NNX instance already holds its
        parameters, so it cannot be initialised from a key); or `(init, apply)`, where `init(key, *inputs)`
        returns either Linen-like variables or a bare parameter tree of any structure, and `apply` takes the
        same. What dm-haiku's `transform` and `transform_with_state` return is such a pair.

    Raises:
      HyperlabError: it is none of these.
    """
    if isinstance(primary, Primary):
        return primary
    if isinstance(primary, nn.Module):
        return _from_linen(primary)
    first = primary[0] if isinstance(primary, tuple) and primary else primary  # also of what eqx.partition gives
    if is_equinox(first):
        raise HyperlabError(pairs.of_equinox((first if isinstance(first, type) else type(first)).__name__))
    if isinstance(primary, tuple) and len(primary) == 2 and all(callable(f) for f in primary):
        return pairs.from_pair(primary)
    if isinstance(primary, nnx_modules.nnx().Module):
        name = type(primary).__name__
        raise HyperlabError(
            f"{name} is an NNX instance, which already holds its parameters; give a factory instead: "
            f"hypernetize(lambda rngs: {name}(..., rngs=rngs), ...)"
        )
    if callable(primary):
        return nnx_modules.from_nnx(primary)
    raise HyperlabError(
        f"cannot use a {type(primary).__name__} as a primary network; expected a Linen module, an NNX factory "
        "(lambda rngs: Module(..., rngs=rngs)) or a pair (init, apply)"
    )


def start_keys(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What the key of a run becomes: the key of its primary, and that of what generates or modulates parameters.

    Args:
      key: a PRNG key, which is used up.

    >>> own, other = start_keys(jax.random.key(0))
    >>> bool((jax.random.key_data(own) == jax.random.key_data(other)).all())
    False
    """
    own, other = jax.random.split(key)
    return own, other


def own_start(primary: Any, key: jax.Array, *inputs: PyTree, **kwargs: Any) -> Any:
    """The variables that a primary starts from under the key of a run, with a hypernetwork or without.

    `HyperModel.init` starts theta0 and the ordinary leaves from the same ones, so arms that share a key share them.

    Args:
      primary: what `as_primary` takes.
      key: of the run; it is used up.
      *inputs: examples of what the primary is called with.
      **kwargs: passed to the primary.

    Returns:
      `{"params": ..., other collections}`.

    Raises:
      HyperlabError: it is no primary.

    >>> import jax.numpy as jnp
    >>> from hyperlab import hypernetize, models
    >>> x = jnp.ones((1, 3))
    >>> own = own_start(models.MLP((4,), 2), jax.random.key(0), x)
    >>> theta0 = hypernetize(models.MLP((4,), 2), x).init(jax.random.key(0))["params"]["theta0"]
    >>> jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), own["params"], theta0))
    True
    """
    own, _ = start_keys(key)
    return as_primary(primary).init(own, *inputs, **kwargs)


def tied_paths(primary: Primary, *inputs: PyTree, **kwargs: Any) -> dict[str, str]:
    """Leaves that are one and the same array: `{later path: first path}`.

    Found in the trace of `init`, without computing anything: tied leaves are the same traced value.
    """
    tied: dict[str, str] = {}

    def init(key: jax.Array) -> int:
        leaves = trees.flatten(primary.init(key, *inputs, **kwargs).get("params", {}))
        first: dict[int, str] = {}
        for path, leaf in leaves.items():
            if hasattr(leaf, "dtype"):  # equal Python numbers are one object, and no tie
                if id(leaf) in first:
                    tied[path] = first[id(leaf)]
                first.setdefault(id(leaf), path)
        return 0

    jax.eval_shape(init, jax.random.key(0))
    return tied


def _from_linen(module: nn.Module) -> Primary:
    def init(key: jax.Array, *inputs: PyTree, **kwargs: Any) -> dict[str, Any]:
        params_key, dropout_key = jax.random.split(key)
        variables = module.init({"params": params_key, "dropout": dropout_key}, *inputs, **kwargs)
        # Partitioning metadata describes the primary's own arrays; generated ones are sharded by path rules.
        return dict(nn.meta.unbox(variables))

    return Primary(init, module.apply, module, lambda train: _linen_mode(module, train), lambda variables: module)


def _linen_mode(module: nn.Module, train: bool) -> Primary:
    """A Linen module that is told whether it trains: by its attributes, or by the arguments of each call."""
    given = switches_of(module.__call__, train)
    fields = [field.name for field in dataclasses.fields(module) if field.name in SWITCHES]
    # Where a switch is an attribute and an argument (as of nn.Dropout), Linen takes one of them alone.
    set_already = {name for name in fields if name not in given or getattr(module, name, None) is not None}
    attributes = {name: SWITCHES[name] != train for name in set_already}
    if any(getattr(module, name, None) is not value for name, value in attributes.items()):
        changed: dict[str, Any] = dict(attributes)
        module = module.clone(**changed)
    arguments, primary = parameters_of(module.__call__), _from_linen(module)
    given = {name: value for name, value in given.items() if name not in attributes}
    if all(arguments[name].default is value for name, value in given.items()):
        return primary  # it does so by itself
    usual = bound(primary.apply, given, ["variables", *arguments])

    def apply(*args: Any, method: Any = None, **kwargs: Any) -> Any:
        if method is None:
            return usual(*args, **kwargs)
        other = getattr(module, method) if isinstance(method, str) else partial(method, module)
        names = ["variables", *parameters_of(other)]
        return bound(primary.apply, switches_of(other, train), names)(*args, method=method, **kwargs)

    return primary._replace(apply=apply, switched=lambda train: _linen_mode(module, train), network=None)
