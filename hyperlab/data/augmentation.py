"""Random flips, small affine maps and intensity changes of an image and its mask together, inside a jitted step."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from hyperlab import prng
from hyperlab.errors import DataError


@dataclass(frozen=True)
class Augmentation:
    """How strongly examples are changed; every draw is uniform, and 0 or an empty tuple switches a change off.

    Attributes:
      flips: spatial axes that are reversed, each with probability 1/2. Leave out axes whose direction means
        something, such as left and right of a body.
      rotation: largest angle, in degrees; in three dimensions about each axis.
      scaling: largest relative change of size along each axis.
      translation: largest shift along each axis, as a share of its length.
      brightness: largest change of the grey value, which lies in 0..1.
      contrast: largest relative change of the distance of grey values from their mean.
      noise: largest standard deviation of normal noise, the same for all pixels of an image; it is drawn from 0 on.
      limits: that values keep to; None: they may go anywhere, as those that were standardised.
      spacing: mm between voxels along each axis, so that rotations of anisotropic volumes stay rigid; None
        where they are equal.
    """

    flips: tuple[int, ...] = ()
    rotation: float = 10.0
    scaling: float = 0.1
    translation: float = 0.05
    brightness: float = 0.1
    contrast: float = 0.2
    noise: float = 0.0
    limits: tuple[float, float] | None = (0.0, 1.0)
    spacing: tuple[float, ...] | None = None

    def __post_init__(self):
        limits = {"rotation": 180.0, "scaling": 0.99, "translation": 1.0, "brightness": 1.0, "contrast": 1.0}
        limits |= {"noise": 1.0}
        for name, limit in limits.items():
            if not 0 <= getattr(self, name) <= limit:
                raise DataError(f"augmentation {name} is {getattr(self, name)}, expected 0 to {limit:g}")


def augment(
    key: jax.Array, image: jax.Array, labels: jax.Array, augmentation: Augmentation
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """One example, changed at random: `x'(p) = c (x(q) - mean) + mean + b + n(p)`, `y'(p) = y(q)` at the same `q`.

    With `o` the middle of the image, `q = o + A (p - o) + t`, where `A` is a rotation times a scaling, and
    axes of `q` are reversed by flips. Grey values are interpolated linearly, labels are those of the nearest
    pixel; beyond the border both go on as at the border.

    Args:
      key: what is drawn is a function of it.
      image: float `[*spatial, channel]`, two or three spatial axes.
      labels: int `[*spatial]`.
      augmentation: the strengths.

    Returns:
      The image, clipped to the limits, and the mask, in the shapes and dtypes that were given.

    Raises:
      DataError: the shapes do not fit, or a flip names an axis that does not exist.

    >>> image, labels = jnp.zeros((8, 8, 1)), jnp.zeros((8, 8), int)
    >>> new_image, new_labels = augment(jax.random.key(0), image, labels, Augmentation(flips=(1,)))
    >>> new_image.shape, new_labels.shape
    ((8, 8, 1), (8, 8))
    """
    dims = labels.ndim
    if dims not in (2, 3) or image.shape[:-1] != labels.shape:
        raise DataError(f"image {image.shape} and mask {labels.shape}, expected [*spatial, channel] and [*spatial]")
    if not set(augmentation.flips) <= set(range(dims)):
        raise DataError(f"flips are {augmentation.flips}, expected axes from 0 to {dims - 1}")
    if augmentation.spacing is not None and len(augmentation.spacing) != dims:
        raise DataError(f"spacing is {augmentation.spacing}, expected one number for each of {dims} axes")
    space, intensity = prng.split(key)
    points = _points(space, labels.shape, augmentation)
    channels = [map_coordinates(image[..., c], points, order=1, mode="nearest") for c in range(image.shape[-1])]
    moved = jnp.stack(channels, axis=-1)
    brightness, contrast = prng.uniform(intensity, (2,), image.dtype, -1, 1)
    mean = moved.mean()
    changed = (1 + augmentation.contrast * contrast) * (moved - mean) + mean + augmentation.brightness * brightness
    if augmentation.noise:
        of_noise, how_much = prng.split(prng.fold_in(intensity, 1))  # the draws of before stay as they were
        strength = augmentation.noise * prng.uniform(how_much, (), image.dtype)
        changed = changed + strength * prng.normal(of_noise, changed.shape, changed.dtype)
    if augmentation.limits is not None:
        changed = jnp.clip(changed, *augmentation.limits)
    nearest = map_coordinates(labels, points, order=0, mode="nearest")
    return changed.astype(image.dtype), nearest.astype(labels.dtype)


def augment_batch(
    key: jax.Array, images: jax.Array, labels: jax.Array, augmentation: Augmentation
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """`augment` for each example of a batch, with a key of its own.

    Args:
      key: for instance folded with the step, so that a resumed run draws the same.
      images: float `[batch, *spatial, channel]`.
      labels: int `[batch, *spatial]`.
      augmentation: the strengths.
    """
    keys = prng.split(key, len(images))
    return jax.vmap(lambda one, image, mask: augment(one, image, mask, augmentation))(keys, images, labels)


def _points(key: jax.Array, shape: tuple[int, ...], augmentation: Augmentation) -> list[jax.Array]:
    """Where each pixel of the new image is read in the old one: one array `[*spatial]` for each axis."""
    dims = len(shape)
    flip_key, angle_key, scale_key, shift_key = prng.split(key, 4)
    lengths = jnp.array(shape, jnp.float32)
    flipped = jnp.array([axis in augmentation.flips for axis in range(dims)])
    sign = jnp.where(flipped & prng.bernoulli(flip_key, 0.5, (dims,)), -1.0, 1.0)
    planes = [(0, 1)] if dims == 2 else [(0, 1), (0, 2), (1, 2)]
    angles = np.deg2rad(augmentation.rotation) * prng.uniform(angle_key, (len(planes),), minval=-1, maxval=1)
    matrix = jnp.eye(dims)
    for angle, (a, b) in zip(angles, planes, strict=True):
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        turn = jnp.eye(dims).at[a, a].set(cosine).at[b, b].set(cosine).at[a, b].set(-sine).at[b, a].set(sine)
        matrix = jnp.matmul(matrix, turn, precision="highest")
    matrix = matrix * (1 + augmentation.scaling * prng.uniform(scale_key, (1, dims), minval=-1, maxval=1))
    if augmentation.spacing is not None:
        spacing = jnp.array(augmentation.spacing, jnp.float32)
        matrix = matrix * spacing[None, :] / spacing[:, None]
    matrix = sign[:, None] * matrix
    shift = augmentation.translation * lengths * prng.uniform(shift_key, (dims,), minval=-1, maxval=1)
    middle = (lengths - 1) / 2
    grid = jnp.meshgrid(*(jnp.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    points = jnp.einsum("ij,j...->i...", matrix, jnp.stack(grid), precision="highest")
    return list(points + (middle + shift).reshape(dims, *(1,) * dims))
