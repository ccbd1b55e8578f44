"""How values of files become 0..1, as numbers that can be kept with a run."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from hyperlab.data.microscopy import FULL_RANGE, OWN_RANGE, PERCENTILES, full_range
from hyperlab.data.readers.scan import Scan
from hyperlab.data.resample import unit_range
from hyperlab.errors import DataError

KINDS = ("divide", "range", "own")
_LOW, _HIGH = 0.5, 99.5  # percentiles


@dataclasses.dataclass(frozen=True)
class Normalisation:
    """How values of a file become 0..1.

    Attributes:
      kind: `"divide"` by a number, `"range"`: two percentiles of each scan become 0 and 1, what is beyond is cut; or
        `"own"`: divided by the largest number of the file's own type.
      by: the number of `"divide"`.
      low: a percentile of `"range"`.
      high: the other one.
      joint: of several channels, whether the percentiles are those of all channels together.
    """

    kind: str = "own"
    by: float = 1.0
    low: float = 0.0
    high: float = 100.0
    joint: bool = False

    def apply(self, scan: Scan, name: str) -> np.ndarray:
        """The values `[*spatial, channel]` of a scan in 0..1, float32.

        Raises:
          DataError: they are not finite, or lie beyond what they are divided by.

        >>> scan = Scan(np.array([[[0], [51]]], np.uint8))
        >>> Normalisation("divide", by=255).apply(scan, "a").ravel().tolist() == [0.0, np.float32(0.2)]
        True
        >>> Normalisation("range").apply(scan, "a").ravel().tolist()
        [0.0, 1.0]
        """
        values = scan.values
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise DataError(f"{name} holds values that are not finite (NaN or infinite); mend the file")
        if self.kind == "range":
            return unit_range(values, self.low, self.high, joint=self.joint)
        by = float(full_range(values, name, scan.white)) if self.kind == "own" else self.by
        low, high = float(values.min()), float(values.max())
        white = scan.white if self.kind == "divide" else None
        if low < 0 or high > by * (1 + 1e-6) or white not in (None, by, *([255.0] if by == 1 else [])):
            held = f", a picture whose white is {white}" if white else ""
            raise DataError(
                f"{name} spans {low:g} to {high:g}{held}; the network was trained on values that are divided by {by:g}:"
                " convert it to the depth of the training images"
            )
        return values.astype(np.float32) / np.float32(by)


BY_PERCENTILES = Normalisation("range", low=_LOW, high=_HIGH)  # of each channel of a scan


def normalisation_of(normalize: str, whites: Iterable[float | None]) -> Normalisation:
    """The normalisation of a user's files, by the option of their reader.

    Args:
      normalize: `"auto"`, `"percentiles"`, `"min_max"`, `"full_range"` or `"none"`; see `hyperlab.data.generic.nnunet`.
      whites: what each picture is divided by; None for what is no picture.

    >>> normalisation_of("auto", [255, 255])
    Normalisation(kind='divide', by=255.0, low=0.0, high=100.0, joint=False)
    >>> normalisation_of("auto", [None]).kind
    'range'
    """
    found = set(whites)
    if normalize == "none":
        return Normalisation("divide", by=1.0)
    if normalize == "min_max":
        return Normalisation("range")
    if normalize == "full_range" or (normalize == "auto" and None not in found and len(found) > 1):
        return Normalisation("own")
    if normalize == "auto" and None not in found:
        return Normalisation("divide", by=float(found.pop() or 1))
    return BY_PERCENTILES


def microscopy_name(normalisation: Normalisation) -> str:
    """What `hyperlab.data.microscopy.read` calls it, or the nearest."""
    if normalisation.kind != "range":
        return FULL_RANGE
    return PERCENTILES if (normalisation.low, normalisation.high) == (_LOW, _HIGH) else OWN_RANGE
