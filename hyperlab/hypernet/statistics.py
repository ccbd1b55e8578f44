"""Statistics of batches at one gamma: those of training average over all gammas, and over past parameters."""

from collections.abc import Sequence
from typing import Any

import jax
from jaxtyping import PyTree

from hyperlab.errors import ConfigError
from hyperlab.hypernet import nnx_modules
from hyperlab.hypernet.model import HyperModel


def calibrated(
    model: HyperModel, variables: PyTree, gamma: PyTree, batches: Sequence[Any], *, updates: int = 500, rngs: Any = None
) -> PyTree:
    """Variables whose running statistics are those of the network at one gamma; parameters stay.

    The batches pass through the network in training mode, again and again. A running average of momentum m keeps
    m^updates of what it was: .007 with the default of 500 and the .99 of Flax.

    Args:
      model: from `hypernetize`.
      variables: from `init`, or trained.
      gamma: `[d]`, or `{name: [d]}`.
      batches: inputs of the network as in training, a tuple where it takes several.
      updates: how many batches pass, over all.
      rngs: random streams, where training mode draws; new keys for each batch.

    Returns:
      The variables with other collections; the same ones where the network keeps none.

    Raises:
      ConfigError: no batches, or no updates.
      GammaError: gamma has the wrong size, names or range.

    >>> import flax.linen as nn, jax.numpy as jnp
    >>> from hyperlab import hypernetize
    >>> x = jnp.linspace(0.0, 8.0, 32).reshape(8, 4)
    >>> model = hypernetize(nn.BatchNorm(momentum=0.9), x, example_kwargs={"use_running_average": True})
    >>> variables = model.init(jax.random.key(0))
    >>> fitted = calibrated(model, variables, jnp.array([0.5]), [x], updates=200)
    >>> variables["batch_stats"]["mean"].tolist(), [round(float(m), 1) for m in fitted["batch_stats"]["mean"]]
    ([0.0, 0.0, 0.0, 0.0], [3.6, 3.9, 4.1, 4.4])
    """
    if not len(batches) or updates < 1:
        raise ConfigError(f"{len(batches)} batches and {updates} updates, expected at least one of each")
    own = model.train().generate(variables, gamma)
    kept = [name for name in own if name != "params"]
    if not kept:
        return variables
    params, streams = own.pop("params"), nnx_modules.streams_of(rngs)
    primary = model.train().primary

    def update(state: PyTree, inputs: tuple[Any, ...], index: jax.Array) -> PyTree:
        keys = jax.tree.map(lambda key: jax.random.fold_in(key, index), streams)
        given = {} if keys is None else {"rngs": keys}
        _, updated = primary.apply({"params": params, **state}, *inputs, mutable=kept, **given)
        return {**state, **updated}

    step, state = jax.jit(update), own
    for index in range(updates):
        inputs = batches[index % len(batches)]
        state = step(state, inputs if isinstance(inputs, tuple) else (inputs,), index)
    return {**variables, **state}
