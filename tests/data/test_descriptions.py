"""A `dataset.json` field by field; what nnU-Net 2.8.1 (`verify_dataset_integrity`) takes or refuses is said beside."""

import json

import numpy as np
import pytest
import segmentation_files as files

from hyperlab.data import load
from hyperlab.data.check import check, examine
from hyperlab.data.layouts import detect
from hyperlab.errors import DataError

pytestmark = pytest.mark.fast
SHAPE = (20, 22)
PAIR = {"image": "imagesTr/case_000_0000.png", "label": "labelsTr/case_000.png"}


def pictures(root, **description):
    return files.nnunet(root, cases=4, shape=SHAPE, ending=".png", **description)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("file_ending", 5, "file_ending is 5"),
        ("file_ending", "png", "file_ending is 'png', expected an ending with its dot"),
        ("channel_names", ["a"], r"channel_names is \['a'\]"),
        ("channel_names", {"0": 5}, "channel_names is {'0': 5}"),
        ("channel_names", {}, "has no channel_names"),
        ("numTraining", "4", "numTraining is '4'"),
        ("numTraining", True, "numTraining is True"),
        ("training", {}, "training is {}"),
        ("training", 5, "training is 5"),
        ("training", [{"image": None, "label": "x"}], "lists {'image': None, 'label': 'x'} in training"),
        ("training", [{"image": 5, "label": "x"}], "lists {'image': 5, 'label': 'x'} in training"),
        ("training", [{"image": "x", "label": None}], "lists .* in training"),
        ("training", ["x"], "lists 'x' in training"),
        ("labels", ["a"], r"labels is \['a'\]"),
        ("labels", {"background": 0, "a": 1.7}, "labels: cannot read the label 'a': 1.7"),
        ("labels", {"background": 0, "a": "1.0"}, "labels: cannot read the label 'a': '1.0'"),
        ("labels", {"0": "background", "1.0": "a"}, "labels: cannot read the label '1.0': 'a'"),
        ("labels", {"background": 0, "a": True}, "labels: cannot read the label 'a': True"),
        ("labels", {"background": 0, "a": None}, "labels: cannot read the label 'a': None"),
        ("labels", {"background": 0, "a": -1}, "labels: 'a' is -1"),
        ("labels", {"background": 0, "a": 2**40}, "labels: 'a' is 1099511627776"),
        ("labels", {"background": 0, "a": 1, "b": 1}, "the value 1 to 'a' and to 'b'"),
        ("labels", {"0": "background", "1": "a", "01": "b"}, "the value 1 to 'a' and to 'b'"),
        ("labels", {"background": 0, "Tumour core": 1, "tumour_core": 2}, "'Tumour core' and 'tumour_core', one name"),
        ("overwrite_image_reader_writer", 5, "overwrite_image_reader_writer is 5"),
        ("dataset", [], r"dataset is \[\]"),
        ("dataset", {"a": {"images": "x.png", "label": "y.png"}}, "dataset: a is"),
        ("dataset", {"a": {"images": ["x.png"]}}, "dataset: a is"),
    ],
)
def test_a_field_of_another_type_or_without_sense_is_named(tmp_path, field, value, message):
    pictures(tmp_path, **{field: value})
    with pytest.raises(DataError, match=rf"dataset\.json.*{message}"):
        detect(tmp_path)


def test_files_that_lie_elsewhere_are_read_where_dataset_names_them(tmp_path, monkeypatch):
    """nnU-Net 2.8.1, `get_filenames_of_train_images_and_targets`: from the root, absolute, or with variables."""
    pictures(tmp_path / "there")
    there = tmp_path / "there"
    monkeypatch.setenv("THERE", str(there))
    starts = ("../there", str(there), "$THERE", "../there")
    listed = {
        f"c{i}": {"images": [f"{start}/imagesTr/case_{i:03d}_0000.png"], "label": f"{start}/labelsTr/case_{i:03d}.png"}
        for i, start in enumerate(starts)
    }
    described = json.loads((there / "dataset.json").read_text())
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "dataset.json").write_text(json.dumps(described | {"dataset": listed}))
    here, right = detect(tmp_path / "here"), detect(there)
    assert [case.label.resolve() for case in here.cases] == [case.label for case in right.cases]
    assert [case.name for case in here.cases] == ["c0", "c1", "c2", "c3"] and here.problems == ()
    (there / "labelsTr" / "case_000.png").unlink()
    (row, _) = detect(tmp_path / "here").problems
    assert row.case == "c0" and "case_000.png, which does not exist" in row.what


def test_one_mask_of_several_images_is_a_row(tmp_path):
    pictures(tmp_path)
    entries = [{"image": f"imagesTr/case_{i:03d}_0000.png", "label": "labelsTr/case_000.png"} for i in range(4)]
    described = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps(described | {"training": entries}))
    (row,) = detect(tmp_path).problems
    assert "gives labelsTr/case_000.png to 4 images" in row.what and not row.fatal


def test_test_cases_have_to_be_a_list(tmp_path):
    pictures(tmp_path, training=[PAIR])
    description = json.loads((tmp_path / "dataset.json").read_text()) | {"test": None}
    files.write_json(tmp_path / "dataset.json", description)
    with pytest.raises(DataError, match=r"dataset\.json: test is None, expected a list"):
        detect(tmp_path)
    files.write_json(tmp_path / "dataset.json", description | {"test": [], "training": [PAIR, PAIR]})
    assert "dataset.json lists imagesTr/case_000_0000.png 2 times" in detect(tmp_path).problems[0].what
    twin = files.picture(tmp_path / "imagesTr" / "case_000_0000.tif", files.blob(1, SHAPE)[0]).name
    entries = [PAIR, PAIR | {"image": f"imagesTr/{twin}"}]
    files.write_json(tmp_path / "dataset.json", description | {"test": [], "training": entries, "numTraining": 2})
    assert "case_000_0000.tif, two files of one name" in detect(tmp_path).problems[0].what


def test_a_key_twice_is_refused_before_one_of_them_is_lost(tmp_path):
    path = pictures(tmp_path) / "dataset.json"
    path.write_text(path.read_text().replace('"left": 1', '"left": 1, "left": 2'))
    with pytest.raises(DataError, match="dataset.json has the key 'left' twice: 1 and 2"):
        detect(tmp_path)


@pytest.mark.parametrize(
    "description",
    [
        {"numTraining": 4.0},
        {"labels": {"background": 0, "left": 1.0, "right": 2}},
        {"labels": {"0": "background", "1": "left", "2": "right"}},
        {"training": []},
        {"overwrite_image_reader_writer": "None"},
        {"overwrite_image_reader_writer": "NaturalImage2DIO"},
        {"channel_names": {"T1": "T1"}},
    ],
)
def test_what_other_tools_write_is_taken(tmp_path, description):
    assert check(pictures(tmp_path, **description)) == []
    assert detect(tmp_path).classes == {0: "background", 1: "left", 2: "right"}
    path = tmp_path / "dataset.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # a byte order mark
    assert check(tmp_path) == []


def test_a_reader_that_is_not_known_is_a_row(tmp_path):
    (row,) = check(pictures(tmp_path, overwrite_image_reader_writer="TiffIO"))
    assert "reader 'TiffIO' in overwrite_image_reader_writer" in row.what and not row.fatal


# -- files of nnU-Net -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("colour", "grey", "names", "shape"),
    [
        (1, 0, 3, 3),  # nnU-Net's form of RGB: NaturalImage2DIO gives three channels, and the sum is compared
        (2, 0, 6, 6),
        (1, 1, 4, 4),
        (0, 2, 2, 2),
        (1, 0, 1, "3 channels are in .*_0000.png, channel_names names 1"),
        (2, 0, 2, "6 channels are in"),
        (1, 0, 2, "_0001.png does not exist; every case needs its 2 channels"),
        (0, 1, 3, "_0001.png does not exist"),
        (0, 2, 1, "_0001.png is a channel that channel_names does not name"),
    ],
)
def test_the_channels_of_all_files_are_as_many_as_channel_names(tmp_path, colour, grey, names, shape):
    for i in range(5):
        for channel in range(colour + grey):
            planes = [files.blob(100 * i + 10 * channel + c, SHAPE)[0] for c in range(3)]
            pixels = np.stack(planes, -1) if channel < colour else planes[0]
            files.picture(tmp_path / "imagesTr" / f"r{i}_{channel:04d}.png", pixels)
        files.picture(tmp_path / "labelsTr" / f"r{i}.png", files.blob(i, SHAPE)[1])
    files.write_json(
        tmp_path / "dataset.json",
        {"channel_names": {str(c): f"c{c}" for c in range(names)}, "labels": {"background": 0, "a": 1, "b": 2},
         "numTraining": 5, "file_ending": ".png"},
    )  # fmt: skip
    if isinstance(shape, int):
        assert load("nnunet", tmp_path).image_shape == (*SHAPE, shape) and check(tmp_path) == []
        return
    with pytest.raises(DataError, match=f"(?s)5 cases: .*{shape}" if "exist" not in shape else shape.split(";")[0]):
        load("nnunet", tmp_path)


def test_four_axes_of_nifti_are_channels(tmp_path):
    pytest.importorskip("nibabel")
    files.nnunet(tmp_path, cases=5, channel_names={"0": "a", "1": "b"})
    for i in range(5):
        planes = [files.blob(100 * i + c, (12, 10, 8))[0].astype(np.float32) for c in range(2)]
        files.nifti(tmp_path / "imagesTr" / f"case_{i:03d}_0000.nii.gz", np.stack(planes, -1))
    assert check(tmp_path) == [] and load("nnunet", tmp_path).image_shape == (12, 10, 8, 2)


def test_files_that_are_no_images_are_passed_over(tmp_path):
    pictures(tmp_path)
    for folder in ("imagesTr", "labelsTr"):
        for name in ("Thumbs.db", "notes.txt", "case_000.json", "desktop.ini", "README"):
            (tmp_path / folder / name).write_text("no image")
    assert check(tmp_path) == [] and len(detect(tmp_path).cases) == 4


@pytest.mark.parametrize("upper", [str.upper, str.title])
def test_endings_in_upper_case(tmp_path, upper):
    for path in pictures(tmp_path).glob("*Tr/*.png"):
        path.rename(path.with_suffix(upper(".png")))
    assert check(tmp_path) == [] and len(detect(tmp_path).cases) == 4


def test_two_endings_of_one_case_are_a_problem(tmp_path):
    pictures(tmp_path)
    files.picture(tmp_path / "imagesTr" / "case_001_0000.tif", files.blob(1, SHAPE)[0])
    files.picture(tmp_path / "labelsTr" / "case_001.tif", files.blob(1, SHAPE)[1])
    image, mask = check(tmp_path)
    assert image.fatal and image.case == "case_001" and "case_001_0000.tif are two files of one name" in image.what
    assert mask.fatal and mask.case == "case_001" and "case_001.tif are two files of one name" in mask.what


def test_a_list_of_version_1_without_channel_numbers_is_read_as_nnunet(tmp_path):
    pytest.importorskip("nibabel")
    for path in files.decathlon(tmp_path).glob("images*/*"):
        path.rename(path.with_name(path.name.replace(".nii.gz", "_0000.nii.gz")))
    found = examine(tmp_path)
    assert "nnunet layout, 8 training and 2 test cases, 10 read" in found.summary
    assert [row.fatal for row in found.problems] == [False]  # no file_ending
    assert load("nnunet", tmp_path).image_shape == (12, 10, 8, 1)


def test_stems_that_recur_in_a_list_are_told_apart(tmp_path):
    pytest.importorskip("nibabel")
    entries = []
    for i in range(6):
        image, mask = files.blob(i, (8, 7, 6))
        files.nifti(tmp_path / f"P{i}" / "scan.nii.gz", image.astype(np.float32))
        files.nifti(tmp_path / f"P{i}" / "mask.nii.gz", mask)
        entries.append({"image": f"./P{i}/scan.nii.gz", "label": f"./P{i}/mask.nii.gz"})
    files.write_json(
        tmp_path / "dataset.json",
        {"labels": {"0": "background", "1": "a", "2": "b"}, "training": entries, "numTraining": 6, "test": []},
    )
    cases = detect(tmp_path).cases
    assert cases[0].name == "P0/scan" and len({case.subject for case in cases}) == 6


def test_tiff_files_have_their_spacing_beside_them(tmp_path):
    """Tiff3DIO of nnU-Net 2.8.1: `<case>.json` holds `spacing`, in the order of the array's axes."""
    files.nnunet(tmp_path, cases=4, shape=SHAPE, ending=".tif")
    for folder in ("imagesTr", "labelsTr"):
        for i in range(4):
            files.write_json(tmp_path / folder / f"case_{i:03d}.json", {"spacing": [2.0, 0.5]})
    assert check(tmp_path) == []
    np.testing.assert_array_equal(load("nnunet", tmp_path).train.spacing[0], [2.0, 0.5])
    path = tmp_path / "labelsTr" / "case_001.json"
    for content, message, fatal in (
        ({"spacing": [1.0, 0.5]}, r"differ in spacing: (1.0, 0.5) and (2.0, 0.5) mm", True),
        ({"spacing": [1, 0]}, "case_001.json gives the spacing [1, 0]", True),
        ({"spacing": "wide"}, "case_001.json gives the spacing 'wide'", True),
        ({"spacing": [1]}, "case_001.json gives the spacing [1]", True),
        ({"shapes": []}, "labelsTr/case_001.json lies beside a TIFF file and gives no spacing", False),
        (None, "labelsTr/case_001.json gives none: nnU-Net takes 1", False),
    ):
        files.write_json(path, content) if content else path.unlink()
        rows = check(tmp_path)
        assert message in rows[0].what and all(row.fatal == fatal for row in rows), rows


# -- geometry between files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.diag([3.0, 1, 2, 1]), r"differ in spacing: \(1.0, 1.0, 1.0\) and \(3.0, 1.0, 2.0\) mm"),
        (np.diag([-1.0, 1, 1, 1]), "differ in affine: their corners lie up to 11 mm apart"),
        (np.array([[1.0, 0, 0, 70], [0, 1, 0, -40], [0, 0, 1, 9], [0, 0, 0, 1]]), "differ in affine: .* mm apart"),
        (np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "differ in shape"),
    ],
)
def test_channels_on_other_grids_are_named(tmp_path, affine, message):
    pytest.importorskip("nibabel")
    files.nnunet(tmp_path, cases=5, channels=2)
    for i in range(5):
        image = files.blob(100 * i + 1, (12, 10, 8))[0].astype(np.float32)
        files.nifti(tmp_path / "imagesTr" / f"case_{i:03d}_0001.nii.gz", image, affine)
    rows = check(tmp_path)
    assert len(rows) == 5 and all(row.fatal and "_0000.nii.gz" in row.what and "_0001" in row.what for row in rows)
    with pytest.raises(DataError, match=f"5 cases: the channels of case_000 {message}"):
        load("nnunet", tmp_path)


@pytest.mark.parametrize(("image_ending", "mask_ending"), [(".png", ".nii.gz"), (".nii.gz", ".png")])
def test_geometry_on_one_side_alone_is_a_row(tmp_path, image_ending, mask_ending):
    pytest.importorskip("nibabel")
    for i in range(5):
        for folder, ending, array in zip(
            ("images", "labels"), (image_ending, mask_ending), files.blob(i, (20, 20)), strict=True
        ):  # fmt: skip
            write = files.nifti if ending == ".nii.gz" else files.picture
            write(tmp_path / folder / f"{i}{ending}", array)
    rows = check(tmp_path)
    assert len(rows) == 5 and not any(row.fatal for row in rows)
    assert f"0.png has no geometry, {tmp_path}" in rows[0].what


# -- archives ---------------------------------------------------------------------------------------------------------

IMAGES = np.random.default_rng(0).random((4, 8, 8)).astype(np.float32)
LABELS = (IMAGES > 0.5).astype(np.int64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.float32(1), "label": np.int32(1)}, r"images are \(\), expected \[n, height, width\]"),
        ({"image": IMAGES[0], "label": LABELS[0]}, r"images are \(8, 8\), expected"),
        ({"label": np.full(LABELS.shape, "a")}, "labels are <U1, expected real numbers"),
        ({"image": np.full(LABELS.shape, "a")}, "images are <U1, expected real numbers"),
        ({"image": 1j * IMAGES}, "images are complex64"),
        ({"image": IMAGES[:, :0], "label": LABELS[:, :0]}, "they hold no pixel"),
        ({"label": LABELS.astype(object)}, "holds Python objects"),
        ({"label": LABELS << 33}, "labels reach 8589934592, expected whole numbers up to 2147483647"),
        ({"label": LABELS.astype(np.uint64) << np.uint64(63)}, "labels reach 9223372036854775808"),
        ({"label": LABELS * 1e30}, "labels reach 1"),
        ({"mask": LABELS}, "holds label and mask, expected one of them"),
        ({"subject": np.zeros((4, 2))}, r"an array \(4, 2\) of subjects for 4 images"),
    ],
)
def test_archives_of_other_arrays_are_refused(tmp_path, change, message):
    np.savez(tmp_path / "set.npz", **({"image": IMAGES, "label": LABELS} | change))
    with pytest.raises(DataError, match=message):
        check(tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.where(LABELS, np.nan, 0.0), "labels that are not finite"),
        (0.5 * LABELS, "labels that are no whole numbers"),
        (-LABELS, "labels outside the map: -1"),
    ],
)
def test_labels_that_are_none_are_problems_of_their_case(tmp_path, labels, message):
    np.savez(tmp_path / "set.npz", image=IMAGES, label=labels)
    assert all(row.fatal and message in row.what for row in check(tmp_path))
    np.savez(tmp_path / "set.npz", image=IMAGES, label=LABELS * np.array([1, 255, 1, 255])[:, None, None])
    assert [row.what for row in check(tmp_path)] == ["masks are on 2 scales: 1 (set[0], set[2]); 255 (set[1], set[3])"]
    np.savez(tmp_path / "set.npz", image=IMAGES, label=LABELS > 0)
    assert check(tmp_path) == []
