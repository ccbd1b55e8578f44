"""NIfTI files as arrays in the closest canonical orientation, with spacing and affine; needs nibabel."""

import zlib
from pathlib import Path

import numpy as np

from hyperlab.data.readers.scan import Scan
from hyperlab.errors import DataError, require

SUFFIXES = (".nii", ".nii.gz")


def read_nifti(path: str | Path) -> Scan:
    """Reads a NIfTI file and turns its axes to right, anterior, superior, as nearly as flips can.

    Two scans of one subject that were stored with different orientations become comparable voxel by voxel;
    nothing is interpolated. Slopes and intercepts of the header are applied.

    Args:
      path: a `.nii` or `.nii.gz` file.

    Returns:
      The values `[*spatial]`, or `[*spatial, channel]` of a file with four axes; single planes stay as they
      are. The spacing is in mm; the affine maps voxel indices to mm.

    Raises:
      MissingExtraError: nibabel is not installed.
      DataError: the file is missing, truncated, no NIfTI, or holds values that are no real numbers.
    """
    nibabel = require("nibabel", "medical", "reading NIfTI files")
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    try:
        image = nibabel.load(path)
        if len(image.shape) >= 3:
            image = nibabel.as_closest_canonical(image)
        values = np.asanyarray(image.dataobj)
    except nibabel.filebasedimages.ImageFileError as error:
        raise DataError(f"{path} is no NIfTI file ({error}); is it complete, and of the format it is named?") from error
    except (OSError, EOFError, ValueError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is truncated or damaged ({reason}); copy or download it again") from error
    if values.dtype.kind not in "iuf":
        raise DataError(f"{path} holds {values.dtype} values, expected real numbers (not complex or RGB)")
    dims = min(values.ndim, 3)
    spacing = tuple(float(step) for step in image.header.get_zooms()[:dims])
    if not all(np.isfinite(step) and step > 0 for step in spacing):
        raise DataError(f"{path} states a spacing of {spacing}, expected positive mm; repair pixdim in its header")
    return Scan(values.astype(values.dtype.newbyteorder("=")), spacing, np.asarray(image.affine, np.float64))
