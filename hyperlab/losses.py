"""Losses: pure functions of logits and labels, one value an example; the caller takes the mean."""

import jax
import jax.numpy as jnp
import optax

from hyperlab.errors import ConfigError


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


def soft_dice(logits: jax.Array, labels: jax.Array, *, smooth: float = 1.0, background: bool = False) -> jax.Array:
    """One minus the soft Dice coefficient of each image: the mean over its classes, from 0 to 1, in float32.

    loss = mean_k (1 - (sum_i p_ik t_ik + s) / ((sum_i p_ik + sum_i t_ik) / 2 + s))

    with p the softmax of the logits and t one where the label is k, over the pixels i of one image. The smooth term s
    (in pixels) keeps the gradient finite and small where a class is absent from an image: with s = 1, a class that is
    neither there nor predicted has a loss near 0, and a few wrongly predicted pixels of it cost little.

    Args:
      logits: `[batch, *spatial, classes]`, any floating dtype, with 2 classes or more.
      labels: int `[batch, *spatial]`.
      smooth: s, more than 0.
      background: whether class 0 takes part.

    Returns:
      float32 `[batch]`.

    Raises:
      ConfigError: `smooth` is not positive, or there is one class alone.

    >>> labels = jnp.array([[0, 1, 1, 0]])
    >>> soft_dice(100 * jax.nn.one_hot(labels, 2), labels)
    Array([0.], dtype=float32)
    >>> soft_dice(-100 * jax.nn.one_hot(labels, 2), labels, smooth=0.5)
    Array([0.8], dtype=float32)

    (Milletari, Navab and Ahmadi, 2016, arXiv 1606.04797, without the squares in the denominator.)
    """
    if not smooth > 0:
        raise ConfigError(f"smooth is {smooth}, expected more than 0: a class absent from an image would divide 0 by 0")
    if logits.shape[-1] < 2:
        raise ConfigError(f"logits have {logits.shape[-1]} class, expected 2 or more: background is a class, number 0")
    target = jax.nn.one_hot(labels, logits.shape[-1], dtype=jnp.float32)
    return optax.losses.dice_loss(logits.astype(jnp.float32), target, smooth=smooth, ignore_background=not background)


def dice_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    dice_weight: float = 1.0,
    smooth: float = 1.0,
    background: bool = False,
) -> jax.Array:
    """Cross-entropy (nats, the mean over pixels) plus weighted soft Dice, for each image.

    The sum trains where either fails: cross-entropy has a useful gradient while a small class is not found yet,
    soft Dice does not let a large background rule.

    Args:
      logits: `[batch, *spatial, classes]`.
      labels: int `[batch, *spatial]`.
      dice_weight: of the soft Dice loss.
      smooth: see `soft_dice`.
      background: whether class 0 takes part in the soft Dice loss; in the cross-entropy it does.

    Returns:
      float32 `[batch]`.

    >>> logits, labels = jnp.zeros((2, 8, 8, 4)), jnp.zeros((2, 8, 8), int)
    >>> dice_cross_entropy(logits, labels, dice_weight=0.0).shape
    (2,)

    (Isensee et al., 2021, "nnU-Net", doi 10.1038/s41592-020-01008-z.)
    """
    # One-hot targets: the gradient of a gather is a scatter, which costs more on large images than the sum.
    target = jax.nn.one_hot(labels, logits.shape[-1], dtype=jnp.float32)
    pixels = optax.losses.softmax_cross_entropy(logits.astype(jnp.float32), target)
    dice = soft_dice(logits, labels, smooth=smooth, background=background)
    return pixels.mean(tuple(range(1, pixels.ndim))) + dice_weight * dice
