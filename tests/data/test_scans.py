import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
from segmentation_files import nifti, picture

from hyperlab.data.readers.scan import is_readable, read_labels, read_npz, read_scan, stem_of, suffix_of
from hyperlab.errors import DataError, MissingExtraError

pytestmark = pytest.mark.fast
VOLUME = np.random.default_rng(0).integers(0, 9, (4, 5, 6)).astype(np.int16)


@pytest.fixture
def nibabel():
    return pytest.importorskip("nibabel", reason="the extra 'medical' is not installed")


def test_values_spacing_and_affine(tmp_path, nibabel):
    affine = np.diag([0.5, 2, 3, 1.0])
    affine[:3, 3] = (-10, 4, 7)
    scan = read_scan(nifti(tmp_path / "a.nii.gz", VOLUME, affine))
    np.testing.assert_array_equal(scan.values[..., 0], VOLUME)
    assert scan.spacing == (0.5, 2.0, 3.0) and scan.values.shape == (4, 5, 6, 1)
    np.testing.assert_allclose(scan.affine, affine)
    labels = read_labels(tmp_path / "a.nii.gz")
    assert labels.values.dtype == np.int32 and labels.values.shape == (4, 5, 6)


@pytest.mark.parametrize(("axis", "swap"), [(0, None), (2, None), (None, (0, 1)), (1, (0, 2))])
def test_axes_are_turned_to_the_closest_canonical_orientation(tmp_path, nibabel, axis, swap):
    """The same voxels at the same places in mm, whatever the order in which they were stored."""
    spacing = np.array([0.5, 2, 3.0])
    stored, affine = VOLUME, np.diag([*spacing, 1.0])
    if axis is not None:
        affine[:3, 3] += affine[:3, axis] * (stored.shape[axis] - 1)
        affine[:3, axis] *= -1
        stored = np.flip(stored, axis)
    if swap is not None:
        stored, affine = np.swapaxes(stored, *swap), affine.copy()
        affine[:, list(swap)] = affine[:, list(swap)[::-1]]
    scan = read_scan(nifti(tmp_path / "a.nii.gz", np.ascontiguousarray(stored), affine))
    np.testing.assert_array_equal(scan.values[..., 0], VOLUME)
    np.testing.assert_allclose(scan.affine, np.diag([*spacing, 1.0]), atol=1e-6)
    assert scan.spacing == tuple(spacing)


def test_slopes_channels_and_planes(tmp_path, nibabel):
    image = nibabel.Nifti1Image(VOLUME, np.eye(4))
    image.header.set_slope_inter(2.0, -3.0)
    nibabel.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(read_scan(tmp_path / "a.nii").values[..., 0], 2.0 * VOLUME - 3)
    four = np.stack([VOLUME, VOLUME + 1], -1)
    scan = read_scan(nifti(tmp_path / "b.nii.gz", four))
    np.testing.assert_array_equal(scan.values, four)
    assert len(scan.spacing) == 3
    plane = read_scan(nifti(tmp_path / "c.nii.gz", VOLUME[0], np.diag([0.3, 0.15, 1, 1])))
    np.testing.assert_array_equal(plane.values[..., 0], VOLUME[0])
    np.testing.assert_allclose(plane.spacing, (0.3, 0.15), rtol=1e-6)


def test_labels_that_were_interpolated_or_are_not_finite_are_refused(tmp_path, nibabel):
    labels = VOLUME.astype(np.float32)
    np.testing.assert_array_equal(read_labels(nifti(tmp_path / "a.nii.gz", labels)).values, VOLUME)
    np.testing.assert_array_equal(read_labels(nifti(tmp_path / "a.nii.gz", labels + 1e-4)).values, VOLUME)
    labels[1, 2, 3] = 1.5
    with pytest.raises(DataError, match=r"b.nii.gz holds labels that are no whole numbers, for instance 1.5"):
        read_labels(nifti(tmp_path / "b.nii.gz", labels))
    labels[1, 2, 3] = np.nan
    with pytest.raises(DataError, match=r"b.nii.gz holds 1 labels that are not finite"):
        read_labels(nifti(tmp_path / "b.nii.gz", labels))


def test_broken_nifti_files_are_refused_by_name(tmp_path, nibabel):
    with pytest.raises(DataError, match=r"a.nii.gz does not exist"):
        read_scan(tmp_path / "a.nii.gz")
    noise = np.random.default_rng(1).normal(size=(20, 20, 20)).astype(np.float32)
    whole = nifti(tmp_path / "a.nii.gz", noise).read_bytes()
    for share in (0.02, 0.5, 0.999):
        (tmp_path / "a.nii.gz").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataError, match=r"a.nii.gz (is truncated or damaged|is no NIfTI file)"):
            read_scan(tmp_path / "a.nii.gz")
    (tmp_path / "b.nii").write_bytes(gzip.decompress(whole)[:-100])
    with pytest.raises(DataError, match=r"b.nii is truncated or damaged .* download it again"):
        read_scan(tmp_path / "b.nii")
    (tmp_path / "c.nii").write_text("not found")
    with pytest.raises(DataError, match=r"c.nii is no NIfTI file"):
        read_scan(tmp_path / "c.nii")
    with pytest.raises(DataError, match="holds complex64 values, expected real numbers"):
        read_scan(nifti(tmp_path / "d.nii", noise.astype(np.complex64)))


def test_a_missing_nibabel_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(MissingExtraError, match=r"reading NIfTI files .* pip install 'hyperlab\[medical\]'"):
        read_scan(tmp_path / "a.nii.gz")


def test_arrays_and_archives(tmp_path):
    np.save(tmp_path / "a.npy", VOLUME)
    np.testing.assert_array_equal(read_scan(tmp_path / "a.npy").values[..., 0], VOLUME)
    np.savez(tmp_path / "b.npz", image=VOLUME, label=VOLUME > 3)
    assert set(read_npz(tmp_path / "b.npz")) == {"image", "label"}
    np.testing.assert_array_equal(read_scan(tmp_path / "b.npz", 2).values, VOLUME[2][..., None])
    np.testing.assert_array_equal(read_labels(tmp_path / "b.npz", 2).values, VOLUME[2] > 3)
    colour = np.stack([VOLUME] * 3, -1)
    np.savez(tmp_path / "b.npz", images=colour, masks=VOLUME)  # the archive was written again
    np.testing.assert_array_equal(read_scan(tmp_path / "b.npz", 1).values, colour[1])
    whole = (tmp_path / "b.npz").read_bytes()
    (tmp_path / "b.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"b.npz is truncated, damaged or holds Python objects"):
        read_npz(tmp_path / "b.npz")
    np.save(tmp_path / "c.npy", np.array([{}], object))
    with pytest.raises(DataError, match=r"c.npy is truncated, damaged or holds Python objects"):
        read_scan(tmp_path / "c.npy")
    with pytest.raises(DataError, match=r"d.npz does not exist"):
        read_npz(tmp_path / "d.npz")


def test_names_and_formats(tmp_path):
    assert [suffix_of(Path(p)) for p in ("x.nii.gz", "x.NII", "x.tar.gz", "x")] == [".nii.gz", ".nii", ".gz", ""]
    assert [stem_of(Path(p)) for p in ("d/x.nii.gz", "x.y.png", "x")] == ["x", "x.y", "x"]
    names = ("a.nii.gz", "._a.nii.gz", "a.png", "a.txt", "a.npy", "Thumbs.db")
    assert [is_readable(Path(name)) for name in names] == [True, False, True, False, True, False]
    (tmp_path / "a.mha").touch()
    with pytest.raises(DataError, match=r"a.mha is of no known format; expected .nii, .nii.gz"):
        read_scan(tmp_path / "a.mha")
    assert read_scan(picture(tmp_path / "a.png", np.zeros((3, 4), np.uint8))).values.shape == (3, 4, 1)
