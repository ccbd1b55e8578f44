"""Procedural fluorescence images: parasites of the liver stage in cultured cells, with dials and graded shifts.

Bright bodies of strongly varied size, irregular outline and uneven inside lie in clusters over dim host cells, whose
round, smooth nuclei are brighter than the background and no parasites. Every image is a function of seed, index and
options. The sizes, shapes and grey values are ours: no measured set stands behind them.

The truth is the outline. It depends neither on the difficulty, nor on the border, nor on a shift of blur, intensity or
noise; a denser scene holds the bodies of the scene in the domain and more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyperlab.data.normalisation import Normalisation
from hyperlab.data.preprocessing import Preprocessing
from hyperlab.data.resample import as_size
from hyperlab.data.shifts import quantity, uniform
from hyperlab.data.source import Source
from hyperlab.data.splits import Split, duplicate_groups, philox
from hyperlab.errors import DataError

CLASSES = ("background", "parasite")
RADII = (1.6, 9.0)  # in pixels of a 64-pixel image, log-uniform between
_COUNTS = (1.0, 10.0)  # bodies of one image, log-uniform between
_MOST = 50  # bodies in the densest image
_CELLS = 9  # at most
_MODES = np.arange(2, 6)  # waves of the outline about a circle
_IMAGE, _CELL, _BODY = 24, 12, 32  # uniform numbers for each
_STREAM = 40  # of the random words, apart from those of other purposes


@dataclass(frozen=True)
class Appearance:
    """How far an image hides its parasites; each quantity goes linearly from its easy to its hard value.

    Attributes:
      contrast: mean brightness of a parasite above the background, of the range 0..1.
      nuclei: brightness of a host's nucleus, as a share of `contrast`.
      spread: standard deviation of the logarithm of a parasite's brightness.
      uneven: depth of the dim centre, the vacuoles and the grain inside a parasite, as a share of its brightness.
      blur: standard deviation of the blur, in pixels of a 64-pixel image.
      noise: standard deviation of the noise where the grey value is 0.5; a third is read noise, the rest shot noise.
      bias: amplitude of the uneven illumination, as a share of the grey value.
    """

    contrast: float
    nuclei: float
    spread: float
    uneven: float
    blur: float
    noise: float
    bias: float

    @classmethod
    def of(cls, difficulty: float) -> "Appearance":
        """The appearance at a difficulty in 0..1."""
        ends = {
            "contrast": (0.6, 0.3), "nuclei": (0.4, 1.0), "spread": (0.1, 0.4), "uneven": (0.4, 0.9),
            "blur": (0.4, 1.2), "noise": (0.02, 0.12), "bias": (0.1, 0.6),
        }  # fmt: skip
        return cls(**{name: easy + (hard - easy) * difficulty for name, (easy, hard) in ends.items()})


@dataclass(frozen=True)
class Scene:
    """What is drawn besides seed and index.

    Attributes:
      size: `(height, width)` in pixels.
      difficulty, border, shift, severity: see `parasites`.
    """

    size: tuple[int, int] = (64, 64)
    difficulty: float = 0.3
    border: float = 0.0
    shift: str | None = None
    severity: int = 0

    def amount(self, shift: str, otherwise: float) -> float:
        """The quantity of a shift, or its value in the domain."""
        amount = quantity(self.shift, self.severity)
        return otherwise if amount is None or shift != self.shift else amount


def parasites(
    count: int = 300,
    size: int | Sequence[int] = (64, 64),
    difficulty: float = 0.3,
    seed: int = 0,
    border: float = 0.0,
    shift: str | None = None,
    severity: int = 0,
) -> Source:
    """Images of bright irregular bodies over dim cells with round nuclei, blurred, unevenly lit, noisy.

    Args:
      count: how many images.
      size: `(height, width)` in pixels, at least 16 each; all lengths follow the shorter.
      difficulty: 0 (parasites are the brightest by far) to 1 (as bright as nuclei, uneven inside, under blur and
        noise). At the default, mean Dice on the validation split is .51 with Otsu's threshold, .67 with the best
        threshold that all images share, and .82 and .83 (two seeds) with a U-Net of the widths 8, 16, 16, 16 after 300
        steps of 8 images (Adam, 3e-3, cosine decay, cross-entropy and Dice).
      seed: another seed gives other images.
      border: width in pixels over which a body fades in the image. The fade is linear and lies anywhere about the
        outline that has the outline in it, so that at a share `a` of the fade the pixel belongs to the body with the
        probability `a` (with a little less where the body is not much larger than the border): ambiguity that no
        training removes. The truth does not change.
      shift: None, `"size"`, `"blur"`, `"intensity"`, `"density"` or `"noise"`. Larger and denser bodies have less
        outline for their area: the Dice of the U-Net above rises under these two, and falls under the others.
      severity: 0 (in the domain) to 5; the quantities are those of `hyperlab.data.shifts.SHIFTS`.

    Returns:
      Images uint8 `[count, height, width, 1]` and masks int32 `[count, height, width]` of the classes `CLASSES`.

    Raises:
      DataError: a size below 16, a difficulty outside 0..1, a border below 0, no image, or an unknown shift or
        severity.

    >>> source = parasites(count=2, size=(32, 32))
    >>> source.examples.images.shape, source.examples.labels.shape
    ((2, 32, 32, 1), (2, 32, 32))
    """
    scene = _checked(count, Scene(as_size(size, 2), difficulty, border, shift, severity))
    drawn = [draw(seed, index, scene) for index in range(count)]
    images, labels = (np.stack(arrays) for arrays in zip(*drawn, strict=True))
    names = np.array([f"parasites_{index:05d}" for index in range(count)])
    index = np.arange(count, dtype=np.int32)
    examples = Split(images[..., None], labels, duplicate_groups(images), index, names=names)
    how = Preprocessing(tuple(images.shape[1:]), 1, CLASSES, tuple(range(len(CLASSES))), Normalisation("own"))
    return Source(examples, CLASSES, top=255, preprocessing=how)


def draw(seed: int, index: int, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """One image and its mask: uint8 and int32 `[height, width]`, a function of the arguments alone."""
    from scipy.ndimage import gaussian_filter
    from scipy.special import ndtri

    look, size = Appearance.of(scene.difficulty), scene.size
    pixels, unit = size[0] * size[1], min(size) / 64
    fixed = _IMAGE + _CELL * _CELLS + _BODY * _MOST
    draws = uniform(philox(seed, index, _STREAM), fixed + 2 * pixels)
    image_draws, rest = draws[:_IMAGE], draws[_IMAGE:fixed]
    cells, bodies = rest[: _CELL * _CELLS].reshape(-1, _CELL), rest[_CELL * _CELLS :].reshape(-1, _BODY)
    grain, noise = ndtri(draws[fixed:]).reshape(2, *size)
    grain = gaussian_filter(grain, 0.8 * unit, mode="wrap")
    grain = grain / grain.std()

    contrast = look.contrast * (0.85 + 0.3 * image_draws[0])
    grey = np.full(size, 0.05 + 0.05 * image_draws[1])
    for cell in cells[: 4 + int(image_draws[2] * (_CELLS - 3))]:
        _add_cell(grey, grain, cell, contrast, look, unit)
    label = np.zeros(size, np.int32)
    for body in bodies[: _how_many(image_draws[3], scene)]:
        _add_body(grey, label, grain, body, image_draws, contrast, look, scene)
    grey = gaussian_filter(grey, look.blur * unit * (0.75 + 0.5 * image_draws[4]), mode="nearest")
    grey = gaussian_filter(grey, scene.amount("blur", 0.0) * unit, mode="nearest")
    grey = grey * _illumination(size, look.bias, image_draws[5:9]) * scene.amount("intensity", 1.0)
    read = look.noise * (0.75 + 0.5 * image_draws[9]) / 3
    variance = read**2 * (1 + 16 * np.maximum(grey, 0)) + scene.amount("noise", 0.0) ** 2
    return np.round(255 * np.clip(grey + np.sqrt(variance) * noise, 0, 1)).astype(np.uint8), label


def _checked(count: int, scene: Scene) -> Scene:
    if not 0 <= scene.difficulty <= 1:
        raise DataError(f"difficulty is {scene.difficulty}, expected 0 (easy) to 1 (hard)")
    if min(scene.size) < 16:
        raise DataError(f"size is {scene.size}, expected (height, width) of at least 16 pixels each")
    if count < 1:
        raise DataError(f"count is {count}, expected at least 1 image")
    if not 0 <= scene.border < min(scene.size):
        raise DataError(f"border is {scene.border}, expected 0 or more pixels, and fewer than the image has")
    quantity(scene.shift, scene.severity)
    return scene


def _how_many(draw: float, scene: Scene) -> int:
    least, most = _COUNTS
    return min(_MOST, int(least * (most / least) ** draw * scene.amount("density", 1.0)))


def _add_cell(grey, grain, draws, contrast: float, look: Appearance, unit: float) -> None:
    """A host cell: a wide soft glow, and a round smooth nucleus near its middle."""
    size = grey.shape
    centre = np.array(size) * (draws[:2] * 1.1 - 0.05)
    y, x = (axis - middle for axis, middle in zip(_axes(size), centre, strict=True))
    angle, long = np.pi * draws[2], unit * (11 + 7 * draws[3])
    u, v = np.cos(angle) * y + np.sin(angle) * x, np.cos(angle) * x - np.sin(angle) * y
    glow = np.exp(-(((u / long) ** 2 + (v / (long * (0.6 + 0.4 * draws[4]))) ** 2) ** 2))
    grey += contrast * (0.1 + 0.12 * draws[5]) * glow * (1 + 0.15 * grain)
    radius = unit * (3.2 + 2.3 * draws[6])
    wide = radius * (0.82 + 0.18 * draws[7])
    shift_y, shift_x = 0.2 * long * (draws[8:10] - 0.5)
    u, v = u - shift_y, v - shift_x
    distance = (np.sqrt((u / radius) ** 2 + (v / wide) ** 2) - 1) * wide
    value = contrast * look.nuclei * (0.7 + 0.6 * draws[10])
    # two nuclei that overlap do not add up: the brighter one is in front
    np.maximum(grey, grey.min() + value * _coverage(distance, 1.0), out=grey)


def _add_body(grey, label, grain, draws, image_draws, contrast: float, look: Appearance, scene: Scene) -> None:
    """A parasite: outline into the label, its uneven inside over the grey values."""
    from scipy.special import ndtri

    size, unit = scene.size, min(scene.size) / 64
    radius = RADII[0] * (RADII[1] / RADII[0]) ** draws[6] * unit * scene.amount("size", 1.0)
    y, x = (axis - middle for axis, middle in zip(_axes(size), _centre(draws, image_draws, size), strict=True))
    distance, angle = np.hypot(y, x), np.arctan2(y, x)
    # high modes of a small body would be narrower than a pixel
    strength = (0.12 + 0.22 * draws[20]) / _MODES * np.minimum(1, radius / (1.2 * _MODES))
    waves = np.cos(angle[..., None] * _MODES + 2 * np.pi * draws[12:16]) @ (strength * (0.5 + draws[8:12]))
    outside = distance - radius * (1 + waves)
    label[outside <= 0] = 1
    brightness = contrast * np.exp(look.spread * ndtri(draws[7]))
    inside = 1 - look.uneven * 0.7 * draws[16] * np.exp(-((distance / (0.55 * radius)) ** 2))
    vacuoles = draws[21:30].reshape(3, 3)[: int(4 * draws[18])]
    for place, far, wide in vacuoles:
        middle = 0.25 * radius + 0.45 * radius * far
        hole = (y - middle * np.sin(2 * np.pi * place)) ** 2 + (x - middle * np.cos(2 * np.pi * place)) ** 2
        inside = inside - look.uneven * 0.8 * np.exp(-hole / (radius * (0.16 + 0.14 * wide)) ** 2)
    inside = np.clip(inside * (1 + 0.25 * look.uneven * grain), 0.1, None)
    cover = _coverage(outside + scene.border * (draws[17] - 0.5), max(scene.border, 1.0))
    grey[...] = grey * (1 - cover) + (0.08 + brightness * inside) * cover


def _centre(draws, image_draws, size) -> np.ndarray:
    """Anywhere, or about one of a few places that the bodies of an image share: `[y, x]`."""
    from scipy.special import ndtri

    anywhere = draws[2:4]
    if draws[0] < 0.4:
        return np.array(size) * (0.04 + 0.92 * anywhere)
    places = image_draws[10:16].reshape(3, 2)
    place = 0.1 + 0.8 * places[int(3 * draws[1])] + 0.13 * ndtri(draws[4:6])
    return np.array(size) * (1 - np.abs(place % 2 - 1))  # mirrored at the borders


def _coverage(outside: np.ndarray, width: float) -> np.ndarray:
    """How much of a pixel is covered at a signed distance from an outline that fades over a width: 0..1."""
    return np.clip(0.5 - outside / width, 0, 1)


def _axes(size) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(size[0])[:, None] + 0.5, np.arange(size[1])[None] + 0.5


def _illumination(size, amplitude: float, draws: np.ndarray) -> np.ndarray:
    """A smooth factor with mean 1: brighter about a place near the middle, and a slope; float `[height, width]`."""
    y, x = (axis / n - 0.5 for axis, n in zip(_axes(size), size, strict=True))
    angle = 2 * np.pi * draws[0]
    field = (
        np.cos(angle) * y
        + np.sin(angle) * x
        - 1.5 * ((y - 0.5 * draws[1] + 0.25) ** 2 + (x - 0.5 * draws[2] + 0.25) ** 2)
    )
    return 1 + amplitude * (field - field.mean())
