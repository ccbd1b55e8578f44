"""TIFF files as they store their numbers, through tifffile: every depth, planar, palettes, stacks, OME and ImageJ."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hyperlab.data.readers.raster import Raster, native, upright
from hyperlab.errors import DataError, reading

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MOST_VALUES = 2**32  # a header that states more lies, or needs another reader
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_JPEG = (6, 7, 33007, 34892)  # compressions of tag 259 that store YCbCr and give RGB
# compressions that change numbers, or may: JPEG 2000, JPEG XR, WebP and JPEG XL have forms that lose nothing, but no
# header says which it was
LOSSY_COMPRESSIONS = {
    **dict.fromkeys(_JPEG, "JPEG"), **dict.fromkeys((33003, 33004, 33005, 34712), "JPEG 2000"),
    **dict.fromkeys((22610, 34934), "JPEG XR"), **dict.fromkeys((34927, 50001), "WebP"),
    **dict.fromkeys((50002, 52546), "JPEG XL"),
}  # fmt: skip
_ALPHA = (1, 2)  # extra samples (tag 338) that are associated and unassociated alpha; 0 is unspecified


class Form(NamedTuple):
    """What the header of a TIFF file says.

    Attributes:
      series: tifffile's view of the pixels.
      page: the first page of the series.
      planes: how many images lie on one another.
      channels: of an image, with alpha.
      alpha: the place of alpha among the channels, or None.
    """

    series: Any
    page: Any
    planes: int
    channels: int
    alpha: int | None


def read_tiff(path: Path, stack: bool = False) -> Raster:
    """The numbers of a TIFF file; `MINISWHITE` and palettes are told, not applied.

    Args:
      path: a TIFF or BigTIFF file. Axes beyond rows, columns and channels are planes, whether they lie on pages
        of their own, in one page (tag ImageDepth), or behind one page (ImageJ above 4 GB).
      stack: whether planes are expected.

    Returns:
      Values `[height, width, channel]`; with `stack` `[plane, height, width, channel]`.

    Raises:
      DataError: the file is truncated or damaged, holds several planes or images where one is expected, or colours
        of another kind than grey, RGB and palettes.
    """
    with _opened(path) as form:
        page = form.page
        axes = form.series.axes
        if stack and form.planes == 1 and "S" in axes and axes.index("S") < axes.index("Y"):
            # tifffile writes three or four planes as those of colours, where it is not told otherwise
            form, axes = form._replace(alpha=None), axes.replace("S", "Z")
        if form.planes > 1 and not stack:
            raise DataError(
                f"{path} holds {form.planes} pages, expected one image ({_axes(form)}); save one file for each page"
            )
        if page.photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR) or (
            page.photometric == _YCBCR and page.compression not in _JPEG
        ):
            kind = getattr(page.photometric, "name", page.photometric)
            raise DataError(f"{path} holds colours of the kind {kind}, expected grey, RGB or a palette; "
                            "convert it to RGB")  # fmt: skip
        values = native(_ordered(form.series.asarray(), axes))
        orientation = page.tags.valueof(274, default=1)
        values = np.stack([upright(plane, orientation) for plane in values])
        alpha = None if form.alpha is None else values[..., form.alpha]
        values = values if form.alpha is None else np.delete(values, form.alpha, -1)
        palette = _palette(page)
        if not stack:
            values, alpha = values[0], None if alpha is None else alpha[0]
        return Raster(
            values,
            _bits(page),
            alpha,
            palette,
            page.photometric == _WHITE_IS_ZERO,
            LOSSY_COMPRESSIONS.get(page.compression, ""),
        )


def tiff_depth(path: Path) -> tuple[int, int, bool]:
    """Bits, channels without alpha, and whether white is 0, from the header; palettes have 8 bits.

    Raises:
      DataError: it cannot be read.
    """
    with _opened(path) as form:
        palette = _palette(form.page)
        if palette is not None:
            grey = bool((palette == palette[:, :1]).all())
            return 8, 1 if grey else 3, False
        channels = form.channels - (form.alpha is not None)
        return _bits(form.page), channels, form.page.photometric == _WHITE_IS_ZERO


@contextmanager
def _opened(path: Path) -> Iterator[Form]:
    import tifffile  # a slow import that folders of PNG files do not need

    with reading(path), _complaints(), tifffile.TiffFile(path, _multifile=False) as file:
        # smaller copies of the image, and which of its pixels are to be seen (GDAL), are no further images
        every = [series for series in file.series if not (series.keyframe.is_reduced or series.keyframe.is_mask)]
        if len(every) != 1:
            raise DataError(f"{path} holds {len(every)} pages of unlike form, expected one image; "
                            "save one file for each page")  # fmt: skip
        yield _form(path, every[0])


def _form(path: Path, series: Any) -> Form:
    sizes = dict(zip(series.axes, series.shape, strict=True))
    if not sizes.get("Y") or not sizes.get("X"):
        raise DataError(f"{path} holds pixels of the shape {series.shape}, expected rows and columns; export it again")
    if math.prod(series.shape) > _MOST_VALUES:
        raise DataError(f"{path} states {series.shape} values, more than are read at once; is its header damaged?")
    if any(page is None for page in series.pages):
        raise DataError(f"{path} is one of several files of an OME-TIFF set; save each image as a file of its own")
    samples, channels = sizes.get("S", 1), sizes.get("C", 1)
    if samples > 1 and channels > 1:
        raise DataError(f"{path} holds {channels} channels of {samples} samples; save one file for each channel")
    page = series.keyframe
    basic = 3 if page.photometric in (_RGB, _YCBCR) else 1
    places = [basic + place for place, kind in enumerate(page.extrasamples or ()) if kind in _ALPHA]
    planes = math.prod(n for axis, n in sizes.items() if axis not in "YXSC")
    return Form(series, page, planes, samples * channels, places[0] if places and places[0] < samples else None)


def _ordered(values: np.ndarray, axes: str) -> np.ndarray:
    """`[plane, height, width, channel]`, planes in the order of the file."""
    channel = next((axis for axis in "SC" if axis in axes and values.shape[axes.index(axis)] > 1), None)
    others = [place for place, axis in enumerate(axes) if axis not in "YX" and axis != channel]
    order = [*others, axes.index("Y"), axes.index("X")] + ([axes.index(channel)] if channel else [])
    values = values.transpose(order)
    height, width = values.shape[len(others) : len(others) + 2]
    return values.reshape(-1, height, width, values.shape[-1] if channel else 1)


def _palette(page: Any) -> np.ndarray | None:
    """8-bit colours `[entries, 3]`. The tag has 16 bits, in which some programs store 8."""
    if page.photometric != _PALETTE or page.colormap is None:
        return None
    colours = np.asarray(page.colormap).T
    return (colours if colours.max(initial=0) < 256 else colours >> 8).astype(np.uint8)


def _bits(page: Any) -> int:
    return int(np.max(page.bitspersample))


def _axes(form: Form) -> str:
    return ", ".join(f"{axis} {n}" for axis, n in zip(form.series.axes, form.series.shape, strict=True))


class _Raised(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise ValueError(record.getMessage())


@contextmanager
def _complaints() -> Iterator[None]:
    """tifffile logs some damage (a chain of pages that is cut) and reads on; here it is an error."""
    logger, handler = logging.getLogger("tifffile"), _Raised(logging.ERROR)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
