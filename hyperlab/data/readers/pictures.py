"""PNG, BMP and JPEG files as they store their numbers, through pillow, and libpng where pillow keeps too little.

Pillow shows, it does not read: it stretches packed grey to 8 bits, which is undone here, and keeps 8 of 16 bits of
colours, which are read by imagecodecs instead.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.data.readers.raster import Raster, native, upright
from hyperlab.errors import AGAIN, DataError, reading

_FORMATS = ("PNG", "BMP", "JPEG")  # by content, whatever the name
_LOSSY = {"JPEG": "JPEG", "MPO": "JPEG"}  # MPO: a JPEG file that holds several
_ORIENTATION = 0x0112


def read_picture(path: Path | str, content: bytes | None = None) -> Raster:
    """The numbers of a picture: packed grey as 0 .. 2^bits - 1, palettes as indices, 16 bits whole.

    Args:
      path: of the file, or its name where `content` is given.
      content: its bytes, for files inside archives.

    Raises:
      DataError: it is truncated or damaged, of another format, or holds several pages.
    """
    whole = Path(path).read_bytes() if content is None else content
    with reading(path), _opened(path, whole) as image:
        pages = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # a phone's second picture is a thumbnail
        if pages > 1:
            raise DataError(f"{path} holds {pages} pages, expected one image; save one file for each page")
        bits = _bits(image)
        orientation = image.getexif().get(_ORIENTATION, 1)
        lossy = _LOSSY.get(image.format, "")
        if image.mode == "CMYK":  # some programs store its inks inverted, and no file says so for sure
            raise DataError(
                f"{path} holds colours of the kind CMYK, expected grey, RGB or a palette; convert it to RGB"
            )
        image.load()
        if bits == 16 and not image.mode.startswith("I"):
            values, alpha = _deep(path, image.format, whole)
            return Raster(upright(values, orientation), 16, _turned(alpha, orientation), lossy=lossy)
        values, alpha, palette = _content(image)
        if bits < 8 and palette is None:
            values = values // np.uint8(255 // (2**bits - 1)) if bits > 1 else values
        return Raster(upright(values, orientation), bits, _turned(alpha, orientation), palette, lossy=lossy)


def picture_depth(path: Path) -> tuple[int, int]:
    """Bits and channels without alpha from the header, without the pixels; palettes have 8 bits.

    Raises:
      DataError: it is no picture.
    """
    with reading(path), path.open("rb") as file, _opened(path, file) as image:
        if image.mode in ("P", "PA"):
            palette = _colours(image)
            return 8, 1 if (palette == palette[:, :1]).all() else 3
        bits = _bits(image)
        grey = image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I") or _raw(image).startswith("LA")
        return bits, 1 if grey else 3


def _opened(path: Path | str, source: Any):
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path} is no image in PNG, BMP, JPEG or TIFF; is it complete, and of the format it is named?"
        ) from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} states more pixels than are read ({error}); is its header damaged?") from error


def _raw(image: Any) -> str:
    """How the file packs pixels, in pillow's words (`L;2`, `RGB;16B`); known before the pixels are loaded."""
    arguments = image.tile[0].args if image.tile else ""
    return str(arguments if isinstance(arguments, str) else arguments[0] if arguments else "")


def _bits(image: Any) -> int:
    if image.mode == "1" and image.format == "PNG":
        return 1
    packed = _raw(image).partition(";")[2].rstrip("BLN")
    if image.format == "PNG" and image.mode != "P" and packed.isdigit():
        return int(packed)
    return 16 if image.mode.startswith("I;16") else 32 if image.mode in ("I", "F") else 8


def _content(image: Any) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Values `[height, width, channel]`, alpha, palette."""
    alpha = palette = None
    if image.mode in ("P", "PA"):
        palette = _colours(image)
        alpha = np.asarray(image.getchannel("A")) if image.mode == "PA" else None
        image = image.getchannel("P") if image.mode == "PA" else image
    elif image.mode in ("LA", "La", "RGBA", "RGBa"):
        alpha = np.asarray(image.getchannel("A" if "A" in image.mode else "a"))
        image = image.convert("L" if image.mode[0] == "L" else "RGB")
    elif image.mode == "1" and image.format == "BMP":  # two palette entries, black and white
        image = image.convert("L")
    elif image.mode not in ("1", "L", "RGB", "I", "F") and not image.mode.startswith("I;16"):
        image = image.convert("RGB")  # YCbCr
    values = native(np.asarray(image))
    return (values[..., None] if values.ndim == 2 else values), alpha, palette


def _colours(image: Any) -> np.ndarray:
    return np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)


def _deep(path: Path | str, kind: str, whole: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    """Colours, or grey with alpha, of 16 bits."""
    import imagecodecs

    if kind != "PNG":
        raise DataError(f"{path} has several channels of 16 bits in a {kind} file; {AGAIN} as PNG or TIFF")
    values = imagecodecs.png_decode(whole)
    channels = values.shape[-1]
    if channels in (2, 4):
        return values[..., : channels - 1], values[..., channels - 1]
    return values, None


def _turned(alpha: np.ndarray | None, orientation: int) -> np.ndarray | None:
    return None if alpha is None else upright(alpha, orientation)
