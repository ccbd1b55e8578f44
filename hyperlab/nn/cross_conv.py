r"""Cross convolution: every image of one set meets every image of another, at the cost of a sum.

The definition pairs all $x_i$ with all $y_j$, concatenates their channels and convolves each pair with one kernel:
$z_{ij} = W \star [x_i \,\|\, y_j] + b$. A convolution is linear, so with the kernel split along its input channels,
$$z_{ij} = (W_x \star x_i + b) + W_y \star y_j,$$
which needs $n_x + n_y$ convolutions where the pairs need $n_x n_y$ of more channels, and no pair is ever stored.

Source: Butoi, Gonzalez Ortiz, Ma, Sabuncu, Guttag and Dalca, UniverSeg (2023), arXiv 2304.06131, for the definition;
Wong et al., MultiverSeg (2024), arXiv 2412.15058, also splits the kernel.
"""

from collections.abc import Callable

from jaxtyping import Array, Float, Shaped

from hyperlab.errors import ConfigError
from hyperlab.nn.conv import conv
from hyperlab.nn.precision import widened


def cross_conv(
    x: Float[Array, "batch set_x height width channels_x"],
    y: Float[Array, "batch set_y height width channels_y"],
    kernel: Float[Array, "window window channels_x+channels_y out"],
    bias: Float[Array, " out"],
) -> Float[Array, "batch set_x set_y height width out"]:
    """Convolves each pair of an image of `x` and an image of `y`, zero-padded to the same size.

    Args:
      x: `[batch, set_x, height, width, channels_x]`.
      y: `[batch, set_y, height, width, channels_y]`.
      kernel: `[window, window, channels_x + channels_y, out]`; the channels of `x` come first.
      bias: `[out]`.

    Returns:
      `[batch, set_x, set_y, height, width, out]`.

    Raises:
      ConfigError: the kernel takes another number of channels.

    >>> import jax.numpy as jnp
    >>> x, y, bias = jnp.ones((1, 2, 4, 4, 3)), jnp.ones((1, 5, 4, 4, 2)), jnp.zeros(7)
    >>> cross_conv(x, y, jnp.ones((3, 3, 5, 7)), bias).shape
    (1, 2, 5, 4, 4, 7)
    """
    kernel_x, kernel_y = split_kernel(kernel, x.shape[-1], y.shape[-1])
    of_x, of_y = conv_set(x, kernel_x, bias)[:, :, None], conv_set(y, kernel_y)[:, None]
    return (widened(of_x) + widened(of_y)).astype(of_y.dtype)


def split_kernel(
    kernel: Float[Array, "window window channels out"], channels_x: int, channels_y: int
) -> tuple[Float[Array, "window window {channels_x} out"], Float[Array, "window window {channels_y} out"]]:
    """The parts of a cross convolution's kernel for `x` and for `y`; the bias belongs to the part of `x`.

    Raises:
      ConfigError: the kernel takes another number of channels.

    >>> import jax.numpy as jnp
    >>> [part.shape for part in split_kernel(jnp.ones((3, 3, 5, 7)), 3, 2)]
    [(3, 3, 3, 7), (3, 3, 2, 7)]
    """
    if kernel.shape[-2] != channels_x + channels_y:
        raise ConfigError(
            f"kernel {kernel.shape} takes {kernel.shape[-2]} channels; expected {channels_x} of x + {channels_y} of y"
        )
    return kernel[..., :channels_x, :], kernel[..., channels_x:, :]


def conv_set(
    images: Float[Array, "batch set height width in"],
    kernel: Float[Array, "window window in out"],
    bias: Float[Array, " out"] | None = None,
) -> Float[Array, "batch set height width out"]:
    """Convolves each image of a set, zero-padded to the same size.

    Args:
      images: `[batch, set, height, width, in]`.
      kernel: `[window, window, in, out]`.
      bias: `[out]`, or None.

    Returns:
      `[batch, set, height, width, out]`.

    >>> import jax.numpy as jnp
    >>> conv_set(jnp.ones((1, 2, 4, 4, 3)), jnp.ones((1, 1, 3, 5)), jnp.ones(5))[0, 1, 3, 3]
    Array([4., 4., 4., 4., 4.], dtype=float32)
    """
    out = map_set(lambda flat: conv(flat, kernel, (1, 1), "SAME"), images)
    if bias is None:
        return out
    return (out + widened(bias).reshape((1,) * (out.ndim - 1) + (-1,))).astype(out.dtype)


def map_set(
    function: Callable[[Array], Array], images: Shaped[Array, "batch set height width channel"]
) -> Shaped[Array, "batch set ..."]:
    """Applies a function of a batch of images to the images of sets.

    Args:
      function: from `[n, height, width, channel]` to `[n, ...]`.
      images: `[batch, set, height, width, channel]`.

    Returns:
      `[batch, set, ...]`.

    >>> import jax.numpy as jnp
    >>> map_set(lambda flat: flat[:, ::2, ::2], jnp.ones((3, 2, 4, 4, 1))).shape
    (3, 2, 2, 2, 1)
    """
    flat = function(images.reshape(-1, *images.shape[2:]))
    return flat.reshape(*images.shape[:2], *flat.shape[1:])
