"""Evidence for scores: gradients, Hessian products, synaptic flow, statistics of activations.

Each function takes a network as pure functions and gives trees like its parameters (statistics by layer for
activations). Nothing that a network keeps is changed: statistics of batches are read, not written.
"""

import dataclasses
import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Float, PyTree

from hyperlab import roles, trees
from hyperlab.errors import ConfigError, NonFiniteError
from hyperlab.roles.owners import path_of, summed_axes


class Inputs(NamedTuple):
    """Statistics of what a layer was given, each of the shape of its input channels, with leading axes for a stack.

    Attributes:
      mean: the mean over the batch, then its absolute value averaged over positions.
      norm: the L2 norm over all examples and positions.
      kernel: the role of the layer's kernel, which says where its inputs are; None leaves it to names.
    """

    mean: Float[np.ndarray, "..."]
    norm: Float[np.ndarray, "..."]
    kernel: roles.Role | None = None


def gradients(loss: Callable[..., jax.Array], params: PyTree, *batch: PyTree) -> PyTree:
    """The gradient of `loss(params, *batch)` with respect to the parameters.

    Here and below, a function that is passed again (the same object, not an equal lambda) is not compiled again.

    >>> gradients(lambda w, x: (w * x).sum(), jnp.ones(2), jnp.array([3.0, 4.0])).tolist()
    [3.0, 4.0]
    """
    return _gradients(loss, params, *batch)


def hessian_gradient(loss: Callable[..., jax.Array], params: PyTree, *batch: PyTree) -> PyTree:
    """The Hessian of the loss times its gradient, by differentiating their inner product once.

    Reverse mode twice, since some convolutions here have no forward mode. For GraSP (arXiv 2002.07376) the paper's
    loss is the mean cross-entropy of logits that are divided by 200.

    >>> hessian_gradient(lambda w: (w**3).sum() / 6, jnp.array([2.0])).tolist()
    [4.0]
    """

    return _hessian_gradient(loss, params, *batch)


def flow(apply: Callable[..., jax.Array], params: PyTree, *inputs: PyTree) -> PyTree:
    """The gradient of the synaptic flow: of the sum of outputs at absolute parameters and inputs of ones.

    It is computed in float64, where the network does not cast: in float32 the product of many layers leaves the range.

    Args:
      apply: `apply(params, *inputs)`, in evaluation mode; running variances and means, if any, made absolute by it.
      params: a tree of arrays.
      *inputs: arrays or shapes; their values are not read.

    Raises:
      NonFiniteError: the flow is zero, or not finite, in the precision that `apply` computes in.

    Source: Tanaka, Kunin, Yamins and Ganguli (2020), arXiv 2006.05467.

    >>> flow(lambda w, x: x @ w, jnp.array([[-1.0], [2.0]]), jax.ShapeDtypeStruct((1, 2), jnp.float32)).tolist()
    [[1.0], [1.0]]
    """
    with jax.enable_x64(True):
        wide = jax.tree.map(_absolute, params)
        ones = [jnp.ones(x.shape, jnp.float64) for x in inputs]
        total, grads = _flow(apply, wide, *ones)
        grads, total = jax.tree.map(np.asarray, grads), float(total)
    if not np.isfinite(total) or total == 0:
        raise NonFiniteError(
            f"the synaptic flow is {total}: too small or too large for the precision of the network, or a layer has "
            f"nothing left; use a copy of the module with dtype=jnp.float64, such as module.clone(dtype=jnp.float64)"
        )
    return grads


def activations(module: nn.Module, variables: PyTree, *inputs: PyTree, **options: Any) -> dict[str, Inputs]:
    """Statistics of the inputs of every layer with a kernel, by slash path of the layer.

    A layer takes `[batch, *positions, channels]`; `nn.DenseGeneral` and `nn.Einsum` say which axes are their channels.
    Of a layer that is called several times, all calls count. Layers under `nn.scan` and `nn.vmap` have statistics of
    their own each, on leading axes; under `nn.remat` and `jax.jit` they are what they are without.

    Args:
      module: a Linen module.
      variables: its variables, `{"params": ...}` and others.
      *inputs: of the module; the batch is their first axis.
      **options: of `module.apply`; nothing mutable.

    Raises:
      ConfigError: it is no Linen module, or no layer with a kernel was called.

    >>> layer = nn.Dense(2, name="head")
    >>> class Net(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x): return nn.Dense(2, name="head")(x)
    >>> x = jnp.array([[3.0, -1.0], [4.0, -1.0]])
    >>> seen = activations(Net(), Net().init(jax.random.key(0), x), x)["head"]
    >>> seen.mean.tolist(), seen.norm.round(3).tolist()
    ([3.5, 1.0], [5.0, 1.4140000343322754])
    """
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"statistics of activations are of a Linen module, got a {type(module).__name__}; record those of other "
            "networks yourself, as {layer path: Inputs(mean, norm)}"
        )
    params = variables.get("params", {})
    given = {name: value for name, value in options.items() if name not in ("rngs", "mutable")}
    decided = roles.of(params, module, *inputs, **given)
    shapes = {path: leaf.shape for path, leaf in trees.flatten(params).items()}
    sums: dict[tuple[str, int], list[Any]] = {}  # by kernel and copy: the means, the squares, how many calls

    def add(path: str, copies: jax.Array | np.ndarray, *statistics: jax.Array | np.ndarray) -> None:
        for copy, mean, square in zip(np.ravel(copies).tolist(), *map(np.array, statistics), strict=True):
            total = sums.setdefault((path, copy), [0, 0, 0])
            sums[path, copy] = [total[0] + mean, total[1] + square, total[2] + 1]

    def record(next_call: Callable[..., PyTree], args: tuple[Any, ...], kwargs: dict[str, Any], context: Any) -> Any:
        layer = context.module
        x = _first_argument(layer, args, kwargs)
        if context.method_name == "__call__" and x is not None and layer.has_variable("params", "kernel"):
            kernel, path = layer.get_variable("params", "kernel"), path_of(*layer.path, "kernel")
            copies = kernel.copies.ravel() if isinstance(kernel, _Numbered) else jnp.zeros(1, jnp.int32)
            if not isinstance(kernel, _Numbered) and shapes.get(path, kernel.shape) != kernel.shape:
                raise ConfigError(f"{path!r} {shapes[path]} is stacked, its layer sees {kernel.shape}; cannot tell how")
            # The host adds up: what is seen inside a scan cannot be brought out of it in another way.
            jax.debug.callback(partial(add, path), copies, *_statistics(layer, x, copies.size))
        return next_call(*args, **kwargs)

    @jax.jit
    def forward(variables: PyTree, *inputs: PyTree) -> None:
        with nn.intercept_methods(record):
            module.apply(variables, *inputs, **options)

    jax.block_until_ready(forward({**variables, "params": _numbered(params, decided)}, *inputs))
    jax.effects_barrier()
    if not sums:
        raise ConfigError(f"no layer with a 'kernel' was called in {type(module).__name__}")
    kernels = sorted({path for path, _ in sums})
    return {path.rpartition("/")[0]: _inputs(path, sums, shapes, decided) for path in kernels}


@struct.dataclass
class _Numbered(nn.meta.AxisMetadata[Any]):
    """A kernel of stacked layers with the number of each copy, which lifted transforms slice as they do the kernel."""

    value: jax.Array
    copies: jax.Array

    def unbox(self) -> jax.Array:
        return self.value

    def replace_boxed(self, value: Any) -> "_Numbered":
        return dataclasses.replace(self, value=value)

    def add_axis(self, index: int, params: dict[str, Any]) -> "_Numbered":
        return self

    def remove_axis(self, index: int, params: dict[str, Any]) -> "_Numbered":
        return self


def _is_kernel(path: str) -> bool:
    return path.split("/")[-1] == "kernel"


def _numbered(params: PyTree, decided: dict[str, roles.Role]) -> PyTree:
    leaves = dict(trees.flatten(params))
    for path, leaf in leaves.items():
        role = decided[path]
        if _is_kernel(path) and not role.undecided and role.stacked:
            sizes = [leaf.shape[axis] if axis in role.stacked else 1 for axis in range(leaf.ndim)]
            leaves[path] = _Numbered(leaf, jnp.arange(role.copies(leaf.shape), dtype=jnp.int32).reshape(sizes))
    return trees.unflatten(leaves, params)


def _first_argument(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a layer was given first, by place or by name."""
    names = list(inspect.signature(layer.__call__).parameters)
    return args[0] if args else kwargs.get(names[0]) if names else None


def _statistics(layer: nn.Module, x: jax.Array, copies: int) -> tuple[jax.Array, jax.Array]:
    """Mean and squares of a layer's input, `[copies, *inputs]` each; real ones of a complex input."""
    x = jnp.atleast_2d(x)
    x = x if jnp.iscomplexobj(x) else x.astype(jnp.float32)
    own, summed = summed_axes(layer, x.ndim)
    rest = [axis for axis in range(x.ndim) if axis not in (*own, *summed)]
    x = x.transpose(*own, *rest, *summed)
    batch, channels = x.shape[len(own)] if rest else 1, x.shape[len(own) + len(rest) :]
    x = x.reshape(copies, batch, -1, *channels)
    return jnp.abs(x.mean(1)).mean(1), jnp.square(jnp.abs(x)).sum((1, 2))


def _inputs(
    path: str,
    sums: dict[tuple[str, int], list[Any]],
    shapes: dict[str, tuple[int, ...]],
    decided: dict[str, roles.Role],
) -> Inputs:
    role, shape = decided[path], shapes[path]
    stack = [] if role.undecided else [shape[axis] for axis in role.stacked]
    some = next(total[0] for key, total in sums.items() if key[0] == path)
    never = (np.zeros_like(some), np.zeros_like(some), 1)  # a copy that was not called
    seen: list[Any] = [sums.get((path, copy), never) for copy in range(math.prod(stack))]
    means = np.stack([mean / calls for mean, _, calls in seen])
    norms = np.stack([np.sqrt(square) for _, square, _ in seen])
    return Inputs(means.reshape(*stack, *some.shape), norms.reshape(*stack, *some.shape), role)


def _absolute(leaf: Any) -> jax.Array:
    """The modulus in float64; integers are no weights, and stay."""
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return jnp.asarray(leaf)
    return jnp.asarray(np.abs(np.asarray(leaf)).astype(np.float64))


# -- compiled once for each function -------------------------------------------------------------------------------


def _value_and_grad(loss: Callable[..., jax.Array], params: PyTree, *batch: PyTree) -> tuple[jax.Array, PyTree]:
    """The loss and its gradient; zeros for integers, which have none."""
    value, grads = jax.value_and_grad(loss, allow_int=True)(params, *batch)
    floating = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.inexact)  # noqa: E731
    return value, jax.tree.map(lambda g, p: g if floating(p) else jnp.zeros(p.shape), grads, params)


@partial(jax.jit, static_argnums=0)
def _gradients(loss: Callable[..., jax.Array], params: PyTree, *batch: PyTree) -> PyTree:
    return _value_and_grad(loss, params, *batch)[1]


@partial(jax.jit, static_argnums=0)
def _hessian_gradient(loss: Callable[..., jax.Array], params: PyTree, *batch: PyTree) -> PyTree:
    gradient = lambda p: _value_and_grad(loss, p, *batch)[1]  # noqa: E731
    fixed = jax.lax.stop_gradient(gradient(params))

    def inner(p: PyTree) -> jax.Array:
        products = jax.tree.map(lambda a, b: (a * b.conj()).real.sum(), gradient(p), fixed)
        total: Any = sum(jax.tree.leaves(products))
        return total

    return _value_and_grad(inner, params)[1]


@partial(jax.jit, static_argnums=0)
def _flow(apply: Callable[..., jax.Array], params: PyTree, *inputs: jax.Array) -> tuple[jax.Array, PyTree]:
    def total(p: PyTree) -> jax.Array:
        outputs = apply(p, *inputs)
        return (jnp.abs(outputs) if jnp.iscomplexobj(outputs) else outputs).sum()

    return _value_and_grad(total, params)
