"""Synchronous steps whose gradients are compressed before they are averaged."""

from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh
from jaxtyping import PyTree

from hyperlab.errors import ConfigError
from hyperlab.local_sgd import compression
from hyperlab.local_sgd.config import Config
from hyperlab.local_sgd.packing import AXIS, everywhere, mean_over_axis


class CompressedState(NamedTuple):
    """The state of an optimizer whose gradients are compressed.

    Attributes:
      memory: what compression left behind; leaves have a leading axis of one.
      inner: of the optimizer itself.
    """

    memory: PyTree
    inner: PyTree


def compressed(
    optimizer: optax.GradientTransformation, name: str, mesh: Mesh | None = None, error_feedback: bool = True
) -> optax.GradientTransformationExtraArgs:
    """An optimizer that sees the mean over replicas of compressed gradients.

    It runs under `jax.vmap(..., axis_name="replica")`; each replica keeps what its compression left behind.

    Args:
      optimizer: the optimizer that is given the mean.
      name: of the compression, see `compression.NAMES`.
      mesh: the mesh over which replicas are sharded: then what is summed travels in one piece.
      error_feedback: adds what was lost to the next gradient.

    Raises:
      ConfigError: at `update`, a state of another optimizer.
    """
    optimizer = optax.with_extra_args_support(optimizer)

    def init(params: PyTree) -> CompressedState:
        return CompressedState(compression.begin(name, params, 1, error_feedback), optimizer.init(params))

    def update(
        grads: PyTree, state: CompressedState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, CompressedState]:
        if not isinstance(state, CompressedState):
            raise ConfigError(
                f"the optimizer's state is a {type(state).__name__}: with compressed gradients the training state is "
                "made with local_sgd.inner_optimizer(optimizer, config)"
            )
        means, memory = compression.compressed_mean(
            jax.tree.map(lambda leaf: leaf[None], grads),
            state.memory if error_feedback else None,
            name,
            gather=lambda codes: everywhere(jax.lax.all_gather(codes[0], AXIS), mesh),
            mean=lambda tree: mean_over_axis(jax.tree.map(lambda leaf: leaf[0], tree), packed=mesh is not None),
        )
        grads = jax.tree.map(lambda mean, grad: mean.astype(grad.dtype), means, grads)
        updates, inner = optimizer.update(grads, state.inner, params, **extra)
        return updates, CompressedState(memory if error_feedback else state.memory, inner)

    return optax.GradientTransformationExtraArgs(init, update)


def inner_optimizer(
    optimizer: optax.GradientTransformation, config: Config, mesh: Mesh | None = None
) -> optax.GradientTransformation:
    """What the training state of one replica is made with: the optimizer itself, but where gradients are compressed.

    Args:
      optimizer: the inner optimizer.
      config: the method.
      mesh: the mesh over which replicas are sharded.

    >>> optimizer = optax.sgd(0.1)
    >>> inner_optimizer(optimizer, Config()) is optimizer
    True
    >>> type(inner_optimizer(optimizer, Config("synchronous", compression="sign")).init({})).__name__
    'CompressedState'
    """
    if config.kind == "synchronous" and config.compression:
        return compressed(optimizer, config.compression, mesh, config.error_feedback)
    return optimizer
