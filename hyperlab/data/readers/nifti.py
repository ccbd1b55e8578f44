"""NIfTI files as arrays in the closest canonical orientation, with spacing and affine; needs nibabel."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.data.readers.scan import Scan
from hyperlab.errors import DataError, reading, require

SUFFIXES = (".nii", ".nii.gz")
_MM = {1: 1000.0, 3: 0.001}  # of the codes for metres and microns; 2 is mm, and so is what is not stated
_DEFLATE = 1032  # to this many bytes zlib unpacks one at most
_ROUNDING = 1e-3  # of a voxel: what float32 headers and quaternions lose


def read_nifti(path: str | Path) -> Scan:
    """Reads a NIfTI file and turns its axes to right, anterior, superior, as nearly as flips can.

    Two scans of one subject that were stored with different orientations become comparable voxel by voxel;
    nothing is interpolated. Slopes and intercepts of the header are applied. The affine is that of the sform where its
    code is set, else of the qform, and the spacing is that of the affine.

    Args:
      path: a `.nii` or `.nii.gz` file.

    Returns:
      The values `[*spatial]`, or `[*spatial, channel]`: channels are the fourth axis, or the fifth where the fourth
      (time) has one entry, as ITK writes vectors; single planes stay as they are. The spacing is in mm; the affine
      maps voxel indices to mm. Warnings say where sform, qform and voxel sizes of the header disagree.

    Raises:
      MissingExtraError: nibabel is not installed.
      DataError: the file is missing, truncated, no NIfTI, has no direction for an axis, axes beyond those, or values
        that are no real numbers.
    """
    nibabel = require("nibabel", "medical", "reading NIfTI files")
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    with reading(path):
        try:
            image = nibabel.load(path)
        except nibabel.filebasedimages.ImageFileError as error:
            raise DataError(f"{path} is no NIfTI file ({error}); is it complete, and of the format it is named?") \
                from error  # fmt: skip
        _check_size(path, image)
        _check_offset(path, image)
        affine = _affine(path, image)
        warnings = _disagreements(path, image)
        if len(image.shape) >= 3:
            image = nibabel.as_closest_canonical(image)
            affine = np.asarray(image.affine, np.float64)
        values = np.asanyarray(image.dataobj)
    if values.dtype.kind not in "iuf":
        raise DataError(f"{path} holds {values.dtype} values, expected real numbers (not complex or RGB); "
                        "save the part that is meant")  # fmt: skip
    values = _axes(path, values)
    values = values.astype(np.float64 if values.dtype.itemsize > 8 else values.dtype.newbyteorder("="), copy=False)
    scale = _MM.get(int(image.header["xyzt_units"]) & 7, 1.0)
    affine = np.diag([scale, scale, scale, 1.0]) @ affine
    spacing = tuple(float(step) for step in np.linalg.norm(affine[:3, :3], axis=0)[: min(values.ndim, 3)])
    return Scan(values, spacing, affine, warnings=warnings)


def nifti_channels(path: Path) -> int:
    """How many channels `read_nifti` finds in a file, from its header.

    Raises:
      MissingExtraError: nibabel is not installed.
      DataError: it cannot be read.
    """
    nibabel = require("nibabel", "medical", "reading NIfTI files")
    with reading(path):
        shape = nibabel.load(path).shape
    return math.prod(shape[3:])


def _check_size(path: Path, image: Any) -> None:
    """Refuses a header that states more bytes than the file can hold, before memory for them is asked for."""
    shape = image.shape
    if not shape or min(shape) < 1:
        raise DataError(f"{path} states the shape {shape}, expected positive sizes; its header is damaged")
    stated = math.prod(int(n) for n in shape) * image.header.get_data_dtype().itemsize
    held = path.stat().st_size * (_DEFLATE if path.name.lower().endswith(".gz") else 1)
    if stated > held:
        raise DataError(
            f"{path} is truncated or damaged (its header states {shape}, {stated:,} bytes, the file holds at most "
            f"{held:,}); copy or download it again"
        )


def _check_offset(path: Path, image: Any) -> None:
    """Refuses pixels that begin inside the header, which nibabel would read as such where the offset is 0."""
    offset, header = image.dataobj.offset, image.header
    if header.is_single and offset < header.sizeof_hdr:
        raise DataError(
            f"{path} is damaged (vox_offset {offset}, expected at least {header.sizeof_hdr}, the length of its "
            "header); write it again"
        )


def _affine(path: Path, image: Any) -> np.ndarray:
    affine = np.asarray(image.affine, np.float64)
    columns = affine[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    if not np.isfinite(affine).all() or (lengths == 0).any():
        axes = ", ".join("xyz"[i] for i in range(3) if not np.isfinite(lengths[i]) or lengths[i] == 0) or "the origin"
        raise DataError(f"{path} has an affine without a direction for {axes}; repair its sform or qform")
    if abs(np.linalg.det(columns / lengths)) < 1e-4:
        raise DataError(f"{path} has an affine in which two axes have one direction; repair its sform or qform")
    return affine


def _disagreements(path: Path, image: Any) -> tuple[str, ...]:
    """What the header says twice and unlike: sform and qform, voxel sizes of the affine and of pixdim."""
    header, affine = image.header, np.asarray(image.affine, np.float64)
    tolerance = _ROUNDING * np.linalg.norm(affine[:3, :3], axis=0).min()
    extent = np.array([*(n - 1 for n in (*image.shape, 1, 1)[:3]), 1])
    rows = []
    if header["sform_code"] > 0 and header["qform_code"] > 0:
        try:
            qform = np.asarray(header.get_qform())
        except ValueError:  # of its three numbers no turn can be made
            qform = np.full((4, 4), np.nan)
        if not np.isfinite(qform).all():
            return (f"{path} has a qform that is no turn (quatern_b, quatern_c, quatern_d); the sform is used",)
        apart = (np.asarray(header.get_sform()) - qform) * extent
        if not np.abs(apart).max() <= tolerance * max(1, extent.max()):
            corner = float(np.abs(apart).sum(1).max())
            rows.append(f"{path} has a sform and a qform that lie up to {corner:.3g} mm apart; the sform is used")
    elif header["sform_code"] > 0:
        sizes, used = np.array(header.get_zooms()[:3], float), np.linalg.norm(affine[:3, :3], axis=0)
        if not np.allclose(sizes, used[: len(sizes)], rtol=1e-3):
            shown = " and ".join(str(tuple(round(float(step), 4) for step in steps)) for steps in (sizes, used))
            rows.append(f"{path} states two voxel sizes, {shown} mm (pixdim and sform); those of the sform are used")
    return tuple(rows)


def _axes(path: Path, values: np.ndarray) -> np.ndarray:
    """`[*spatial]` or `[*spatial, channel]`; axes of one entry between and behind them are dropped."""
    while values.ndim > 4 and values.shape[-1] == 1:
        values = values[..., 0]
    while values.ndim > 4 and values.shape[3] == 1:
        values = values[:, :, :, 0]
    if values.ndim > 4:
        raise DataError(f"{path} has the shape {values.shape}, expected three axes and one of channels; "
                        "save each time as a file of its own")  # fmt: skip
    return values
