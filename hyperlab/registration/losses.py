r"""Losses of deformable registration, one value a pair: similarity of the images, smoothness of the field.

$L(\lambda) = (1 - \lambda)\, L_{similarity}(m \circ \phi, f) + \lambda\, L_{smoothness}(u)$ with $\lambda$ in 0..1; the
classical weight of the smoothness beside a similarity of weight 1 is $\lambda / (1 - \lambda)$.

Sources: Balakrishnan et al., VoxelMorph (2019), arXiv 1809.05231; Hoopes et al., HyperMorph (2021), arXiv
2101.01035. The definitions are those of the published code, which differs from the papers in factors.
"""

import functools
import operator

import jax
import jax.numpy as jnp


def objective(weight: jax.Array, similarity: jax.Array, smoothness: jax.Array) -> jax.Array:
    """`(1 - weight) * similarity + weight * smoothness`, the loss at a regularisation weight in 0..1.

    >>> float(objective(jnp.float32(0.25), jnp.float32(4.0), jnp.float32(8.0)))
    5.0
    """
    return (1 - weight) * similarity + weight * smoothness


def mean_squared_error(moved: jax.Array, fixed: jax.Array, sigma: float = 0.05) -> jax.Array:
    r"""$\frac{1}{\sigma^2} \, mean_x (moved(x) - fixed(x))^2$, the images' noise being of size sigma.

    Args:
      moved: `[batch, *spatial, channel]`, intensities in 0..1.
      fixed: of the same shape.
      sigma: the expected difference of well-registered images; 0.05 makes the factor 400.

    Returns:
      float32 `[batch]`.

    >>> float(mean_squared_error(jnp.full((1, 4, 4, 1), 0.1), jnp.zeros((1, 4, 4, 1))).round(4)[0])
    4.0
    """
    difference = moved.astype(jnp.float32) - fixed.astype(jnp.float32)
    return _mean(jnp.square(difference)) / sigma**2


def local_ncc(moved: jax.Array, fixed: jax.Array, window: int = 9) -> jax.Array:
    r"""$-mean_x \, \frac{c(x)^2}{v_m(x) v_f(x) + 10^{-5}}$: squared correlation within windows, negative.

    With sums over the window of n voxels round x (zeros beyond the border):
    $c = \sum m f - \sum m \sum f / n$ and $v_m = \sum m^2 - (\sum m)^2 / n$.

    With a field that starts at zero to 1e-5, training may not leave the start (voxelmorph issue 527).

    Args:
      moved: `[batch, *spatial, channel]`.
      fixed: of the same shape.
      window: voxels along each axis, odd.

    Returns:
      float32 `[batch]`, in -1..0.

    >>> image = jnp.cos(jnp.arange(400.0)).reshape(1, 20, 20, 1)
    >>> float(local_ncc(image, -0.5 * image).round(2)[0])
    -1.0
    """
    moved, fixed = moved.astype(jnp.float32), fixed.astype(jnp.float32)
    n = window ** (moved.ndim - 2)

    def centred(first, second):
        return _box(first * second, window) - _box(first, window) * _box(second, window) / n

    cross = centred(moved, fixed)
    return -_mean(jnp.square(cross) / (centred(moved, moved) * centred(fixed, fixed) + 1e-5))


def gradient_penalty(field: jax.Array, field_downsize: int = 2) -> jax.Array:
    """The field's mean squared forward difference, averaged over the axes, times `field_downsize`.

    Args:
      field: `[batch, *coarse, dims]`, the network's field before its integration, in voxels of its own grid.
      field_downsize: how much coarser that grid is than the images'.

    Returns:
      float32 `[batch]`.

    >>> float(gradient_penalty(jnp.arange(4.0).reshape(1, 4, 1), 2)[0])
    2.0
    """
    return _over_axes(field, jnp.square) * field_downsize


def total_variation(field: jax.Array, field_downsize: int = 2) -> jax.Array:
    """The field's mean absolute forward difference, averaged over the axes and divided by their number.

    Args:
      field: `[batch, *coarse, dims]`, the network's field before its integration, in voxels of its own grid.
      field_downsize: not used; the definition does not depend on the grid.

    Returns:
      float32 `[batch]`.

    >>> float(total_variation(jnp.arange(-4.0, 4.0, 2.0).reshape(1, 4, 1))[0])
    2.0
    """
    return _over_axes(field, jnp.abs) / (field.ndim - 2)


SIMILARITIES = {"mse": mean_squared_error, "ncc": local_ncc}
SMOOTHNESS = {"gradient": gradient_penalty, "total_variation": total_variation}


def _mean(values: jax.Array) -> jax.Array:
    return values.mean(axis=range(1, values.ndim))


def _over_axes(field: jax.Array, size) -> jax.Array:
    axes = range(1, field.ndim - 1)
    means = [_mean(size(jnp.diff(field.astype(jnp.float32), axis=axis))) for axis in axes]
    return functools.reduce(operator.add, means) / len(axes)


def _box(images: jax.Array, window: int) -> jax.Array:
    """Sums over a window round each voxel, one axis after the other."""
    for axis in range(1, images.ndim - 1):
        size = [window if axis == index else 1 for index in range(images.ndim)]
        images = jax.lax.reduce_window(images, 0.0, jax.lax.add, size, (1,) * images.ndim, "SAME")
    return images
