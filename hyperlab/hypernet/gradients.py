"""The gradient of a training step: of the parameters, and of the generated theta in the same pass."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from hyperlab import trees
from hyperlab.hypernet.model import HyperModel, Variables
from hyperlab.hypernet.network import OUTPUT_NORMALIZATIONS
from hyperlab.hypernet.parametrizations import Additive, Direct
from hyperlab.norms import global_norm


def loss_and_gradients(
    model: HyperModel, params: PyTree, rest: Variables, gamma: PyTree, loss: Callable[[Callable[..., PyTree]], Array]
) -> tuple[Float[Array, ""], PyTree, dict[str, Float[Array, "..."]]]:
    """The loss and its gradients with respect to the parameters and to the generated theta, in one pass.

    Args:
      params: `variables["params"]`.
      rest: the other collections.
      gamma: `[d]`.
      loss: maps `apply(*inputs, **kwargs) -> outputs`, the primary at this gamma, to a scalar.

    Returns:
      `(loss, gradient in the structure of params, gradient by path of theta)`.

    >>> from hyperlab import hypernetize, models
    >>> x = jnp.ones((1, 3))
    >>> model = hypernetize(models.MLP((4,), 2), x, gamma_dim=1, hidden=(4,))
    >>> params = model.init(jax.random.key(0))["params"]
    >>> loss, of_params, of_theta = loss_and_gradients(
    ...     model, params, {}, jnp.array([0.5]), lambda apply: jnp.square(apply(x)).mean()
    ... )
    >>> loss.shape, sorted(of_params), sorted(of_theta) == sorted(record.path for record in model.spec)
    ((), ['hypernet', 'theta0'], True)
    """
    zeros = {record.path: jnp.zeros(record.shape, record.dtype) for record in model.spec}

    def objective(params: PyTree, offset: PyTree) -> jax.Array:
        def apply(*inputs: PyTree, **kwargs: Any) -> PyTree:
            return model.apply({"params": params, **rest}, gamma, *inputs, offset=offset, **kwargs)

        return loss(apply)

    # Integers among the ordinary leaves have a gradient of JAX's type float0, which no norm reads.
    value, (of_params, of_theta) = jax.value_and_grad(objective, argnums=(0, 1), allow_int=True)(params, zeros)
    return value, of_params, of_theta


def omega_norm(
    model: HyperModel, variables: Variables, gamma: PyTree, of_params: PyTree, of_theta: dict[str, Float[Array, "..."]]
) -> Float[Array, ""]:
    """The norm of the gradient with respect to omega: all of `hypernet` and `theta0`.

    The gradient of a dense head at one gamma is the outer product of its features and the gradient of theta, so
    its norm is the product of their norms: the largest array of a step need not be written out to be measured.

    Args:
      model: a hypernetised model.
      variables: its variables.
      gamma: `[d]`.
      of_params: the gradient in the structure of `variables["params"]`.
      of_theta: the gradient by path of theta, see `loss_and_gradients`.

    Returns:
      A scalar; other ordinary leaves of the primary do not count.
    """
    trained = {name: of_params[name] for name in ("hypernet", "theta0") if name in of_params}
    scaled = model.network.normalization in OUTPUT_NORMALIZATIONS or model.generated_weight_decay
    if model.network.head != "dense" or scaled or type(model.parametrization) not in (Additive, Direct):
        return global_norm(trained)
    leaves = trees.flatten(trained)
    del leaves["hypernet/head/kernel"]
    state = {k.removeprefix("hypernet_"): v for k, v in variables.items() if k.startswith("hypernet_")}
    given = {"params": variables["params"]["hypernet"], **state}
    _, captured = model.network.apply(given, gamma, mutable=["intermediates"])
    (features,) = captured["intermediates"]["features"]
    return jnp.hypot(global_norm(leaves), global_norm(features) * global_norm(of_theta))
