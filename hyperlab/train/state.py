"""The state of a run: everything that must survive a restart, as one pytree."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import PyTree


@struct.dataclass
class TrainState:
    """Step, parameters, optimizer state and the model's other collections.

    Attributes:
      step: int32 `[]`, how many updates were made.
      params: the trainable parameters, float32; leaves that are no floating-point numbers stay as they are.
      opt_state: the optimizer's state.
      collections: mutable model variables by collection (`batch_stats`, ...); `{}` if there are none.
    """

    step: jax.Array
    params: PyTree
    opt_state: PyTree
    collections: PyTree

    @property
    def variables(self) -> dict[str, PyTree]:
        """What a Linen `apply` takes: the parameters and the other collections."""
        return {"params": self.params, **self.collections}


def create(variables: Mapping[str, PyTree], optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step.

    It is a pure function of arrays: under `jax.eval_shape` it gives the abstract state, under
    `jax.vmap` the stacked state of many runs, under `jax.jit` with `out_shardings` a sharded one.

    Args:
      variables: what a model's `init` returned: `{"params": ..., other collections}`.
      optimizer: an optax transformation.

    Returns:
      The state at step 0.

    >>> create({"params": {"w": jnp.ones(2)}}, optax.sgd(0.1)).collections
    {}
    """
    params = strong(variables["params"])
    collections = {name: strong(tree) for name, tree in variables.items() if name != "params"}
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(trained(params)), collections)


def trained(params: PyTree) -> PyTree:
    """The parameters as gradient and optimizer see them: leaves that are no floating-point numbers as zeros.

    Integers, truth values and random keys have no gradient. The structure stays, so that patterns and masks made
    for the parameters fit; `untrained` puts the leaves back.

    >>> trained({"order": jnp.array([1, 0]), "w": jnp.ones(2)})["order"].tolist()
    [0.0, 0.0]
    """
    return jax.tree.map(lambda leaf: leaf if _has_gradient(leaf) else jnp.zeros(jnp.shape(leaf)), params)


def untrained(seen: PyTree, params: PyTree) -> PyTree:
    """What `trained` gave, or its update, with the other leaves as they are in `params`."""
    return jax.tree.map(lambda own, new: new if _has_gradient(own) else own, params, seen)


def _has_gradient(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf), jnp.inexact)


def strong(tree: PyTree) -> PyTree:
    """The same arrays without weak types, which the first update would lose: and compile a second time.

    >>> strong(jnp.full(2, 0.1)).weak_type
    False
    """
    return jax.tree.map(lambda x: x.astype(x.dtype) if getattr(x, "weak_type", False) else x, tree)
