"""What the classification backbones share: normalisation by name, kernel initialisation, widths."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperlab.errors import ConfigError, nearest

NORMALIZATIONS = ("batch", "group", "")
KAIMING = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
KAIMING_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def check_normalization(kind: str) -> None:
    """Refuses a normalisation that the backbones do not have.

    Raises:
      ConfigError: the name is unknown.
    """
    if kind not in NORMALIZATIONS:
        raise ConfigError(f"normalization {kind!r}; {nearest(kind, NORMALIZATIONS)} ('' is none)")


def normalize(
    x: jax.Array, kind: str, train: bool, name: str, epsilon: float = 1e-5, dtype: jnp.dtype = jnp.float32
) -> jax.Array:
    """Normalises the last axis, inside a compact Linen module.

    Args:
      x: `[batch, ..., channel]`.
      kind: `batch` (statistics of the batch in training, running ones otherwise), `group` (of each image, in the
        largest number of groups up to 8 that divides the channels), or the empty string for none.
      train: whether the statistics are those of the batch, and the running ones change.
      name: of the module that holds scale, bias and statistics.
      epsilon: added to the variance.
      dtype: of the computation.

    Returns:
      An array of the same shape. Running statistics move by a tenth of the difference each step, PyTorch's
      momentum of 0.1; the running variance is that of the batch, where PyTorch's has n / (n - 1) of it.
    """
    if kind == "batch":
        return nn.BatchNorm(not train, momentum=0.9, epsilon=epsilon, dtype=dtype, name=name)(x)
    if kind == "group":
        return nn.GroupNorm(math.gcd(8, x.shape[-1]), epsilon=epsilon, dtype=dtype, name=name)(x)
    return x


def scaled(channels: int, width: float) -> int:
    """Channels times a width multiplier, rounded, at least one.

    >>> [scaled(64, width) for width in (1.0, 0.25, 0.001)]
    [64, 16, 1]
    """
    return max(1, round(channels * width))
