"""Pairs `(init, apply)` as primaries: functions of one's own, stax, dm-haiku, modules of Equinox.

`apply` is given what `init` gave, in its own structure. How a pair takes random keys is read from its signature:
`rngs=` as in Linen, or one key, called `rng` or `key`, at the place where dm-haiku has it or by keyword.
"""

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from flax.core import FrozenDict
from jaxtyping import PyTree

from hyperlab.errors import HyperlabError
from hyperlab.hypernet.contract import Primary, bound, is_mutable, parameters_of, switches_of

KEYS = ("rng", "key", "rng_key", "prng_key")  # what one random key is called


class Convention(NamedTuple):
    """How a pair is called.

    Attributes:
      state: `init` returns `(params, state)`, and `apply(params, state, ...)` returns `(outputs, state)`.
      key: the name of the one random key that `apply` takes; None for `rngs=`.
      before: whether the key comes before the inputs.
    """

    state: bool
    key: str | None
    before: bool


def convention_of(init: Callable[..., PyTree], apply: Callable[..., PyTree]) -> Convention:
    """The convention of a pair, from who made it and from its signature.

    >>> convention_of(lambda key, x: ..., lambda params, rng, x: ...)
    Convention(state=False, key='rng', before=True)
    >>> convention_of(lambda key, x: ..., lambda params, x: ...).key is None
    True
    """
    parameters = parameters_of(apply)
    names, maker = list(parameters), getattr(apply, "__module__", None) or ""
    if maker.startswith("haiku."):
        state = names[1:2] == ["state"]
        before = names[1 + state : 2 + state] == ["rng"]
        return Convention(state, "rng" if before else None, before)
    if maker == "jax.example_libraries.stax":
        return Convention(False, "rng", False)
    # Without a default, it is a key only if `init` does with one argument less: else an input of this name.
    extra = _required(apply) - (_required(init) or _required(apply)) == 1
    if len(names) > 2 and names[1] in KEYS and extra:
        return Convention(False, names[1], True)
    for name in names[2:] if "rngs" not in parameters else ():
        if name in KEYS and (extra or parameters[name].default is not inspect.Parameter.empty):
            return Convention(False, name, False)
    return Convention(False, None, False)


def _required(function: Callable[..., PyTree]) -> int:
    """How many arguments a function needs; 0 where it takes any number."""
    parameters = parameters_of(function).values()
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return 0
    return sum(p.default is p.empty and p.kind is not p.VAR_KEYWORD for p in parameters)


def from_pair(
    pair: tuple[Callable[..., Any], Callable[..., Any]], train: bool | None = None, kind: list[Any] | None = None
) -> Primary:
    """A `Primary` from a pair; see `as_primary`.

    Args:
      pair: `(init, apply)`.
      train: the mode, where `apply` has an argument for it (see `SWITCHES`); None leaves it as it is.
      kind: what `init` gives, which is known once it ran: the class of Linen-like variables, None for parameters
        alone; shared by both modes of a network.
    """
    kind = [dict] if kind is None else kind
    init, apply = pair
    convention = convention_of(init, apply)
    given = {} if train is None else switches_of(apply, train)
    names = ["variables", *list(parameters_of(apply))[1 + convention.state + convention.before :]]

    def wrapped_init(key: jax.Array, *inputs: PyTree, **kwargs: Any) -> dict[str, Any]:
        variables = init(key, *inputs, **kwargs)
        if convention.state:
            params, state = variables
            return {"params": params, "state": state}
        whole = isinstance(variables, Mapping) and "params" in variables
        kind[:] = [type(variables) if whole else None]
        return dict(variables) if whole else {"params": variables}

    def as_given(variables: PyTree) -> Any:
        if convention.state or kind[0] is None:
            return variables["params"]
        return kind[0](variables) if kind[0] in (FrozenDict, OrderedDict) else variables

    def called(variables: PyTree, *inputs: PyTree, rngs: Any = None, mutable: Any = False, **kwargs: Any) -> Any:
        before = []
        if convention.state:
            before.append(variables["state"])
        if convention.key:
            key = _one_key(rngs, convention.key)
            if convention.before:
                before.append(kwargs.pop(convention.key, key))
            elif key is not None:
                kwargs.setdefault(convention.key, key)
        elif rngs is not None:
            kwargs["rngs"] = _taken(apply, "rngs", rngs)
        if mutable and not convention.state:
            kwargs["mutable"] = _taken(apply, "mutable", mutable)
        outputs = _drawing(apply, rngs, (as_given(variables), *before, *inputs), kwargs)
        return _with_state(outputs, mutable) if convention.state else outputs

    def switched(train: bool) -> Primary:
        return from_pair(pair, train, kind)

    return Primary(wrapped_init, bound(called, given, names), pair, switched)


def of_equinox(name: str) -> str:
    """How to write an Equinox module as a pair."""
    return (
        f"{name} is an Equinox module, which already holds its parameters; give a pair instead: hypernetize((lambda "
        f"key, x: {name}(..., key=key), lambda module, x: jax.vmap(module)(x)), x, ...)"
    )


def _one_key(rngs: Mapping[str, Any] | None, name: str) -> Any:
    if rngs is None or not isinstance(rngs, Mapping):
        return rngs
    if not rngs:
        return None
    if name in rngs or len(rngs) == 1:
        return rngs.get(name, next(iter(rngs.values())))
    raise HyperlabError(f"apply takes one key, {name!r}, and was given {sorted(rngs)}; pass rngs={{{name!r}: key}}")


def _with_state(result: Any, mutable: Any) -> Any:
    outputs, state = result
    if not mutable:
        return outputs
    return outputs, ({"state": state} if is_mutable(mutable, "state") else {})


def _taken(apply: Callable[..., PyTree], name: str, value: Any) -> Any:
    """A keyword argument for a pair's `apply`, if it has one of this name."""
    parameters = parameters_of(apply)
    open_ended = not parameters or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    if not open_ended and name not in parameters:
        others = " (or one key: rng, key)" if name == "rngs" else ""
        raise HyperlabError(
            f"the pair's apply takes no {name!r}{others}; its arguments are {', '.join(parameters)}: leave "
            f"{name}= out, or give apply such an argument"
        )
    return value


def _drawing(apply: Callable[..., PyTree], rngs: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Calls a pair's `apply`; one that asks for a key which it was not given is told how to get it."""
    try:
        return apply(*args, **kwargs)
    except HyperlabError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        asks = any(word in str(error) for word in ("PRNG", "requires a key", *(f"'{name}'" for name in KEYS)))
        if not asks or (rngs and "rngs" not in kwargs):
            raise
        other = "asks for a key in another way than rngs=; pass its own argument, for instance rng=key"
        way = other if rngs else "was given no key; pass rngs={'rng': key}"
        reason = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        raise HyperlabError(f"the pair's apply draws random numbers and {way} ({reason})") from error
