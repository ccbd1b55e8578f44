"""Where the files of one case lie: whether channels and mask share a grid, and spacings that JSON files give."""

import json
from pathlib import Path

import numpy as np

from hyperlab.data.readers.scan import Scan
from hyperlab.errors import DataError

_TOLERANCE_MM = 1e-2  # float32 headers and rounding in converters move an affine by less


def grid_difference(one: Scan, other: Scan, axes: int) -> str:
    """What differs between the grids of two scans, in words, or the empty text; one without geometry fits any.

    Args:
      one, other: values `[*spatial, ...]` with spacing and affine where the formats have them.
      axes: how many axes are spatial.

    >>> a, b = (Scan(np.zeros((2, 2, 2)), (1.0, 1.0, step)) for step in (1.0, 3.0))
    >>> grid_difference(a, b, 3), grid_difference(a, a, 3)
    ('spacing: (1.0, 1.0, 1.0) and (1.0, 1.0, 3.0) mm', '')
    """
    shapes = one.values.shape[:axes], other.values.shape[:axes]
    if shapes[0] != shapes[1]:
        return f"shape: {shapes[0]} and {shapes[1]}"
    if one.spacing and other.spacing and not np.allclose(one.spacing, other.spacing, rtol=1e-3):
        shown = " and ".join(str(tuple(round(step, 4) for step in scan.spacing)) for scan in (one, other))
        return f"spacing: {shown} mm"
    if one.affine is not None and other.affine is not None:
        # how far apart the two headers put the corners of the grid
        ends = [(0, n - 1) for n in (*shapes[0], 1, 1)[:3]]
        corners = np.stack([axis.ravel() for axis in np.meshgrid(*ends, [1], indexing="ij")])
        distance = float(np.linalg.norm((other.affine - one.affine) @ corners, axis=0).max())
        if distance > _TOLERANCE_MM:
            return f"affine: their corners lie up to {distance:.3g} mm apart"
    return ""


def has_geometry(scan: Scan) -> bool:
    """Whether the file says where its voxels lie."""
    return scan.affine is not None


def spacing_of(path: Path, axes: int) -> tuple[float, ...]:
    """The spacing that a JSON file beside a TIFF file gives, in the order of the array's axes, as nnU-Net keeps it.

    Args:
      path: the file, `{"spacing": [...]}`.
      axes: the number of spatial axes of the TIFF file.

    Raises:
      DataError: the file is no JSON, or does not give one positive number for each axis.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path} is not JSON: {error}; mend or remove it") from error
    given = content.get("spacing") if isinstance(content, dict) else None
    numbers = isinstance(given, list) and all(type(step) in (int, float) and 0 < step < np.inf for step in given)
    if not numbers or len(given) != axes:
        raise DataError(f"{path} gives the spacing {given!r}; expected one positive number for each of {axes} axes")
    return tuple(map(float, given))
