"""Losses: pure functions of logits and labels, one value an example; the caller takes the mean."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Integer, Real

from hyperlab.errors import ConfigError


def cross_entropy(
    logits: Float[Array, "*examples classes"], labels: Integer[Array, "*examples"]
) -> Float[Array, "*examples"]:
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


def soft_dice(
    logits: Float[Array, "batch *spatial classes"],
    labels: Integer[Array, " batch *spatial"],
    *,
    smooth: float = 1.0,
    background: bool = False,
) -> Float[Array, " batch"]:
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
    logits: Float[Array, "batch *spatial classes"],
    labels: Integer[Array, " batch *spatial"],
    *,
    dice_weight: float = 1.0,
    smooth: float = 1.0,
    background: bool = False,
) -> Float[Array, " batch"]:
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


# -- one foreground against background, several candidates --------------------------------------------------------


def binary_soft_dice(
    logits: Float[Array, "batch *spatial channel"],
    labels: Real[Array, "batch *spatial channel"],
    *,
    squared: bool = True,
    smooth: float = 1e-7,
) -> Float[Array, " batch"]:
    """One minus the soft Dice coefficient of each example, with a sigmoid: from 0 to 1, in float32.

    loss = mean_c (1 - (2 sum_i p_ic y_ic + s) / (sum_i p_ic^2 + sum_i y_ic^2 + s))

    with p the sigmoid of the logits, over the pixels i of one example and its channels c. Where label and
    prediction are empty the loss is 0. At the default smooth term, that of the source, an empty label alone gives
    next to no gradient; `smooth=1` gives it one.

    Args:
      logits: `[batch, *spatial, channel]`, any floating dtype.
      labels: `[batch, *spatial, channel]` in 0..1; values between are soft labels.
      squared: squares in the denominator; without them it is sum p + sum y, which soft labels can never bring to 0.
      smooth: s, more than 0.

    Returns:
      float32 `[batch]`.

    Raises:
      ConfigError: shapes differ, or `smooth` is not positive.

    >>> logits = jnp.linspace(-2, 2, 16).reshape(1, 16, 1)
    >>> labels = (jnp.arange(16) % 3 == 0).astype(jnp.float32).reshape(1, 16, 1)
    >>> [round(float(binary_soft_dice(logits, labels, squared=squared)[0]), 6) for squared in (True, False)]
    [0.456649, 0.571429]

    (Milletari, Navab and Ahmadi, 2016, arXiv 1606.04797; constants of the training library of UniverSeg, Butoi et
    al., 2023, arXiv 2304.06131.)
    """
    if logits.shape != labels.shape:
        raise ConfigError(f"logits have shape {logits.shape}, labels {labels.shape}, expected the same")
    if not smooth > 0:
        raise ConfigError(f"smooth is {smooth}, expected more than 0: an empty image would divide 0 by 0")
    p, y = jax.nn.sigmoid(logits.astype(jnp.float32)), labels.astype(jnp.float32)
    pixels = tuple(range(1, logits.ndim - 1))
    total = (p * p + y * y if squared else p + y).sum(pixels)
    return 1 - ((2 * (p * y).sum(pixels) + smooth) / (total + smooth)).mean(-1)


def candidate_soft_dice(
    logits: Float[Array, "batch K *spatial channel"],
    labels: Real[Array, "batch *spatial channel"],
    *,
    squared: bool = True,
    smooth: float = 1e-7,
) -> Float[Array, "batch K"]:
    """`binary_soft_dice` of each candidate: float32 `[batch, K]`.

    Args:
      logits: `[batch, K, *spatial, channel]`.
      labels: `[batch, *spatial, channel]`, one annotator's, for all candidates.
      squared: see `binary_soft_dice`, like `smooth`.

    >>> candidate_soft_dice(jnp.zeros((2, 5, 8, 8, 1)), jnp.ones((2, 8, 8, 1))).shape
    (2, 5)
    """
    loss = lambda one: binary_soft_dice(one, labels, squared=squared, smooth=smooth)  # noqa: E731
    return jax.vmap(loss, 1, 1)(logits)


def best_candidate_dice(
    logits: Float[Array, "batch K *spatial channel"],
    labels: Real[Array, "batch *spatial channel"],
    *,
    squared: bool = True,
    smooth: float = 1e-7,
) -> Float[Array, " batch"]:
    """The soft Dice loss of the best of several candidates, float32 `[batch]`; the others get no gradient.

    Candidates are free to differ, since only the one that the annotator of this step would have chosen is pulled
    towards the label. Of equally good candidates the first is taken.

    Args:
      logits: `[batch, K, *spatial, channel]`.
      labels: `[batch, *spatial, channel]`, one annotator's, drawn anew at each step.
      squared: see `binary_soft_dice`, like `smooth`.

    >>> labels = jnp.array([0.0, 1, 1, 0]).reshape(1, 4, 1)
    >>> logits = 100 * jnp.stack([1 - 2 * labels, 2 * labels - 1], 1)
    >>> best_candidate_dice(logits, labels), mean_candidate_dice(logits, labels)
    (Array([0.], dtype=float32), Array([0.5], dtype=float32))

    (Rakic et al., 2024, "Tyche", arXiv 2401.13650.)
    """
    losses = candidate_soft_dice(logits, labels, squared=squared, smooth=smooth)
    # the gradient of `min` would be shared by equal candidates
    return jnp.take_along_axis(losses, losses.argmin(1, keepdims=True), 1)[:, 0]


def mean_candidate_dice(
    logits: Float[Array, "batch K *spatial channel"],
    labels: Real[Array, "batch *spatial channel"],
    *,
    squared: bool = True,
    smooth: float = 1e-7,
) -> Float[Array, " batch"]:
    """The mean soft Dice loss of all candidates, float32 `[batch]`: what `best_candidate_dice` is held against.

    Its optimum is one mask for all candidates, the best compromise between the annotators.
    """
    return candidate_soft_dice(logits, labels, squared=squared, smooth=smooth).mean(1)
