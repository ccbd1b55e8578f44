"""What every primary network becomes: two pure functions, and how it is told whether it trains."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax
from jaxtyping import PyTree

# How networks ask whether they train; the value is that of evaluation.
SWITCHES = {
    "train": False,
    "training": False,
    "is_training": False,
    "deterministic": True,
    "use_running_average": True,
}


class Primary(NamedTuple):
    """A network as pure functions.

    Attributes:
      init: `(key, *inputs, **kwargs) -> variables`, with `variables["params"]` a tree of any structure.
      apply: `(variables, *inputs, rngs=, mutable=, **kwargs)`, returning what Linen's `apply` returns.
      module: the object it came from.
      switched: `train -> Primary`, the same network in training or in evaluation mode; None where it has no modes.
      network: `variables -> object`, what `HyperModel.freeze` hands out as the ordinary network; None for the
        `Primary` itself.
    """

    init: Callable[..., dict[str, Any]]
    apply: Callable[..., PyTree]
    module: Any
    switched: Callable[[bool], "Primary"] | None = None
    network: Callable[[Any], Any] | None = None


def switches_of(function: Callable[..., PyTree], train: bool) -> dict[str, bool]:
    """The keyword arguments by which a function is told whether it trains.

    >>> def apply(params, x, train=True, deterministic=None): ...
    >>> switches_of(apply, train=False)
    {'train': False, 'deterministic': True}
    """
    return {name: SWITCHES[name] != train for name in parameters_of(function) if name in SWITCHES}


def is_mutable(mutable: Any, collection: str) -> bool:
    """Whether `mutable=` names a collection, in any of the ways of Linen: true, a name, names, all but some.

    >>> [is_mutable(given, "cache") for given in (True, "cache", ["batch_stats"], flax.core.DenyList("params"))]
    [True, True, False, True]
    """
    return flax.core.scope.in_filter(mutable, collection)


def parameters_of(function: Callable[..., PyTree]) -> dict[str, inspect.Parameter]:
    """The parameters of a function by name; none where Python cannot tell."""
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}


def bound(
    function: Callable[..., PyTree], given: Mapping[str, Any], names: Sequence[str] | None = None
) -> Callable[..., Any]:
    """The function with keyword arguments set, where a call does not say otherwise.

    Args:
      function: the function.
      given: keyword arguments by name.
      names: what its positional arguments are called; by default what its signature says.

    >>> function = bound(lambda x, train: (x, train), {"train": False})
    >>> function(1), function(1, True), function(1, train=True)
    ((1, False), (1, True), (1, True))
    """
    if not given:
        return function
    names = list(parameters_of(function) if names is None else names)

    def call(*args: Any, **kwargs: Any) -> Any:
        said = set(names[: len(args)])
        return function(*args, **({name: value for name, value in given.items() if name not in said} | kwargs))

    return call
