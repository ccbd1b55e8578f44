"""Synthetic segmentation tasks: shapes from noise, and subjects that are warped, tinted and blurred versions of them.

The parameters are those of UniverSeg's 1,000 synthetic tasks (Butoi et al. 2023, arXiv 2304.06131, processing code).
The generator itself was never published: the procedure here is ours, after the random shapes of SynthMorph (Hoffmann
et al. 2022, arXiv 2004.10282). Lengths are in pixels of an image of 256; other sizes scale them.
"""

from dataclasses import dataclass, replace

import numpy as np

from hyperlab.data.splits import philox
from hyperlab.errors import DataError

Range = tuple[float, float]
_STREAM = 20  # of the random words; the ones below are taken
_REFERENCE = 256  # the size for which lengths are given


@dataclass(frozen=True)
class Settings:
    """What is drawn, uniformly, for each task; subjects then draw within what their task drew.

    Attributes:
      labels: how many shapes; both ends are possible.
      shape_blur: largest standard deviation of the blur of the noise that shapes are cut from.
      shape_warp: largest standard deviation of the warp of that noise, in pixels.
      spread_low, spread_high: the ends of the range from which the standard deviation of a label's grey value
        within an image is drawn.
      spread_between: standard deviation of a label's mean grey value between subjects.
      subject_warp: standard deviation of a subject's warp, in pixels.
      bias_scale: pixels between the nodes of the uneven illumination.
      bias: standard deviation of its logarithm.
      blur: largest standard deviation of the final blur, in pixels.
      shape_scales, shape_warp_scales, subject_warp_scales: pixels between the nodes of the noise, one field each.
      least_share: a label with a smaller mean share of the pixels in any subject becomes background.
    """

    labels: tuple[int, int] = (5, 19)
    shape_blur: Range = (0.5, 5.0)
    shape_warp: Range = (4.0, 15.0)
    spread_low: Range = (0.01, 0.1)
    spread_high: Range = (0.2, 1.0)
    spread_between: Range = (0.01, 0.1)
    subject_warp: Range = (1.0, 20.0)
    bias_scale: Range = (32.0, 50.0)
    bias: Range = (0.1, 1.0)
    blur: Range = (0.5, 5.0)
    shape_scales: tuple[int, ...] = (32, 64, 128)
    shape_warp_scales: tuple[int, ...] = (16, 32, 64, 128)
    subject_warp_scales: tuple[int, ...] = (8, 16, 32, 64)
    least_share: float = 0.001

    @classmethod
    def of(cls, difficulty: float) -> "Settings":
        """The published ranges at 1; towards 0 the upper ends of what hides a shape go to its lower ends.

        Raises:
          DataError: a difficulty outside 0..1.

        >>> Settings.of(0.5).subject_warp
        (1.0, 10.5)
        """
        if not 0 <= difficulty <= 1:
            raise DataError(f"difficulty is {difficulty}, expected 0 (easy) to 1 (the published ranges)")
        full = cls()
        dialled = ("spread_between", "subject_warp", "bias", "blur")
        ranges = {name: getattr(full, name) for name in dialled}
        ranges = {name: (low, low + (high - low) * difficulty) for name, (low, high) in ranges.items()}
        low, high = (low + (high - low) * difficulty for low, high in ((0.01, 0.2), (0.1, 1.0)))
        return replace(full, **ranges, spread_high=(low, high))


@dataclass(frozen=True, eq=False)
class SyntheticTask:
    """One synthetic task with all of its labels.

    Attributes:
      images: float32 `[subjects, height, width]` in 0..1.
      labels: int32 `[subjects, height, width]`, 0 is background.
      kept: the values of the labels that are large enough in every subject; the first may be 1.
      template: int32 `[height, width]`, before any label was dropped; its smallest value is 1.
    """

    images: np.ndarray
    labels: np.ndarray
    kept: tuple[int, ...]
    template: np.ndarray


def synthetic_task(
    seed: int, task: int, subjects: int = 100, size: int = 128, settings: Settings | None = None
) -> SyntheticTask:
    """Task number `task` of a seed: a template of shapes, and subjects of it.

    Noise of several scales, one channel a label, is warped and blurred; the label of a pixel is its largest channel.
    A subject is the template under a smooth warp, its labels filled with grey values whose means the task
    shares, times a smooth illumination, blurred, and stretched to 0..1.

    Args:
      seed: another seed gives other tasks.
      task: which one; a function of seed and task alone.
      subjects: how many; subject `i` does not depend on their number, which labels are kept does.
      size: height and width in pixels, at least 16.
      settings: by default the published ranges.

    Raises:
      DataError: a size below 16, or no subject.

    >>> made = synthetic_task(seed=0, task=3, subjects=2, size=32)
    >>> made.images.shape, made.labels.shape
    ((2, 32, 32), (2, 32, 32))
    """
    if size < 16 or subjects < 1:
        raise DataError(f"{subjects} subjects of size {size}, expected at least 1 of 16")
    settings = settings or Settings()
    zoom = size / _REFERENCE
    rng = _rng(seed, task, 0)
    drawn = {
        name: rng.uniform(*getattr(settings, name))
        for name in ("shape_blur", "shape_warp", "spread_low", "spread_high", "spread_between", "subject_warp",
                     "bias_scale", "bias", "blur")
    }  # fmt: skip
    count = int(rng.integers(settings.labels[0], settings.labels[1] + 1))
    template = _template(rng, count, size, zoom, settings, drawn)
    means = rng.uniform(0, 1, count + 1)
    made = [
        _subject(_rng(seed, task, 1 + number), template, means, zoom, settings, drawn) for number in range(subjects)
    ]
    images, labels = (np.stack(arrays) for arrays in zip(*made, strict=True))
    share = np.array([[(one == label).mean() for label in range(1, count + 1)] for one in labels])
    kept = tuple(int(label) for label in 1 + np.flatnonzero((share >= settings.least_share).all(0)))
    return SyntheticTask(images, np.where(np.isin(labels, kept), labels, 0), kept, template)


def noise_fields(rng: np.random.Generator, count: int, size: int, scales, deviation: float) -> np.ndarray:
    """Smooth noise: the sum over scales of normal noise on a grid of that spacing, interpolated linearly.

    Args:
      rng: what it is drawn from.
      count: how many fields.
      size: height and width.
      scales: pixels between the nodes of each grid, above 0.
      deviation: a grid's standard deviation is uniform in 0..`deviation`.

    Returns:
      float32 `[count, size, size]`.
    """
    total = np.zeros((count, size, size), np.float32)
    for scale in scales:
        nodes = max(2, int(np.ceil(size / scale)))
        spread = rng.uniform(0, deviation, (count, 1, 1))
        grid = (spread * rng.standard_normal((count, nodes, nodes))).astype(np.float32)
        total += _stretched(_stretched(grid, size, 1), size, 2)
    return total


def _template(rng, count: int, size: int, zoom: float, settings: Settings, drawn: dict) -> np.ndarray:
    from scipy.ndimage import gaussian_filter, map_coordinates

    scales = [scale * zoom for scale in settings.shape_scales]
    channels = noise_fields(rng, count, size, scales, 1.0)
    grid = np.mgrid[:size, :size].astype(np.float32)
    for number in range(count):
        warp = noise_fields(rng, 2, size, [s * zoom for s in settings.shape_warp_scales], drawn["shape_warp"] * zoom)
        moved = map_coordinates(channels[number], grid + warp, order=1, mode="nearest")
        channels[number] = gaussian_filter(moved, rng.uniform(0, drawn["shape_blur"]) * zoom)
    return 1 + channels.argmax(0).astype(np.int32)


def _subject(rng, template: np.ndarray, means: np.ndarray, zoom: float, settings: Settings, drawn: dict):
    from scipy.ndimage import gaussian_filter, map_coordinates

    size = len(template)
    grid = np.mgrid[:size, :size].astype(np.float32)
    warp = noise_fields(rng, 2, size, [s * zoom for s in settings.subject_warp_scales], drawn["subject_warp"] * zoom)
    labels = map_coordinates(template, grid + warp, order=0, mode="nearest")
    greys = means + drawn["spread_between"] * rng.standard_normal(len(means))
    spreads = rng.uniform(*sorted((drawn["spread_low"], drawn["spread_high"])), len(means))
    image = greys[labels] + spreads[labels] * rng.standard_normal(labels.shape)
    image = image.clip(0, 1) * np.exp(noise_fields(rng, 1, size, [drawn["bias_scale"] * zoom], drawn["bias"])[0])
    image = gaussian_filter(image, rng.uniform(0, drawn["blur"]) * zoom)
    low, high = image.min(), image.max()
    return ((image - low) / max(high - low, 1e-12)).astype(np.float32), labels.astype(np.int32)


def _stretched(grid: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Linear interpolation along an axis, the outermost of `size` points on the outermost nodes."""
    places = np.linspace(0, grid.shape[axis] - 1, size, dtype=np.float32)
    below = np.minimum(places.astype(int), grid.shape[axis] - 2)
    share = (places - below).reshape([size if one == axis else 1 for one in range(grid.ndim)])
    return grid.take(below, axis) * (1 - share) + grid.take(below + 1, axis) * share


def _rng(seed: int, task: int, number: int) -> np.random.Generator:
    return np.random.Generator(philox(seed, task * 2**32 + number, _STREAM))
