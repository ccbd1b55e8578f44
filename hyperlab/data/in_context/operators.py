"""The augmentation operators of UniverSeg's training as pure functions of their parameters: nothing is drawn here.

What each one does is what the published code does (ScribblePrompt's augmentation package, which its authors say is
UniverSeg's, calling kornia 0.9), measured and written down anew; the numbers in the docstrings are tests.
Butoi et al. 2023, arXiv 2304.06131; Wong et al. 2024, arXiv 2312.07381.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

ELASTIC_TAPS = 63
BLUR_TAPS = 5


def brightness_contrast(images: jax.Array, brightness, contrast, contrast_first) -> jax.Array:
    """Adds a number and multiplies by a number, in either order, clipped to 0..1 after each.

    The contrast multiplies about 0, not about the mean: .8 with contrast 1.5 is 1, .2 is .3.

    Args:
      images: float `[..., height, width]`.
      brightness: scalar that is added.
      contrast: scalar factor.
      contrast_first: bool scalar, the order.

    >>> brightness_contrast(jnp.array([0.8, 0.2]), 0.0, 1.5, True).round(6).tolist()
    [1.0, 0.30000001192092896]
    """
    contrast_then = jnp.clip(jnp.clip(images * contrast, 0, 1) + brightness, 0, 1)
    brightness_then = jnp.clip(jnp.clip(images + brightness, 0, 1) * contrast, 0, 1)
    return jnp.where(contrast_first, contrast_then, brightness_then)


def sharpness(images: jax.Array, factor) -> jax.Array:
    """Moves an image away from its smoothed version (`factor` above 1) or towards it; clipped to 0..1.

    `clip(d + (x - d) * factor)`, with `d` the 3x3 mean that weighs the centre 5 times; at the border `d` is `x`.

    Args:
      images: float `[..., height, width]`.
      factor: 0 is smoothed, 1 the image itself.

    >>> impulse = jnp.zeros((3, 3)).at[1, 1].set(1.0)
    >>> round(float(sharpness(impulse, 0.0)[1, 1]) * 13, 4)
    5.0
    """
    rows, columns = (_band(n, jnp.ones(3)) for n in images.shape[-2:])
    inner = (_filtered(images, rows, columns) + 4 * images) / 13
    smoothed = images.at[..., 1:-1, 1:-1].set(inner[..., 1:-1, 1:-1])
    return jnp.clip(smoothed + (images - smoothed) * factor, 0, 1)


def gaussian_blur(images: jax.Array, sigma_rows, sigma_columns, taps: int = BLUR_TAPS) -> jax.Array:
    """A separable Gaussian of `taps` x `taps`, weights summing to 1, the border reflected without repeating it.

    Args:
      images: float `[..., height, width]`.
      sigma_rows: standard deviation along the height, in pixels, above 0.
      sigma_columns: along the width.
      taps: odd size of the kernel.

    >>> impulse = jnp.zeros((7, 7)).at[3, 3].set(1.0)
    >>> [round(float(value), 2) for value in gaussian_blur(impulse, 0.1, 1.1)[3, 1:4]]  # along the width alone
    [0.07, 0.24, 0.37]
    """
    rows, columns = (
        _band(n, _gaussian(sigma, taps), border="reflect")
        for n, sigma in zip(images.shape[-2:], (sigma_rows, sigma_columns), strict=True)
    )
    return _filtered(images, rows, columns)


def sobel_edges(labels: jax.Array) -> jax.Array:
    """The soft edge map of labels: Sobel magnitude, stretched so that its range over all of `labels` is 0..1.

    Kernels sum to 1 in absolute value, 1e-6 is added under the root, the border is repeated.

    Args:
      labels: float `[..., height, width]`; the range is taken over every axis.
    """
    edges = sobel_magnitude(labels)
    low, high = edges.min(), edges.max()
    return (edges - low) / jnp.maximum(high - low, 1e-7)


def sobel_magnitude(labels: jax.Array) -> jax.Array:
    """The magnitude before it is stretched: .18 to .53 for a square of 3x3 pixels, .001 where nothing changes.

    >>> square = jnp.zeros((7, 7)).at[2:5, 2:5].set(1.0)
    >>> edges = sobel_magnitude(square)
    >>> [round(float(value), 2) for value in (edges[1, 1], edges[2, 2], edges[1, 3])]
    [0.18, 0.53, 0.5]
    """
    (smooth_rows, change_rows), (smooth_columns, change_columns) = (
        [_band(n, jnp.array(taps) / total, border="edge") for taps, total in (((1, 2, 1), 4), ((-1, 0, 1), 2))]
        for n in labels.shape[-2:]
    )
    down = _filtered(labels, change_rows, smooth_columns)
    across = _filtered(labels, smooth_rows, change_columns)
    return jnp.sqrt(down**2 + across**2 + 1e-6)


def affine_points(shape: tuple[int, int], angle, scale, shift_rows, shift_columns) -> tuple[jax.Array, jax.Array]:
    """Where each pixel of a rotated, scaled and shifted image is read in the old one.

    Args:
      shape: `(height, width)`.
      angle: degrees, counter-clockwise as displayed, about the middle.
      scale: above 1 magnifies.
      shift_rows: by how many pixels the content moves down.
      shift_columns: by how many it moves right.

    Returns:
      Rows and columns, float `[height, width]` each.
    """
    middle = [(n - 1) / 2 for n in shape]
    rows = (jnp.arange(shape[0]) - middle[0] - shift_rows)[:, None]
    columns = (jnp.arange(shape[1]) - middle[1] - shift_columns)[None, :]
    cosine, sine = jnp.cos(jnp.deg2rad(angle)) / scale, jnp.sin(jnp.deg2rad(angle)) / scale
    return cosine * rows + sine * columns + middle[0], cosine * columns - sine * rows + middle[1]


def elastic_points(noise: jax.Array, sigma, alpha, *, faithful: bool) -> tuple[jax.Array, jax.Array]:
    """Where each pixel of an elastically warped image is read in the old one.

    The noise is filtered by a Gaussian of 63 x 63 taps (zero outside) and multiplied by `alpha`; the result is a
    displacement in units of half the image.

    Args:
      noise: float `[2, height, width]`, uniform in -1..1; along the rows, along the columns.
      sigma: standard deviation of the Gaussian, in pixels.
      alpha: factor.
      faithful: as the reference does it, the undisturbed grid runs from the outer border of the first to that of
        the last pixel, and points are clipped to it: without noise an image is stretched by half a pixel
        and its border fades. Otherwise, without noise nothing changes.

    Returns:
      Rows and columns, float `[height, width]` each.
    """
    shape = noise.shape[1:]
    bands = [_band(n, _gaussian(sigma, ELASTIC_TAPS)) for n in shape]
    fields = alpha * _filtered(noise, *bands)
    points = []
    for axis, (n, field) in enumerate(zip(shape, fields, strict=True)):
        along = jnp.arange(n).reshape((n, 1) if axis == 0 else (1, n))
        if faithful:
            centre = jnp.clip(2 * along / (n - 1) - 1 + field, -1, 1)
            points.append(((centre + 1) * n - 1) / 2)
        else:
            points.append(along + field * n / 2)
    return points[0], points[1]


def sample(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Bilinear interpolation at points; every pixel outside is 0.

    Args:
      images: float `[n, height, width]`, all read at the same points.
      rows: float `[height, width]`.
      columns: as `rows`.

    >>> image = jnp.arange(6.0).reshape(1, 2, 3)
    >>> rows, columns = jnp.full((2, 3), 0.5), jnp.full((2, 3), 1.0)
    >>> [float(sample(image, rows - up, columns)[0, 0, 0]) for up in (0, 1)]
    [2.5, 0.5]
    """
    n, height, width = images.shape
    # channels last and a frame of zeros: one gather reads all images at a corner, and no corner needs a mask
    framed = jnp.moveaxis(jnp.pad(images, ((0, 0), (1, 1), (1, 1))), 0, -1).reshape(-1, n)
    rows = jnp.clip(rows + 1, 0, height + 1)
    columns = jnp.clip(columns + 1, 0, width + 1)
    top = jnp.clip(jnp.floor(rows), 0, height).astype(jnp.int32)
    left = jnp.clip(jnp.floor(columns), 0, width).astype(jnp.int32)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    corner = top * (width + 2) + left

    def at(offset: int) -> jax.Array:
        return framed.at[corner + offset].get(mode="promise_in_bounds")

    upper = at(0) * (1 - right) + at(1) * right
    lower = at(width + 2) * (1 - right) + at(width + 3) * right
    return jnp.moveaxis(upper * (1 - down) + lower * down, -1, 0)


def _gaussian(sigma, taps: int) -> jax.Array:
    weights = jnp.exp(-0.5 * (jnp.arange(-(taps // 2), taps // 2 + 1) / sigma) ** 2)
    return weights / weights.sum()


def _band(n: int, weights: jax.Array, border: str = "constant") -> jax.Array:
    """A filter along an axis of n pixels as a matrix `[n, n]`, with a border of numpy's names.

    A product of matrices is faster than many taps. And sums of shifted images are fused with all steps before them,
    which are then computed again for every tap: 20 times slower.
    """
    half = len(weights) // 2
    places = np.arange(n)[:, None] + np.arange(-half, half + 1)[None, :]
    if border == "constant":
        outside = (places < 0) | (places >= n)
    else:
        pad: Any = np.pad  # whose modes are literals
        places = pad(np.arange(n), half, mode=border)[places + half]
        outside = np.zeros_like(places, bool)
    values = jnp.where(outside, 0, jnp.broadcast_to(weights[None, :], places.shape))
    rows = np.broadcast_to(np.arange(n)[:, None], places.shape)
    return jnp.zeros((n, n)).at[rows, np.clip(places, 0, n - 1)].add(values)


def _filtered(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Matrices of `_band` applied along the height and the width."""
    return jnp.einsum("ih,...hw,jw->...ij", rows, images, columns, precision="highest")
