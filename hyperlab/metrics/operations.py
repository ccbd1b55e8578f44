r"""Multiply-accumulates of a function, counted from its operations by an exact rule.

A convolution does (output elements) x (input channels / groups) x (window size) of them, a matrix product
batch x m x n x k. Everything else (biases, normalisation, activations, pooling, interpolation by gathering) does
none. This is how papers count, and it is not what a processor does:

- borders: every output element counts its full window, also where a part of it lies in the padding;
- a transposed convolution (dilated input) counts each input element once with the whole window and every output
  channel of its group, not the zeros between them;
- zeros of a pruned kernel count;
- the batch of the example counts: take one image for the cost of an image.

What resizing by interpolation matrices costs is kept apart from what the network's own layers cost. A matrix product
belongs to the network if one operand is made of parameters alone (a dense layer), or if both carry parameters
(attention); a convolution does if its kernel carries parameters. A product with an operand free of parameters, such
as an interpolation matrix, is counted as other.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.extend import core

from hyperlab.errors import ConfigError

# Primitives that call the one function in their parameters with their own operands.
CALLS = ("jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call")


class Operations(NamedTuple):
    """Multiply-accumulates.

    Attributes:
      macs: of convolutions and matrix products with parameters.
      other_macs: of the others, for instance of interpolation matrices.
    """

    macs: int
    other_macs: int

    def __add__(self, other: "Operations") -> "Operations":
        return Operations(self.macs + other.macs, self.other_macs + other.other_macs)

    def times(self, factor: int) -> "Operations":
        """As often as a loop runs."""
        return Operations(factor * self.macs, factor * self.other_macs)


class _Origin(NamedTuple):
    """What the value of a variable depends on."""

    parameters: bool = False
    data: bool = False

    def __or__(self, other: "_Origin") -> "_Origin":
        return _Origin(self.parameters or other.parameters, self.data or other.data)


NOTHING = Operations(0, 0)


def macs(function: Callable, variables: Any, *inputs: Any) -> int:
    """Multiply-accumulates of a network's own layers, at the batch and shapes of the example.

    Args:
      function: `function(variables, *inputs)`; it is traced, neither compiled nor run.
      variables: the parameters, or their shapes (`jax.ShapeDtypeStruct`).
      *inputs: what they are applied to, or the shapes; at least one.

    Raises:
      ConfigError: no inputs were given, or a product is inside an operation that repeats an unknown number of
        times.

    >>> import jax.numpy as jnp
    >>> kernel, images = jnp.zeros((3, 3, 4, 8)), jnp.zeros((1, 16, 16, 4))
    >>> numbers = ("NHWC", "HWIO", "NHWC")
    >>> convolution = lambda k, x: jax.lax.conv_general_dilated(x, k, (2, 2), "SAME", dimension_numbers=numbers)
    >>> macs(convolution, kernel, images) == 8 * 8 * 8 * 4 * 9
    True
    """
    return operations(function, variables, *inputs).macs


def operations(function: Callable, variables: Any, *inputs: Any) -> Operations:
    """Multiply-accumulates of a network's own layers, and the others; see `macs`.

    >>> import jax.numpy as jnp
    >>> def network(kernel, features):
    ...     return jnp.eye(3, 5) @ (features @ kernel)
    >>> operations(network, jnp.zeros((2, 4)), jnp.zeros((5, 2)))
    Operations(macs=40, other_macs=60)
    """
    if not inputs:
        raise ConfigError(
            "the multiply-accumulates of a function of one argument; expected function(variables, *inputs): the "
            "variables come first, so that kernels can be told from data (closed-over ones cannot)"
        )
    closed = jax.make_jaxpr(function)(variables, *inputs)
    kernels = len(jax.tree.leaves(variables))
    origins = [_Origin(index < kernels, index >= kernels) for index in range(len(closed.jaxpr.invars))]
    return _walk(closed.jaxpr, origins)[0]


# -- the walk -----------------------------------------------------------------------------------------------------


def _walk(jaxpr: core.Jaxpr, origins: list[_Origin], used: list[bool] | None = None) -> tuple[Operations, list]:
    """Operations of a function, and what its outputs depend on, given what its inputs depend on.

    What no used output needs is not counted: compilers leave it out.
    """
    known = dict(zip(jaxpr.invars, origins, strict=True))
    used = [True] * len(jaxpr.outvars) if used is None else used
    total = NOTHING

    def of(variable) -> _Origin:
        return _Origin() if isinstance(variable, core.Literal) else known.get(variable, _Origin())

    for equation, live in _live(jaxpr, used):
        given = [of(variable) for variable in equation.invars]
        name = equation.primitive.name
        if name == "conv_general_dilated":
            count, out = _convolution(equation, given), None
        elif name == "dot_general":
            count, out = _product(equation, given), None
        elif name == "scan":
            count, out = _scan(equation, given)
        elif name == "cond":
            count, out = _cond(equation, given, live)
        elif name in CALLS:
            (inner,) = _functions(equation)
            count, out = _walk(inner, given, live)
        else:
            count, out = _other(equation), None
        total += count
        known.update(zip(equation.outvars, out or [_union(given)] * len(equation.outvars), strict=True))
    return total, [of(variable) for variable in jaxpr.outvars]


def _live(jaxpr: core.Jaxpr, used: list[bool]) -> list[tuple[Any, list[bool]]]:
    """The operations that used outputs need, in order, each with which of its own outputs are needed."""
    needed = {v for v, use in zip(jaxpr.outvars, used, strict=True) if use and not isinstance(v, core.Literal)}
    kept = []
    for equation in reversed(jaxpr.eqns):
        live = [variable in needed for variable in equation.outvars]
        if any(live) or equation.effects:
            kept.append((equation, live))
            needed |= {variable for variable in equation.invars if not isinstance(variable, core.Literal)}
    return kept[::-1]


def _convolution(equation, given: list[_Origin]) -> Operations:
    images, kernel = (variable.aval.shape for variable in equation.invars)
    out, parameters = equation.outvars[0].aval.shape, equation.params
    numbers = parameters["dimension_numbers"]
    extents = [
        images[i] if dilation > 1 else out[o]
        for i, o, dilation in zip(numbers.lhs_spec[2:], numbers.out_spec[2:], parameters["lhs_dilation"], strict=True)
    ]
    window = math.prod(kernel[axis] for axis in numbers.rhs_spec[2:])
    per_element = kernel[numbers.rhs_spec[1]] * window
    count = out[numbers.out_spec[0]] * out[numbers.out_spec[1]] * math.prod(extents) * per_element
    return Operations(count, 0) if given[1].parameters else Operations(0, count)


def _product(equation, given: list[_Origin]) -> Operations:
    ((contracted, _), _) = equation.params["dimension_numbers"]
    shape = equation.invars[0].aval.shape
    count = math.prod(equation.outvars[0].aval.shape) * math.prod(shape[axis] for axis in contracted)
    kernel = any(origin.parameters and not origin.data for origin in given)
    own = kernel or all(origin.parameters for origin in given)
    return Operations(count, 0) if own else Operations(0, count)


def _scan(equation, given: list[_Origin]) -> tuple[Operations, list[_Origin]]:
    (body,), parameters = _functions(equation), equation.params
    first, carried = parameters["num_consts"], parameters["num_carry"]
    given = list(given)
    while True:  # what a carry depends on grows from one turn to the next, and is soon complete
        count, out = _walk(body, given)
        carry = [old | new for old, new in zip(given[first : first + carried], out, strict=False)]
        if carry == given[first : first + carried]:
            return count.times(parameters["length"]), out
        given[first : first + carried] = carry


def _cond(equation, given: list[_Origin], live: list[bool]) -> tuple[Operations, list[_Origin]]:
    """The dearest branch: one of them runs; those of a platform choice count the same."""
    branches = [_walk(inner, given[1:], live) for inner in _functions(equation)]
    out = [_union([given[0], *origins]) for origins in zip(*(out for _, out in branches), strict=True)]
    return max((count for count, _ in branches), key=sum), out


def _other(equation) -> Operations:
    for inner in _functions(equation):
        if any(_walk(inner, [_Origin()] * len(inner.invars))[0]):
            name = equation.primitive.name
            raise ConfigError(
                f"a convolution or matrix product is inside {name!r}, and how often it runs cannot be read from the "
                f"program; use lax.scan or a lax.fori_loop with fixed bounds, or count the function inside"
            )
    return NOTHING


def _functions(equation) -> list[core.Jaxpr]:
    found = []
    for value in equation.params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                found.append(item.jaxpr)
            elif isinstance(item, core.Jaxpr):
                found.append(item)
    return found


def _union(origins: list[_Origin]) -> _Origin:
    return _Origin(any(o.parameters for o in origins), any(o.data for o in origins))
