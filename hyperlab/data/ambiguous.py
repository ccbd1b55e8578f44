"""Procedural images that can be read in four ways, with the probability of each way known and to be seen.

A bright body has a halo round it and a lobe at its side. Some annotators count the halo to the body, some the lobe,
some both; the closer the grey value of a part is to the body's, the more of them do. So every image has four masks
(modes) with probabilities that a model can learn, and the annotators are draws from them: the coverage of the modes,
and the calibration of the frequencies with which a model draws them, can be measured against the truth.
"""

from dataclasses import dataclass, fields

import numpy as np

from hyperlab.data.resample import as_size
from hyperlab.data.shapes import Appearance
from hyperlab.data.splits import philox
from hyperlab.errors import DataError

MODES = ("body", "body and halo", "body and lobe", "body, halo and lobe")
LEAST, MOST = 0.15, 0.85  # probability that an annotator counts a part to the body
_STREAM = 7  # of the random words, apart from those of other purposes
_DRAWS = 24  # random numbers of an image, before those of annotators and pixels


@dataclass(frozen=True, eq=False)
class Ambiguous:
    """Images with several annotations each, and the distribution that these were drawn from.

    Attributes:
      images: float32 `[n, height, width, 1]` in 0..1.
      annotations: bool `[n, annotators, height, width]`.
      chosen: int32 `[n, annotators]`, the mode of each annotation.
      modes: bool `[n, 4, height, width]`, in the order of `MODES`; all different.
      probabilities: float32 `[n, 4]`, sum 1.
    """

    images: np.ndarray
    annotations: np.ndarray
    chosen: np.ndarray
    modes: np.ndarray
    probabilities: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def take(self, positions: np.ndarray) -> "Ambiguous":
        """The images at some positions; images are independent of each other, so any cut is a fair split."""
        return Ambiguous(**{each.name: getattr(self, each.name)[positions] for each in fields(self)})


def ambiguous_shapes(
    count: int = 300,
    size: int | tuple[int, int] = (64, 64),
    annotators: int = 4,
    difficulty: float = 0.3,
    seed: int = 0,
) -> Ambiguous:
    """Images of a body with a halo and a lobe, and annotators who disagree about what belongs to it.

    Args:
      count: how many images; a longer set starts with the shorter one.
      size: `(height, width)` in pixels, at least 32 each.
      annotators: annotations an image, drawn independently. Another number leaves images and modes as they are, and
        more annotators start with the fewer.
      difficulty: 0 to 1: contrast falls, blur, noise and uneven light grow as in `hyperlab.data.shapes`. Modes,
        probabilities and annotations do not depend on it. At the default a deterministic U-Net of four levels of 16
        channels has, after 400 steps of 8 images, a Dice of .84 with an annotator; the best mode of each image, known,
        has .85, the best of 8 draws from the truth .98, and that of 8 copies of the U-Net's mask under noise of the
        same diversity .88.
      seed: another seed gives other images.

    Raises:
      DataError: a difficulty outside 0..1, a size below 32, no image or no annotator.

    >>> examples = ambiguous_shapes(count=3, size=32, annotators=2)
    >>> examples.images.shape, examples.annotations.shape, examples.modes.shape
    ((3, 32, 32, 1), (3, 2, 32, 32), (3, 4, 32, 32))
    >>> bool((examples.annotations[0, 1] == examples.modes[0, examples.chosen[0, 1]]).all())
    True
    """
    if not 0 <= difficulty <= 1:
        raise DataError(f"difficulty is {difficulty}, expected 0 (easy) to 1 (hard)")
    size = as_size(size, 2)
    if min(size) < 32:
        raise DataError(f"size is {size}, expected (height, width) of at least 32 pixels each")
    if count < 1 or annotators < 1:
        raise DataError(f"count is {count} and annotators {annotators}, expected at least 1 each")
    drawn = [_draw(seed, index, size, annotators, difficulty) for index in range(count)]
    images, chosen, modes, probabilities = (np.stack(arrays) for arrays in zip(*drawn, strict=True))
    annotations = np.take_along_axis(modes, chosen[..., None, None], 1)
    return Ambiguous(images[..., None], annotations, chosen, modes, probabilities)


def _draw(seed: int, index: int, size: tuple[int, int], annotators: int, difficulty: float):
    """One image, the modes that annotators chose, all modes and their probabilities."""
    from scipy.ndimage import gaussian_filter
    from scipy.special import ndtri

    # words, then pixels, then annotators: more annotators change nothing that comes before
    words = philox(seed, index, _STREAM).random_raw(_DRAWS + size[0] * size[1] + annotators)
    uniform = ((words >> np.uint64(12)).astype(np.float64) + 0.5) / 2.0**52
    draws, votes = uniform[:_DRAWS], uniform[_DRAWS + size[0] * size[1] :]
    noise = ndtri(uniform[_DRAWS:-annotators]).reshape(size)

    body, halo, lobe = _parts(size, draws[:8])
    modes = np.stack([body, body | halo, body | lobe, body | halo | lobe])
    with_halo, with_lobe = LEAST + (MOST - LEAST) * draws[8:10]
    halo_odds, lobe_odds = np.array([1 - with_halo, with_halo]), np.array([1 - with_lobe, with_lobe])
    probabilities = np.outer(lobe_odds, halo_odds).ravel()
    chosen = np.searchsorted(np.cumsum(probabilities)[:-1], votes, side="right")

    look = Appearance.of(difficulty)
    background = 0.15 + 0.1 * draws[10]
    contrast = 1.4 * look.contrast * (0.85 + 0.3 * draws[11])
    # where halo and lobe overlap, the brighter one is seen
    grey = background + contrast * np.max([body, with_halo * halo, with_lobe * lobe], 0)
    grey = gaussian_filter(grey, look.blur * min(size) / 64 * (0.75 + 0.5 * draws[12]))
    grey = grey * _illumination(size, look.bias, draws[13]) + look.noise * (0.75 + 0.5 * draws[14]) * noise
    return np.clip(grey, 0, 1).astype(np.float32), chosen.astype(np.int32), modes, probabilities.astype(np.float32)


def _parts(size: tuple[int, int], draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Body, halo and lobe: bool `[height, width]` each, inside the image; halo and lobe share some pixels."""
    y, x = np.meshgrid(*(np.arange(n) + 0.5 for n in size), indexing="ij")
    short = min(size)
    radius = short * (0.12 + 0.035 * draws[0])
    ring, bulge = radius * (1.35 + 0.1 * draws[1]), radius * (0.9 + 0.1 * draws[2])
    offset = ring + 0.3 * bulge  # far enough out that with and without the lobe are different masks
    reach = offset + bulge
    centre = [reach + draw * (n - 2 * reach) for n, draw in zip(size, draws[3:5], strict=True)]
    turn, stretch = 2 * np.pi * draws[5], 0.85 + 0.15 * draws[6]
    dy, dx = y - centre[0], x - centre[1]
    u, v = np.cos(turn) * dy + np.sin(turn) * dx, (np.cos(turn) * dx - np.sin(turn) * dy) / stretch
    distance, place = np.hypot(u, v), 2 * np.pi * draws[7]
    body = distance <= radius
    halo = (distance <= ring) & ~body
    lobe = (np.hypot(dy - offset * np.sin(place), dx - offset * np.cos(place)) <= bulge) & ~body
    return body, halo, lobe


def _illumination(size: tuple[int, int], amplitude: float, draw: float) -> np.ndarray:
    """A slope across the image in one direction, with mean 1."""
    y, x = np.meshgrid(*((np.arange(n) + 0.5) / n - 0.5 for n in size), indexing="ij")
    return 1 + amplitude * (np.cos(2 * np.pi * draw) * y + np.sin(2 * np.pi * draw) * x)
