"""Folders of microscopy images without masks: one scale for all, said and kept.

A network is given what it was trained on, so what an image is divided by is part of the image.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from hyperlab.data.readers.cases import visible
from hyperlab.data.readers.images import SUFFIXES, depth_of, image_of, mixture, read_raster
from hyperlab.data.resample import unit_range
from hyperlab.errors import DataError, nearest

FULL_RANGE, OWN_RANGE, PERCENTILES = "full range", "own range", "percentiles"
NORMALISATIONS = (FULL_RANGE, OWN_RANGE, PERCENTILES)
_LOW, _HIGH = 0.5, 99.5  # of `PERCENTILES`


class Picture(NamedTuple):
    """An image that a network can be given.

    Attributes:
      name: of the file, without its ending.
      pixels: float32 `[height, width, channel]` in 0..1.
      low: the value of the file that became 0, one for all channels.
      high: the value of the file that became 1.
    """

    name: str
    pixels: np.ndarray
    low: float
    high: float


def images(folder: str | Path, normalisation: str = FULL_RANGE) -> list[Picture]:
    """All images of a folder, in the order of their names; for those that do not fit the memory see `files`.

    Args:
      folder: holds TIFF, PNG, BMP or JPEG files of one bit depth and one number of channels.
      normalisation: see `read`.

    Raises:
      DataError: as `files` and `read`.
    """
    return [read(path, normalisation) for path in files(folder)]


def files(folder: str | Path) -> list[Path]:
    """The image files of a folder in the order of their names; their headers alone are read.

    Raises:
      DataError: the folder is missing or holds none; two files have one name; the images mix bit depths or numbers of
        channels.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder")
    found = [path for path in visible(folder) if path.suffix.lower() in SUFFIXES]
    if not found:
        raise DataError(f"{folder} holds no image; readable are {', '.join(SUFFIXES)}")
    stems = [path.stem for path in found]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise DataError(f"{folder} holds several files named {twice!r}; are masks among them? move them away")
    mixed = mixture({path: depth_of(path) for path in found})
    if mixed:
        raise DataError(f"{folder} mixes {mixed}; convert them to one, or use a folder for each kind")
    return found


def read(path: str | Path, normalisation: str = FULL_RANGE) -> Picture:
    """One image in 0..1.

    Args:
      path: an image file.
      normalisation: `"full range"` divides by the largest number of the file's type (255 or 65,535; floating point
        values are taken as they are, and must lie in 0..1); `"own range"` maps the smallest and the largest value of
        the image, over its channels together, to 0 and 1, `"percentiles"` its percentiles .5 and 99.5.

    Raises:
      DataError: an unknown normalisation; the file cannot be read, holds values that are not finite, or numbers of 32
        bits whose full range says nothing.
    """
    path = Path(path)
    if normalisation not in NORMALISATIONS:
        raise DataError(f"unknown normalisation {normalisation!r}; {nearest(str(normalisation), NORMALISATIONS)}")
    raster = read_raster(path)
    values = image_of(path, raster)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(f"{path} holds values that are not finite (NaN or infinite); mend the file")
    if normalisation != FULL_RANGE:
        least, most = (_LOW, _HIGH) if normalisation == PERCENTILES else (0, 100)
        low, high = (float(value) for value in np.percentile(values, (least, most)))
        return Picture(path.stem, unit_range(values, least, most, joint=True), low, high)
    low, high = 0.0, full_range(values, str(path), raster.white)
    return Picture(path.stem, values.astype(np.float32) / np.float32(high), low, high)


def full_range(values: np.ndarray, name: str, white: int | None = None) -> float:
    """The largest number of the values' type: 255 or 65,535, and 1 of floating point values in 0..1.

    Args:
      values: of an image.
      name: of it, for messages.
      white: the largest number that the file can hold, where it says so: 15 of 4 bits, 4095 of 12.

    Raises:
      DataError: other values, whose type says nothing of their range; the message begins with `name`.

    >>> full_range(np.array([7], np.uint16), "a.tif")
    65535.0
    """
    if white is not None and white <= np.iinfo(np.uint16).max:
        return float(white)
    if values.dtype in (np.uint8, np.uint16):
        return float(np.iinfo(values.dtype).max)
    least, most = float(values.min()), float(values.max())
    if values.dtype.kind == "f" and least >= 0 and most <= 1:
        return 1.0
    raise DataError(
        f"{name} holds {values.dtype} values from {least:g} to {most:g}, which have no full range; expected 8 or 16 "
        "bits, or floating point values in 0..1 (or another normalisation: 'percentiles')"
    )
