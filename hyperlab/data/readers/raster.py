"""What an image file stores, before anything is made of it: the numbers, the palette, the alpha channel."""

from typing import NamedTuple

import numpy as np


class Raster(NamedTuple):
    """The content of an image file, turned upright.

    Attributes:
      values: `[height, width, channel]`, the numbers of the file in the machine's byte order, without alpha; of a
        stack `[plane, height, width, channel]`. Indices where there is a palette.
      bits: of a channel, as the file packs it: 1, 2, 4, 8, 12, 16, 32, 64.
      alpha: `[height, width]`, or None.
      palette: uint8 `[entries, 3]`, or None.
      white_is_zero: whether 0 is displayed as white (TIFF's PhotometricInterpretation 0). The numbers are not turned.
      lossy: the name of a compression that changes numbers, or may; empty of others.
    """

    values: np.ndarray
    bits: int
    alpha: np.ndarray | None = None
    palette: np.ndarray | None = None
    white_is_zero: bool = False
    lossy: str = ""

    @property
    def grey_palette(self) -> bool:
        """Whether there is a palette and all its entries are greys."""
        return self.palette is not None and bool((self.palette == self.palette[:, :1]).all())

    @property
    def white(self) -> int | None:
        """The largest number that a pixel can have; None of signed numbers and of floating point."""
        if self.palette is not None:
            return 255
        return 2**self.bits - 1 if self.values.dtype.kind in "bu" else None


def upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Turns pixels as an orientation of EXIF or TIFF (tag 274) says that they are displayed.

    Args:
      values: `[height, width, ...]` as stored.
      orientation: 1 to 8; anything else counts as 1.

    Returns:
      `[height, width, ...]`, or `[width, height, ...]` for 5 to 8.

    Source: TIFF 6.0, section 8, "Orientation"; EXIF 2.32, 4.6.4 A.

    >>> upright(np.array([[1, 2], [3, 4]]), 6).tolist()  # the first stored row is the right column
    [[3, 1], [4, 2]]
    """
    if orientation in (5, 6, 7, 8):
        values = np.swapaxes(values, 0, 1)
    flips = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}.get(orientation, ())
    return np.ascontiguousarray(np.flip(values, flips)) if flips else np.ascontiguousarray(values)


def native(values: np.ndarray) -> np.ndarray:
    """The values in the machine's byte order; bits as uint8."""
    return values.astype(np.uint8 if values.dtype == bool else values.dtype.newbyteorder("="), copy=False)
