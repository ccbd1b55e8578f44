import json

import numpy as np
import pytest
import segmentation_files as files
import tifffile
from pixel_files import packed, png
from segmentation_files import blob, picture, whole, write_json

from hyperlab.data import load
from hyperlab.data.check import check
from hyperlab.data.layouts import detect
from hyperlab.data.readers.cases import subject_of
from hyperlab.data.readers.cohorts import list_oasis
from hyperlab.data.readers.nnunet import list_nnunet
from hyperlab.data.splits import check_splits
from hyperlab.errors import DataError

pytestmark = pytest.mark.fast
pytest.importorskip("nibabel", reason="the extra 'medical' is not installed")


# -- nnU-Net ------------------------------------------------------------------------------------------------------


def test_nnunet(tmp_path):
    files.nnunet(tmp_path, cases=10, channels=2)
    layout = detect(tmp_path)
    assert (layout.kind, len(layout.cases), layout.problems) == ("nnunet", 10, ())
    assert layout.classes == {0: "background", 1: "left", 2: "right"}
    splits = load("nnunet", tmp_path)
    assert splits.image_shape == (12, 10, 8, 2) and splits.classes == ("background", "left", "right")
    found = whole(splits)
    for i in range(10):
        image = files.blob(100 * i, (12, 10, 8))[0]
        np.testing.assert_array_equal(found["labels"][i], files.blob(100 * i + 1, (12, 10, 8))[1])
        low, high = np.percentile(image, (0.5, 99.5))
        np.testing.assert_allclose(found["images"][i, ..., 0], np.clip((image - low) / (high - low), 0, 1), atol=1e-5)
    assert found["names"].tolist() == [f"case_{i:03d}" for i in range(10)]
    np.testing.assert_array_equal(found["spacing"], 1)
    check_splits(splits)


def test_nnunet_of_pictures_with_a_test_part(tmp_path):
    files.nnunet(tmp_path, cases=8, test=3, shape=(16, 18), ending=".png")
    splits = load("nnunet", tmp_path)
    assert splits.test.names.tolist() == ["case_008", "case_009", "case_010"] and len(splits.validation) == 2
    np.testing.assert_array_equal(splits.test.images[0, ..., 0], files.blob(800, (16, 18))[0] / np.float32(255))
    assert splits.train.spacing is None


def test_version_1_of_the_json_is_read_and_reported(tmp_path):
    labels = {"0": "background", "1": "left", "2": "right"}
    files.nnunet(tmp_path, channel_names=None, file_ending=None, modality={"0": "CT"}, labels=labels, numTraining=7)
    layout = detect(tmp_path)
    assert layout.classes == {0: "background", 1: "left", 2: "right"} and len(layout.cases) == 8
    what = [problem.what for problem in layout.problems]
    assert "has no file_ending (version 1?)" in what[0] and "numTraining 7, imagesTr holds 8" in what[1]
    assert not any(problem.fatal for problem in layout.problems)
    assert len(load("nnunet", tmp_path).train) == 5


def test_labels_that_are_not_consecutive_are_renumbered(tmp_path):
    files.nnunet(tmp_path, labels={"background": 0, "far": 5, "near": 1})
    for i in range(8):
        mask = files.blob(100 * i, (12, 10, 8))[1]
        files.nifti(tmp_path / "labelsTr" / f"case_{i:03d}.nii.gz", np.array([0, 1, 5], np.uint8)[mask])
    splits = load("nnunet", tmp_path)
    assert splits.classes == ("background", "near", "far")
    np.testing.assert_array_equal(whole(splits)["labels"][3], files.blob(300, (12, 10, 8))[1])
    assert "declares the labels 0, 1, 5" in detect(tmp_path).problems[0].what


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda r: (r / "imagesTr/case_003_0001.nii.gz").unlink(), r"case_003_0001.nii.gz does not exist; every case"),
        (lambda r: (r / "labelsTr/case_003.nii.gz").unlink(), r"labelsTr/case_003.nii.gz does not exist; bring"),
        (lambda r: [p.unlink() for p in r.glob("imagesTr/case_003*")], r"case_003.nii.gz has no image in imagesTr"),
        (lambda r: (r / "imagesTr/case_003_0001.nii.gz").rename(r / "imagesTr/x.nii.gz"), "x.nii.gz is not named"),
        (lambda r: files.nifti(r / "imagesTr/case_003_0002.nii.gz", np.zeros((4, 4, 4))), "channel_names does not"),
        (lambda r: [p.unlink() for p in r.glob("*/*.gz")], r"imagesTr is empty; put <case>_0000.ext files there"),
        (lambda r: (r / "dataset.json").write_text("{"), r"dataset.json is not JSON"),
        (lambda r: (r / "dataset.json").write_text("[]"), r"dataset.json holds a list"),
        (lambda r: (r / "dataset.json").unlink(), r"dataset.json does not exist"),
        (lambda r: files.write_json(r / "dataset.json", {"labels": {"a": 0}}), "has no channel_names"),
        (lambda r: files.write_json(r / "dataset.json", {"channel_names": {"0": "a"}}), "has no labels"),
    ],
)  # fmt: skip
def test_what_is_missing_from_nnunet_is_named(tmp_path, harm, message):
    harm(files.nnunet(tmp_path, channels=2))
    with pytest.raises(DataError, match=message):
        load("nnunet", tmp_path)


def test_regions_and_ignore_labels_are_refused(tmp_path):
    files.nnunet(tmp_path, labels={"background": 0, "whole": [1, 2], "core": 2})
    with pytest.raises(DataError, match=r"label 'whole' is the region \[1, 2\]"):
        list_nnunet(tmp_path)
    files.nnunet(tmp_path, labels={"background": 0, "a": 1, "ignore": 2})
    with pytest.raises(DataError, match="declares an ignore label, which would be trained as a class"):
        load("nnunet", tmp_path)


# -- Decathlon ----------------------------------------------------------------------------------------------------


def test_decathlon(tmp_path):
    files.decathlon(tmp_path)
    (tmp_path / "imagesTr" / "._organ_000.nii.gz").write_bytes(b"a Mac leaves these")
    layout = detect(tmp_path)
    assert (layout.kind, len(layout.cases), layout.problems) == ("decathlon", 10, ())
    splits = load("decathlon", tmp_path, size=(16, 16, 8), fit="centre")
    assert splits.image_shape == (16, 16, 8, 1) and splits.classes == ("background", "left", "right")
    found = whole(splits)
    assert len(found["names"]) == 8  # test images have no masks
    np.testing.assert_array_equal(found["labels"][2][2:14, 3:13], files.blob(2, (12, 10, 8))[1])
    assert found["labels"].sum() == sum(int(files.blob(i, (12, 10, 8))[1].sum()) for i in range(8))


def test_missing_files_that_the_json_names_are_listed(tmp_path):
    files.decathlon(tmp_path)
    for name in ("imagesTr/organ_001.nii.gz", "labelsTr/organ_004.nii.gz", "imagesTs/organ_009.nii.gz"):
        (tmp_path / name).unlink()
    with pytest.raises(DataError) as error:
        load("decathlon", tmp_path)
    message = str(error.value)
    assert message.startswith(f"{tmp_path} has 3 problems:")
    for name in ("imagesTr/organ_001.nii.gz", "labelsTr/organ_004.nii.gz", "imagesTs/organ_009.nii.gz"):
        assert f"dataset.json names {tmp_path / name}, which does not exist" in message
    files.decathlon(tmp_path / "new", numTraining=265)
    (problem,) = detect(tmp_path / "new").problems
    assert problem.what == "dataset.json states numTraining 265 and lists 8 training cases" and not problem.fatal
    files.decathlon(tmp_path / "bad", training=[{"image": "a"}])
    with pytest.raises(DataError, match="expected an image and a label"):
        detect(tmp_path / "bad")


# -- pairs and archives -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/{}.png", "labels/{}.png"),
        ("image/{}.jpg", "masks/{}_mask.png"),
        ("train/imgs/{}.tif", "train/mask/{}.png"),
        ("img/{}_0000.png", "gt/{}.png"),
        ("{}.bmp", "{}.png"),
        ("{}.jpg", "{}_gt.png"),
        ("{}.png", "{}-seg.png"),
        ("Set 1/{}.jpg", "Set 1/{}_1stHO.png"),
    ],
)
def test_pairs_in_folders(tmp_path, image, mask):
    for i in range(10):
        pixels, labels = files.blob(i, (20, 22), labels=2)
        files.picture(tmp_path / image.format(f"p{i:02d}"), pixels)
        files.picture(tmp_path / mask.format(f"p{i:02d}"), labels * np.uint8(255))
    layout = detect(tmp_path)
    assert layout.kind == "folder" and len(layout.cases) == 10 and layout.problems == ()
    splits = load("folder", tmp_path, classes=("background", "thing"))
    found = whole(splits)
    assert splits.classes == ("background", "thing")
    for i in range(10):
        np.testing.assert_array_equal(found["labels"][i], files.blob(i, (20, 22), labels=2)[1])
    assert load("folder", tmp_path).classes == ("background", "value 255")
    with pytest.raises(DataError, match=r"1 classes \('x',\) for the 2 mask values \[0, 255\]"):
        load("folder", tmp_path, classes=("x",))


@pytest.mark.parametrize("suffix", ["_1stHO", "_2ndHO"])
def test_one_of_several_annotators_is_named(tmp_path, suffix):
    files.retinas(tmp_path)
    assert "28 images have several masks each" in detect(tmp_path).problems[0].what
    layout = detect(tmp_path, mask_suffix=suffix)
    assert [case.label.name for case in layout.cases[:2]] == [f"Image_01L{suffix}.png", f"Image_01R{suffix}.png"]
    assert len(layout.cases) == 28 and len({case.subject for case in layout.cases}) == 14 and layout.problems == ()


def test_parts_of_a_folder(tmp_path):
    for start, (part, count) in enumerate((("train", 6), ("val", 2), ("test", 3))):
        for i in range(count):
            pixels, labels = files.blob(100 * start + i, (20, 22))
            files.picture(tmp_path / part / "images" / f"{part}{i}.png", pixels)
            files.picture(tmp_path / part / "labels" / f"{part}{i}.png", labels)
    splits = load("folder", tmp_path)
    assert splits.test.names.tolist() == ["test0", "test1", "test2"]
    assert len(splits.train) + len(splits.validation) == 8


def test_several_folders_of_pairs_keep_their_names_apart(tmp_path):
    files.wbc(tmp_path / "a", cases=9)
    (tmp_path / "a" / "Dataset 1").rename(tmp_path / "Dataset 1")
    files.wbc(tmp_path / "b", cases=9)
    (tmp_path / "b" / "Dataset 1").rename(tmp_path / "Dataset 2")
    cases = detect(tmp_path).cases
    assert len(cases) == 18 and cases[0].name == "Dataset 1/001" and cases[-1].name == "Dataset 2/009"


def test_masks_and_images_without_a_partner_are_named(tmp_path):
    for i in range(4):
        files.picture(tmp_path / "images" / f"{i}.png", files.blob(i, (20, 22))[0])
        files.picture(tmp_path / "masks" / f"{i + 1}.png", files.blob(i, (20, 22))[1])
    with pytest.raises(DataError, match=r"(?s)images/0.png has no mask in .*masks; bring 0.png.*4.png has no image"):
        load("folder", tmp_path)
    for folder in ("empty", "empty2/images", "empty2/labels"):
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(DataError, match=r"empty holds no pairs of image and mask; expected one of the folders images"):
        load("folder", tmp_path / "empty")
    with pytest.raises(DataError, match=r"empty2/images is empty"):
        load("folder", tmp_path / "empty2")
    with pytest.raises(DataError, match=r"nowhere does not exist"):
        detect(tmp_path / "nowhere")


def test_npz(tmp_path):
    images, labels = zip(*[files.blob(i, (10, 12)) for i in range(12)], strict=True)
    subjects = np.arange(12) // 2
    np.savez(tmp_path / "set.npz", images=np.stack(images), masks=np.stack(labels), subject=subjects)
    splits = load("npz", tmp_path / "set.npz")
    found = whole(splits)
    np.testing.assert_array_equal(found["labels"], np.stack(labels))
    np.testing.assert_array_equal(found["images"][..., 0], np.stack(images) / np.float32(255))
    np.testing.assert_array_equal(found["groups"] // 2, subjects)
    assert found["names"][0] == "set[00]" and detect(tmp_path).kind == "npz"
    for arrays, message in (
        ({"image": np.zeros((3, 4, 4))}, "needs an array image or images and one label"),
        ({"image": np.zeros((3, 4, 4)), "label": np.zeros((2, 4, 4), int)}, "as many labels as images"),
        ({"image": np.zeros((0, 4, 4)), "label": np.zeros((0, 4, 4), int)}, "holds no case"),
        ({"image": np.zeros((3, 4, 4)), "label": np.zeros((3, 4, 4), int), "subject": [1]}, "1 subjects for 3"),
    ):
        np.savez(tmp_path / "set.npz", **arrays)
        with pytest.raises(DataError, match=message):
            load("npz", tmp_path)


# shapes of images and masks without their number | what a case becomes | which program writes it
FORMS = [
    ((10, 12), (10, 12), (10, 12, 1), "plain arrays"),
    ((10, 12, 3), (10, 12), (10, 12, 3), "colours"),
    ((10, 12, 3), (10, 12, 1), (10, 12, 3), "Keras keeps a channel axis in masks"),
    ((10, 12, 1), (10, 12, 1), (10, 12, 1), "the same of grey images"),
    ((10, 12, 4), (10, 12, 4), (10, 12, 4, 1), "volumes"),
]


@pytest.mark.parametrize("form", ["npz", "npy"])
@pytest.mark.parametrize(("image", "mask", "read", "source"), FORMS)
def test_axes_of_arrays_are_told_by_their_masks(tmp_path, form, image, mask, read, source):
    values = np.random.default_rng(0).random((12, *image)).astype(np.float32)
    labels = np.random.default_rng(1).integers(0, 2, (12, *mask))
    if form == "npz":
        np.savez(tmp_path / "set.npz", images=values, masks=labels)
    for part, arrays in (("images", values), ("masks", labels)) if form == "npy" else ():
        (tmp_path / part).mkdir()
        for i, array in enumerate(arrays):
            np.save(tmp_path / part / f"{i:02d}.npy", array)
    assert check(tmp_path) == []
    found = whole(load("npz" if form == "npz" else "folder", tmp_path, normalize="none"))
    assert found["images"].shape == (12, *read)
    np.testing.assert_array_equal(found["images"].ravel(), values.ravel())
    np.testing.assert_array_equal(found["labels"].ravel(), labels.ravel())


# -- cohorts ------------------------------------------------------------------------------------------------------


def test_oasis_in_two_and_three_dimensions(tmp_path):
    files.oasis(tmp_path)
    splits = load("oasis", tmp_path)
    assert splits.image_shape == (16, 20, 1) and splits.classes[1:3] == ("cortex", "subcortical grey matter")
    np.testing.assert_array_equal(whole(splits)["labels"][0], files.blob(1, (16, 20, 1), labels=5)[1][..., 0])
    volumes = load("oasis", tmp_path, dims=3, labels=35, size=(8, 10, 6))
    assert volumes.image_shape == (8, 10, 6, 1) and len(volumes.classes) == 36
    np.testing.assert_allclose(volumes.train.spacing, 2)
    assert detect(tmp_path).kind == "oasis" and detect(tmp_path).cases[0].subject == "OAS1_0001"
    with pytest.raises(DataError, match="no 35 labels in 2 dimensions"):
        list_oasis(tmp_path, dims=2, labels=35)
    (tmp_path / "OASIS_OAS1_0003_MR1" / "slice_seg4.nii.gz").unlink()
    (tmp_path / "OASIS_OAS1_0099_MR1").mkdir()
    with pytest.raises(
        DataError, match=r"(?s)0003_MR1/slice_seg4.nii.gz does not exist.*0099_MR1 is an empty case folder"
    ):
        load("oasis", tmp_path)


def test_camus(tmp_path):
    files.camus(tmp_path)
    splits = load("camus", tmp_path, size=32)
    assert splits.image_shape == (32, 32, 1) and splits.classes[1] == "left ventricle"
    assert sum(len(part) for part in splits.parts().values()) == 20
    for part in splits.parts().values():  # the four images of a patient stay together
        patients = {name.split("_")[0] for name in part.names}
        assert len(part) == 4 * len(patients) == 4 * len(np.unique(part.groups))
    first = whole(splits)
    np.testing.assert_allclose(first["spacing"][0], [0.3 * 21 / 32, 0.15 * 24 / 32], rtol=1e-5)
    assert sum(map(len, load("camus", tmp_path, views=["2CH"]).parts().values())) == 10
    (tmp_path / "patient0002" / "patient0002_4CH_ES_gt.nii.gz").unlink()
    (tmp_path / "patient0077").mkdir()
    with pytest.raises(
        DataError, match=r"(?s)patient0002_4CH_ES_gt.nii.gz does not exist.*patient0077 is an empty case"
    ):
        load("camus", tmp_path)


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("OASIS_OAS1_0042_MR1", "OAS1_0042"),
        ("sub-A7_ses-01_T1w", "sub-A7"),
        ("Patient 12_scan", "Patient 12"),
        ("Image_14R", "Image_14"),
        ("eye12_left", "eye12"),
        ("case_7_slice_003", "case_7"),
        ("brain_t2", "brain"),
        ("hippocampus_375", "hippocampus scan 188"),
        ("hippocampus_376", "hippocampus scan 188"),
        ("plain", "plain"),
        ("0007", "0007"),
    ],
)
def test_subjects_are_guessed_from_names(name, subject):
    assert subject_of(name) == subject


def test_the_json_is_left_alone(tmp_path):
    files.nnunet(tmp_path)
    before = json.loads((tmp_path / "dataset.json").read_text())
    load("nnunet", tmp_path)
    assert json.loads((tmp_path / "dataset.json").read_text()) == before


def test_palettes_that_differ_between_masks_are_a_problem(tmp_path):
    """A tool may order the colours of a palette anew in every file; the indices are then no labels."""
    indices, black, red, blue = np.arange(12).reshape(3, 4) % 3, [0, 0, 0], [200, 0, 0], [0, 0, 200]
    for i, colours in enumerate([[black, red, blue]] * 4 + [[black, blue, red]]):
        picture(tmp_path / "images" / f"{i}.png", np.full((3, 4), 10 * i, np.uint8) + indices.astype(np.uint8))
        (tmp_path / "labels").mkdir(exist_ok=True)
        png(tmp_path / "labels" / f"{i}.png", packed(indices, 2), 4, 2, 3, bytes(sum(colours, [])))
    rows = [problem for problem in check(tmp_path) if problem.fatal]
    assert [row.what for row in rows] == [
        "label 1 is drawn in (200, 0, 0) in 0.png and in (0, 0, 200) in 4.png: their palettes differ"
    ]
    with pytest.raises(DataError, match="their palettes differ; save all masks with one palette"):
        load("folder", tmp_path)


# tifffile 2026.3.3 writes 3 or 4 planes of 8 bits as those of colours, where it is not told otherwise
@pytest.mark.parametrize(("planes", "kind"), [(6, "minisblack"), (3, "rgb"), (4, "rgb")])
def test_a_tiff_stack_with_spacings_beside_it_is_a_volume(tmp_path, planes, kind):
    """nnU-Net keeps volumes as TIFF stacks with `{"spacing": [z, y, x]}` in CASE.json (its Tiff3DIO)."""
    more = {"planarconfig": "separate"} if kind == "rgb" else {}
    for i in range(5):
        image, mask = blob(i, (planes, 12, 10))
        for part, name, values in (("imagesTr", f"c{i}_0000.tif", image), ("labelsTr", f"c{i}.tif", mask)):
            (tmp_path / part).mkdir(exist_ok=True)
            tifffile.imwrite(tmp_path / part / name, values.astype(np.uint8), photometric=kind, **more)
            write_json(tmp_path / part / f"c{i}.json", {"spacing": [3.0, 1.0, 0.5]})
    write_json(tmp_path / "dataset.json", {"channel_names": {"0": "EM"}, "labels": {"background": 0, "a": 1, "b": 2},
                                           "numTraining": 5, "file_ending": ".tif"})  # fmt: skip
    assert [problem.what for problem in check(tmp_path) if problem.fatal] == []
    train = load("nnunet", tmp_path).train
    assert train.images.shape[1:] == (planes, 12, 10, 1)
    np.testing.assert_array_equal(train.spacing[0], [3.0, 1.0, 0.5])
    image, mask = blob(int(train.names[0][1:]), (planes, 12, 10))
    np.testing.assert_array_equal(train.labels[0], mask)
    for json_file in (tmp_path / "labelsTr").glob("*.json"):
        json_file.unlink()
    for json_file in (tmp_path / "imagesTr").glob("*.json"):
        json_file.unlink()
    with pytest.raises(DataError, match=r"holds 6 pages, expected one image|is a colour image"):
        load("nnunet", tmp_path)
