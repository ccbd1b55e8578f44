r"""Bilinear upsampling by two whose first and last samples stay where they are (`align_corners`).

Along an axis of $n$ samples, output $o$ of $2n$ reads the input at $o\,(n-1)/(2n-1)$. Even outputs $2i$ lie
$i/(2n-1)$ before sample $i$ and odd ones $2i+1$ lie $(n-1-i)/(2n-1)$ behind it, so that both are sums of shifted
samples: no gather in the forward pass, and no scatter in its gradient. The half-pixel centres of
`hyperlab.nn.resize` are another definition; networks that were trained with this one need this one.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperlab.nn.precision import widened


def upsample_aligned(
    images: Float[Array, "batch height width channel"],
) -> Float[Array, "batch 2*height 2*width channel"]:
    """Twice the height and width, linearly, with aligned corners.

    The values are those of PyTorch's `UpsamplingBilinear2d(scale_factor=2)`.

    Args:
      images: `[batch, height, width, channel]`, of any sizes of at least 1.

    Returns:
      `[batch, 2 height, 2 width, channel]`, of the same dtype.

    >>> upsample_aligned(jnp.arange(4.0).reshape(1, 2, 2, 1))[0, 1, :, 0]
    Array([0.6666667, 1.       , 1.3333334, 1.6666667], dtype=float32)
    """
    return _double_along(_double_along(images, 1), 2)


def _double_along(images: jax.Array, axis: int) -> jax.Array:
    n, dtype = images.shape[axis], images.dtype
    images = widened(images)  # what half a precision rounds is the result alone
    ones = [1] * images.ndim
    ones[axis] = n
    before = jnp.arange(n, dtype=images.dtype).reshape(ones) / (2 * n - 1)
    behind = jnp.flip(before, axis)
    first, last = (jax.lax.slice_in_dim(images, i, i + 1, axis=axis) for i in (0, n - 1))
    previous = jnp.concatenate([first, jax.lax.slice_in_dim(images, 0, n - 1, axis=axis)], axis)
    following = jnp.concatenate([jax.lax.slice_in_dim(images, 1, n, axis=axis), last], axis)
    even, odd = images + (previous - images) * before, images + (following - images) * behind
    doubled = jnp.stack([even, odd], axis + 1).astype(dtype)
    return doubled.reshape(*images.shape[:axis], 2 * n, *images.shape[axis + 1 :])
