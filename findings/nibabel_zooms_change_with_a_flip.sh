#!/usr/bin/env bash
# nibabel 5.4.2: header.get_zooms() of a scan whose sform and qform disagree depends on its orientation.
#
# Sworn: the voxel sizes of a scan do not change when an axis is flipped.
# Seen: pixdim (the qform's sizes) as long as as_closest_canonical has nothing to do; the sform's sizes as soon as it
# flips an axis, since the header is written anew from the affine. One scan stored RAS has (1, 1, 1), stored LAS
# (1, 1, 3), with the same sform. nibabel.affines.voxel_sizes(image.affine) gives (1, 1, 3) for both.
#
# Output on the day this was written:
#   RAS zooms (1.0, 1.0, 1.0) voxel_sizes [1.0, 1.0, 3.0]
#   LAS zooms (1.0, 1.0, 3.0) voxel_sizes [1.0, 1.0, 3.0]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q nibabel==5.4.2 numpy==2.4.6
"$work/venv/bin/python" - <<'P' | tee "$work/out"
import nibabel as nib
import numpy as np

for name, first in (("RAS", 1.0), ("LAS", -1.0)):
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4))
    image.set_sform(np.diag([first, 1, 3, 1]), 1)
    image.set_qform(np.diag([first, 1, 1, 1]), 1)
    read = nib.as_closest_canonical(nib.Nifti1Image.from_bytes(image.to_bytes()))
    zooms = tuple(float(size) for size in read.header.get_zooms())
    print(name, "zooms", zooms, "voxel_sizes", nib.affines.voxel_sizes(read.affine).tolist())
P
diff "$work/out" - <<'O'
RAS zooms (1.0, 1.0, 1.0) voxel_sizes [1.0, 1.0, 3.0]
LAS zooms (1.0, 1.0, 3.0) voxel_sizes [1.0, 1.0, 3.0]
O
echo "as found"
