"""Procedural images of overlapping shapes: a segmentation set that needs no download, with one difficulty dial.

Every image is a function of the seed, its index and the difficulty. At difficulty 0 a shape's grey value
tells its class; as the dial goes up, the grey values of the classes run into each other, so that the outline
has to tell them apart, contrast falls, and blur, noise and an uneven illumination grow. The outlines, which
are the truth, do not depend on the dial.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyperlab.data.normalisation import Normalisation
from hyperlab.data.preprocessing import Preprocessing
from hyperlab.data.resample import as_size
from hyperlab.data.source import Source
from hyperlab.data.splits import Split, duplicate_groups, philox
from hyperlab.errors import DataError

CLASSES = ("background", "ellipse", "rectangle", "star")
_SHAPES = len(CLASSES) - 1
_MOST = 7  # shapes in one image
_STREAM = 2  # of the random words, apart from those of permutations and of augmentation


@dataclass(frozen=True)
class Appearance:
    """How far an image hides its shapes; each quantity goes linearly from its easy to its hard value.

    Attributes:
      separation: difference between the mean grey values of two classes, in units of `contrast`.
      contrast: mean distance of a shape's grey value from the background's, of the range 0..1.
      spread: standard deviation of a shape's grey value about its class's mean.
      blur: standard deviation of the blur, in pixels of a 64-pixel image.
      noise: standard deviation of the noise of a pixel.
      bias: amplitude of the uneven illumination, as a share of the grey value.
    """

    separation: float
    contrast: float
    spread: float
    blur: float
    noise: float
    bias: float

    @classmethod
    def of(cls, difficulty: float) -> "Appearance":
        """The appearance at a difficulty in 0..1."""
        ends = {
            "separation": (0.5, 0.2), "contrast": (0.45, 0.2), "spread": (0.01, 0.05),
            "blur": (0.3, 1.2), "noise": (0.01, 0.1), "bias": (0.0, 0.4),
        }  # fmt: skip
        return cls(**{name: easy + (hard - easy) * difficulty for name, (easy, hard) in ends.items()})


def shapes(
    count: int = 300, size: int | Sequence[int] = (64, 64), difficulty: float = 0.3, seed: int = 0
) -> Source:  # fmt: skip
    """Images of 3 to 7 overlapping ellipses, rectangles and stars in noise, blur and uneven light.

    Args:
      count: how many images.
      size: `(height, width)` in pixels, at least 16 each.
      difficulty: 0 (grey values give the classes away) to 1 (outlines do, under heavy noise). At the default a
        U-Net of four levels of 16 channels reaches a mean Dice of .78 on the validation split after 300
        steps of 8 images, and .83 after 600.
      seed: another seed gives other images.

    Returns:
      Images uint8 `[count, height, width, 1]` and masks int32 `[count, height, width]` of the classes
      `CLASSES`.

    Raises:
      DataError: a size below 16, a difficulty outside 0..1, or no image.

    >>> source = shapes(count=2, size=(32, 32))
    >>> source.examples.images.shape, source.examples.labels.shape
    ((2, 32, 32, 1), (2, 32, 32))
    """
    if not 0 <= difficulty <= 1:
        raise DataError(f"difficulty is {difficulty}, expected 0 (easy) to 1 (hard)")
    size = as_size(size, 2)
    if min(size) < 16:
        raise DataError(f"size is {size}, expected (height, width) of at least 16 pixels each")
    if count < 1:
        raise DataError(f"count is {count}, expected at least 1 image")
    drawn = [draw(seed, index, size, difficulty) for index in range(count)]
    images, labels = (np.stack(arrays) for arrays in zip(*drawn, strict=True))
    names = np.array([f"shapes_{index:05d}" for index in range(count)])
    index = np.arange(count, dtype=np.int32)
    examples = Split(images[..., None], labels, duplicate_groups(images), index, names=names)
    how = Preprocessing(tuple(images.shape[1:]), 1, CLASSES, tuple(range(len(CLASSES))), Normalisation("own"))
    return Source(examples, CLASSES, top=255, preprocessing=how)


def draw(seed: int, index: int, size: tuple[int, int], difficulty: float) -> tuple[np.ndarray, np.ndarray]:
    """One image and its mask: uint8 and int32 `[height, width]`, a function of the arguments alone."""
    from scipy.ndimage import gaussian_filter
    from scipy.special import ndtri

    look = Appearance.of(difficulty)
    words = philox(seed, index, _STREAM).random_raw(16 + 16 * _MOST + size[0] * size[1])
    # uniform numbers from the words themselves: a generator's own methods may change between versions
    uniform = ((words >> np.uint64(12)).astype(np.float64) + 0.5) / 2.0**52
    image_draws, noise = uniform[:16], ndtri(uniform[16 + 16 * _MOST :]).reshape(size)
    shape_draws = uniform[16 : 16 + 16 * _MOST].reshape(_MOST, 16)

    short = min(size)
    y, x = (np.arange(n) + 0.5 for n in size)
    grid = np.meshgrid(y, x, indexing="ij")
    background = 0.15 + 0.1 * image_draws[0]
    contrast = look.contrast * (0.85 + 0.3 * image_draws[1])
    grey, label = np.full(size, background), np.zeros(size, np.int32)
    for draws in shape_draws[: 3 + int(image_draws[2] * (_MOST - 2))]:
        kind = 1 + int(draws[0] * _SHAPES)
        inside = _inside(kind, grid, size, short, draws)
        step = 1 + look.separation * (kind - (_SHAPES + 1) / 2)
        value = background + contrast * step + look.spread * ndtri(draws[1])
        grey[inside], label[inside] = value, kind
    grey = gaussian_filter(grey, look.blur * short / 64 * (0.75 + 0.5 * image_draws[3]))
    grey = grey * _illumination(grid, size, look.bias, image_draws[4:8])
    grey = grey + look.noise * (0.75 + 0.5 * image_draws[8]) * noise
    return np.round(255 * np.clip(grey, 0, 1)).astype(np.uint8), label


def _inside(kind: int, grid, size: tuple[int, int], short: int, draws: np.ndarray) -> np.ndarray:
    """Which pixels a shape covers: bool `[height, width]`."""
    centre = [n * (0.1 + 0.8 * draw) for n, draw in zip(size, draws[2:4], strict=True)]
    angle = 2 * np.pi * draws[4]
    dy, dx = grid[0] - centre[0], grid[1] - centre[1]
    u, v = np.cos(angle) * dy + np.sin(angle) * dx, np.cos(angle) * dx - np.sin(angle) * dy
    long = short * (0.11 + 0.12 * draws[5])
    wide = long * (0.55 + 0.45 * draws[6])
    if CLASSES[kind] == "ellipse":
        return (u / long) ** 2 + (v / wide) ** 2 <= 1
    if CLASSES[kind] == "rectangle":
        # sides that give it the area of the ellipse: the area shall not tell the class
        return np.maximum(np.abs(u / long), np.abs(v / wide)) <= np.sqrt(np.pi) / 2
    points = 4 + int(3 * draws[7])
    radius = 1 + (0.35 + 0.15 * draws[8]) * np.cos(points * np.arctan2(v, u))
    return np.hypot(u, v) <= np.sqrt(long * wide) * radius


def _illumination(grid, size: tuple[int, int], amplitude: float, draws: np.ndarray) -> np.ndarray:
    """A smooth factor with mean 1: one slope and one slow wave, float `[height, width]`."""
    y, x = (axis / n - 0.5 for axis, n in zip(grid, size, strict=True))
    angle, phase = 2 * np.pi * draws[:2]
    slope = np.cos(angle) * y + np.sin(angle) * x
    wave = np.cos(2 * np.pi * (draws[2] * y + draws[3] * x) + phase)
    field = slope + 0.5 * wave
    return 1 + amplitude * (field - field.mean())
