"""What a reader records of its preprocessing: it makes the very images of the study again, and leads back."""

import json

import numpy as np
import pytest
import segmentation_files as made
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab.data import load
from hyperlab.data.normalisation import BY_PERCENTILES, Normalisation
from hyperlab.data.preprocessing import Preprocessing
from hyperlab.data.readers.scan import Scan, read_labels, read_scan
from hyperlab.errors import DataError

CLASSES = ("background", "left", "right")
BYTES = Normalisation("divide", by=255)


def whole(splits):
    """All images and labels, by name."""
    found = {}
    for part in splits.parts().values():
        found |= {str(name): (image, label) for name, image, label in zip(part.names, part.images, part.labels,
                                                                         strict=True)}  # fmt: skip
    return found


def pictures(root, count=9, shape=(20, 24), **options):
    for i in range(count):
        image, mask = made.blob(i, shape, **options)
        made.picture(root / "images" / f"a{i}.png", image)
        made.picture(root / "labels" / f"a{i}.png", mask * 40)
    return root


@pytest.mark.parametrize(
    "options",
    [
        {"size": (16, 12)},
        {"size": (24, 30), "fit": "centre"},
        {"size": (16, 16), "normalize": "min_max"},
        {"size": (16, 16), "normalize": "percentiles"},
        {"size": (20, 24), "normalize": "full_range"},
    ],
)
def test_pictures_become_the_images_of_the_study(tmp_path, options):
    splits = load("folder", pictures(tmp_path), **options)
    how = Preprocessing.of(json.loads(json.dumps(splits.preprocessing.record())))
    assert how == splits.preprocessing and how.values == (0, 40, 80)
    for name, (image, label) in whole(splits).items():
        images, placement = how.forward(read_scan(tmp_path / "images" / f"{name}.png"))
        np.testing.assert_allclose(images[0], image, atol=1e-6)
        own = how.indices(read_labels(tmp_path / "labels" / f"{name}.png").values)
        if options["size"] == (20, 24):
            np.testing.assert_array_equal(own, label)
            np.testing.assert_array_equal(how.backward(np.eye(3)[label][None], placement), 40 * label)


@pytest.mark.parametrize("options", [{"size": (12, 12, 12), "fit": "centre"}, {"size": 8}])
def test_volumes_become_the_images_of_the_study(tmp_path, options):
    splits = load("nnunet", made.nnunet(tmp_path), **options)
    how = splits.preprocessing
    for name, (image, label) in whole(splits).items():
        images, placement = how.forward(read_scan(tmp_path / "imagesTr" / f"{name}_0000.nii.gz"))
        np.testing.assert_allclose(images[0], image, atol=1e-6)
        if options["size"] != 8:  # each was padded: back on the grid of the file
            mask = read_labels(tmp_path / "labelsTr" / f"{name}.nii.gz").values
            np.testing.assert_array_equal(how.backward(np.eye(3)[label][None], placement), mask)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_plane_of_a_volume_is_among_its_planes_and_all_go_back(tmp_path, axis):
    splits = load("nnunet", made.nnunet(tmp_path), size=(16, 16), fit="centre", slice_axis=axis)
    how = splits.preprocessing
    for name, (image, _) in whole(splits).items():
        scan = read_scan(tmp_path / "imagesTr" / f"{name}_0000.nii.gz")
        images, placement = how.forward(scan)
        assert len(images) == scan.values.shape[axis]
        assert min(np.abs(one - image).max() for one in images) < 1e-6
        mask = read_labels(tmp_path / "labelsTr" / f"{name}.nii.gz").values
        size = [16 if place != axis else n for place, n in enumerate(mask.shape)]
        padded = np.zeros(size, int)
        corner = tuple(slice((m - n) // 2, (m - n) // 2 + n) for m, n in zip(size, mask.shape, strict=True))
        padded[corner] = mask
        answers = (np.eye(3)[one] for one in np.moveaxis(padded, axis, 0))  # one plane at a time
        np.testing.assert_array_equal(how.backward(answers, placement), mask)


def test_channels_of_several_files(tmp_path):
    splits = load("nnunet", made.nnunet(tmp_path, channels=2), size=8)
    assert splits.preprocessing.channels == 2 and splits.preprocessing.normalisation == BY_PERCENTILES
    with pytest.raises(DataError, match="has 1 channel, the network was trained on 2"):
        splits.preprocessing.forward(read_scan(tmp_path / "imagesTr" / "case_000_0000.nii.gz"))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.sampled_from(["resample", "centre"])
)
def test_rows_are_those_of_the_whole(a, b, c, d, fit):
    how = Preprocessing((c, d), 1, CLASSES, (0, 1, 2), BYTES, fit=fit)
    images, placement = how.forward(Scan(np.zeros((a, b, 1), np.uint8)))
    answer = np.random.default_rng(0).random((*images.shape[1:-1], 3)).astype(np.float32)
    cut = [answer[:2], answer[2:3], answer[3:]]
    rows = list(how.restore((one for one in cut if len(one)), placement))
    assert [start for start, _ in rows] == np.cumsum([0, *(len(one) for _, one in rows)])[:-1].tolist()
    found = np.concatenate([one for _, one in rows])
    assert found.shape == (a, b, 3)
    np.testing.assert_array_equal(how.backward(answer[None], placement), found.argmax(-1))
    if fit == "centre":
        whole_before = answer[(c - a) // 2 if c > a else 0 :][:a, (d - b) // 2 if d > b else 0 :][:, :b]
        np.testing.assert_array_equal(found, whole_before)


def test_rows_of_a_large_image_come_in_blocks(monkeypatch):
    monkeypatch.setattr("hyperlab.data.preprocessing._BLOCK", 60)
    how = Preprocessing((4, 4), 1, CLASSES, (0, 1, 2), BYTES)
    answer = np.random.default_rng(0).random((4, 4, 3)).astype(np.float32)
    _, placement = how.forward(Scan(np.zeros((9, 5, 1), np.uint8)))
    blocks = list(how.restore([answer], placement))
    assert [len(rows) for _, rows in blocks] == [4, 4, 1]
    monkeypatch.undo()
    ((_, at_once),) = how.restore([answer], placement)
    np.testing.assert_allclose(np.concatenate([rows for _, rows in blocks]), at_once, atol=1e-6)


def test_what_a_scan_may_not_be():
    how = Preprocessing((4, 4), 1, CLASSES, (0, 1, 2), BYTES)
    for values, message in (
        (np.zeros((4, 4, 3), np.uint8), "has 3 channels, the network was trained on 1"),
        (np.zeros((4, 4, 4, 1), np.uint8), "is 4x4x4, 3 axes; the network was trained on images of 2 axes"),
        (np.full((4, 4, 1), 300, np.uint16), "spans 300 to 300; .* divided by 255"),
        (np.full((4, 4, 1), np.nan, np.float32), "not finite"),
    ):
        with pytest.raises(DataError, match=message):
            how.forward(Scan(values))
    with pytest.raises(DataError, match="a picture whose white is 65535"):
        how.forward(Scan(np.zeros((4, 4, 1), np.uint16), white=65535))
    with pytest.raises(DataError, match="mask.png holds the labels 7, 9; the run was trained on 0, 1, 2"):
        how.indices(np.array([0, 7, 9]), "mask.png")
    with pytest.raises(DataError, match="unknown fit 'center'; did you mean 'centre'"):
        Preprocessing((4, 4), 1, CLASSES, (0, 1, 2), BYTES, fit="center")
    with pytest.raises(DataError, match="no preprocessing of this version"):
        Preprocessing.of({"size": [4, 4]})


def test_a_plane_of_one_voxel_is_an_image():
    how = Preprocessing((4, 4), 1, CLASSES, (0, 1, 2), BYTES)
    images, placement = how.forward(Scan(np.zeros((6, 1, 5, 1), np.uint8)))
    assert images.shape == (1, 4, 4, 1)
    assert how.backward(np.zeros((1, 4, 4, 3)), placement).shape == (6, 1, 5)


@pytest.mark.parametrize("matches, expected", [("nearest", [0, 1, 1, 2]), ("above zero", [0, 1, 1, 1])])
def test_masks_are_read_as_by_the_reader(matches, expected):
    how = Preprocessing((4, 4), 1, CLASSES, (0, 128, 255), BYTES, matches=matches)
    assert how.indices(np.array([0, 120, 128, 255])).tolist() == expected


def test_arrays_with_colours_last_are_images(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 200, (6, 5, 3)).astype(np.uint8))
    how = Preprocessing((6, 5), 3, CLASSES, (0, 1, 2), BYTES)
    images, _ = how.forward(read_scan(tmp_path / "a.npy"))
    np.testing.assert_array_equal(images[0], np.load(tmp_path / "a.npy") / np.float32(255))
