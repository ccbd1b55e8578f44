"""Max pooling by reshaping, whose gradient is an elementwise product."""

from collections.abc import Sequence

from jaxtyping import Array, Real

from hyperlab.errors import ConfigError


def max_pool(
    images: Real[Array, "batch *spatial channel"], window: Sequence[int]
) -> Real[Array, "batch *blocks channel"]:
    """The largest value of each block of a window's size; what does not fill a block is left out.

    The values are those of `flax.linen.max_pool(images, window, window)`. Where several are largest, each gets an
    equal share of the gradient. The gradient of a windowed maximum is a scatter, which on a CPU takes longer than
    the convolutions of a small network.

    Args:
      images: `[batch, *spatial, channel]`.
      window: the size of a block along each spatial dimension, at least 1.

    Returns:
      `[batch, *(spatial // window), channel]`.

    Raises:
      ConfigError: the window has another number of dimensions, or does not fit.

    >>> import jax.numpy as jnp
    >>> max_pool(jnp.arange(6.0).reshape(1, 6, 1), (2,)).ravel().tolist()
    [1.0, 3.0, 5.0]
    """
    spatial = images.shape[1:-1]
    if len(window) != len(spatial) or any(not 1 <= w <= n for w, n in zip(window, spatial, strict=False)):
        raise ConfigError(f"window {tuple(window)} for images {images.shape}: one size for each of {spatial}")
    blocks = [n // w for n, w in zip(spatial, window, strict=True)]
    whole = images[:, *(slice(b * w) for b, w in zip(blocks, window, strict=True)), :]
    split = [size for pair in zip(blocks, window, strict=True) for size in pair]
    return whole.reshape(images.shape[0], *split, images.shape[-1]).max(range(2, 2 + 2 * len(spatial), 2))
