"""`hyperlab predict`: files there and back, with a network that looks at one pixel."""

import errno
import json

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import segmentation_files as made
from PIL import Image
from run_folders import write_run

from hyperlab.cli import mask_files, predict
from hyperlab.cli.command import main
from hyperlab.data.normalisation import Normalisation
from hyperlab.data.preprocessing import Preprocessing
from hyperlab.data.readers.scan import read_labels
from hyperlab.inference.network import Card, Network

CLASSES, VALUES = ("background", "dark", "bright"), (0, 5, 9)
LEVELS = np.array([0, 81, 200])  # halfway lies no whole number


def apply(variables, images):
    """Logits by how near the first channel is to three levels."""
    levels = jnp.array(LEVELS / 255, jnp.float32).reshape((1,) * (images.ndim - 1) + (3,))
    return -90 * jnp.abs(images[..., :1] - levels)


def truth(values):
    return np.array(VALUES)[np.abs(values[..., None].astype(float) - LEVELS).argmin(-1)]


@pytest.fixture
def use(monkeypatch):
    """Puts a network in place of the run's; `use()` is one of images of any size, in windows of 8x8."""

    def put(size=(8, 8), channels=1, digest="a", **options):
        options = {"fit": "centre", **options}
        how = Preprocessing(size, channels, CLASSES, VALUES, Normalisation("divide", by=255), **options)
        card = Card("rescaling", "sshn", 100, CLASSES, None, how.record(), rescaling_factor=0.3, digest=digest)
        monkeypatch.setattr(predict, "load_network", lambda run, **chosen: Network(apply, 0, how, card))

    put()
    return put


def run(tmp_path, *more, images="images"):
    return main(["predict", "run", "--images", str(tmp_path / images), "--out", str(tmp_path / "out"), *map(str, more)])


def pictures(tmp_path, count=3, shape=(11, 7)):
    """Images, and masks in the values of the network of which the last is wrong in a corner."""
    for i in range(count):
        values = np.random.default_rng(i).integers(0, 256, shape).astype(np.uint8)
        made.picture(tmp_path / "images" / f"a{i}.png", values)
        mask = truth(values).astype(np.uint8)
        if i == count - 1:
            mask[:4, :4] = 5
        made.picture(tmp_path / "labels" / f"a{i}_mask.png", mask)
    return tmp_path


def test_masks_have_names_sizes_and_values_and_dice_is_that_of_numpy(use, tmp_path, capsys):
    pictures(tmp_path)
    assert run(tmp_path, "--labels", tmp_path / "labels") == 0
    shown = capsys.readouterr().out
    assert "3 scans, 3 of them with a mask" in shown
    table = pd.read_csv(tmp_path / "out" / "per_case.csv").set_index(["case", "class"])["value"]
    for i in range(3):
        found = np.asarray(Image.open(tmp_path / "out" / f"a{i}.png"))
        np.testing.assert_array_equal(found, truth(np.asarray(Image.open(tmp_path / "images" / f"a{i}.png"))))
        mask = np.asarray(Image.open(tmp_path / "labels" / f"a{i}_mask.png"))
        for name, value in zip(CLASSES[1:], VALUES[1:], strict=True):
            both = 2 * ((found == value) & (mask == value)).sum() / ((found == value).sum() + (mask == value).sum())
            assert table[f"a{i}", name] == pytest.approx(both, abs=1e-12)
    row = next(line for line in shown.splitlines() if line.startswith("a2"))
    assert float(row.split()[1]) == pytest.approx(table["a2", "dark"], abs=1e-4) and table["a2", "dark"] < 1
    assert table["a0", "dark"] == 1 and "mean" in shown


def test_nifti_masks_keep_codes_units_and_turned_axes(use, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    use(slice_axis=1)
    affine = np.array([[0, -2, 0, 5], [0, 0, 3, 1], [-1, 0, 0, 2], [0, 0, 0, 1.0]])
    values = np.random.default_rng(0).integers(0, 256, (6, 12, 9)).astype(np.int16)
    image = nibabel.Nifti1Image(values, affine)
    image.set_sform(affine, 4)
    image.set_qform(affine, 2)
    image.header.set_xyzt_units("mm", "sec")
    (tmp_path / "images").mkdir()
    nibabel.save(image, tmp_path / "images" / "case_7_0000.nii.gz")
    assert run(tmp_path, "--probabilities") == 0
    written = nibabel.load(tmp_path / "out" / "case_7.nii.gz")
    assert written.get_data_dtype() == np.uint8 and np.allclose(written.affine, affine)
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (4, 2)
    assert written.header.get_xyzt_units() == ("mm", "sec")
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), truth(values))
    probabilities = np.load(tmp_path / "out" / "probabilities" / "case_7.npy")
    assert probabilities.shape == (6, 12, 9, 3)
    np.testing.assert_array_equal(np.array(VALUES)[probabilities.argmax(-1)], truth(values))


@pytest.mark.parametrize("packed", [None, "zlib", "jpeg"])
def test_tiff_masks_keep_resolution_and_compression(use, tmp_path, packed, monkeypatch):
    import tifffile

    values = np.random.default_rng(0).integers(0, 256, (11, 7)).astype(np.uint8)
    (tmp_path / "images").mkdir()
    path = tmp_path / "images" / "a.tif"
    tifffile.imwrite(path, values, compression=packed if packed != "jpeg" else "zlib", resolution=(300, 150),
                     resolutionunit="CENTIMETER")  # fmt: skip
    if packed == "jpeg":  # no writer of one is installed: what is read as zlib counts as lossy
        monkeypatch.setattr(mask_files, "LOSSY_COMPRESSIONS", {8: "JPEG"})
    assert run(tmp_path) == 0
    with tifffile.TiffFile(tmp_path / "out" / "a.tif") as file:
        page = file.pages.first
        assert page.resolution == (300, 150) and page.resolutionunit == 3
        assert page.compression == (8 if packed else 1)
        np.testing.assert_array_equal(page.asarray(), truth(values))


def test_channels_of_several_files_as_nnunet_names_them(use, tmp_path, capsys):
    use(channels=2)
    values = np.random.default_rng(0).integers(0, 256, (2, 9, 8)).astype(np.uint8)
    for channel in (0, 1):
        made.picture(tmp_path / "images" / f"b_{channel:04d}.png", values[channel])
    assert run(tmp_path) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "b.png")), truth(values[0]))
    made.picture(tmp_path / "images" / "c_0000.png", values[0])
    assert run(tmp_path) == 2
    assert "c has 1 channel (c_0000.png); the network was trained on 2" in capsys.readouterr().err


def test_the_same_command_goes_on_and_makes_again_what_changed(use, tmp_path, capsys, monkeypatch):
    pictures(tmp_path)
    made_of, predicted = predict._predict, []
    monkeypatch.setattr(predict, "_predict", lambda n, case, t: (predicted.append(case.name), made_of(n, case, t))[1])
    assert run(tmp_path) == 0 and predicted == ["a0", "a1", "a2"]
    assert run(tmp_path) == 0 and predicted == ["a0", "a1", "a2"]
    (tmp_path / "out" / "a0.png").unlink()
    made.picture(tmp_path / "images" / "a1.png", np.full((5, 5), 200, np.uint8))
    assert run(tmp_path, "--labels", tmp_path / "labels") == 2  # a1's mask is of another size now
    assert predicted[3:] == ["a0", "a1"]
    assert "a1_mask.png is (11, 7), its image" in capsys.readouterr().err
    use(digest="b")
    assert run(tmp_path) == 2 and "was written with network 'a', now it is 'b'" in capsys.readouterr().err


def test_nothing_of_others_is_written_over(use, tmp_path, capsys):
    pictures(tmp_path)
    made.picture(tmp_path / "out" / "a1.png", np.zeros((2, 2), np.uint8))
    assert run(tmp_path) == 2
    assert "a1.png is there and was not written by this command" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a1.png"]
    (tmp_path / "out" / "a1.png").unlink()
    assert run(tmp_path) == 0
    made.picture(tmp_path / "out" / "a1.png", np.zeros((2, 2), np.uint8))
    assert run(tmp_path) == 2 and "was changed since this command wrote it" in capsys.readouterr().err


def test_a_full_disk_half_way_loses_nothing(use, tmp_path, capsys, monkeypatch):
    pictures(tmp_path)
    save, calls = mask_files.write_mask, []

    def full(target, path, mask):
        calls.append(target)
        if len(calls) == 2:
            with mask_files.files.writing(target) as partial:
                partial.write_bytes(b"half")
                raise OSError(errno.ENOSPC, "No space left on device")
        save(target, path, mask)

    monkeypatch.setattr(predict, "write_mask", full)
    assert run(tmp_path) == 2
    message = capsys.readouterr().err
    assert "a1.png cannot be written: No space left on device; 1 of 3 scans are finished and kept" in message
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a0.png", "predictions.json"]
    assert run(tmp_path) == 0 and len(calls) == 4, "a0 is not made again"


def test_bad_input_is_one_error_before_any_work(use, tmp_path, capsys):
    pictures(tmp_path)

    def refused(*more, **options):
        assert run(tmp_path, *more, **options) == 2
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    assert "--images" in refused(images="nowhere")
    (tmp_path / "empty").mkdir()
    assert "holds no images" in refused(images="empty") and "holds no images" in refused("--labels", tmp_path / "empty")
    made.picture(tmp_path / "labels" / "zz.png", np.zeros((3, 3), np.uint8))
    assert "zz.png has no image" in refused("--labels", tmp_path / "labels")
    (tmp_path / "labels" / "zz.png").rename(tmp_path / "labels" / "a0.png")
    assert "are both masks of a0" in refused("--labels", tmp_path / "labels")
    Image.new("RGB", (5, 5)).save(tmp_path / "images" / "colour.png")
    assert "colour has 3 channels (colour.png); the network was trained on 1" in refused()
    (tmp_path / "images" / "colour.png").rename(tmp_path / "images" / "a0.bmp")
    assert "several files named 'a0'" in refused()


def test_what_is_seen_as_a_scan_is_read_names_it_and_keeps_the_others(use, tmp_path, capsys):
    nibabel = pytest.importorskip("nibabel")
    use(slice_axis=2)
    for name, affine in (("a", np.eye(4)), ("b", np.diag([1.0, 1, 0, 1]))):
        (tmp_path / "images").mkdir(exist_ok=True)
        image = nibabel.Nifti1Image(np.zeros((3, 4, 5), np.uint8), None)
        image.header.set_sform(affine, 1)
        nibabel.save(image, tmp_path / "images" / f"{name}.nii")
    assert run(tmp_path) == 2
    message = capsys.readouterr().err
    assert "b.nii has an affine without a direction for z" in message and "1 of 2 scans are finished" in message
    assert read_labels(tmp_path / "out" / "a.nii").values.shape == (3, 4, 5)


def test_masks_of_other_labels_and_grids_are_named(use, tmp_path, capsys):
    pictures(tmp_path, 1)
    made.picture(tmp_path / "labels" / "a0_mask.png", np.full((11, 7), 77, np.uint8))
    assert run(tmp_path, "--labels", tmp_path / "labels") == 2
    assert "a0_mask.png holds the label 77; the run was trained on 0, 5, 9" in capsys.readouterr().err
    assert (tmp_path / "out" / "a0.png").is_file(), "the mask is kept"


def test_many_cases_show_the_lowest(tmp_path):
    dice = np.linspace(0, 1, 60)[:, None] * np.array([[1.0, np.nan]])
    shown = predict._table([f"c{i:02d}" for i in range(60)], ("one", "none"), dice).splitlines()
    assert len(shown) == 1 + 40 + 2 and shown[1].split() == ["c00", "0.0000", "-", "0.0000"]
    assert shown[-2].split() == ["mean", "0.5000", "-", "0.5000"] and shown[-1].startswith("Dice 0.5000 [")


def test_a_study_that_keeps_no_network_says_so(tmp_path, capsys):
    folder = write_run(tmp_path / "run", False, study="pruning")
    pictures(tmp_path, 1)
    arguments = ["predict", str(folder), "--images", str(tmp_path / "images"), "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "is a run of pruning, which keeps no network that segments" in capsys.readouterr().err
    folder = write_run(tmp_path / "other", False, study="uncertainty")
    arguments[1] = str(folder)
    assert main([*arguments, "--phi", "0.3"]) == 2
    assert "phi chooses nothing in a run of uncertainty; it takes arm, seed" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_record_is_json(use, tmp_path):
    pictures(tmp_path, 1)
    assert run(tmp_path) == 0
    record = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert record["settings"]["phi"] == 0.3 and list(record["files"]) == ["a0.png"]
