r"""Convolution whose gradient stays fast inside loops on a CPU.

The gradients of $y = x \star k$ are convolutions again: $\bar x = \bar y \star k'$, with $k'$ flipped and its channels
swapped, and $\bar k = x \star \bar y$, where batch and channels have changed places. A stride of one of them is a
dilation of the others. Differentiation states the exchanges as dimension numbers. On a CPU, XLA has fast convolutions
for channel-last operands alone, and brings others to that layout outside loops only: inside `lax.scan` and `lax.map` a
naive one runs instead (jax issue 12868). Here the same gradients are channel-last convolutions of transposed operands,
for all strides, dilations and groups. Other platforms keep the gradients that their compilers recognise.

Where samples have kernels of their own, `jax.vmap` makes one convolution in groups of them, which takes a CPU four
times as long as a loop over the samples: so there it is that loop. And the gradient of a kernel from few images is a
product with their patches, since a convolution that sums over few images has little to do at a time.

Volumes have no fast convolution there at all. On a CPU, the slices that a window covers become channels, and a volume
is a batch of such images: the same products and sums, in a 2D convolution, at several times the memory of the input.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial, reduce
from itertools import product
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from hyperlab.nn.precision import as_written, in_dtype, promote_but_bias

Padding = tuple[tuple[int, int], ...]
_FEW = 2  # images: patches take 0.25 of the time for one, 0.43 for two (for four 0.6, and long to compile)


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

    Its gradient is fast in loops on a CPU; it has reverse mode only (JAX refuses `jax.jvp`, and with it
    `jax.hessian`). With other dimension numbers than channel-last it is that function.

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
    if numbers != channel_last:
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
    ones = (1,) * (images.ndim - 2)
    lhs_dilation, rhs_dilation = (tuple(given or ones) for given in (lhs_dilation, rhs_dilation))
    if isinstance(padding, str):
        spread = [_spread(n, d) for n, d in zip(kernel.shape[:-2], rhs_dilation, strict=True)]
        padding = jax.lax.padtype_to_pads(images.shape[1:-1], spread, window_strides, padding)
    padding = tuple((int(low), int(high)) for low, high in padding)
    how = _How(tuple(window_strides), padding, lhs_dilation, rhs_dilation, feature_group_count, precision)
    if images.ndim != 5 or how.input_dilation[0] != 1:
        return _conv(images, kernel, how)
    return jax.lax.platform_dependent(images, kernel, cpu=partial(_by_slices, how=how), default=partial(_conv_of, how))


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


class _How(NamedTuple):
    """All that is said of a convolution: one number or pair for each spatial axis."""

    strides: tuple[int, ...]
    padding: Padding
    input_dilation: tuple[int, ...]
    kernel_dilation: tuple[int, ...]
    groups: int
    precision: Any

    def planar(self) -> "_How":
        """The same without the first axis."""
        return self._replace(
            strides=self.strides[1:],
            padding=self.padding[1:],
            input_dilation=self.input_dilation[1:],
            kernel_dilation=self.kernel_dilation[1:],
        )


@cache
def _each(function: Callable[..., jax.Array], *fixed: Any) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """`function(a, b, *fixed)`, whose `jax.vmap` over both is a loop on a CPU."""

    def called(a: jax.Array, b: jax.Array) -> jax.Array:
        return function(a, b, *fixed)

    one = jax.custom_batching.custom_vmap(called)

    @one.def_vmap
    def rule(_: int, mapped: list[bool], a: jax.Array, b: jax.Array) -> tuple[jax.Array, bool]:
        together = jax.vmap(called, [0 if each else None for each in mapped])
        if not all(mapped):
            return together(a, b), True
        loop = partial(jax.lax.map, lambda pair: one(*pair))
        return jax.lax.platform_dependent(a, b, cpu=lambda *pair: loop(pair), default=together), True

    # such a function has no derivative of its own
    differentiable = jax.custom_vjp(lambda a, b: one(a, b))
    differentiable.defvjp(lambda a, b: (one(a, b), (a, b)), lambda operands, bar: jax.vjp(called, *operands)[1](bar))
    return differentiable


def _native(images: jax.Array, kernel: jax.Array, how: _How) -> jax.Array:
    return _each(_one, how)(images, kernel)


def _one(images: jax.Array, kernel: jax.Array, how: _How) -> jax.Array:
    if how.groups == 1 or kernel.shape[-2] == 1:
        return _whole(images, kernel, how)
    return jax.lax.platform_dependent(
        images, kernel, cpu=partial(_one_by_one, how=how), default=partial(_whole, how=how)
    )


def _whole(images: jax.Array, kernel: jax.Array, how: _How) -> jax.Array:
    return jax.lax.conv_general_dilated(
        images,
        kernel,
        how.strides,
        how.padding,
        how.input_dilation,
        how.kernel_dilation,
        dimension_numbers=_channel_last(images.ndim),
        feature_group_count=how.groups,
        precision=how.precision,
    )


def _one_by_one(images: jax.Array, kernel: jax.Array, how: _How) -> jax.Array:
    """Each group by itself: on a CPU one convolution in groups takes longer than that."""
    pairs = zip(jnp.split(images, how.groups, -1), jnp.split(kernel, how.groups, -1), strict=True)
    return jnp.concatenate([_whole(image, part, how._replace(groups=1)) for image, part in pairs], axis=-1)


def _conv_of(how: _How, images: jax.Array, kernel: jax.Array) -> jax.Array:
    return _conv(images, kernel, how)


def _by_slices(images: jax.Array, kernel: jax.Array, how: _How) -> jax.Array:
    """Convolution of volumes as one of images, whose channels are those of all slices that the window covers."""
    (low, high), *_ = how.padding
    window, apart, stride = kernel.shape[0], how.kernel_dilation[0], how.strides[0]
    padded = jax.lax.pad(images, jnp.zeros((), images.dtype), [(0, 0, 0), (low, high, 0), *[(0, 0, 0)] * 3])
    depth = (padded.shape[1] - _spread(window, apart)) // stride + 1
    firsts = range(0, window * apart, apart)
    slices = [jax.lax.slice_in_dim(padded, i, i + (depth - 1) * stride + 1, stride, axis=1) for i in firsts]
    # the channels of a group stay together: [..., groups, window, in of group]
    grouped = [each.reshape(*each.shape[:-1], how.groups, 1, -1) for each in slices]
    joined = jnp.concatenate(grouped, axis=-2).reshape(*slices[0].shape[:-1], -1)
    stacked = jnp.moveaxis(kernel, 0, -3)  # [height, width, depth of the window, in, out]
    stacked = stacked.reshape(*stacked.shape[:2], -1, stacked.shape[-1])
    flat = _conv(joined.reshape(-1, *joined.shape[2:]), stacked, how.planar())
    return flat.reshape(images.shape[0], depth, *flat.shape[1:])


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(images: jax.Array, kernel: jax.Array, how: _How) -> jax.Array:
    return _native(images, kernel, how)


def _forward(images: jax.Array, kernel: jax.Array, how: _How) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _native(images, kernel, how), (images, kernel)


def _backward(how: _How, operands: tuple[jax.Array, jax.Array], cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    def transposed(images: jax.Array, kernel: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
        of_kernel = _each(_of_kernel, kernel.shape, how)
        return _of_images(images.shape, kernel, cotangent, how), of_kernel(images, cotangent)

    def native(images: jax.Array, kernel: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.vjp(partial(_whole, how=how), images, kernel)[1](cotangent)

    return jax.lax.platform_dependent(*operands, cotangent, cpu=transposed, default=native)


_conv.defvjp(_forward, _backward)


def _of_images(shape: Sequence[int], kernel: jax.Array, cotangent: jax.Array, how: _How) -> jax.Array:
    """The cotangent of images: that of the outputs, spread by the strides, under the flipped kernel."""
    *window, of_group, out = kernel.shape
    flipped = jnp.flip(kernel, range(len(window))).reshape(*window, of_group, how.groups, out // how.groups)
    flipped = jnp.moveaxis(flipped, -3, -1).swapaxes(-2, -3).reshape(*window, out // how.groups, -1)
    padding = []
    for axis, k in enumerate(window):
        covered = _spread(k, how.kernel_dilation[axis])
        before = covered - 1 - how.padding[axis][0]
        there = _spread(shape[axis + 1], how.input_dilation[axis])
        given = _spread(cotangent.shape[axis + 1], how.strides[axis])
        padding.append((before, there + covered - 1 - given - before))
    back = _How(how.input_dilation, tuple(padding), how.strides, how.kernel_dilation, how.groups, how.precision)
    return _native(cotangent, flipped, back)


def _of_kernel(images: jax.Array, cotangent: jax.Array, shape: tuple[int, ...], how: _How) -> jax.Array:
    """The cotangent of a kernel."""
    if not 0 < len(images) <= _FEW or how.groups > 1 or any(apart > 1 for apart in how.input_dilation):
        return _by_exchange(images, cotangent, shape, how)
    return reduce(jnp.add, (_by_patches(*pair, shape, how) for pair in zip(images, cotangent, strict=True)))


def _by_patches(image: jax.Array, cotangent: jax.Array, shape: tuple[int, ...], how: _How) -> jax.Array:
    """Of one image: what each place of the window sees of it, times the cotangents of what it gave."""
    sizes = cotangent.shape[:-1]
    padded = jax.lax.pad(image, jnp.zeros((), image.dtype), [*((low, high, 0) for low, high in how.padding), (0, 0, 0)])
    patches = []
    for place in product(*(range(0, k * d, d) for k, d in zip(shape[:-2], how.kernel_dilation, strict=True))):
        ends = [i + (n - 1) * s + 1 for i, n, s in zip(place, sizes, how.strides, strict=True)]
        seen = jax.lax.slice(padded, (*place, 0), (*ends, image.shape[-1]), (*how.strides, 1))
        patches.append(seen.reshape(-1, image.shape[-1]))
    joined, wide = jnp.concatenate(patches, -1), jnp.promote_types(image.dtype, jnp.float32)  # of a sum of all pixels
    gradient = jnp.matmul(
        joined.T, cotangent.reshape(-1, shape[-1]), precision=how.precision, preferred_element_type=wide
    )
    return gradient.reshape(shape).astype(image.dtype)


def _by_exchange(images: jax.Array, cotangent: jax.Array, shape: tuple[int, ...], how: _How) -> jax.Array:
    """Channels take the batch's place, the batch that of the channels of each group."""
    batch, spatial = images.shape[0], images.shape[1:-1]
    exchanged = images.reshape(batch, *spatial, how.groups, -1)
    exchanged = jnp.moveaxis(exchanged, (-1, 0), (0, -1)).reshape(-1, *spatial, how.groups * batch)
    padding = []
    for axis, k in enumerate(shape[:-2]):
        low = how.padding[axis][0]
        there = _spread(images.shape[axis + 1], how.input_dilation[axis])
        given = _spread(cotangent.shape[axis + 1], how.strides[axis])
        padding.append((low, given + _spread(k, how.kernel_dilation[axis]) - 1 - there - low))
    back = _How(how.kernel_dilation, tuple(padding), how.input_dilation, how.strides, how.groups, how.precision)
    return jnp.moveaxis(_one(exchanged, jnp.moveaxis(cotangent, 0, -2), back), 0, -2)


def _spread(length: int, apart: int) -> int:
    """How far numbers reach that stand so far apart."""
    return max(0, (length - 1) * apart + 1)
