"""What `segment` and `predict` write: masks in the form of their images, overlays; and nothing is written over."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab import files
from hyperlab.data.readers.scan import stem_of, suffix_of
from hyperlab.data.readers.tiff import LOSSY_COMPRESSIONS
from hyperlab.errors import ConfigError, require

_COLOURS = ((230, 75, 53), (77, 187, 213), (0, 160, 135), (243, 155, 127), (132, 145, 180), (255, 200, 60))
_SIDE = 384  # pixels that the longer side of a shown plane is brought near to, if it is smaller
_SLICES = 6  # of a volume that are shown


def outputs_of(out: Path, path: Path, classes: Sequence[int], masks: str = "masks") -> tuple[Path, Path]:
    """Where the mask and the overlay of an image go.

    A mask has the form of its image: NIfTI, npy, TIFF, or else PNG; PNG ends at 16 bits, so that with greater labels a
    mask becomes a TIFF file.

    Args:
      out: the folder of all that is written.
      path: of the image.
      classes: label values.
      masks: the name of the folder of masks.
    """
    return out / masks / f"{stem_of(path)}{mask_suffix(path, classes)}", out / "overlays" / f"{stem_of(path)}.png"


def mask_suffix(path: Path, classes: Sequence[int]) -> str:
    """The ending of the mask of an image; see `outputs_of`."""
    suffix = suffix_of(path)
    if suffix in (".nii", ".nii.gz", ".npy", ".tif", ".tiff"):
        return suffix
    return ".png" if max(classes) < 2**16 else ".tif"


def refuse_foreign(out: Path, targets: Iterable[tuple[Path, Path]]) -> None:
    """Refuses to write over what this command did not write itself, or what was changed since.

    Raises:
      ConfigError: a file is in the way; two images would share an output.
    """
    paths = [target for pair in targets for target in pair]
    twice = next((target for target, count in Counter(paths).items() if count > 1), None)
    if twice:
        raise ConfigError(f"two images would share the output {twice}; give them different names")
    ours = files.seals(out).get("files", {})
    for target in paths:
        known = ours.get(str(target.relative_to(out)))
        content = files.read_bytes(target)
        if content is None or files.checksum(content) == known:
            continue
        what = "was changed since this command wrote it" if known else "was not written by this command"
        raise ConfigError(
            f"{target} is there and {what}; nothing is written over: choose another folder than --out {out}"
        )


def write_mask(target: Path, path: Path, mask: np.ndarray) -> None:
    """Writes a mask in the form that its name says, in the smallest of 8, 16 and 32 bits that holds its labels.

    Args:
      target: `.nii`, `.nii.gz`, `.npy`, `.tif`, `.tiff` or `.png`.
      path: of its image, on whose grid a NIfTI mask lies.
      mask: labels `[*spatial]`, for PNG below 2^16.
    """
    suffix, most = suffix_of(target), int(mask.max(initial=0))
    mask = mask.astype(np.uint8 if most < 2**8 else np.uint16 if most < 2**16 else np.int32)
    with files.writing(target) as partial:
        if suffix in (".nii", ".nii.gz"):
            _write_nifti(partial, path, mask)
        elif suffix == ".npy":
            with partial.open("wb") as file:
                np.save(file, mask)
        elif suffix in (".tif", ".tiff"):
            _write_tiff(partial, path, mask)
        else:
            from PIL import Image

            Image.fromarray(mask).save(partial, format="PNG")


def write_overlay(
    path: Path, image: np.ndarray, mask: np.ndarray, classes: Sequence[int], slice_axis: int | None
) -> None:
    """An image beside itself with its classes in colour, as PNG, large enough to judge.

    Small images are enlarged by a whole factor. Of a volume several slices are shown, in rows: those that divide its
    foreground evenly, the one with the most among them.

    Args:
      path: of the overlay.
      image: in 0..1, `[*spatial]`, or `[*spatial, channel]`; three channels are colours, of others the mean is shown.
      mask: label values `[*spatial]`.
      classes: the label values, in the order of their colours.
      slice_axis: of a volume.
    """
    from PIL import Image

    image = image if image.ndim > mask.ndim else image[..., None]
    if slice_axis is None:
        planes = [(image, mask)]
    else:
        shown = shown_slices((mask > 0).sum(tuple(axis for axis in range(3) if axis != slice_axis)))
        planes = [(image.take(at, slice_axis), mask.take(at, slice_axis)) for at in shown]
    rows = np.concatenate([_beside(*plane, classes) for plane in planes])
    factor = max(1, _SIDE // max(planes[0][1].shape))
    with files.writing(path) as partial:
        Image.fromarray(rows.repeat(factor, 0).repeat(factor, 1)).save(partial, format="PNG")


def shown_slices(foreground: np.ndarray, most: int = _SLICES) -> list[int]:
    """Which slices of a volume to look at: evenly through those with foreground, the largest among them.

    Args:
      foreground: pixels of each slice.
      most: slices.

    >>> shown_slices(np.array([0, 1, 5, 2, 2, 1, 0]), 3), shown_slices(np.zeros(5, int), 3)
    ([2, 3, 5], [0, 2, 4])
    """
    inside = np.flatnonzero(foreground) if foreground.any() else np.arange(len(foreground))
    chosen = np.unique(inside[np.linspace(0, len(inside) - 1, min(most, len(inside))).round().astype(int)])
    largest = int(foreground.argmax())
    if foreground.any():
        chosen[np.abs(chosen - largest).argmin()] = largest
    return sorted({int(each) for each in chosen})


def _beside(image: np.ndarray, mask: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """A plane `[height, width, channel]` and the same with its classes in colour: uint8 `[height, 2 width, 3]`."""
    plain = image if image.shape[-1] == 3 else np.repeat(image.mean(-1, keepdims=True), 3, -1)
    plain = np.round(255 * plain)
    shown = plain.copy()
    for index, value in enumerate(classes):
        inside = mask == value
        shown[inside] = 0.55 * plain[inside] + 0.45 * np.array(_COLOURS[index % len(_COLOURS)])
    return np.concatenate([plain, shown], 1).astype(np.uint8)


def _write_tiff(target: Path, source: Path, mask: np.ndarray) -> None:
    """With the resolution and the compression of its image, where that is one; a lossy one becomes deflate."""
    import tifffile

    options: dict[str, Any] = {"photometric": "minisblack", "metadata": None}
    if suffix_of(source) not in (".tif", ".tiff") or not source.is_file():
        tifffile.imwrite(target, mask, **options)
        return
    with tifffile.TiffFile(source, _multifile=False) as file:
        page = file.pages.first
        packed = "zlib" if page.compression in LOSSY_COMPRESSIONS else page.compression
        if page.tags.get("XResolution") is not None:
            options |= {"resolution": page.resolution, "resolutionunit": page.resolutionunit}
    try:
        tifffile.imwrite(target, mask, compression=packed, **options)
    except (KeyError, ValueError, ImportError):  # one that this installation can read and not write
        tifffile.imwrite(target, mask, compression="zlib", **options)


def in_file_order(path: Path, values: np.ndarray, axes: int) -> np.ndarray:
    """A view of an array that lies in the order of a file's own voxels, in the order in which the file is read.

    Args:
      path: of the image.
      values: `[*spatial, ...]` in the order of the file.
      axes: how many are spatial.
    """
    if suffix_of(path) not in (".nii", ".nii.gz") or axes != 3:
        return values
    nibabel = require("nibabel", "medical", "writing NIfTI files")
    orientation = nibabel.orientations.io_orientation(nibabel.load(path).affine)
    return nibabel.orientations.apply_orientation(values, orientation)


def file_shape(path: Path, shape: Sequence[int]) -> tuple[int, ...]:
    """The spatial shape of a file whose scan, as it is read, has this one."""
    if suffix_of(path) not in (".nii", ".nii.gz") or len(shape) != 3:
        return tuple(shape)
    nibabel = require("nibabel", "medical", "writing NIfTI files")
    return tuple(int(n) for n in nibabel.load(path).shape[:3])


def _write_nifti(target: Path, source: Path, mask: np.ndarray) -> None:
    nibabel = require("nibabel", "medical", "writing NIfTI files")
    image = nibabel.load(source)
    mask = mask.reshape(mask.shape + (1,) * (min(len(image.shape), 3) - mask.ndim))
    if len(image.shape) >= 3:
        # the reader turned the axes; the mask goes back onto the voxels of the file
        orientation = nibabel.orientations.io_orientation(image.affine)
        canonical = nibabel.orientations.axcodes2ornt("RAS")
        mask = nibabel.orientations.apply_orientation(mask, nibabel.orientations.ornt_transform(canonical, orientation))
    written = nibabel.Nifti1Image(np.ascontiguousarray(mask), image.affine)
    written.header["xyzt_units"] = image.header["xyzt_units"]
    for form in ("sform", "qform"):  # other programs may go by the one that this library does not
        with contextlib.suppress(ValueError):  # a qform that is no turn is not passed on
            affine, code = getattr(image, f"get_{form}")(coded=True)
            if affine is None or np.isfinite(affine).all():
                getattr(written, f"set_{form}")(affine, code)
    nibabel.save(written, target)
