r"""Multiply-accumulates of a function, counted from its operations by an exact rule.

A convolution does (output elements) x (input channels / groups) x (window size) of them, a matrix product
batch x m x n x k. Everything else (biases, normalisation, activations, pooling, interpolation by gathering) does
none. This is how papers count, and it is not what a processor does:

- borders: every output element counts its full window, also where a part of it lies in the padding;
- a transposed convolution (dilated input) counts each input element once with the whole window and every output
  channel of its group, not the zeros between them;
- zeros of a pruned kernel count; `macs_per_kernel` says whose they are, so that they can be left out;
- the batch of the example counts: take one image for the cost of an image.

What resizing by interpolation matrices costs is kept apart from what the network's own layers cost. A matrix product
belongs to the network if one operand is made of parameters alone (a dense layer), or if both carry parameters
(attention); a convolution does if its kernel carries parameters. A product with an operand free of parameters, such
as an interpolation matrix, is counted as other.

`macs_per_kernel` follows each parameter from where it comes in to the products that it is a kernel of. Every entry
of a kernel is used once for each output position (input position, if transposed), so a kernel of n entries of which
z are not zero does z / n of its multiply-accumulates, with groups or without.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core
from jaxtyping import PyTree

from hyperlab import trees
from hyperlab.errors import ConfigError

# Primitives that call the one function in their parameters with their own operands.
CALLS = (
    *("jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint"),
    *("custom_jvp_call", "custom_vjp_call", "custom_vmap_call"),
)
# Primitives after which a parameter is still the same kernel: in another form, masked, scaled, or a part of it.
_FORMS = (
    *("reshape", "transpose", "convert_element_type", "squeeze", "expand_dims", "rev", "copy", "reduce_precision"),
    *("sharding_constraint", "broadcast_in_dim", "slice", "dynamic_slice", "split"),
    *("mul", "div", "neg", "select_n", "stop_gradient"),
)


class Operations(NamedTuple):
    """Multiply-accumulates.

    Attributes:
      macs: of convolutions and matrix products with parameters.
      other_macs: of the others, for instance of interpolation matrices.
    """

    macs: int
    other_macs: int


class _Origin(NamedTuple):
    """What the value of a variable depends on, and the path of the parameter that it is a form of."""

    parameters: bool = False
    data: bool = False
    kernel: str | None = None

    def __or__(self, other: "_Origin") -> "_Origin":
        kernel = self.kernel if self.kernel == other.kernel else None
        return _Origin(self.parameters or other.parameters, self.data or other.data, kernel)


class _Product(NamedTuple):
    """One convolution or matrix product: how many, whether the network's own, and with which parameter."""

    macs: int
    own: bool
    kernel: str | None


def macs(function: Callable[..., PyTree], variables: PyTree, *inputs: PyTree) -> int:
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


def operations(function: Callable[..., PyTree], variables: PyTree, *inputs: PyTree) -> Operations:
    """Multiply-accumulates of a network's own layers, and the others; see `macs`.

    >>> import jax.numpy as jnp
    >>> def network(kernel, features):
    ...     return jnp.eye(3, 5) @ (features @ kernel)
    >>> operations(network, jnp.zeros((2, 4)), jnp.zeros((5, 2)))
    Operations(macs=40, other_macs=60)
    """
    products = _products(function, variables, inputs)
    own = sum(product.macs for product in products if product.own)
    return Operations(own, sum(product.macs for product in products) - own)


def macs_per_kernel(
    function: Callable[..., PyTree], variables: PyTree, *inputs: PyTree, examples: int = 1
) -> dict[str, int]:
    """Multiply-accumulates by the parameter that is the kernel of them.

    A parameter is followed through reshaping, transposing, slicing, conversion, and multiplication with or selection
    by what depends on no input (a mask, a scale). Every use of a shared kernel counts. Products of two activations
    (attention) and those with a kernel that is computed from several parameters belong to none: they are
    `macs(function, variables, *inputs) - sum(result.values())`, at one example.

    Args:
      function: as for `macs`.
      variables: as for `macs`. Integers and booleans, such as masks, are not followed.
      *inputs: as for `macs`.
      examples: how many examples the inputs hold; the counts are those of one example.

    Returns:
      Counts by slash path, in the order of the leaves, for every parameter that is the kernel of a product. Paths
      begin inside the collection `params` where there is one.

    Raises:
      ConfigError: as for `macs`; or a count is no multiple of `examples`.

    >>> import jax.numpy as jnp
    >>> def tied(params, tokens):
    ...     return (tokens @ params["embedding"].T) @ params["embedding"]
    >>> macs_per_kernel(tied, {"embedding": jnp.zeros((10, 4))}, jnp.zeros((3, 7, 4)), examples=3)
    {'embedding': 560}
    """
    counts: dict[str, int] = {}
    for product in _products(function, variables, inputs):
        if product.kernel is not None:
            counts[product.kernel] = counts.get(product.kernel, 0) + product.macs
    for path, count in counts.items():
        if count % examples:
            raise ConfigError(
                f"{count} multiply-accumulates with {path!r} do not divide by {examples} examples; expected examples= "
                f"the batch of the inputs, and a function in which every kernel meets every example alike"
            )
    return {path: counts[path] // examples for path in _paths(variables) if path in counts}


def _products(function: Callable[..., PyTree], variables: PyTree, inputs: tuple[Any, ...]) -> list[_Product]:
    if not inputs:
        raise ConfigError(
            "the multiply-accumulates of a function of one argument; expected function(variables, *inputs): the "
            "variables come first, so that kernels can be told from data (closed-over ones cannot)"
        )
    named, structure = trees.flatten(variables), jax.tree.structure(variables)
    # What is no array of its own (a function, an integer that says how many layers there are) is not traced.
    arrays = {path: leaf for path, leaf in named.items() if hasattr(leaf, "dtype") or isinstance(leaf, float | complex)}

    def call(arrays: PyTree, *inputs: PyTree) -> PyTree:
        leaves = {**named, **dict(zip(paths, arrays, strict=True))}
        return function(jax.tree.unflatten(structure, leaves.values()), *inputs)

    paths = list(arrays)
    closed = jax.make_jaxpr(call)(list(arrays.values()), *inputs)
    origins = [
        _Origin(True, False, path if jnp.issubdtype(variable.aval.dtype, jnp.floating) else None)
        for path, variable in zip(map(_inside, paths), closed.jaxpr.invars, strict=False)
    ]
    origins += [_Origin(False, True)] * (len(closed.jaxpr.invars) - len(paths))
    return _walk(closed.jaxpr, origins)[0]


def _paths(variables: PyTree) -> list[str]:
    return [_inside(path) for path in trees.flatten(variables)]


def _inside(path: str) -> str:
    return path.removeprefix("params/")


# -- the walk -----------------------------------------------------------------------------------------------------


def _walk(jaxpr: core.Jaxpr, origins: list[_Origin], used: list[bool] | None = None) -> tuple[list[Any], list[Any]]:
    """Products in a function, and what its outputs depend on, given what its inputs depend on.

    What no used output needs is not counted: compilers leave it out.
    """
    known = dict(zip(jaxpr.invars, origins, strict=True))
    used = [True] * len(jaxpr.outvars) if used is None else used
    products = []

    def of(variable: Any) -> _Origin:
        return _Origin() if isinstance(variable, core.Literal) else known.get(variable, _Origin())

    for equation, live in _live(jaxpr, used):
        given = [of(variable) for variable in equation.invars]
        name = equation.primitive.name
        if name == "conv_general_dilated":
            found, out = [_convolution(equation, given)], None
        elif name == "dot_general":
            found, out = [_product(equation, given)], None
        elif name == "scan":
            found, out = _scan(equation, given)
        elif name == "cond":
            found, out = _cond(equation, given, live)
        elif name in CALLS:
            (inner,) = subprograms(equation)
            found, out = _walk(inner, given, live)
        else:
            _refuse_products(equation)
            found, out = [], None
        products += found
        known.update(zip(equation.outvars, out or [_result(equation, given)] * len(equation.outvars), strict=True))
    return products, [of(variable) for variable in jaxpr.outvars]


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


def _convolution(equation: Any, given: list[_Origin]) -> _Product:
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
    return _Product(count, given[1].parameters, given[1].kernel)


def _product(equation: Any, given: list[_Origin]) -> _Product:
    ((contracted, _), _) = equation.params["dimension_numbers"]
    shape = equation.invars[0].aval.shape
    count = math.prod(equation.outvars[0].aval.shape) * math.prod(shape[axis] for axis in contracted)
    kernel = any(origin.parameters and not origin.data for origin in given)
    own = kernel or all(origin.parameters for origin in given)
    return _Product(count, own, _only_kernel(given))


def _scan(equation: Any, given: list[_Origin]) -> tuple[list[_Product], list[_Origin]]:
    (body,) = subprograms(equation)
    # Read from shapes, because JAX renames its parameters: what is sliced or stacked has one axis less in the body.
    carried = sum(map(_same_rank, equation.outvars, body.outvars))
    first = sum(map(_same_rank, equation.invars, body.invars)) - carried
    given = list(given)
    while True:  # what a carry depends on grows from one turn to the next, and is soon complete
        products, out = _walk(body, given)
        carry = [old | new for old, new in zip(given[first : first + carried], out, strict=False)]
        if carry == given[first : first + carried]:
            turns = equation.params["length"]
            return [product._replace(macs=turns * product.macs) for product in products], out
        given[first : first + carried] = carry


def _same_rank(outside: Any, inside: Any) -> bool:
    return len(outside.aval.shape) == len(inside.aval.shape)


def _cond(equation: Any, given: list[_Origin], live: list[bool]) -> tuple[list[_Product], list[_Origin]]:
    """The most expensive branch, since one of them runs; of a platform's, which cost the same, that of most own."""
    branches = [_walk(inner, given[1:], live) for inner in subprograms(equation)]
    out = [
        functools.reduce(_Origin.__or__, origins) | given[0]._replace(kernel=origins[0].kernel)
        for origins in zip(*(out for _, out in branches), strict=True)
    ]

    def cost(found: list[_Product]) -> tuple[int, int]:
        return sum(product.macs for product in found), sum(product.macs for product in found if product.own)

    return max((products for products, _ in branches), key=cost), out


def _refuse_products(equation: Any) -> None:
    for inner in subprograms(equation):
        if _walk(inner, [_Origin()] * len(inner.invars))[0]:
            name = equation.primitive.name
            raise ConfigError(
                f"a convolution or matrix product is inside {name!r}, and how often it runs cannot be read from the "
                f"program; use lax.scan or a lax.fori_loop with fixed bounds, or count the function inside"
            )


def subprograms(equation: Any) -> list[core.Jaxpr]:
    """The functions inside an operation of a jaxpr: the body of a loop, the branches of a condition."""
    found = []
    for value in equation.params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                found.append(item.jaxpr)
            elif isinstance(item, core.Jaxpr):
                found.append(item)
    return found


def _result(equation: Any, given: list[_Origin]) -> _Origin:
    """What the outputs of an operation depend on; a form of a parameter stays that parameter."""
    parameters, data = any(o.parameters for o in given), any(o.data for o in given)
    kernel = None
    if equation.primitive.name in _FORMS and not data:
        # What is repeated is no kernel any more: a vector that scales a kernel is not the kernel.
        size = equation.outvars[0].aval.size
        whole = [o for o, variable in zip(given, equation.invars, strict=True) if variable.aval.size >= size]
        kernel = _only_kernel(whole)
    return _Origin(parameters, data, kernel)


def _only_kernel(given: list[_Origin]) -> str | None:
    kernels = [origin.kernel for origin in given if origin.kernel is not None]
    return kernels[0] if len(kernels) == 1 else None
