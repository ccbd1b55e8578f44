"""Evidence for scores: gradients, Hessian products, synaptic flow, statistics of activations.

Each function takes a network as pure functions and gives trees like its parameters (statistics by layer for
activations). Nothing that a network keeps is changed: statistics of batches are read, not written.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hyperlab.errors import ConfigError, NonFiniteError

PyTree = Any


class Inputs(NamedTuple):
    """Statistics of what a layer was given, each of the length of its input channels.

    Attributes:
      mean: the mean over the batch, then its absolute value averaged over positions.
      norm: the L2 norm over all examples and positions.
    """

    mean: np.ndarray
    norm: np.ndarray


def gradients(loss: Callable[..., jax.Array], params: PyTree, *batch: Any) -> PyTree:
    """The gradient of `loss(params, *batch)` with respect to the parameters.

    Here and below, a function that is passed again (the same object, not an equal lambda) is not compiled again.

    >>> gradients(lambda w, x: (w * x).sum(), jnp.ones(2), jnp.array([3.0, 4.0])).tolist()
    [3.0, 4.0]
    """
    return _gradients(loss, params, *batch)


def hessian_gradient(loss: Callable[..., jax.Array], params: PyTree, *batch: Any) -> PyTree:
    """The Hessian of the loss times its gradient, by differentiating their inner product once.

    Reverse mode twice, since some convolutions here have no forward mode. For GraSP (arXiv 2002.07376) the paper's
    loss is the mean cross-entropy of logits that are divided by 200.

    >>> hessian_gradient(lambda w: (w**3).sum() / 6, jnp.array([2.0])).tolist()
    [4.0]
    """

    return _hessian_gradient(loss, params, *batch)


def flow(apply: Callable[..., jax.Array], params: PyTree, *inputs: Any) -> PyTree:
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
        wide = jax.tree.map(lambda leaf: jnp.asarray(np.abs(np.asarray(leaf, np.float64))), params)
        ones = [jnp.ones(x.shape, jnp.float64) for x in inputs]
        total, grads = _flow(apply, wide, *ones)
        grads, total = jax.tree.map(np.asarray, grads), float(total)
    if not np.isfinite(total) or total == 0:
        raise NonFiniteError(
            f"the synaptic flow is {total}: too small or too large for the precision of the network, or a layer has "
            f"nothing left; use a copy of the module with dtype=jnp.float64, such as module.clone(dtype=jnp.float64)"
        )
    return grads


def activations(module: nn.Module, variables: PyTree, *inputs: Any, **options: Any) -> dict[str, Inputs]:
    """Statistics of the inputs of every layer with a kernel, by slash path of the layer.

    A layer takes `[batch, *positions, channels]`. Of a layer that is called several times, all calls count.

    Args:
      module: a Linen module.
      variables: its variables, `{"params": ...}` and others.
      *inputs: of the module; the batch is their first axis.
      **options: of `module.apply`; nothing mutable.

    Raises:
      ConfigError: no layer with a kernel was called.

    >>> layer = nn.Dense(2, name="head")
    >>> class Net(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x): return nn.Dense(2, name="head")(x)
    >>> x = jnp.array([[3.0, -1.0], [4.0, -1.0]])
    >>> seen = activations(Net(), Net().init(jax.random.key(0), x), x)["head"]
    >>> seen.mean.tolist(), seen.norm.round(3).tolist()
    ([3.5, 1.0], [5.0, 1.4140000343322754])
    """

    def forward(variables: PyTree, *inputs: Any) -> dict:
        seen: dict[str, list] = {}

        def record(next_call, args, kwargs, context):
            layer = context.module
            if context.method_name == "__call__" and args and layer.has_variable("params", "kernel"):
                x = jnp.asarray(args[0], jnp.float32)
                x = x.reshape(x.shape[0], -1, x.shape[-1])
                statistics = (jnp.abs(x.mean(0)).mean(0), jnp.square(x).sum((0, 1)))
                seen.setdefault("/".join(layer.path), []).append(statistics)
            return next_call(*args, **kwargs)

        with nn.intercept_methods(record):
            module.apply(variables, *inputs, **options)
        return {path: tuple(map(sum, zip(*calls, strict=True))) + (len(calls),) for path, calls in seen.items()}

    found = jax.jit(forward)(variables, *inputs)
    if not found:
        raise ConfigError(f"no layer with a 'kernel' was called in {type(module).__name__}")
    return {
        path: Inputs(np.asarray(mean) / int(calls), np.sqrt(np.asarray(square)))
        for path, (mean, square, calls) in found.items()
    }


# -- compiled once for each function -------------------------------------------------------------------------------


@partial(jax.jit, static_argnums=0)
def _gradients(loss: Callable[..., jax.Array], params: PyTree, *batch: Any) -> PyTree:
    return jax.grad(loss)(params, *batch)


@partial(jax.jit, static_argnums=0)
def _hessian_gradient(loss: Callable[..., jax.Array], params: PyTree, *batch: Any) -> PyTree:
    gradient = jax.grad(loss)
    fixed = jax.lax.stop_gradient(gradient(params, *batch))

    def inner(p: PyTree) -> jax.Array:
        products = jax.tree.map(lambda a, b: (a * b).sum(), gradient(p, *batch), fixed)
        return sum(jax.tree.leaves(products))

    return jax.grad(inner)(params)


@partial(jax.jit, static_argnums=0)
def _flow(apply: Callable[..., jax.Array], params: PyTree, *inputs: jax.Array) -> tuple[jax.Array, PyTree]:
    return jax.value_and_grad(lambda p: apply(p, *inputs).sum())(params)
