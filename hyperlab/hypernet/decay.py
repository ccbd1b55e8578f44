"""Weight decay of what is generated.

Decay of the hypernetwork's weights omega is not decay of the generated theta. Here the gradient of theta
receives an extra term while the value of the loss stays what it was.
"""

import functools

import jax
from jaxtyping import PyTree


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def decayed(theta: PyTree, rate: float) -> PyTree:
    """The identity, whose gradient gains `rate * theta`: L2 decay of generated parameters.

    Args:
      theta: a tree of arrays.
      rate: the decay, in units of the loss's gradient.

    >>> import jax.numpy as jnp
    >>> float(jax.grad(lambda t: 3.0 * decayed(t, 0.5))(2.0))
    4.0
    """
    return theta


def _forward(theta: PyTree, rate: float) -> tuple[PyTree, PyTree]:
    return theta, theta


def _backward(rate: float, theta: PyTree, gradient: PyTree) -> tuple[PyTree]:
    return (jax.tree.map(lambda g, t: g + rate * t, gradient, theta),)


decayed.defvjp(_forward, _backward)
