"""PNG, BMP, TIFF and JPEG files as arrays, read with pillow: images with any bit depth, masks without loss."""

from pathlib import Path

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
      DataError: the file is missing, truncated, no image, or holds several pages.
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
            image.load()
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is no image that pillow can read; is it complete, and of the format it is named?") \
            from error  # fmt: skip
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is truncated or damaged ({error}); copy or download it again") from error
    if pages > 1:
        raise DataError(f"{path} holds {pages} pages, expected one image; save one file for each page")
    return image
