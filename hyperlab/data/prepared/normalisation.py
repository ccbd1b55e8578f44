"""What becomes of the grey values of a channel: chosen by its name, as nnU-Net's `channel_names` choose it.

Isensee et al. 2021, Nature Methods 18, 203-211; `documentation/explanation_normalization.md` of nnU-Net 2.
"""

from dataclasses import dataclass

import numpy as np

from hyperlab.errors import DataError, nearest

SCHEMES = {
    "ct": "clipped to percentiles of the set's foreground, then standardised by its mean and deviation",
    "z_score": "standardised by mean and deviation of the case",
    "rescale_to_0_1": "minimum and maximum of the case become 0 and 1",
    "rgb_to_0_1": "divided by 255",
    "none": "as it is",
}
_BY_NAME = {
    "ct": "ct",
    "nonorm": "none",
    "rescale_to_0_1": "rescale_to_0_1",
    "rescale_0_1": "rescale_to_0_1",  # as nnU-Net spelt it until 2.0
    "rgb_to_0_1": "rgb_to_0_1",
}
PERCENTILES = (0.5, 99.5)
_LEAST = 1e-8  # a deviation or a range that is divided by


@dataclass(frozen=True)
class Channel:
    """A channel of the images, and every number that its normalisation needs.

    Attributes:
      name: as the set's description has it.
      scheme: one of `SCHEMES`.
      low, high: percentiles .5 and 99.5 of the foreground of the training cases, to which `"ct"` clips; else None.
      mean, deviation: of the same voxels, before they are clipped; else None.
    """

    name: str
    scheme: str
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    deviation: float | None = None

    def __post_init__(self):
        if self.scheme not in SCHEMES:
            raise DataError(f"unknown normalisation {self.scheme!r}; {nearest(self.scheme, SCHEMES)}")
        numbers = (self.low, self.high, self.mean, self.deviation)
        if self.scheme == "ct" and not all(number is not None and np.isfinite(number) for number in numbers):
            raise DataError(f"channel {self.name!r} is CT, which needs low, high, mean and deviation; got {numbers}")


def scheme_of(name: str) -> str:
    """The normalisation that a channel's name asks for, in letters of any case; most names ask for none by name.

    >>> [scheme_of(name) for name in ("CT", "noNorm", "rescale_to_0_1", "rgb_to_0_1", "T2")]
    ['ct', 'none', 'rescale_to_0_1', 'rgb_to_0_1', 'z_score']
    """
    return _BY_NAME.get(name.strip().casefold(), "z_score")


def normalised(values: np.ndarray, channel: Channel, inside: np.ndarray | None = None) -> np.ndarray:
    """One channel of a case on its scale, in float32 arithmetic; statistics are summed in float64.

    `"ct"`: (clip(x, low, high) - mean) / max(deviation, 1e-8). `"z_score"`: (x - m) / max(s, 1e-8) with m and s of
    the voxels inside, the others 0. `"rescale_to_0_1"`: (x - min) / max(max - min, 1e-8).

    Args:
      values: `[*spatial]`, finite, as the files have them.
      channel: which normalisation, and its numbers.
      inside: bool `[*spatial]`, the voxels that a z-score is of; by default all.

    Returns:
      float32 `[*spatial]`, an array of its own.

    Raises:
      DataError: values outside 0..255 where they are to be divided by 255.

    >>> normalised(np.array([0, 51, 255]), Channel("red", "rgb_to_0_1")).round(2).tolist()
    [0.0, 0.20000000298023224, 1.0]
    >>> normalised(np.array([0, 0, 2, 4]), Channel("T1", "z_score"), np.array([False, False, True, True])).tolist()
    [0.0, 0.0, -1.0, 1.0]
    """
    x = np.array(values, np.float32)
    if channel.scheme == "none":
        return x
    if channel.scheme == "rgb_to_0_1":
        low, high = float(x.min()), float(x.max())
        if low < 0 or high > 255:
            raise DataError(
                f"channel {channel.name!r} is normalised by rgb_to_0_1 and spans {low:g} to {high:g}, expected 0 to "
                "255; name it rescale_to_0_1, or otherwise"
            )
        x /= np.float32(255)
    elif channel.scheme == "ct":
        np.clip(x, np.float32(channel.low), np.float32(channel.high), out=x)
        _standardise(x, channel.mean, channel.deviation)
    elif channel.scheme == "rescale_to_0_1":
        x -= x.min()
        x /= max(x.max(), np.float32(_LEAST))
    else:
        _standardise(x, *mean_and_deviation(x if inside is None else x[inside]))
        if inside is not None:
            x[~inside] = 0
    return x


def mean_and_deviation(values: np.ndarray) -> tuple[float, float]:
    """Both in float64, by slabs along the first axis, so that no second array of the size is made; 0, 0 of nothing.

    >>> mean_and_deviation(np.array([1, 3], np.uint8))
    (2.0, 1.0)
    """
    if not values.size:
        return 0.0, 0.0
    flat = values.reshape(-1)
    mean = float(flat.mean(dtype=np.float64))
    starts = range(0, flat.size, 1 << 20)
    squares = sum(float(np.square(flat[at : at + (1 << 20)].astype(np.float64) - mean).sum()) for at in starts)
    return mean, float(np.sqrt(squares / flat.size))


def _standardise(x: np.ndarray, mean, deviation) -> None:
    x -= np.float32(mean)
    x /= np.float32(max(deviation, _LEAST))
