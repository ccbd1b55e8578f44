"""Image files as arrays and as masks of labels: the numbers that are stored are the numbers that are used."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hyperlab.data.readers.pictures import picture_depth, read_picture
from hyperlab.data.readers.raster import Raster
from hyperlab.data.readers.tiff import MAGICS, read_tiff, tiff_depth
from hyperlab.errors import DataError

SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")
LOSSY = (".jpg", ".jpeg")


def read_image(path: str | Path) -> np.ndarray:
    """Reads an image file.

    Args:
      path: a PNG, BMP, TIFF or JPEG file, told by its content: packed, signed, floating point, planar, of any depth.
        Palettes are resolved (to one channel where all their entries are grey), alpha is dropped, the orientation of
        EXIF is applied; where white is stored as 0, it stays 0.

    Returns:
      `[height, width, channel]` in the dtype of the file: grey has 1 channel, colours 3, other TIFF files as many as
      they have; packed grey of `b` bits is uint8 in 0 .. 2^b - 1.

    Raises:
      DataError: the file is missing, truncated, no image, holds several pages, or numbers that are not real.

    >>> import tempfile
    >>> from PIL import Image
    >>> path = Path(tempfile.mkdtemp()) / "a.png"
    >>> Image.fromarray(np.array([[7, 250]], np.uint8)).save(path)
    >>> read_image(path).tolist()
    [[[7], [250]]]
    """
    return image_of(path, read_raster(path))


def read_mask(path: str | Path) -> np.ndarray:
    """Reads a mask: the integers that are stored are labels.

    Args:
      path: a PNG, BMP or TIFF file with one channel, or with equal channels; or one that is drawn in the alpha channel
        over a single colour. Of a palette of colours that begins with black the indices are the labels, of a palette
        of greys the grey values. A 1-bit image gives 0 and 1.

    Returns:
      `[height, width]` of an integer dtype.

    Raises:
      DataError: a lossy compression, which changes labels; channels that differ; a palette of colours in an order of
        its own; values that are no integers; a file that is missing, truncated or no image.
    """
    path = Path(path)
    refuse_lossy(path)
    return labels_of(path, read_raster(path))


def read_raster(path: str | Path, stack: bool = False) -> Raster:
    """What an image file stores; see `Raster`.

    Args:
      path: of the file.
      stack: whether planes of a TIFF file are expected, as an axis of their own.

    Raises:
      DataError: the file is missing, truncated or no image.
    """
    path = Path(path)
    if _is_tiff(path):
        return read_tiff(path, stack)
    return read_picture(path)


def image_of(path: str | Path, raster: Raster) -> np.ndarray:
    """The pixels `[..., height, width, channel]` of what a file stores.

    Raises:
      DataError: its numbers are not real, or a palette has no such entry.
    """
    if raster.palette is None:
        return _real(path, raster.values)
    indices = _indices(path, raster, raster.palette)
    return raster.palette[indices][..., :1] if raster.grey_palette else raster.palette[indices]


def labels_of(path: str | Path, raster: Raster) -> np.ndarray:
    """The labels `[..., height, width]` of what a file stores; see `read_mask`.

    Raises:
      DataError: as `read_mask`.
    """
    if raster.lossy:
        raise _lossy(path, raster.lossy)
    if raster.palette is not None:
        return _palette_labels(path, raster, raster.palette)
    values = _real(path, raster.values)
    if not np.isfinite(values).all():
        raise DataError(f"{path} holds values that are not finite, so no labels; set them to the background's")
    if np.any(values != values[..., :1]):
        raise DataError(
            f"{path} is a colour image, not a mask of labels: its channels differ; "
            "map each colour to a whole number and save one channel"
        )
    labels = values[..., 0]
    if raster.alpha is not None and np.ptp(raster.alpha):
        labels = _alpha_labels(path, labels, raster.alpha)
    if labels.dtype.kind != "f":
        return labels
    if np.any(labels != np.round(labels)):
        raise DataError(f"{path} holds values that are no whole numbers, so no labels; save the mask as integers")
    if np.abs(labels.astype(np.float64)).max(initial=0) >= 2**63:
        raise DataError(f"{path} holds labels beyond 64 bits; renumber them from 0")
    return labels.astype(np.int64)


def refuse_lossy(path: Path) -> None:
    """Refuses a mask by the ending of a lossy format.

    Raises:
      DataError: the name ends as those of JPEG files.
    """
    if path.suffix.lower() in LOSSY:
        raise _lossy(path)


def _lossy(path: str | Path, kind: str = "JPEG") -> DataError:
    changes = "changes" if kind == "JPEG" else "may change"
    return DataError(
        f"{path} is a {kind} file, whose compression {changes} labels at every border; "
        "export the mask as PNG from its source (converting this file keeps the damage)"
    )


def _is_tiff(path: Path) -> bool:
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    try:
        with path.open("rb") as file:
            return file.read(4) in MAGICS
    except OSError as error:
        raise DataError(f"{path} cannot be opened ({error.strerror}); mend its permissions") from error


def _real(path: str | Path, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "iuf":
        raise DataError(f"{path} holds {values.dtype} values, expected real numbers; save the part that is meant")
    return values


def _indices(path: str | Path, raster: Raster, palette: np.ndarray) -> np.ndarray:
    indices = raster.values[..., 0]
    if indices.max(initial=0) >= len(palette):
        raise DataError(f"{path} uses entry {indices.max()} of a palette of {len(palette)}; export it again")
    return indices


def _palette_labels(path: str | Path, raster: Raster, palette: np.ndarray) -> np.ndarray:
    indices = _indices(path, raster, palette)
    if raster.grey_palette:
        return palette[indices][..., 0]
    if palette[0].any():
        raise DataError(
            f"{path} has a palette of colours that begins with {tuple(palette[0].tolist())}, not with black, so "
            "that its indices may stand in any order; map each colour to a whole number and save one channel"
        )
    return indices


def _alpha_labels(path: str | Path, labels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """A mask may be drawn in alpha over one colour, or be visible where it is not background; else nobody knows."""
    if not np.ptp(labels):
        return alpha
    if np.array_equal(labels != 0, alpha != 0):
        return labels
    raise DataError(f"{path} has a mask in its grey values and another in its alpha channel; save one channel")


class Depth(NamedTuple):
    """What a pixel of an image file is.

    Attributes:
      bits: of a channel, as the file packs it; 8 of palettes.
      channels: as `read_image` returns them.
      white_is_zero: whether 0 is displayed as white.
    """

    bits: int
    channels: int
    white_is_zero: bool = False

    def __str__(self) -> str:
        inverted = ", white is 0" if self.white_is_zero else ""
        return f"{self.bits} bit{'s' * (self.bits > 1)}, {self.channels} channel{'s' * (self.channels > 1)}{inverted}"


def depth_of(path: str | Path) -> Depth:
    """Bits and channels of an image file from its header, without the pixels.

    Raises:
      DataError: the file is missing or no image.
    """
    path = Path(path)
    return Depth(*(tiff_depth(path) if _is_tiff(path) else picture_depth(path)))


def mixture(depths: Mapping[Path, Depth]) -> str:
    """A sentence that names files of each depth where a folder mixes several, else the empty string.

    >>> mixture({Path("a.png"): Depth(8, 1), Path("b.tif"): Depth(16, 1), Path("c.png"): Depth(8, 1)})
    'images of 2 kinds: 8 bits, 1 channel (a.png, c.png); 16 bits, 1 channel (b.tif)'
    """
    kinds: dict[Depth, list[str]] = {}
    for path, depth in depths.items():
        kinds.setdefault(depth, []).append(path.name)
    if len(kinds) < 2:
        return ""
    shown = [
        f"{depth} ({', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''})"
        for depth, names in kinds.items()
    ]
    return f"images of {len(kinds)} kinds: {'; '.join(shown)}"
