"""Where the files of one case lie: whether channels and mask share a grid."""

import numpy as np

from hyperlab.data.readers.scan import Scan

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
        shown = " and ".join(str(tuple(round(step, 4) for step in spacing)) for spacing in (one.spacing, other.spacing))
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
