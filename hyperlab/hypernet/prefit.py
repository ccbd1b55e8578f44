"""`prefit`: a hypernetwork is first fitted to reproduce a plain network's parameters, whatever gamma; then it trains.

Source: Zhou, Universal Hypernetworks for Arbitrary Models (2026), arXiv 2604.02215, where such a phase stands in place
of a good initialisation. Its steps cost a pass through the hypernetwork each, so a comparison counts them.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from hyperlab import trees
from hyperlab.hypernet.model import HyperModel, Variables


def prefit(
    model: HyperModel, variables: Variables, own: PyTree, gammas: PyTree, learning_rate: Any = 3e-3
) -> tuple[Variables, Float[Array, " steps"]]:
    """Fits theta(gamma) to a plain network's parameters over draws of gamma, with Adam, one step a row of `gammas`.

    What is minimised is the mean, over the generated tensors and the gammas of a step, of the squared distance to the
    plain tensor, divided by the plain tensor's mean square (by 1 where that is zero, as of biases).

    Args:
      model: a hypernetised model.
      variables: from `model.init`.
      own: the primary's own variables, which are to be reproduced.
      gammas: `[steps, batch, d]`, or `{name: [steps, batch, d]}`: draws from the prior of gamma.
      learning_rate: of Adam.

    Returns:
      `(variables, losses [steps])`: other variables in the same structure, with everything that theta is made from
      fitted, and the loss before each step. Leaves that are not generated stay.

    >>> import flax.linen as nn
    >>> from hyperlab.hypernet.hypernetize import hypernetize
    >>> net, x = nn.Dense(3), jnp.ones((1, 4))
    >>> model = hypernetize(net, x, parametrization="direct", hidden=(16,))
    >>> gammas = jax.random.uniform(jax.random.key(1), (200, 8, 1))
    >>> _, losses = prefit(model, model.init(jax.random.key(0)), net.init(jax.random.key(2), x), gammas)
    >>> bool(losses[-1] < 0.1 * losses[0])
    True
    """
    target = trees.flatten(own["params"])
    squares = {record.path: jnp.mean(jnp.square(target[record.path].astype(jnp.float32))) for record in model.spec}
    rest = {name: tree for name, tree in variables.items() if name != "params"}
    optimizer = optax.adam(learning_rate)

    def loss(params: PyTree, gamma: PyTree) -> jax.Array:
        given = {"params": params, **rest}
        theta = model.theta(given, model.delta(given, gamma))
        distances = [
            jnp.mean(jnp.square(theta[path] - jnp.expand_dims(target[path], 0))) / jnp.where(square > 0, square, 1.0)
            for path, square in squares.items()
        ]
        return jnp.stack(distances).mean()

    def step(carried: tuple[PyTree, PyTree], gamma: PyTree) -> tuple[tuple[PyTree, PyTree], jax.Array]:
        params, state = carried
        value, gradient = jax.value_and_grad(loss)(params, gamma)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), value

    (params, _), losses = jax.lax.scan(step, (variables["params"], optimizer.init(variables["params"])), gammas)
    return {**rest, "params": params}, losses
