"""Losses: pure functions of logits and labels, one value an example; the caller takes the mean."""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Softmax cross-entropy in nats, computed in float32 whatever the dtype of the logits.

    loss = log(sum_k exp(logits_k)) - logits_label

    Args:
      logits: `[..., classes]`, any floating dtype.
      labels: int `[...]` in 0..classes-1. Values are not looked at inside a compiled step: the readers
        refuse labels outside the classes.

    Returns:
      float32 `[...]`, the loss of each example.

    >>> logits = jnp.zeros((2, 4), jnp.bfloat16)
    >>> cross_entropy(logits, jnp.array([0, 3])) / jnp.log(4)
    Array([1., 1.], dtype=float32)
    """
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)
