"""What the loaders of all layouts share: refusals, sizes, slices, normalisation, groups."""

import numpy as np
import pytest
import segmentation_files as files
from segmentation_files import whole

from hyperlab.data import load
from hyperlab.data.check import check
from hyperlab.errors import DataError

pytestmark = pytest.mark.fast
nibabel = pytest.importorskip("nibabel", reason="the extra 'medical' is not installed")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda i, m: (i, np.where(m == 2, 7, m)), r"labelsTr/case_002.nii.gz holds labels outside the map: 7 "
                                                   r"\(\d+ voxels; declared are 0, 1, 2\); declare the value"),
        (lambda i, m: (i, m[1:]), r"case_002.nii.gz and .*_0000.nii.gz differ in shape: \(11, 10, 8\) and \(12, 10"),
        (lambda i, m: (np.where(i > 200, np.nan, i), m), r"case_002_0000.nii.gz holds \d+ non-finite voxels"),
        (lambda i, m: (i, m.astype(np.float32) + 0.5), r"labels that are no whole numbers, for instance 1.5; it was"),
    ],
    ids=["label", "shape", "nan", "interpolated"],
)  # fmt: skip
def test_cases_that_cannot_be_trained_on_are_refused_with_the_file_and_the_fix(tmp_path, harm, message):
    files.nnunet(tmp_path)
    image, mask = harm(*files.blob(200, (12, 10, 8)))
    files.nifti(tmp_path / "imagesTr" / "case_002_0000.nii.gz", image.astype(np.float32))
    files.nifti(tmp_path / "labelsTr" / "case_002.nii.gz", mask.astype(np.float32))
    with pytest.raises(DataError, match=message):
        load("nnunet", tmp_path)


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (
            np.diag([1, 1, 2.5, 1]),
            r"differ in spacing: \(1.0, 1.0, 2.5\) and \(1.0, 1.0, 1.0\) mm; copy the image's header",
        ),
        (np.array([[1, 0, 0, 3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "differ in affine: .* up to 3 mm apart"),
        (np.array([[-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "differ in affine: .* up to 11 mm apart"),
    ],
)
def test_other_geometry_is_refused(tmp_path, affine, message):
    files.nnunet(tmp_path)
    files.nifti(tmp_path / "labelsTr" / "case_005.nii.gz", files.blob(500, (12, 10, 8))[1], affine.astype(float))
    with pytest.raises(DataError, match=message):
        load("nnunet", tmp_path)


def test_many_problems_are_counted_and_five_kinds_are_shown(tmp_path):
    files.nnunet(tmp_path, labels={"background": 0, "left": 1})
    with pytest.raises(DataError) as error:
        load("nnunet", tmp_path)
    message = str(error.value)
    assert message.startswith(f"{tmp_path} has 8 problems:\n  8 cases: ") and message.count("outside the map: 2") == 1
    assert "(case_000, case_001, case_002 and 5 more); declare the value in dataset.json" in message
    for i in range(7):
        (tmp_path / "labelsTr" / f"case_{i:03d}.nii.gz").rename(tmp_path / "labelsTr" / f"{'abcdefg'[i] * 3}.nii.gz")
    with pytest.raises(DataError) as error:
        load("nnunet", tmp_path)
    message = str(error.value)
    assert message.startswith(f"{tmp_path} has 14 problems:\n  7 cases: ") and message.count("has no image in") == 1


def test_five_lines_are_shown(tmp_path):
    files.nnunet(tmp_path)
    for i, name in enumerate(("a", "bb", "c.c", "d_d", "e-e", "ff", "g")):
        (tmp_path / "imagesTr" / f"case_{i:03d}_0000.nii.gz").rename(tmp_path / "imagesTr" / f"{name}.nii.gz")
    with pytest.raises(DataError) as error:
        load("nnunet", tmp_path)
    assert len(str(error.value).splitlines()) <= 1 + 5 + 1


def test_sizes_slices_and_normalisations(tmp_path):
    files.hippocampi(tmp_path)
    with pytest.raises(DataError, match=r"holds images of \d sizes, from .* give one size"):
        load("folder", tmp_path)
    planes = load("folder", tmp_path, size=(16, 16), fit="centre", slice_axis=2)
    assert planes.image_shape == (16, 16, 1)
    image, mask = files.blob(1, (11, 14, 9))
    best = int((mask > 0).sum((0, 1)).argmax())
    np.testing.assert_array_equal(whole(planes)["labels"][0][2:13, 1:15], mask[:, :, best])
    assert (planes.scale, planes.normalisation) == (1.0, "percentiles")
    resampled = load("folder", tmp_path, size=8, normalize="min_max")
    assert resampled.normalisation == "own range" and 0.5 < resampled.scale < 1
    assert resampled.image_shape == (8, 8, 8, 1)
    np.testing.assert_allclose(whole(resampled)["spacing"][0], [11 / 8, 14 / 8, 9 / 8], rtol=1e-6)
    for options, message in (
        ({"size": (8, 8, 8, 8)}, "expected 3 whole numbers"),
        ({"size": 8, "fit": "crop"}, "unknown fit 'crop'"),
        ({"size": 8, "normalize": "minmax"}, "unknown normalize 'minmax'; did you mean 'min_max'"),
        ({"size": 8, "normalize": "none"}, r"case hippocampus_001 spans 0 to \d+, and normalize is 'none'"),
        ({"size": 8, "slice_axis": 3}, "slice_axis is 3"),
    ):
        with pytest.raises(DataError, match=message):
            load("folder", tmp_path, **options)


@pytest.mark.parametrize(("spacing", "axis"), [((1, 1, 1), 2), ((3, 1, 1), 0), ((1, 2.5, 1), 1), ((1, 4, 4), 2)])
def test_two_numbers_for_volumes_take_the_plane_across_the_longest_voxels(tmp_path, spacing, axis):
    files.nnunet(tmp_path)
    for folder in ("imagesTr", "labelsTr"):
        for path in (tmp_path / folder).iterdir():
            array = np.asarray(nibabel.load(path).dataobj)
            path.unlink()
            files.nifti(path, array, np.diag((*spacing, 1)))
    found, named = load("nnunet", tmp_path, size=(9, 9)), load("nnunet", tmp_path, size=(9, 9), slice_axis=axis)
    assert found.image_shape == (9, 9, 1) and found.fingerprint == named.fingerprint
    assert f"across axis {axis}: that with the most labelled voxels" in found.notes[0]
    whole_volumes = load("nnunet", tmp_path, size=(9, 9, 9))
    assert whole_volumes.image_shape == (9, 9, 9, 1) and len(whole_volumes.notes) == len(found.notes) - 1


def test_maps_of_instances_and_mixed_images_are_refused(tmp_path):
    for i in range(8):
        files.picture(tmp_path / "images" / f"{i}.png", files.blob(i, (20, 20))[0])
        files.picture(tmp_path / "labels" / f"{i}.png", np.arange(400, dtype=np.uint16).reshape(20, 20))
    with pytest.raises(DataError, match="the masks hold 400 values; are they maps of instances"):
        load("folder", tmp_path)
    files.picture(tmp_path / "images" / "0.png", np.stack([files.blob(0, (20, 20))[0]] * 3, -1))
    for i in range(8):
        files.picture(tmp_path / "labels" / f"{i}.png", files.blob(i, (20, 20))[1])
    with pytest.raises(DataError, match=r"2 kinds: 8 bits, 3 channels \(0.png\); 8 bits, 1 channel \(1.png, "):
        load("folder", tmp_path)
    files.picture(tmp_path / "images" / "0.png", files.blob(0, (20, 20))[0].astype(np.uint16) * 257)
    with pytest.raises(DataError, match=r"2 kinds: 16 bits, 1 channel \(0.png\); 8 bits, 1 channel \(1.png, "):
        load("folder", tmp_path)
    assert "mixes images of 2 kinds" in check(tmp_path)[0].what


@pytest.mark.parametrize("top", [255, 65535])
def test_microscopy_of_8_and_16_bits_with_masks_of_8_and_16_bits(tmp_path, top):
    kind = np.uint8 if top == 255 else np.uint16
    for i in range(8):
        image, mask = files.blob(i, (20, 24), labels=2)
        files.picture(tmp_path / "images" / f"{i}.tif", image.astype(kind) * kind(top // 255))
        files.picture(tmp_path / "masks" / f"{i}.tif", mask.astype(np.uint16 if i % 2 else np.uint8) * 255)
    assert check(tmp_path) == []
    splits = load("folder", tmp_path, normalize="full_range", classes=("background", "parasite"))
    for part in splits.parts().values():
        for name, image, label in zip(part.names, part.images, part.labels, strict=True):
            expected, mask = files.blob(int(name), (20, 24), labels=2)
            np.testing.assert_allclose(image[..., 0], expected / 255, atol=1e-6)
            np.testing.assert_array_equal(label, mask)


def test_subjects_and_copies_stay_together(tmp_path):
    names = [f"patient_{i // 3:02d}_visit_{i % 3}" for i in range(24)]
    files.nnunet(tmp_path, cases=24, shape=(20, 22), ending=".png", names=names)
    image = files.blob(0, (20, 22))[0]
    files.picture(tmp_path / "imagesTr" / f"{names[20]}_0000.png", image)  # visit 2 of patient 6 is patient 0's visit 0
    for seed in range(3):
        found = [set(part.groups) for part in load("nnunet", tmp_path, split_seed=seed).parts().values()]
        assert sum(map(len, found)) == len(set.union(*found)) == 7
        part = next(p for p in load("nnunet", tmp_path, split_seed=seed).parts().values() if names[0] in p.names)
        assert {n.rsplit("_visit")[0] for n in part.names} >= {"patient_00", "patient_06"}
