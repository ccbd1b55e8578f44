"""Which file is the mask: published forms of folders, and what is asked where names do not say it."""

from pathlib import Path

import numpy as np
import pytest
import segmentation_files as files

from hyperlab.cli import segment
from hyperlab.data import load
from hyperlab.data.check import check, examine, main
from hyperlab.data.layouts import detect, read_case
from hyperlab.data.problems import grouped
from hyperlab.data.readers.masks import owned
from hyperlab.errors import DataError

pytestmark = pytest.mark.fast
SHAPE = (20, 22)


def box(i, value=255):
    mask = np.zeros(SHAPE, np.uint8)
    mask[1 + i % 9 : 8 + i % 9, 3:15] = value
    return mask


def write(root, names, cases=6, start=0):
    """Files by patterns; a pattern with `mask`, `label`, `manual` or `HO` in it is a mask, another for each pattern."""
    for i in range(start, start + cases):
        for seed, name in enumerate(names):
            is_mask = any(word in name for word in ("mask", "abel", "manual", "HO", "gt"))
            pixels = box(i + 3 * seed) if is_mask else files.blob(100 * seed + i, SHAPE)[0]
            files.picture(root / name.format(i), pixels)
    return root


# HRF and DRIVE (field of view in `mask`), two tools' masks, CHASE_DB1 (two annotators), BUSI, DRIVE saved as PNG
FOLDERS = {
    "hrf": (["images/{:02d}_dr.jpg", "manual1/{:02d}_dr.tif", "mask/{:02d}_dr_mask.tif"], {"masks": "manual1"}),
    "two": (["images/{}.png", "labels/{}.png", "masks/{}.png"], {"masks": "masks"}),
    "drive": (["training/images/2{}_training.tif", "training/1st_manual/2{}_manual1.png",
               "training/mask/2{}_training_mask.png"], {"masks": "1st_manual"}),
    "chase": (["Image_0{}L.jpg", "Image_0{}L_1stHO.png", "Image_0{}L_2ndHO.png"], {"mask_suffix": "_2ndHO"}),
    "beside": (["images/{}.png", "labels/{}_manual1.png", "labels/{}_manual2.png"], {"mask_suffix": "_manual2"}),
    "words": (["{}.png", "{}_gt.png", "{}_x.png"], {"mask_suffix": "_gt"}),
}  # fmt: skip


@pytest.mark.parametrize("form", FOLDERS)
def test_what_names_leave_open_is_asked_for_and_the_answer_is_taken(tmp_path, form, capsys):
    names, answer = FOLDERS[form]
    write(tmp_path, names)
    ((option, value),) = answer.items()
    index = next(place for place, name in enumerate(names) if value in name)
    (question,) = [problem for problem in check(tmp_path) if problem.fatal]
    typed = f"--{option.replace('_', '-')}"
    assert typed in question.fix and value in question.fix and f"--config.data.{option}" in question.fix
    with pytest.raises(DataError, match=f"{typed} .*{value}"):
        load("folder", tmp_path)
    layout = detect(tmp_path, **answer)
    assert [case.label for case in layout.cases] == [tmp_path / names[index].format(i) for i in range(6)]
    assert len(load("folder", tmp_path, **answer).train.labels) == 4
    assert main([str(tmp_path), typed, value]) == 0
    with pytest.raises(DataError, match=f"{option}='nothing'"):
        detect(tmp_path, **{option: "nothing"})
    assert segment.load_support(tmp_path, "auto", False, **answer)[2] == (255,)
    with pytest.raises(DataError, match=typed):
        segment.load_support(tmp_path, "auto", False)


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (["images/{}.png", "manual1/{}.png"], "manual1/0.png"),  # HRF without its fields of view
        (["images/{}.png", "overlays/{}.jpg", "labels/{}.png"], "labels/0.png"),  # JPEG files are no masks
        (["images/{}.tif", "images/{}_cp_masks.png"], "images/0_cp_masks.png"),
        (["{}.tif", "{}_cp_masks.tif"], "0_cp_masks.tif"),
        (["{}.jpg", "{}.png"], "0.png"),
        (["img/img000{}.png", "label/label000{}.png"], "label/label0000.png"),  # BTCV
        (["images/{}.png", "masks/mask_{}.png"], "masks/mask_0.png"),
        (["volume-{}.png", "labels-{}.png"], "labels-0.png"),  # LiTS
        (["case{}_image.png", "case{}_label.png"], "case0_label.png"),
        (["Images/{}.tif", "Labels/{}.tif"], "Labels/0.tif"),
        (["a{}.png", "a{}_mask.png", "a{}_left.png", "a{}_left_mask.png"], "a0_mask.png"),
    ],
)
def test_names_that_say_it_are_enough(tmp_path, names, label):
    write(tmp_path, names)
    if names[-1] == "{}.png":
        for i in range(6):
            files.picture(tmp_path / f"{i}.png", box(i))
    layout = detect(tmp_path, **({"mask_suffix": "_mask"} if "a{}_left.png" in names else {}))
    assert layout.problems == () and layout.cases[0].label == tmp_path / label
    assert len(layout.cases) == (12 if len(names) == 4 else 6)


def test_jpeg_masks_are_not_passed_over_for_what_lies_beside(tmp_path):
    write(tmp_path, ["images/{}.png", "masks/{}.jpg", "grey/{}.png"])
    assert "--masks grey or masks" in detect(tmp_path).problems[0].fix


@pytest.mark.parametrize("channels", [("_flair", "_t1", "_t1ce", "_t2"), ("-t1n", "-t1c")])
def test_a_mask_beside_several_channels_is_asked_about(tmp_path, channels):
    """BraTS keeps a folder for each subject; `t1ce` is no mask of `t1`, though its name begins so."""
    for i in range(5):
        name = f"BraTS_{i:03d}"
        for seed, channel in enumerate((*channels, channels[0][0] + "seg")):
            pixels = box(i) if "seg" in channel else files.blob(10 * seed + i, SHAPE)[0]
            files.picture(tmp_path / name / f"{name}{channel}.png", pixels)
    layout = detect(tmp_path)
    assert layout.cases == () and len(layout.problems) == 5
    ((who, row),) = grouped(layout.problems)
    assert (
        who == "5 cases" and f"BraTS_000{channels[1]}.png" in row.what and "BraTS_000_0000, BraTS_000_0001" in row.fix
    )
    with pytest.raises(DataError, match="one mask beside several files"):
        segment.load_support(tmp_path, "auto", False)


def test_one_mask_of_several_images_is_a_row(tmp_path):
    """The channels of an nnU-Net folder without its `dataset.json`."""
    write(tmp_path, ["imagesTr/c{}_0000.png", "imagesTr/c{}_0001.png", "labelsTr/c{}.png"])
    rows = [row for row in check(tmp_path) if "is the mask of 2 images: c0_0000.png, c0_0001.png" in row.what]
    assert len(rows) == 1 and not rows[0].fatal and "dataset.json" in rows[0].fix


def test_folders_inside_the_folder_of_images_are_named(tmp_path):
    write(tmp_path, ["images/train/{}.png", "masks/train/{}.png"])
    (row,) = detect(tmp_path).problems
    assert "images holds folders (train) and no images" in row.what and "train/images" in row.fix


def test_names_of_a_mac_are_those_of_others(tmp_path):
    """Unicode normalization: NFD as macOS writes it, NFC as others do."""
    write(tmp_path, ["images/a\u0308{}.png", "labels/\xe4{}.png"])
    assert len(detect(tmp_path).cases) == 6 and check(tmp_path) == []


@pytest.mark.parametrize(
    ("values", "rows"),
    [
        ((0, 128, 255), 0),  # greys that stand for classes
        ((*range(12), 255), 0),  # classes, and 255 for what is ignored (Cityscapes)
        ((0, *range(100, 110), 255), 1),  # an edge that was interpolated
    ],
)
def test_greys_between_the_labels_are_a_row(tmp_path, values, rows):
    write(tmp_path, ["images/{}.png"], cases=4)
    for i in range(4):
        mask = np.array(values, np.uint8)[np.random.default_rng(i).integers(0, len(values), SHAPE)]
        files.picture(tmp_path / "labels" / f"{i}.png", mask)
    found = [row for row in check(tmp_path) if "resampled with interpolation" in row.what]
    assert len(found) == rows and not any(row.fatal for row in found)


def test_images_taken_for_masks_are_a_row(tmp_path):
    write(tmp_path, ["images/{}.png"], cases=4)
    for i in range(4):
        files.picture(tmp_path / "labels" / f"{i}.png", files.blob(50 + i, SHAPE)[0])
    (row,) = check(tmp_path)
    assert "values: are they maps of instances, or images?" in row.what and not row.fatal


def test_colour_pictures_are_no_masks(tmp_path):
    write(tmp_path, ["images/{}.png", "labels/{}.png"])
    for i in range(6):
        files.picture(tmp_path / "overlays" / f"{i}.png", np.stack([files.blob(i + c, SHAPE)[0] for c in range(3)], -1))
    assert detect(tmp_path).cases[0].label.parent.name == "labels" and check(tmp_path) == []


def test_further_objects_of_an_image_are_united(tmp_path):
    """BUSI keeps a second lesion as `benign (100)_mask_1.png`; the union of both is the truth."""
    write(tmp_path, ["benign ({}).png", "benign ({})_mask.png"])
    first, second = box(5), np.roll(box(5), 7, 0)
    files.picture(tmp_path / "benign (2)_mask_1.png", second)
    (case,) = [case for case in detect(tmp_path).cases if case.more_labels]
    np.testing.assert_array_equal(read_case(case)[1].values, np.maximum(first, second))
    assert detect(tmp_path, mask_suffix="_mask").cases == detect(tmp_path).cases and check(tmp_path) == []
    found = {
        name: label for part in load("folder", tmp_path).parts().values()
        for name, label in zip(part.names, part.labels, strict=True)
    }  # fmt: skip
    assert found["benign (2)"].sum() == 2 * found["benign (3)"].sum()
    for wrong, message in (
        (box(5, 128), "give one pixel two labels, and both are masks of benign (2)"),
        (second[1:], "differ in shape: (19, 22) and (20, 22)"),
    ):
        files.picture(tmp_path / "benign (2)_mask_1.png", wrong)
        assert message in next(row.what for row in check(tmp_path) if row.fatal)


@pytest.mark.parametrize("second", ["{}_mask_1.png", "{}_2ndHO.png", "{}_seg.npy"])
def test_a_second_mask_is_no_image_without_mask(tmp_path, second):
    """BUSI, CHASE_DB1 and Cellpose (whose `_seg.npy` is a pickled dictionary) keep more than one file of a mask."""
    first = {"{}_2ndHO.png": "{}_1stHO.png"}.get(second, "{}_mask.png")
    write(tmp_path, ["x{}.tif", "x" + first], cases=4)
    for i in range(4):
        path = tmp_path / ("x" + second).format(i)
        if path.suffix == ".npy":
            np.save(path, {"masks": box(i)}, allow_pickle=True)
        else:
            files.picture(path, box(i))
    files.picture(tmp_path / "x9.tif", files.blob(9, SHAPE)[0])
    assert segment.without_mask(tmp_path) == [tmp_path / "x9.tif"]


def test_numbered_masks_without_a_first_one_are_asked_for(tmp_path):
    """They may be objects, classes or annotators; their common tail says that they are parts of one mask."""
    write(tmp_path, ["x{}.png", "x{}_mask_0.png", "x{}_mask_1.png"])
    assert "--mask-suffix _mask_0 or _mask_1" in detect(tmp_path).problems[0].fix
    assert detect(tmp_path, mask_suffix="_mask_1").cases[0].label == tmp_path / "x0_mask_1.png"
    (case, *_) = detect(tmp_path, mask_suffix="_mask").cases
    assert [case.label.name, *(path.name for path in case.more_labels)] == ["x0_mask_0.png", "x0_mask_1.png"]


def test_objects_of_cellpose_alone_are_not_read(tmp_path):
    write(tmp_path, ["x{}.tif"])
    for i in range(6):
        np.save(tmp_path / f"x{i}_seg.npy", {"masks": box(i)}, allow_pickle=True)
    rows = check(tmp_path)
    assert len(rows) == 6 and "x0_seg.npy holds Python objects" in rows[0].what and rows[0].fatal
    assert "x0_masks.png" in rows[0].fix


@pytest.mark.parametrize(
    ("names", "twin"),
    [
        (["images/{}.png", "labels/{}.png"], "images/0.tif"),
        (["images/{}.png", "labels/{}.png"], "labels/0.tif"),
        (["train/images/{}.png", "train/labels/{}.png"], "train/images/0.bmp"),
        (["{}.bmp", "{}_mask.png"], "0.tif"),
        (["Set 1/{}.bmp", "Set 1/{}_mask.png"], "Set 1/0.tif"),
        (["Set 1/{}.bmp", "Set 1/{}_mask.png"], "Set 1/0_mask.tif"),
    ],
)
def test_two_files_of_one_name_are_a_problem(tmp_path, names, twin):
    write(tmp_path, names)
    files.picture(tmp_path / twin, files.blob(1, SHAPE)[0])
    (row,) = [row for row in check(tmp_path) if row.fatal]
    assert "two files of one name" in row.what and str(tmp_path / twin) in row.what


def test_images_of_one_name_are_not_segmented_over_each_other(tmp_path):
    write(tmp_path, ["images/{}.png", "labels/{}.png"])
    for name in ("9.png", "9.bmp"):
        files.picture(tmp_path / "images" / name, files.blob(9, SHAPE)[0])
    with pytest.raises(DataError, match="9.bmp and .*9.png are two files of one name"):
        segment.load_support(tmp_path, "auto", False)


def test_a_mask_of_an_image_that_is_missing_is_no_second_mask_of_another(tmp_path):
    write(tmp_path, ["images/a{}.png", "labels/a{}.png"])
    files.picture(tmp_path / "labels" / "a0L.png", box(1))
    (row,) = check(tmp_path)
    assert "a0L.png has no image in" in row.what


def test_names_that_recur_between_train_and_val_are_told_apart(tmp_path):
    for start, part in enumerate(("train", "val")):
        write(tmp_path, [part + "/images/{}.png", part + "/labels/{}.png"], cases=2, start=0)
        for i in range(2):
            files.picture(tmp_path / part / "images" / f"{i}.png", files.blob(50 * start + i, SHAPE)[0])
    assert [case.name for case in detect(tmp_path).cases] == ["train/0", "train/1", "val/0", "val/1"]


def test_formats_that_are_not_read_are_named_once(tmp_path):
    """DRIVE's masks are published as GIF."""
    write(tmp_path, ["images/{}_training.tif", "1st_manual/{}_manual1.gif", "mask/{}_training_mask.gif"])
    (row,) = check(tmp_path)
    assert "1st_manual and mask all pair with images" in row.what
    (row,) = check(tmp_path, masks="1st_manual")
    assert "1st_manual holds .gif files, which are not read" in row.what and row.fix == "save them as PNG"


def test_two_folders_of_images_are_a_question_without_an_answer(tmp_path):
    write(tmp_path, ["images/{}.png", "imgs/{}.png", "labels/{}.png"])
    assert "holds several folders of images: images and imgs" in next(row.what for row in check(tmp_path) if row.fatal)


def test_options_are_for_folders_that_need_them(tmp_path):
    files.nnunet(tmp_path / "n", shape=SHAPE, ending=".png")
    with pytest.raises(DataError, match="masks='labels' is for plain folders .* layout nnunet"):
        check(tmp_path / "n", masks="labels")
    write(tmp_path / "f", ["a{}.png", "a{}_mask.png"])
    with pytest.raises(DataError, match="no folder 'labels' beside a folder of images"):
        detect(tmp_path / "f", masks="labels")
    write(tmp_path / "g", ["images/{}.png", "labels/{}.png"])
    with pytest.raises(DataError, match="did you mean 'labels'"):
        detect(tmp_path / "g", masks="images")


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        ([(0, 1), (0, 255)], "1 (0.png, 2.png, 4.png); 255 (1.png, 3.png, 5.png)"),
        ([(0, 1, 2), (0, 85, 170)], "1, 2 (0.png, 2.png, 4.png); 85, 170 (1.png, 3.png, 5.png)"),
        ([(0, 255), (0, 65535)], "255 (0.png, 2.png, 4.png); 65535 (1.png, 3.png, 5.png)"),
        ([(0, 1, 255), (0, 255)], None),  # 255 stands for what is not scored
        ([(0, 1), (0, 2)], None),
        ([(0,), (0, 255)], None),
    ],
)
def test_masks_on_several_scales_are_a_problem_with_examples(tmp_path, values, kinds):
    for i in range(6):
        chosen = np.array(values[i % 2], np.uint16 if max(values[i % 2]) > 255 else np.uint8)
        files.picture(tmp_path / "images" / f"{i}.png", files.blob(i, SHAPE)[0])
        files.picture(tmp_path / "labels" / f"{i}.png", chosen[files.blob(i, SHAPE, labels=len(chosen))[1]])
    rows = [row.what for row in check(tmp_path)]
    assert rows == ([f"masks are on 2 scales: {kinds}"] if kinds else [])
    if kinds:
        for call in (lambda: load("folder", tmp_path), lambda: segment.load_support(tmp_path, "auto", False)):
            with pytest.raises(DataError, match="masks are on 2 scales"):
                call()
        assert segment.load_support(tmp_path, "auto", True)[2] == (1,)


def test_eight_bits_with_geometry_are_a_scan_for_studies_and_for_segment(tmp_path):
    """One scan as int16 and as uint8 NIfTI has one range: its own."""
    for i in range(6):
        image, mask = files.blob(i, (12, 10, 8), labels=2)
        files.nifti(tmp_path / "images" / f"c{i}.nii.gz", (image // 5).astype(np.uint8 if i % 2 else np.int16))
        files.nifti(tmp_path / "labels" / f"c{i}.nii.gz", mask)
    assert {float(image.max()) for image in segment.load_support(tmp_path, "auto", False)[0]} == {1.0}
    assert {float(image.max()) for part in load("folder", tmp_path).parts().values() for image in part.images} == {1.0}


def test_a_mask_belongs_to_the_longest_name_that_fits():
    images = [Path(name) for name in ("a.png", "a_left.png", "b_0000.png", "b_0001.png")]
    masks = [Path(name) for name in ("a_mask.png", "a_left_mask.png", "b.png", "c_mask.png", "a_3.png")]
    assert owned(images, masks) == [
        (masks[0], images[0], "_mask"), (masks[1], images[1], "_mask"), (masks[2], images[2], ""),
        (masks[2], images[3], ""),
    ]  # fmt: skip


def test_one_problem_of_many_cases_is_one_line(tmp_path, capsys):
    write(tmp_path, ["images/{:02d}.png", "labels/{:02d}.png"], cases=12)
    for path in (tmp_path / "images").iterdir():
        if path.stem != "00":
            path.unlink()
    rows = check(tmp_path)
    assert len(rows) == 11
    ((who, row),) = grouped(rows)
    assert who == "11 cases" and row.what.endswith("images (01, 02, 03 and 8 more)")
    assert main([str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[1].startswith("11 cases\t") and lines[2].startswith("11 problems, of which 11")
    with pytest.raises(
        DataError, match=r"has 11 problems:\n  11 cases: .*01.png has no image .*\(01, 02, 03 and 8 more\)"
    ):
        load("folder", tmp_path)


def test_names_that_would_steer_a_terminal_are_written_out(tmp_path, capsys):
    write(tmp_path, ["images/a\x1b[31m{}.png", "labels/a\x1b[31m{}.png"])
    (tmp_path / "images" / "a\x1b[31m3.png").unlink()
    assert main([str(tmp_path)]) == 1 and main([str(tmp_path / "no\x1b[3m")]) == 2
    written = "".join(capsys.readouterr())
    assert (
        "\x1b" not in written and "a\\x1b[31m3.png has no image" in written and "no\\x1b[3m does not exist" in written
    )
    with pytest.raises(DataError) as error:
        load("folder", tmp_path)
    assert "\x1b" not in str(error.value)
    assert examine(tmp_path).problems[0].case == "a\x1b[31m3"
