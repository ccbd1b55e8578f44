"""Every geometry and axis order of NIfTI that was tried, with its right value and where that value is written.

Sources: nifti1.h (NIfTI-1.1, https://nifti.nimh.nih.gov): the three "methods" of orientation, `dim`, `pixdim`,
`scl_slope`, `xyzt_units`; nibabel 5.4.2 for what it makes of them.
"""

import gzip
import struct

import numpy as np
import pytest

from hyperlab.cli import segment
from hyperlab.data.readers.nifti import read_nifti
from hyperlab.data.readers.scan import read_labels, read_scan
from hyperlab.errors import DataError

pytestmark = pytest.mark.fast
nibabel = pytest.importorskip("nibabel", reason="the extra 'medical' is not installed")

VALUES = np.random.default_rng(0).integers(0, 9, (4, 5, 6)).astype(np.int16)
OBLIQUE = np.array([[0.8, -1.2, 0, 4], [0.6, 1.6, 0, 5], [0, 0, 3, 6], [0, 0, 0, 1.0]])  # turned by 37 degrees


def write(path, values=VALUES, sform=None, qform=None, **header):
    """A NIfTI file with an sform and a qform of their own (None: its code is 0), and fields of the header as given."""
    image = nibabel.Nifti1Image(values, None, dtype=values.dtype)
    for name, affine in (("sform", sform), ("qform", qform)):
        if affine is not None:
            getattr(image, f"set_{name}")(np.asarray(affine, float), 1)
    for key, value in header.items():
        image.header[key] = value
    nibabel.save(image, path)
    return path


def spaced(*steps):
    return np.diag([*steps, 1.0])


def pixdim(*steps):
    return [1, *steps, 0, 0, 0, 0]


# name | sform, qform and fields of the header | spacing in mm | how many warnings | where it is written
SPACINGS = [
    ("sform alone", {"sform": spaced(1, 2, 3), "pixdim": pixdim(1, 2, 3)}, (1, 2, 3), 0, "method 3"),
    ("qform alone", {"qform": spaced(1, 2, 3)}, (1, 2, 3), 0, "method 2: quaternion and pixdim"),
    ("neither", {"pixdim": pixdim(1, 2, 3)}, (1, 2, 3), 0, "method 1: pixdim"),
    ("both, equal", {"sform": spaced(1, 2, 3), "qform": spaced(1, 2, 3)}, (1, 2, 3), 0, "the sform is used"),
    ("RAS, unlike", {"sform": spaced(1, 1, 3), "qform": spaced(1, 1, 1)}, (1, 1, 3), 1, "the sform is used"),
    ("LAS, unlike", {"sform": spaced(-1, 1, 3), "qform": spaced(-1, 1, 1)}, (1, 1, 3), 1, "a flip changes no spacing"),
    ("sform and pixdim", {"sform": spaced(1, 1, 3), "pixdim": pixdim(1, 1, 1)}, (1, 1, 3), 1, "the sform is used"),
    ("oblique", {"sform": OBLIQUE, "qform": OBLIQUE}, (1, 2, 3), 0, "lengths of the columns"),
    ("metres", {"sform": spaced(0.001, 0.002, 0.003), "xyzt_units": 1, "pixdim": pixdim(0.001, 0.002, 0.003)}, (1, 2, 3), 0, "NIFTI_UNITS_METER is 1"),
    ("microns", {"sform": spaced(500, 500, 2000), "xyzt_units": 3, "pixdim": pixdim(500, 500, 2000)}, (0.5, 0.5, 2), 0, "NIFTI_UNITS_MICRON is 3"),
]  # fmt: skip


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("row", SPACINGS, ids=[row[0] for row in SPACINGS])
def test_the_spacing_is_that_of_the_affine_that_is_used(tmp_path, row, ending):
    _, fields, spacing, warnings, _ = row
    scan = read_nifti(write(tmp_path / f"a{ending}", **fields))
    np.testing.assert_allclose(scan.spacing, spacing, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(scan.affine[:3, :3], axis=0), spacing, rtol=1e-5)
    assert len(scan.warnings) == warnings and all("a.nii" in text for text in scan.warnings)


@pytest.mark.parametrize("numbers", [(1, 1, 1), (np.nan, 0, 0)])
def test_a_qform_that_is_no_turn_is_a_row_beside_a_sform(tmp_path, numbers):
    """NIfTI-1.1: b^2 + c^2 + d^2 is at most 1; the sform (method 3) does not use them."""
    path = write(tmp_path / "a.nii", sform=spaced(1, 2, 3), qform=spaced(1, 2, 3))
    raw = bytearray(path.read_bytes())
    struct.pack_into("<3f", raw, 256, *numbers)
    path.write_bytes(raw)
    scan = read_nifti(path)
    np.testing.assert_array_equal(scan.values, VALUES)
    assert scan.spacing == (1, 2, 3) and "a.nii has a qform that is no turn" in scan.warnings[0]
    segment.write_mask(tmp_path / "out" / "a.nii", path, VALUES)
    mask = read_nifti(tmp_path / "out" / "a.nii")
    np.testing.assert_array_equal(mask.values, VALUES)
    assert mask.spacing == (1, 2, 3) and mask.warnings == ()


# shape of the file | shape that is read, channels last | where it is written
SHAPES = [
    ((4, 5, 6), (4, 5, 6, 1), "dim[0] = 3"),
    ((4, 5, 1), (4, 5, 1, 1), "a plane"),
    ((4, 5, 6, 1), (4, 5, 6, 1), "one time"),
    ((4, 5, 6, 3), (4, 5, 6, 3), "the Medical Segmentation Decathlon keeps channels on the fourth axis"),
    ((4, 5, 6, 1, 3), (4, 5, 6, 3), "dim[5]: components of a vector, as ITK writes them"),
    ((4, 5, 1, 1, 2), (4, 5, 1, 2), "a plane with components"),
    ((4, 5, 6, 3, 1), (4, 5, 6, 3), "axes of one entry at the end"),
    ((4, 5, 6, 1, 1, 1, 1), (4, 5, 6, 1), "dim[0] = 7"),
]


@pytest.mark.parametrize(("shape", "read", "source"), SHAPES)
def test_axes_of_one_entry_are_no_channels(tmp_path, shape, read, source):
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    write(tmp_path / "a.nii.gz", values, spaced(1, 2, 3))
    scan = read_scan(tmp_path / "a.nii.gz")
    assert scan.values.shape == read and len(scan.spacing) == 3
    np.testing.assert_array_equal(scan.values.ravel(), values.ravel())


def test_times_and_components_together_are_refused(tmp_path):
    write(tmp_path / "a.nii.gz", np.zeros((4, 5, 6, 2, 3), np.float32))
    with pytest.raises(DataError, match=r"a.nii.gz has the shape \(4, 5, 6, 2, 3\).* one of channels"):
        read_scan(tmp_path / "a.nii.gz")


# dtype of the file | slope and intercept | factor and shift that apply, or the error | where it is written
SCALINGS = [
    (np.uint8, (2, -3), (2, -3), "scl_slope: y = slope x + inter"),
    (np.int16, (0.5, 0), (0.5, 0), "the same"),
    (np.int16, (0, 7), (1, 0), "a slope of 0: no scaling"),
    (np.int16, (np.nan, 7), (1, 0), "nibabel: as a slope of 0"),
    (np.float32, (3, 1), (3, 1), "floating point is scaled, too"),
    (np.int16, (2, np.nan), "a.nii is truncated or damaged", "nibabel: a valid slope, an intercept that is not"),
    (np.int16, (2, np.inf), "a.nii is truncated or damaged", "the same"),
]


@pytest.mark.parametrize(("dtype", "stored", "right", "source"), SCALINGS)
def test_slopes_and_intercepts(tmp_path, dtype, stored, right, source):
    path = write(tmp_path / "a.nii", VALUES.astype(dtype), np.eye(4))
    raw = bytearray(path.read_bytes())
    struct.pack_into("<2f", raw, 112, *stored)  # scl_slope and scl_inter
    path.write_bytes(raw)
    if isinstance(right, str):
        with pytest.raises(DataError, match=right):
            read_nifti(path)
        return
    np.testing.assert_allclose(read_nifti(path).values, right[0] * VALUES.astype(float) + right[1], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_real_datatype(tmp_path, dtype):
    write(tmp_path / "a.nii", VALUES.astype(dtype), np.eye(4))
    read = read_nifti(tmp_path / "a.nii").values
    np.testing.assert_array_equal(read, VALUES)
    assert read.dtype.isnative


# offset in the header | format | values | the words of the error
DAMAGE = [
    (40, "<h", (9,), "a.nii"),  # dim[0]
    (42, "<h", (-5,), r"a.nii.* states the shape .* positive sizes"),
    (42, "<h", (0,), r"a.nii.* states the shape .* positive sizes"),
    (42, "<3h", (3000, 3000, 3000), r"its header states \(3000, 3000, 3000\)"),
    (70, "<h", (9999,), "a.nii"),  # datatype
    (280, "<12f", (0,) * 12, r"affine without a direction"),  # srow_x, srow_y, srow_z
    (108, "<f", (1e9,), "a.nii"),  # vox_offset
    (108, "<f", (0,), r"a.nii.*vox_offset 0, expected at least 348"),  # nibabel 5.4.2 reads the header as pixels
]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("offset", "form", "values", "words"), DAMAGE)
def test_headers_that_lie_are_refused_by_name(tmp_path, offset, form, values, words, ending):
    plain = write(tmp_path / "b.nii", sform=np.eye(4))
    raw = bytearray(plain.read_bytes())
    struct.pack_into(form, raw, offset, *values)
    path = tmp_path / f"a{ending}"
    path.write_bytes(gzip.compress(raw) if ending.endswith("gz") else raw)
    for read in (read_scan, read_labels):
        with pytest.raises(DataError, match=words):
            read(path)


@pytest.mark.parametrize(
    "affine", [spaced(1, 1, 0), [[1, 2, 0, 0], [1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], spaced(1, np.nan, 1)]
)
def test_an_affine_without_a_direction_for_an_axis_is_refused(tmp_path, affine):
    image = nibabel.Nifti1Image(VALUES, None)
    image.header.set_sform(np.array(affine, float), 1)
    nibabel.save(image, tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match=r"a.nii.gz has an affine .*repair its sform or qform"):
        read_nifti(tmp_path / "a.nii.gz")


def test_labels_beyond_32_bits_are_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.full((4, 4, 2), 2**32 + 1), np.eye(4), dtype=np.int64), tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match=r"a.nii.gz holds the label 4294967297, beyond 32 bits"):
        read_labels(tmp_path / "a.nii.gz")


def test_complex_and_colour_voxels_are_refused(tmp_path):
    write(tmp_path / "a.nii", VALUES.astype(np.complex64))
    write(tmp_path / "b.nii", np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")]))
    for name in ("a.nii", "b.nii"):
        with pytest.raises(DataError, match=rf"{name} holds .* expected real numbers"):
            read_scan(tmp_path / name)
