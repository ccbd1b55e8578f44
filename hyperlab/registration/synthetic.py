r"""Synthetic registration: textured nested shapes, and smooth random diffeomorphisms that are known.

The dials of difficulty are the amplitude and the smoothness of the warps, and the noise of the images.
"""

import functools

import jax
import numpy as np
import scipy.ndimage

from hyperlab.data.splits import philox
from hyperlab.nn.spatial_transformer import integrate, warp, warp_labels

CLASSES = ("background", "outer", "inner", "core")
_BATCH = 16  # pairs that are warped by one call


def shapes(count: int, shape: tuple[int, ...], *, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of three nested shapes with wavy borders, a texture of their own, and noise.

    Args:
      count: how many.
      shape: spatial, 2 or 3 axes.
      noise: standard deviation of the pixels' noise; intensities are in 0..1.
      seed: image `i` is a function of seed and `i`.

    Returns:
      float32 `[count, *shape, 1]` and int32 `[count, *shape]` with the values of `CLASSES`.

    >>> images, labels = shapes(2, (24, 20), noise=0.0, seed=0)
    >>> images.shape, sorted(set(labels.ravel().tolist()))
    ((2, 24, 20, 1), [0, 1, 2, 3])
    """
    made = [_one(np.random.Generator(philox(seed, index, stream=2)), shape, noise) for index in range(count)]
    images, labels = zip(*made, strict=True)
    return np.stack(images), np.stack(labels)


def velocities(count: int, shape: tuple[int, ...], *, amplitude: float, smoothness: float, seed: int, stream: int):
    """Smooth random velocity fields: filtered noise that fades towards the border.

    Args:
      count: how many.
      shape: spatial.
      amplitude: root mean square of a field's length, in voxels.
      smoothness: standard deviation of the filter, in voxels.
      seed: field `i` is a function of seed, stream and `i`.
      stream: of the draws; the splits of a data set have different ones.

    Returns:
      float32 `[count, *shape, dims]`, in voxels.
    """
    fields = np.empty((count, *shape, len(shape)), np.float32)
    fade = functools.reduce(np.multiply.outer, [np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 0.5 for n in shape])
    for index in range(count):
        noise = np.random.Generator(philox(seed, index, stream=10 + stream)).standard_normal((*shape, len(shape)))
        field = scipy.ndimage.gaussian_filter(noise, (*[smoothness] * len(shape), 0), mode="nearest")
        field *= fade[..., None]
        fields[index] = field * (amplitude / np.sqrt(np.mean(np.sum(field**2, -1))))
    return fields


def known_warps(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    amplitude: float,
    smoothness: float,
    noise: float,
    seed: int,
    stream: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Warps every image by a diffeomorphism of its own, which a registration of image to result should find.

    Args:
      images: float32 `[n, *spatial, 1]`.
      labels: int `[n, *spatial]`.
      amplitude: of the velocity, see `velocities`.
      smoothness: as there.
      noise: standard deviation of noise that is added to the warped images.
      seed: of fields and noise.
      stream: as in `velocities`.

    Returns:
      The warped images in 0..1, the warped labels, and the displacements `[n, *spatial, dims]` in voxels.
    """
    count, shape = len(images), images.shape[1:-1]
    fields = velocities(count, shape, amplitude=amplitude, smoothness=smoothness, seed=seed, stream=stream)
    classes = int(labels.max()) + 1
    parts = []
    for start in range(0, count, _BATCH):
        rows = np.arange(start, start + _BATCH) % count  # the last call is filled up: one program for all
        parts.append(jax.device_get(_warped(images[rows], labels[rows], fields[rows], classes)))
    moved, moved_labels, displacements = (np.concatenate(arrays)[:count] for arrays in zip(*parts, strict=True))
    draws = np.random.Generator(philox(seed, stream, stream=3)).standard_normal(moved.shape)
    return np.clip(moved + noise * draws, 0, 1).astype(np.float32), moved_labels, displacements


@functools.partial(jax.jit, static_argnums=3)
def _warped(images, labels, velocity, classes):
    displacement = integrate(velocity)
    return warp(images, displacement), warp_labels(labels, displacement, method="linear", classes=classes), displacement


def _one(rng: np.random.Generator, shape: tuple[int, ...], noise: float) -> tuple[np.ndarray, np.ndarray]:
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"), -1)
    labels, image = np.zeros(shape, np.int32), np.zeros(shape)
    centre, radii = rng.uniform(-0.08, 0.08, len(shape)), rng.uniform(0.68, 0.8, len(shape))
    for value, shrink in enumerate((1.0, 0.68, 0.34), start=1):
        distance = np.linalg.norm((grid - centre) / (shrink * radii), axis=-1)
        inside = distance + 0.15 * _smooth(rng, shape, 6.0) < 1
        inside &= labels == value - 1  # nested: a shape lies within the one before
        labels[inside] = value
        texture = 0.06 * _smooth(rng, shape, 2.5)
        image[inside] = (0.25 * value + rng.uniform(-0.05, 0.05) + texture)[inside]
        centre = centre + rng.uniform(-0.1, 0.1, len(shape)) * shrink
    image = scipy.ndimage.gaussian_filter(image, 0.6) + noise * rng.standard_normal(shape)
    return np.clip(image, 0, 1).astype(np.float32)[..., None], labels


def _smooth(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """Filtered noise of unit variance."""
    field = scipy.ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode="nearest")
    return field / field.std()
