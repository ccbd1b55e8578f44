import re
import subprocess
import sys

import numpy as np
import pytest
import segmentation_files as files
from idx_files import write_set
from PIL import Image

from hyperlab.data import check as checking
from hyperlab.data.check import check, main
from hyperlab.errors import DataError, MissingExtraError

pytest.importorskip("nibabel", reason="the extra 'medical' is not installed")


def rows(root):
    return [(problem.case, problem.what, problem.fix, problem.fatal) for problem in check(root)]


@pytest.mark.parametrize(
    "make", [files.nnunet, files.decathlon, files.oasis, files.camus, files.membranes, files.nuclei]
)
def test_clean_folders_of_every_layout(tmp_path, make, capsys):
    make(tmp_path)
    assert check(tmp_path) == []
    assert main([str(tmp_path)]) == 0
    assert "no problem was found" in capsys.readouterr().out


def test_every_kind_of_problem_has_its_row(tmp_path):
    files.nnunet(tmp_path, cases=14, test=2)
    mask = files.blob(0, (12, 10, 8))[1]

    def image(i, array, part="Tr", **options):
        files.nifti(tmp_path / f"images{part}" / f"case_{i:03d}_0000.nii.gz", array.astype(np.float32), **options)

    def label(i, array, affine=None):
        files.nifti(tmp_path / "labelsTr" / f"case_{i:03d}.nii.gz", array, affine)

    originals = [files.blob(100 * i, (12, 10, 8))[0] for i in range(16)]
    label(1, mask[:-1])
    label(2, mask, np.diag([2.0, 1, 1, 1]))
    shifted = np.eye(4)
    shifted[1, 3] = 0.5
    label(3, mask, shifted)
    label(4, np.where(mask == 1, 9, mask).astype(np.uint8))
    image(5, np.where(originals[5] > 190, np.inf, originals[5]))
    image(6, originals[0])  # identical, another mask
    image(7, originals[8] + np.random.default_rng(0).normal(0, 2, (12, 10, 8)))
    image(14, originals[9], part="Ts")
    image(10, np.full((12, 10, 8), 3))
    whole = (tmp_path / "imagesTr" / "case_011_0000.nii.gz").read_bytes()
    (tmp_path / "imagesTr" / "case_011_0000.nii.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "labelsTr" / "case_012.nii.gz").unlink()
    found = rows(tmp_path)
    what = {}
    for case, text, fix, fatal in found:
        assert fix and case in text.replace("imagesTr", "") or not case
        what.setdefault(case, []).append((text, fatal))
    expected = {
        "case_001": ("differ in shape: (11, 10, 8) and (12, 10, 8)", True),
        "case_002": ("differ in spacing: (2.0, 1.0, 1.0) and (1.0, 1.0, 1.0) mm", True),
        "case_003": ("differ in affine: their corners lie up to 0.5 mm apart", True),
        "case_004": ("holds labels outside the map: 9", True),
        "case_005": ("non-finite voxels", True),
        "case_000": ("case_000 and case_006 are one image, but their masks differ", False),
        "case_007": ("case_007 and case_008 are nearly one image", False),
        "case_009": ("case_009 (train) and case_014 (test) are one image, but their masks differ", False),
        "case_010": ("is constant", False),
        "case_011": ("case_011_0000.nii.gz is truncated or damaged", True),
        "case_012": ("case_012.nii.gz does not exist", True),
    }
    assert set(what) == set(expected) | {""}
    for case, (text, fatal) in expected.items():
        assert len(what[case]) == 1 and text in what[case][0][0] and what[case][0][1] == fatal, case
    assert "numTraining 14, imagesTr holds 13" in what[""][0][0]
    assert main([str(tmp_path)]) == 1


def test_images_without_a_mask_are_counted_and_no_problem(tmp_path, capsys):
    for name, shift in (("a", 0), ("b", 1), ("c", 2), ("d", 3), ("e\x1b", 4)):
        files.picture(
            tmp_path / "images" / f"{name}.png", np.roll(np.arange(100, dtype=np.uint8), 37 * shift).reshape(10, 10)
        )
    for name in ("a", "b"):
        files.picture(tmp_path / "labels" / f"{name}.png", np.eye(10, dtype=np.uint8))
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "2 training and 0 test cases" in out and r"3 images without a mask (c, d, e\x1b)" in out
    files.picture(tmp_path / "labels" / "f.png", np.eye(10, dtype=np.uint8))
    assert main([str(tmp_path)]) == 1 and "f.png has no image" in capsys.readouterr().out
    (tmp_path / "labels" / "f.png").unlink()
    files.picture(tmp_path / "images" / "c.bmp", np.zeros((10, 10), np.uint8))
    assert main([str(tmp_path)]) == 1 and "are two files of one name" in capsys.readouterr().out


def test_a_subject_in_both_parts_is_a_leak(tmp_path):
    names = [f"patient_{i:02d}_visit_{visit}" for i in range(4) for visit in (0, 1)]
    files.nnunet(tmp_path, cases=7, test=1, shape=(20, 22), ending=".png", names=names)
    (row,) = rows(tmp_path)
    assert row[0] == "patient_03_visit_0" and not row[3]
    assert "subject 'patient_03' (guessed from the name) is in the training part (patient_03_visit_0) and" in row[1]
    assert "(patient_03_visit_1)" in row[1] and row[2] == "take the subject out of one of them"


def test_copies_of_one_subject_in_one_part_are_expected(tmp_path):
    image, mask = files.blob(0, (20, 22))
    for i in range(6):
        files.picture(tmp_path / "images" / f"p{i}.png", files.blob(10 + i, (20, 22))[0])
        files.picture(tmp_path / "labels" / f"p{i}.png", mask)
    noisy = np.clip(image.astype(int) + 1 - np.arange(22) % 2, 0, 255).astype(np.uint8)
    for slice_, pixels in ((1, image), (2, noisy)):
        files.picture(tmp_path / "images" / f"q_slice_{slice_}.png", pixels)
        files.picture(tmp_path / "labels" / f"q_slice_{slice_}.png", mask)
    assert check(tmp_path) == []
    files.picture(tmp_path / "images" / "other.png", noisy + 1)
    files.picture(tmp_path / "labels" / "other.png", mask)
    assert {row[1][:36] for row in rows(tmp_path)} == {
        "other and q_slice_1 are nearly one i", "other and q_slice_2 are nearly one i",
    }  # fmt: skip


def test_jpeg_masks(tmp_path):
    for i in range(4):
        image, mask = files.blob(i, (20, 22))
        files.picture(tmp_path / "images" / f"{i}.jpg", image)
        files.picture(tmp_path / "masks" / f"{i}.jpg", mask)
    found = rows(tmp_path)
    assert [row[0] for row in found] == list("0123") and all(row[3] for row in found)
    assert "masks/0.jpg is a JPEG mask" in found[0][1] and found[0][2] == "export the mask as PNG from its source"


def test_missing_files_and_empty_folders_of_other_layouts(tmp_path):
    files.decathlon(tmp_path / "d")
    (tmp_path / "d" / "labelsTr" / "organ_002.nii.gz").unlink()
    (row,) = rows(tmp_path / "d")
    assert row[0] == "organ_002" and "labelsTr/organ_002.nii.gz, which does not exist" in row[1] and row[3]
    files.oasis(tmp_path / "o")
    (tmp_path / "o" / "OASIS_OAS1_0050_MR1").mkdir()
    (row,) = rows(tmp_path / "o")
    assert "OASIS_OAS1_0050_MR1 is an empty case folder" in row[1]


def test_what_a_header_says_twice_is_a_row(tmp_path):
    import nibabel

    files.nnunet(tmp_path, cases=5)
    for path in (tmp_path / "imagesTr").iterdir():
        image = nibabel.load(path)
        image = nibabel.Nifti1Image(np.asarray(image.dataobj), np.eye(4))
        image.set_qform(np.diag([1.0, 1, 3, 1]), 1)
        nibabel.save(image, path)
    found = rows(tmp_path)
    assert len(found) == 5 and not any(row[3] for row in found)
    assert found[0][1].endswith(
        "case_000_0000.nii.gz has a sform and a qform that lie up to 14 mm apart; the sform is used"
    )


def test_idx_sets(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (90, 6, 6), np.uint8)
    images[3] = images[70]  # one in the training, one in the test part
    images[8] = images[5]  # labels 8 and 5
    write_set(tmp_path, train_images=images[:60], t10k_images=images[60:])
    what = [row[1] for row in rows(tmp_path)]
    assert what[0] == "training image 3 is identical to a test image"
    assert "images 5 and 8 are one image with the labels 5 and 8" in what
    with pytest.raises(DataError, match="masks, mask_suffix and subjects are for images with masks"):
        check(tmp_path, subjects="(.)")
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    assert "t10k-labels-idx1-ubyte" in rows(tmp_path)[0][1] and main([str(tmp_path)]) == 1


def test_what_cannot_be_read_ends_with_2(tmp_path, capsys, monkeypatch):
    (tmp_path / "notes.txt").touch()
    assert main([str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert "holds no pairs of image and mask" in captured.err and captured.out == ""
    assert main([str(tmp_path / "nowhere")]) == 2
    with pytest.raises(DataError, match="does not exist"):
        check(tmp_path / "nowhere")
    files.nnunet(tmp_path / "n")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    assert main([str(tmp_path / "n")]) == 2
    assert "pip install 'hyperlab[medical]'" in capsys.readouterr().err
    with pytest.raises(MissingExtraError):
        check(tmp_path / "n")


def test_plain_lines_in_a_pipe_and_a_table_in_a_terminal(tmp_path, capsys, monkeypatch):
    files.wbc(tmp_path, cases=12)
    assert main([str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "folder layout, 12 training and 0 test cases, 12 read, 12 subjects by their names" in lines[0]
    assert [line.split("\t")[0] for line in lines[1:-1]] == ["003", "007"]
    assert all(line.count("\t") == 2 for line in lines[1:-1])
    assert lines[-1] == "2 problems, of which 0 must be mended before training"
    monkeypatch.setattr(checking.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    assert main([str(tmp_path)]) == 1
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)  # without bold
    assert "┃ case" in out and "│ 003" in out and "\t" not in out


@pytest.mark.slow
def test_the_command(tmp_path):
    files.membranes(tmp_path)
    command = [sys.executable, "-m", "hyperlab.data.check", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "no problem was found" in done.stdout


@pytest.mark.parametrize("broken", ["shapes", "images", "cut off", "copies"])
def test_twenty_cases_with_one_problem_are_one_line_that_names_the_first(tmp_path, capsys, broken):
    random = np.random.default_rng(0)
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for case in range(25):
        bad, name = case >= 5, f"case_{case:03d}.png"
        pixels = np.random.default_rng(case if broken != "copies" or case < 13 else case - 13).integers(
            0, 256, (32, 32)
        )
        if not (bad and broken == "images"):
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "images" / name)
        shape = (30, 30 + case % 3) if bad and broken == "shapes" else (32, 32)
        mask = tmp_path / "labels" / name
        Image.fromarray(random.integers(0, 2, shape).astype(np.uint8)).save(mask)
        if bad and broken == "cut off":
            mask.write_bytes(mask.read_bytes()[: 40 + case])
    assert main([str(tmp_path)]) == 1
    _, line, end = capsys.readouterr().out.splitlines()
    count, first = (12, 0) if broken == "copies" else (20, 5)
    named = ", ".join(f"case_{first + n:03d}" for n in range(3))
    assert line.startswith(f"{count} cases\t") and f"({named} and {count - 3} more" in line
    assert end.startswith(f"{count} problems, of which ")
