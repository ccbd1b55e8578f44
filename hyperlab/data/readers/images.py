"""PNG, BMP, TIFF and JPEG files as arrays, read with pillow: images with any bit depth, masks without loss."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hyperlab.errors import DataError

SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")
LOSSY = (".jpg", ".jpeg")


def read_image(path: str | Path) -> np.ndarray:
    """Reads an image file.

    Args:
      path: an 8-bit or 16-bit PNG, BMP or TIFF file (also 32-bit float TIFF), or a JPEG file. Palettes
        are resolved, an alpha channel is dropped.

    Returns:
      `[height, width, channel]` with 1 or 3 channels: uint8, uint16, int32 or float32, as the file has it.

    Raises:
      DataError: the file is missing, truncated, no image, or holds several pages, or colours of 16 bits.
    """
    image = _open(Path(path))
    if image.mode in ("P", "PA"):
        image = image.convert("RGB")
    elif image.mode in ("1", "LA", "La"):
        image = image.convert("L")
    elif image.mode not in ("L", "RGB", "F", "I") and not image.mode.startswith("I;16"):
        image = image.convert("RGB")  # RGBA, CMYK, YCbCr and so on
    array = np.asarray(image)
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("="))
    return array[..., None] if array.ndim == 2 else array


def read_mask(path: str | Path) -> np.ndarray:
    """Reads a mask: the integers of its pixels are labels.

    Args:
      path: a PNG, BMP or TIFF file with one channel, or with equal channels. The indices of a palette are the
        labels; a 1-bit image gives 0 and 255, like the 8-bit masks it stands for.

    Returns:
      `[height, width]` of an integer dtype.

    Raises:
      DataError: a JPEG file, whose compression changes labels; channels that differ; values that are no
        integers; a file that is missing, truncated or no image.
    """
    path = Path(path)
    if path.suffix.lower() in LOSSY:
        raise DataError(
            f"{path} is a JPEG file, whose compression changes labels at every border; "
            "export the mask as PNG from its source (converting this file keeps the damage)"
        )
    image = _open(path)
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode in ("LA", "RGBA", "PA"):
        image = image.convert({"LA": "L", "RGBA": "RGB", "PA": "P"}[image.mode])
    array = np.asarray(image)
    if array.ndim == 3:
        if np.any(array != array[..., :1]):
            raise DataError(
                f"{path} is a colour image, not a mask of labels: its channels differ; "
                "map each colour to a whole number and save one channel"
            )
        array = array[..., 0]
    if not np.issubdtype(array.dtype, np.integer):
        if np.any(array != np.round(array)):
            raise DataError(f"{path} holds values that are no whole numbers, so no labels; save the mask as integers")
        array = array.astype(np.int32)
    return array.astype(array.dtype.newbyteorder("="))


def _open(path: Path):
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        raise DataError(f"{path} does not exist")
    try:
        with path.open("rb") as file:
            image = Image.open(file)
            pages = getattr(image, "n_frames", 1)
            deep = any(";16" in str(tile[3]) for tile in image.tile)
            image.load()
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is no image that pillow can read; is it complete, and of the format it is named?") \
            from error  # fmt: skip
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is truncated or damaged ({error}); copy or download it again") from error
    if deep and not image.mode.startswith("I"):
        raise DataError(
            f"{path} has several channels of 16 bits, of which pillow keeps 8; save each channel as a file of its own"
        )
    if pages > 1:
        raise DataError(f"{path} holds {pages} pages, expected one image; save one file for each page")
    return image


class Depth(NamedTuple):
    """What a pixel of an image file is.

    Attributes:
      bits: of a channel: 8, 16 or 32.
      channels: 1 or 3, as `read_image` returns them.
    """

    bits: int
    channels: int

    def __str__(self) -> str:
        return f"{self.bits} bits, {self.channels} channel{'s' * (self.channels > 1)}"


def depth_of(path: str | Path) -> Depth:
    """Bits and channels of an image file from its header, without the pixels.

    Raises:
      DataError: the file is missing or no image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            mode = image.mode
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{path} is missing, or no image that pillow can read") from error
    if mode.startswith("I;16"):
        return Depth(16, 1)
    if mode in ("I", "F"):
        return Depth(32, 1)
    return Depth(8, 1 if mode in ("1", "L", "LA", "La") else 3)


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
