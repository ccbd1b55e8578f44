"""Image files in folders by class: listed at once, decoded when they are needed.

    ROOT/<class>/<file>        JPEG, PNG, BMP or TIFF

A file is opened for the first time when its image is wanted, because opening a million of them takes hours. One that
cannot be decoded is then an error that names it; it can be replaced under its name, and the training goes on from where
it was.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hyperlab.data.readers.images import SUFFIXES, image_of, read_raster
from hyperlab.data.readers.raster import Raster
from hyperlab.data.splits import philox
from hyperlab.errors import DataError, nearest

AREA = (0.08, 1.0)  # share of an image that a random crop has
RATIO = (3 / 4, 4 / 3)  # its width over its height
TRIES = 10
WORDS = 4 * TRIES + 1
SHORT_SIDE = 256 / 224  # of an image, over the side of the square in its middle that is evaluated


class Listing(NamedTuple):
    """Files and their classes.

    Attributes:
      paths: of the files, in order of class and name.
      labels: int32 `[n]`, places in `classes`.
      classes: names of the folders, sorted.
    """

    paths: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]

    def take(self, chosen: np.ndarray) -> "Listing":
        """The files at some positions."""
        return Listing(tuple(self.paths[i] for i in chosen), self.labels[chosen], self.classes)


def list_images(root: str | Path, classes: Sequence[str] | None = None) -> Listing:
    """Lists image files by class, without opening any; names that begin with a dot are passed over.

    Args:
      root: holds a folder for each class.
      classes: those that there are; by default the folders' names.

    Returns:
      The files. Of two machines with the same names the order is the same.

    Raises:
      DataError: no folder, a class without images, or one that is not in `classes` (the nearest is named).
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; expected one with a folder of images for each class")
    found = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    if not found:
        raise DataError(f"{root} holds no folders; expected one of images for each class")
    known = tuple(found if classes is None else classes)
    unknown = [name for name in found if name not in known]
    if unknown:
        raise DataError(f"{root / unknown[0]}: unknown class {unknown[0]!r}; {nearest(unknown[0], known)}")
    paths, labels = [], []
    for name in found:
        with os.scandir(root / name) as entries:
            files = sorted(e.path for e in entries if e.name.lower().endswith(SUFFIXES) and e.name[0] != ".")
        if not files:
            raise DataError(f"{root / name} holds no images ({', '.join(SUFFIXES)})")
        paths += files
        labels += [known.index(name)] * len(files)
    return Listing(tuple(paths), np.array(labels, np.int32), known)


def read_images(paths: Sequence[str], views: Sequence[Callable], pool: Executor) -> np.ndarray:
    """Decodes files in threads.

    Args:
      paths: of the files.
      views: one for each file: `view(image) -> uint8 [side, side, 3]`, of `random_view` or `centre_view`.
      pool: where the work is done.

    Returns:
      uint8 `[n, side, side, 3]`.

    Raises:
      DataError: a file is missing, truncated or no image; it is named.
    """
    return np.stack(list(pool.map(lambda path, view: view(_decoded(path)), paths, views)))


def random_view(side: int, draw: int) -> Callable:
    """A part of an image of random size, shape and place, made a square, mirrored half of the time.

    Its area is 8 to 100 % of the image's and its width 3/4 to 4/3 of its height, as in Szegedy et al. 2014,
    arXiv 1409.4842.

    Args:
      side: of the square.
      draw: what is drawn is a function of it.

    Returns:
      `image -> uint8 [side, side, 3]`.
    """
    words = philox(draw, 0).random_raw(WORDS) / 2.0**64  # in [0, 1)

    def view(image) -> np.ndarray:
        width, height = image.size
        box = crop_box(width, height, words[1:].reshape(TRIES, 4))
        square = np.asarray(_resized(image, (side, side), box))
        return square[:, ::-1] if words[0] < 0.5 else square

    return view


def centre_view(side: int) -> Callable:
    """The square in the middle of an image whose short side is 8/7 of it: 224 of 256 pixels.

    Returns:
      `image -> uint8 [side, side, 3]`.
    """

    def view(image) -> np.ndarray:
        # the same pixels as of a whole image resized first, but only they are computed
        width, height = image.size
        part = min(width, height) / SHORT_SIDE
        left, top = (width - part) / 2, (height - part) / 2
        return np.asarray(_resized(image, (side, side), (left, top, left + part, top + part)))

    return view


def crop_box(width: int, height: int, uniforms: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a random part of an image.

    Args:
      width: of the image.
      height: of the image.
      uniforms: `[tries, 4]` in [0, 1): area, shape and place of each try. The first that fits is taken; if none does,
        the largest part in the middle whose shape is allowed.

    >>> crop_box(100, 50, np.array([[0.99999, 0.5, 0.0, 0.0]])), crop_box(100, 50, np.array([[0.0, 0.5, 0.0, 0.99]]))
    ((16, 0, 83, 50), (0, 30, 20, 50))
    """
    low, high = np.log(RATIO)
    for area, shape, x, y in uniforms:
        pixels, ratio = width * height * (AREA[0] + area * (AREA[1] - AREA[0])), np.exp(low + shape * (high - low))
        across, down = round(np.sqrt(pixels * ratio)), round(np.sqrt(pixels / ratio))
        if 0 < across <= width and 0 < down <= height:
            left, top = int(x * (width - across + 1)), int(y * (height - down + 1))
            return left, top, left + across, top + down
    across, down = min(width, round(height * RATIO[1])), min(height, round(width / RATIO[0]))
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down


def _resized(image, size: tuple[int, int], box: tuple):
    from PIL import Image

    return image.resize(size, Image.Resampling.BILINEAR, box=box)


def as_colours(path: str | Path, raster: Raster) -> np.ndarray:
    """A picture as every classifier takes it: uint8 `[height, width, 3]`.

    Grey becomes three equal channels; 1, 2, 4 and 16 bits are brought to 8, so that white stays white.

    Args:
      path: of the file, for messages.
      raster: what it stores.

    Raises:
      DataError: signed numbers or floating point, which do not say what is white; channels that are no colours.
    """
    values = image_of(path, raster)
    if raster.white is None or values.shape[-1] not in (1, 3):
        raise DataError(
            f"{path} holds {values.shape[-1]} channels of {values.dtype}, expected a picture of 1 or 3 channels of "
            "unsigned integers; convert it to 8 bits"
        )
    if raster.white_is_zero:
        values = raster.white - values
    if raster.white != 255:
        values = np.round(values.astype(np.float64) * (255 / raster.white)).astype(np.uint8)
    return np.repeat(values, 3, -1) if values.shape[-1] == 1 else values


def _decoded(path: str):
    from PIL import Image

    try:
        return Image.fromarray(as_colours(path, read_raster(path)))
    except DataError as error:
        raise DataError(
            f"{error}; put a whole file in its place and start again: a training continues from its last checkpoint"
        ) from error
