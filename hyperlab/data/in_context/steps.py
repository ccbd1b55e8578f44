"""The random steps of augmentation: each draws its parameters and calls its operator.

Every step has a `mode`: `"faithful"` to the published code, or `"documented"`, as the published tables read.
Butoi et al. 2023, arXiv 2304.06131.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import NamedTuple

import jax
import jax.numpy as jnp

from hyperlab import prng
from hyperlab.data.in_context import operators
from hyperlab.errors import DataError, nearest

MODES = ("faithful", "documented")
Range = tuple[float, float]
OWN, STRENGTHS = 5, 3  # numbers that one step may use


class Draws(NamedTuple):
    """What a step draws from: numbers that a caller made for all steps at once, because generators compile slowly.

    Attributes:
      own: `[OWN]`, uniform in 0..1; the first decides whether the step fires.
      strength: `[STRENGTHS]`, uniform in 0..1: how strong it is.
      key: for fields of noise.
    """

    own: jax.Array
    strength: jax.Array
    key: jax.Array


@dataclass(frozen=True)
class Step(ABC):
    """A random change of images and labels `[n, height, width]`, the same for all n; noise differs between them.

    Attributes:
      p: the probability that it fires.
      mode: `"faithful"` or `"documented"`.
    """

    p: float = 0.5
    mode: str = "faithful"

    def __post_init__(self):
        if not 0 <= self.p <= 1:
            raise DataError(f"{type(self).__name__}.p is {self.p}, expected a probability")
        if self.mode not in MODES:
            raise DataError(f"unknown mode {self.mode!r} of {type(self).__name__}; {nearest(self.mode, MODES)}")
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, tuple) and not value[0] <= value[1]:
                raise DataError(f"{type(self).__name__}.{each.name} is {value}, expected (low, high)")

    @property
    def faithful(self) -> bool:
        return self.mode == "faithful"

    @abstractmethod
    def change(self, draws: Draws, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The changed images and labels, had it fired."""

    def within(self, limits: Range, uniform: jax.Array) -> jax.Array:
        """A number in a range; in faithful mode whole-numbered ends give a whole number below the upper end."""
        low, high = limits
        number = low + (high - low) * uniform
        whole = self.faithful and isinstance(low, int) and isinstance(high, int)
        return jnp.floor(number) if whole else number


@dataclass(frozen=True)
class FlipIntensities(Step):
    """`1 - x` of the images."""

    def change(self, draws, images, labels):
        return 1 - images, labels


@dataclass(frozen=True)
class FlipLabels(Step):
    """`1 - y` of the labels: what was background is asked for."""

    def change(self, draws, images, labels):
        return images, 1 - labels


@dataclass(frozen=True)
class Mirror(Step):
    """Reverses an axis: -1 mirrors left and right, -2 top and bottom."""

    axis: int = -1

    def change(self, draws, images, labels):
        return jnp.flip(images, self.axis), jnp.flip(labels, self.axis)


@dataclass(frozen=True)
class Sobel(Step):
    """The task becomes the edge of the label: a soft map in 0..1, or where it exceeds 0 if `binary`.

    The published code gives the soft map; other people's re-implementations a binary one.
    """

    binary: bool = False

    def change(self, draws, images, labels):
        edges = operators.sobel_edges(labels)
        return images, (edges > 0).astype(labels.dtype) if self.binary else edges


@dataclass(frozen=True)
class Affine(Step):
    """Rotation, shift and isotropic scaling; bilinear, zeros outside, so labels become soft.

    The published code reads `translate` as (share of the width, share of the height): no shift across, and up to
    .2 of the height up or down. The documented mode shifts along both axes by up to the upper end.
    """

    rotation: Range = (0.0, 360.0)
    translate: Range = (0.0, 0.2)
    scale: Range = (0.8, 1.1)

    def change(self, draws, images, labels):
        height, width = images.shape[1:]
        across = self.translate[0] if self.faithful else self.translate[1]
        largest = jnp.array([self.translate[1] * height, across * width])
        rows, columns = largest * (2 * draws.own[1:3] - 1)
        low, high = jnp.array([self.rotation, self.scale], jnp.float32).T
        angle, scale = low + (high - low) * draws.own[3:5]
        return _moved(operators.affine_points((height, width), angle, scale, rows, columns), images, labels)


@dataclass(frozen=True)
class BrightnessContrast(Step):
    """Adds and multiplies, in random order; see `operators.brightness_contrast`."""

    brightness: Range = (-0.1, 0.1)
    contrast: Range = (0.8, 1.2)

    def change(self, draws, images, labels):
        brightness = self.within(self.brightness, draws.strength[0])
        contrast = self.within(self.contrast, draws.strength[1])
        return operators.brightness_contrast(images, brightness, contrast, draws.strength[2] < 0.5), labels


@dataclass(frozen=True)
class Elastic(Step):
    """A smooth random warp, the same for images and labels; see `operators.elastic_points`.

    The published code draws whole numbers below the upper end where both ends of a range are whole, so that alpha
    (1, 2) is always 1 and sigma (7, 8) always 7.
    """

    p: float = 0.25
    alpha: Range = (1, 2)
    sigma: Range = (6, 8)

    def change(self, draws, images, labels):
        noise = prng.uniform(draws.key, (2, *images.shape[1:]), minval=-1, maxval=1)
        sigma, alpha = self.within(self.sigma, draws.strength[0]), self.within(self.alpha, draws.strength[1])
        points = operators.elastic_points(noise, sigma, alpha, faithful=self.faithful)
        return _moved(points, images, labels)


@dataclass(frozen=True)
class Blur(Step):
    """Gaussian blur of 5 x 5.

    The published code draws a width and ignores it: the blur always has the lower end of the range along the
    height (.1, which does nothing) and the upper end along the width. Documented: one width for both.
    """

    sigma: Range = (0.1, 1.1)

    def change(self, draws, images, labels):
        if self.faithful:
            return operators.gaussian_blur(images, *self.sigma), labels
        sigma = self.within(self.sigma, draws.strength[0])
        return operators.gaussian_blur(images, sigma, sigma), labels


@dataclass(frozen=True)
class Noise(Step):
    """Adds normal noise, not clipped. The second number is the standard deviation; documented: the variance."""

    mean: Range = (0, 0.05)
    std: Range = (0, 0.05)

    def change(self, draws, images, labels):
        mean, std = self.within(self.mean, draws.strength[0]), self.within(self.std, draws.strength[1])
        std = std if self.faithful else jnp.sqrt(std)
        return images + mean + std * prng.normal(draws.key, images.shape, images.dtype), labels


@dataclass(frozen=True)
class Sharpness(Step):
    """Sharpens or smooths by a factor between 0 and `factor`; see `operators.sharpness`."""

    factor: float = 5.0

    def change(self, draws, images, labels):
        return operators.sharpness(images, self.within((0.0, self.factor), draws.strength[0])), labels


def task_steps(mode: str = "faithful") -> tuple[Step, ...]:
    """The published task augmentation, in its order."""
    return (
        FlipIntensities(mode=mode), FlipLabels(mode=mode), Mirror(axis=-1, mode=mode), Mirror(axis=-2, mode=mode),
        Sobel(mode=mode), Affine(mode=mode), BrightnessContrast(mode=mode), Elastic(mode=mode), Blur(mode=mode),
        Noise(mode=mode), Sharpness(mode=mode),
    )  # fmt: skip


def in_task_steps(mode: str = "faithful") -> tuple[Step, ...]:
    """The published in-task augmentation, in its order."""
    return (
        Affine(mode=mode), BrightnessContrast(0.25, mode, contrast=(0.5, 1.5)), Blur(0.25, mode), Noise(0.25, mode),
        Sharpness(0.25, mode), Elastic(0.8, mode, alpha=(1, 2.5), sigma=(7, 8)),
    )  # fmt: skip


def _moved(points, images, labels):
    moved = operators.sample(jnp.concatenate([images, labels]), *points)
    return moved[: len(images)], moved[len(images) :]
