r"""Convolution whose gradient stays fast inside loops on a CPU.

The gradients of $y = x \star k$ are convolutions again: $\bar x = \bar y \star k'$, with $k'$ flipped and its channels
swapped, and $\bar k = x \star \bar y$, where batch and channels have changed places. Differentiation states these
exchanges as dimension numbers. On a CPU, XLA has fast convolutions for channel-last operands alone, and brings
others to that layout outside loops only: inside `lax.scan` and `lax.map` a naive one runs instead (jax issue 12868).
Here the same gradients are channel-last convolutions of transposed operands. Other platforms keep the gradients
that their compilers recognise.

Volumes have no fast convolution there at all. On a CPU, the slices that a window covers become channels, and a volume
is a batch of such images: the same products and sums, in a 2D convolution, at several times the memory of the input.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from hyperlab.nn.precision import as_written, in_dtype, promote_but_bias

Padding = tuple[tuple[int, int], ...]


def conv(
    images: Inexact[Array, "batch *spatial in"],
    kernel: Inexact[Array, "*window in_of_group out"],
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    precision: Any = None,
) -> Inexact[Array, "batch *size out"]:
    """Channel-last convolution; its values are those of `jax.lax.conv_general_dilated`.

    With strides, dilations or groups it is that function. Without, its gradient is fast in loops on a CPU; it
    then has reverse mode only (JAX refuses `jax.jvp`, and with it `jax.hessian`).

    Args:
      images: `[batch, *spatial, in]`, with one spatial dimension or more.
      kernel: `[*window, in, out]`.
      window_strides: one for each spatial dimension.
      padding: `SAME`, `VALID`, or `(low, high)` for each spatial dimension.
      lhs_dilation: as in `jax.lax`.
      rhs_dilation: as in `jax.lax`.
      dimension_numbers: as in `jax.lax`; None for channel-last.
      feature_group_count: as in `jax.lax`.
      precision: as in `jax.lax`.

    Returns:
      `[batch, *spatial, out]`.

    >>> conv(jnp.ones((1, 5, 5, 2)), jnp.ones((3, 3, 2, 4)), (1, 1), "SAME")[0, :, 0, 0]
    Array([ 8., 12., 12., 12.,  8.], dtype=float32)
    """
    channel_last = _channel_last(images.ndim)
    numbers = jax.lax.conv_dimension_numbers(images.shape, kernel.shape, dimension_numbers or channel_last)
    factors = (*window_strides, *(lhs_dilation or ()), *(rhs_dilation or ()), feature_group_count)
    if numbers != channel_last or any(factor != 1 for factor in factors):
        return jax.lax.conv_general_dilated(
            images,
            kernel,
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers=numbers,
            feature_group_count=feature_group_count,
            precision=precision,
        )
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(images.shape[1:-1], kernel.shape[:-2], window_strides, padding)
    padding = tuple((int(low), int(high)) for low, high in padding)
    if images.ndim != 5:
        return _conv(images, kernel, padding, precision)
    given = {"padding": padding, "precision": precision}
    by_slices, whole = (partial(function, **given) for function in (_by_slices, _conv_of))
    return jax.lax.platform_dependent(images, kernel, cpu=by_slices, default=whole)


class Conv(nn.Conv):
    """`flax.linen.Conv` with the same parameters, names and values; see `conv` for its gradient.

    In half a precision its bias is added in float32, see `hyperlab.nn.precision`.

    >>> Conv(4, (3, 3)).init_with_output(jax.random.key(0), jnp.zeros((2, 8, 8, 1)))[0].shape
    (2, 8, 8, 4)
    """

    conv_general_dilated_cls: Any = lambda: conv
    promote_dtype: Any = promote_but_bias

    @nn.compact
    def __call__(self, inputs: Inexact[Array, "*batch in"]) -> Inexact[Array, "*batch out"]:
        """The convolution, `[batch, *size, out]`."""
        return in_dtype(self, as_written(nn.Conv)(self, inputs))


def _channel_last(rank: int) -> jax.lax.ConvDimensionNumbers:
    spatial = tuple(range(1, rank - 1))
    images, kernel = (0, rank - 1, *spatial), (rank - 1, rank - 2, *range(rank - 2))
    return jax.lax.ConvDimensionNumbers(images, kernel, images)


def _native(images: jax.Array, kernel: jax.Array, padding: Padding, precision: Any) -> jax.Array:
    strides, numbers = (1,) * len(padding), _channel_last(images.ndim)
    return jax.lax.conv_general_dilated(
        images, kernel, strides, padding, dimension_numbers=numbers, precision=precision
    )


def _conv_of(images: jax.Array, kernel: jax.Array, padding: Padding, precision: Any) -> jax.Array:
    return _conv(images, kernel, padding, precision)


def _by_slices(images: jax.Array, kernel: jax.Array, padding: Padding, precision: Any) -> jax.Array:
    """Convolution of volumes as one of images, whose channels are those of all slices that the window covers."""
    (low, high), *planar = padding
    window = kernel.shape[0]
    padded = jax.lax.pad(images, jnp.zeros((), images.dtype), [(0, 0, 0), (low, high, 0), *[(0, 0, 0)] * 3])
    depth = padded.shape[1] - window + 1
    slices = jnp.concatenate([padded[:, i : i + depth] for i in range(window)], axis=-1)
    stacked = jnp.moveaxis(kernel, 0, -3)  # [height, width, depth of the window, in, out]
    stacked = stacked.reshape(*stacked.shape[:2], -1, stacked.shape[-1])
    flat = _conv(slices.reshape(-1, *slices.shape[2:]), stacked, tuple(planar), precision)
    return flat.reshape(images.shape[0], depth, *flat.shape[1:])


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv(images: jax.Array, kernel: jax.Array, padding: Padding, precision: Any) -> jax.Array:
    return _native(images, kernel, padding, precision)


def _forward(
    images: jax.Array, kernel: jax.Array, padding: Padding, precision: Any
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _native(images, kernel, padding, precision), (images, kernel)


def _backward(
    padding: Padding, precision: Any, operands: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    def transposed(images: jax.Array, kernel: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
        window = kernel.shape[:-2]
        mirrored = tuple((k - 1 - low, k - 1 - high) for k, (low, high) in zip(window, padding, strict=True))
        flipped = jnp.flip(kernel, range(len(window))).swapaxes(-1, -2)
        of_images = _native(cotangent, flipped, mirrored, precision)
        # Channels take the batch's place, the batch that of the channels, the cotangent that of the window.
        of_kernel = _native(images.swapaxes(0, -1), jnp.moveaxis(cotangent, 0, -2), padding, precision)
        return of_images, jnp.moveaxis(of_kernel, 0, -2)

    def native(images: jax.Array, kernel: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.vjp(partial(_native, padding=padding, precision=precision), images, kernel)[1](cotangent)

    return jax.lax.platform_dependent(*operands, cotangent, cpu=transposed, default=native)


_conv.defvjp(_forward, _backward)
