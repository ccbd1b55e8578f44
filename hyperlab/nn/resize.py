r"""Linear resizing by any factor, with sizes that are fixed or traced: two implementations of one definition.

Along one axis, from $n$ samples to $m$, output $o$ reads the input at
$$x_o = \min(\max((o + \tfrac12)\, n / m - \tfrac12,\ 0),\ n - 1),$$
linearly between its two neighbours: half-pixel centres, clamped borders, no smoothing before down-sampling. The
sizes of a network's levels are $n_{i+1} = \max(1, \lceil \phi n_i \rceil)$, as in scale-space hypernetworks.

- `resize` (exact): sizes are Python ints, and each is a program of its own.
- `resize_canvas`: sizes are traced numbers. An array of static size, the canvas, holds the smaller image in its
  first rows and columns and zeros elsewhere, so that one program serves every size up to the canvas.

`SAME` convolution on a canvas whose outside is zero, masked again after every layer, is the convolution on the
smaller image. Positions are ratios of integers in both forms, so the two agree to rounding.

Source of the operator: Gonzalez Ortiz, Guttag and Dalca, Scale-Space Hypernetworks for Efficient Biomedical Image
Analysis (2023), arXiv 2304.05448.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, Real, Shaped

from hyperlab.errors import ConfigError

Sizes = tuple[tuple[int, ...], ...]
Factors = float | Sequence[float | Sequence[float]]


def level_sizes(shape: Sequence[int], factors: Factors, levels: int) -> Sizes:
    r"""The size of every level of a network: $n_{i+1} = \max(1, \lceil \phi n_i - 10^{-6} \rceil)$ along each axis.

    Without the small number, a factor such as 0.07 times 100 would be rounded up to 8. This is the one place
    where sizes are computed; every form of the network is given them as integers.

    Args:
      shape: the spatial shape of the images.
      factors: the rescaling factor phi, in (0, 1]; or one for each of the `levels - 1` down-samplings, each a
        number or one number for each axis.
      levels: resolutions, the images' own included.

    Returns:
      `levels` sizes, of which the first is `shape`.

    Raises:
      ConfigError: a factor outside (0, 1], another number of factors, or an empty shape.

    >>> level_sizes((100, 63), 0.07, 3)
    ((100, 63), (7, 5), (1, 1))
    >>> level_sizes((96, 96, 32), [(0.5, 0.5, 1.0), 0.25], 3)
    ((96, 96, 32), (48, 48, 32), (12, 12, 8))
    """
    shape = tuple(int(n) for n in shape)
    if levels < 1 or not shape or min(shape) < 1:
        raise ConfigError(f"levels {levels} of images of shape {shape}; both start at 1")
    sizes = [shape]
    for factor in factors_by_level(factors, levels - 1, len(shape)):
        sizes.append(tuple(max(1, math.ceil(f * n - 1e-6)) for f, n in zip(factor, sizes[-1], strict=True)))
    return tuple(sizes)


def size_table(
    shape: Sequence[int], factors: Float[np.ndarray, "*factors"], levels: int
) -> Int[np.ndarray, "*factors {levels} dims"]:
    """The sizes of every level at many factors, as the numbers that a network on canvases takes.

    Args:
      shape: the spatial shape of the images.
      factors: any shape; one factor phi for all down-samplings each.
      levels: resolutions, the images' own included.

    Returns:
      int32 `[*factors.shape, levels, dims]`; see `level_sizes`.

    >>> size_table((16, 8), np.array([0.5, 0.25]), 2).tolist()
    [[[16, 8], [8, 4]], [[16, 8], [4, 2]]]
    """
    sizes = np.array([level_sizes(shape, float(factor), levels) for factor in factors.ravel()], np.int32)
    return sizes.reshape(*factors.shape, levels, len(shape))


def check_sizes(sizes: Sequence[Sequence[int]], kernel_size: int = 3, minimum: int | None = None) -> None:
    """Refuses levels that are smaller than the window of a convolution.

    The networks themselves accept levels of any size down to 1; a study calls this before it compiles anything.

    Args:
      sizes: of every level, from `level_sizes`.
      kernel_size: the window of the convolutions.
      minimum: the smallest side that a level may have; by default the kernel's.

    Raises:
      ConfigError: names the first level that is too small, and the smallest factor that would do.

    >>> check_sizes(level_sizes((64, 64), 0.5, 4))
    >>> check_sizes(level_sizes((64, 64), 0.25, 4))
    Traceback (most recent call last):
    hyperlab.errors.ConfigError: level 3 of sizes ((64, 64), (16, 16), (4, 4), (1, 1)) is (1, 1), smaller than ...
    """
    minimum = kernel_size if minimum is None else minimum
    for level, size in enumerate(sizes):
        if min(size) >= minimum:
            continue
        shape, levels = sizes[0], len(sizes)
        # The largest factor that fails is a step of the sizes; a factor in thousandths is as exact as one types it.
        fits = (k for k in range(1, 1001) if min(map(min, level_sizes(shape, k / 1000, levels))) >= minimum)
        smallest = next(fits, None)
        remedy = (
            f"the smallest factor for {levels} levels is {smallest / 1000:g}"
            if smallest
            else (f"no factor will do for {levels} levels of images of shape {tuple(shape)}")
        )
        raise ConfigError(
            f"level {level} of sizes {tuple(map(tuple, sizes))} is {tuple(size)}, smaller than {minimum} "
            f"(kernel size {kernel_size}); {remedy}"
        )


def resize(images: Real[Array, "batch *spatial channel"], size: Sequence[int]) -> Real[Array, "batch *size channel"]:
    """Resizes to a size that is known when the program is built.

    Reverse mode only, as with `hyperlab.nn.Conv`.

    Args:
      images: `[batch, *spatial, channel]`, with any number of spatial axes.
      size: of the result, one int of at least 1 for each spatial axis.

    Returns:
      `[batch, *size, channel]`.

    Raises:
      ConfigError: another number of axes, or a size below 1.

    >>> resize(jnp.arange(4.0).reshape(1, 4, 1), (2,)).ravel().tolist()
    [0.5, 2.5]
    """
    spatial = images.shape[1:-1]
    if len(size) != len(spatial) or any(n < 1 for n in size):
        raise ConfigError(f"cannot resize images {images.shape} to {tuple(size)}: one size for each of {spatial}")
    size = tuple(int(n) for n in size)
    return images if size == spatial else _resize(images, jnp.array(spatial), jnp.array(size), spatial, size)


def resize_canvas(
    images: Float[Array, "batch *canvas_in channel"],
    size_in: Integer[Array | np.ndarray, " dims"],
    size_out: Integer[Array | np.ndarray, " dims"],
    canvas: Sequence[int],
) -> Float[Array, "batch *canvas channel"]:
    """Resizes the valid region of a canvas, from a traced size to a traced size.

    Args:
      images: `[batch, *canvas_in, channel]`; only the first `size_in` of each axis are read.
      size_in: int32 `[dims]`, at least 1 and at most the canvas of `images`.
      size_out: int32 `[dims]`, at least 1 and at most `canvas`.
      canvas: the static size of the result.

    Returns:
      `[batch, *canvas, channel]`, zero outside of `size_out`. Sizes beyond a canvas cannot be seen here: they come
      from `level_sizes` and `bucket_of`.

    Raises:
      ConfigError: another number of axes.

    >>> images = jnp.array([0.0, 1, 2, 3, 0]).reshape(1, 5, 1)
    >>> resize_canvas(images, jnp.array([4]), jnp.array([2]), (3,)).ravel().tolist()
    [0.5, 2.5, 0.0]
    """
    spatial = images.shape[1:-1]
    size_in, size_out = jnp.asarray(size_in, jnp.int32), jnp.asarray(size_out, jnp.int32)
    if not len(canvas) == len(spatial) == size_in.shape[-1] == size_out.shape[-1]:
        raise ConfigError(
            f"cannot resize images {images.shape} to the canvas {tuple(canvas)}, with sizes of shapes {size_in.shape} "
            f"and {size_out.shape}: one number for each of {spatial}"
        )
    return _resize(images, size_in, size_out, spatial, tuple(int(n) for n in canvas))


def mask_canvas(
    images: Shaped[Array, "batch *canvas channel"], size: Integer[Array | np.ndarray, " dims"]
) -> Shaped[Array, "batch *canvas channel"]:
    """Sets what is outside of the valid region to zero.

    Args:
      images: `[batch, *canvas, channel]`.
      size: int32 `[dims]`, the valid region, traced or not.

    >>> mask_canvas(jnp.ones((1, 3, 1)), jnp.array([2])).ravel().tolist()
    [1.0, 1.0, 0.0]
    """
    return jnp.where(valid_region(images.shape[1:-1], size), images, jnp.zeros((), images.dtype))


def valid_region(canvas: Sequence[int], size: Integer[Array | np.ndarray, " dims"]) -> Bool[Array, "1 *canvas 1"]:
    """Which places of a canvas are within `size`: bool `[1, *canvas, 1]`."""
    mask = jnp.ones((1,) * (len(canvas) + 2), bool)
    for axis, n in enumerate(canvas):
        mask = mask & _along(jnp.arange(n) < size[axis], axis + 1, len(canvas) + 2)
    return mask


def factors_by_level(factors: Factors, count: int, dims: int) -> list[tuple[float, ...]]:
    """One factor for each axis at each of `count` down-samplings, checked; see `level_sizes`."""
    if isinstance(factors, jax.core.Tracer):
        raise ConfigError("a traced rescaling factor: compute sizes on the host, and give them to the program")
    given: Any = factors
    per_level = [given] * count if _is_number(given) else list(given)
    if len(per_level) != count:
        raise ConfigError(f"{len(per_level)} rescaling factors for {count} down-samplings: {factors}")
    result = []
    for factor in per_level:
        axes = (float(factor),) * dims if _is_number(factor) else tuple(float(f) for f in factor)
        if len(axes) != dims:
            raise ConfigError(f"rescaling factor {factor} for {dims} spatial axes: one number, or one for each axis")
        if not all(0 < f <= 1 for f in axes):  # written so that NaN fails too
            raise ConfigError(f"rescaling factor {factor} is outside (0, 1]; 0.5 is an ordinary U-Net's")
        result.append(axes)
    return result


def _is_number(factor: Any) -> bool:
    return not isinstance(factor, Sequence) and np.ndim(factor) == 0


def _along(vector: jax.Array, axis: int, rank: int) -> jax.Array:
    return vector.reshape((1,) * axis + (-1,) + (1,) * (rank - axis - 1))


def _taps(size_in: jax.Array, size_out: jax.Array, rows: int) -> tuple[jax.Array, ...]:
    """Lower neighbour, upper neighbour, weight of the upper, and validity of each of `rows` outputs."""
    output = jnp.arange(rows)
    # The position is position / (2 size_out): integers, so that no form rounds a neighbour differently.
    position = jnp.clip((2 * output + 1) * size_in - size_out, 0, 2 * size_out * (size_in - 1))
    lower = position // (2 * size_out)
    weight = (position - lower * 2 * size_out).astype(jnp.float32) / (2 * size_out).astype(jnp.float32)
    return lower, jnp.minimum(lower + 1, size_in - 1), weight, output < size_out


# Gathers read two neighbours each and multiply little, but their gradients are scatters, which are slow on a CPU.
# So the gradient is written as products with the interpolation matrices.
@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _resize(
    images: jax.Array, size_in: jax.Array, size_out: jax.Array, spatial: tuple[int, ...], canvas: tuple[int, ...]
) -> jax.Array:
    # Of half a precision one rounding is enough: weights and their products are float32.
    wide = jnp.promote_types(images.dtype, jnp.float32) if jnp.issubdtype(images.dtype, jnp.floating) else images.dtype
    for axis in _cheapest_first(spatial, canvas):
        lower, upper, weight, valid = _taps(size_in[axis], size_out[axis], canvas[axis])
        weight = _along(weight.astype(wide), axis + 1, images.ndim)
        low, high = (jnp.take(images, where, axis + 1, mode="clip").astype(wide) for where in (lower, upper))
        mixed = (low + (high - low) * weight).astype(images.dtype)
        images = jnp.where(_along(valid, axis + 1, images.ndim), mixed, jnp.zeros((), images.dtype))
    return images


def _forward(
    images: jax.Array, size_in: jax.Array, size_out: jax.Array, spatial: tuple[int, ...], canvas: tuple[int, ...]
) -> tuple[jax.Array, Any]:
    return _resize(images, size_in, size_out, spatial, canvas), (size_in, size_out)


def _backward(
    spatial: tuple[int, ...], canvas: tuple[int, ...], sizes: Any, cotangent: jax.Array
) -> tuple[jax.Array, None, None]:
    size_in, size_out = sizes
    for axis in _cheapest_first(canvas, spatial):
        matrix = _matrix(size_in[axis], size_out[axis], canvas[axis], spatial[axis]).astype(cotangent.dtype)
        product = jnp.tensordot(matrix, cotangent, (0, axis + 1), precision="highest")
        cotangent = jnp.moveaxis(product, 0, axis + 1)
    return cotangent, None, None


_resize.defvjp(_forward, _backward)


def _matrix(size_in: jax.Array, size_out: jax.Array, rows: int, columns: int) -> jax.Array:
    """The interpolation `[rows, columns]`; rows outside of `size_out` are zero."""
    lower, upper, weight, valid = (vector[:, None] for vector in _taps(size_in, size_out, rows))
    column = jnp.arange(columns)[None]
    return jnp.where(valid, (column == lower) * (1 - weight) + (column == upper) * weight, 0.0)


def _cheapest_first(source: Sequence[int], target: Sequence[int]) -> list[int]:
    """Axes in the order in which an array shrinks soonest and grows latest."""
    return sorted(range(len(source)), key=lambda axis: target[axis] / source[axis])
