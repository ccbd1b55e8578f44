import re
import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from hyperlab.cli import command, segment
from hyperlab.data.readers.scan import read_labels
from hyperlab.errors import DataError
from hyperlab.in_context import network_of
from hyperlab.models import UniverSeg
from hyperlab.train.checkpoints import save_variables

nibabel = pytest.importorskip("nibabel")


def above(variables, target, support_images, support_labels):
    """Stands for a network: foreground is brighter than halfway to the examples' foreground."""
    inside = (support_images * support_labels).sum((1, 2, 3, 4), keepdims=True)[:, 0]
    return 100 * (target - inside / support_labels.sum((1, 2, 3, 4), keepdims=True)[:, 0] / 2)


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(segment, "load_network", lambda path: (above, np.float32(0)))


def picture(seed):
    rng = np.random.default_rng(seed)
    image, mask = np.full((20, 26), 20, np.uint8), np.zeros((20, 26), np.uint8)
    y, x = rng.integers(2, 10, 2)
    image[y : y + 8, x : x + 8], mask[y : y + 8, x : x + 8] = 200, 255
    return image, mask


def write_pairs(folder, count=3):
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for index in range(count):
        image, mask = picture(index)
        Image.fromarray(image).save(folder / "images" / f"case_{index}.png")
        Image.fromarray(mask).save(folder / "labels" / f"case_{index}.png")


def test_pictures_get_masks_in_their_form_with_the_label_values_of_the_examples(tmp_path, stand_in, capsys):
    write_pairs(tmp_path / "support")
    images = tmp_path / "images"
    images.mkdir()
    truths = {}
    for index, ending in enumerate((".png", ".tif", ".bmp", ".jpg")):
        image, truths[f"q{index}"] = picture(10 + index)
        Image.fromarray(image).save(images / f"q{index}{ending}", **({"quality": 95} if ending == ".jpg" else {}))
    code = segment.main([f"--images={images}", f"--support={tmp_path / 'support'}", f"--out={tmp_path / 'out'}",
                         "--size=0", "--params=any"])  # fmt: skip
    assert code == 0 and "4 images, 3 examples, classes 255" in capsys.readouterr().out
    written = sorted(path.name for path in (tmp_path / "out" / "masks").iterdir())
    assert written == ["q0.png", "q1.tif", "q2.png", "q3.png"]
    for name in written:
        mask = np.asarray(Image.open(tmp_path / "out" / "masks" / name))
        np.testing.assert_array_equal(mask, truths[name[:2]])
    overlay = np.asarray(Image.open(tmp_path / "out" / "overlays" / "q0.png"))
    assert overlay.shape == (14 * 20, 14 * 52, 3)  # enlarged, to look at
    plain, shown = np.split(overlay.astype(int), 2, axis=1)
    np.testing.assert_array_equal((plain != shown).any(-1)[::14, ::14], truths["q0"] > 0)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SRA"])
def test_a_nifti_mask_lies_on_the_voxels_and_the_affine_of_its_image(tmp_path, stand_in, axes):
    rng = np.random.default_rng(0)
    ornt = nibabel.orientations.axcodes2ornt(axes)
    for part in ("support", "query"):
        for name in ("images", "labels"):
            (tmp_path / part / name).mkdir(parents=True)
        volume = rng.integers(0, 2, (8, 9, 10)).astype(np.float32)  # 0 or 1: unit range and truth at once
        affine = np.diag([1.0, 2.0, 3.0, 1.0]) @ nibabel.orientations.inv_ornt_aff(ornt, volume.shape)
        for name, values in (("images", 50 * volume), ("labels", 2 * volume)):
            nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / part / name / "a.nii.gz")
    code = segment.main([f"--images={tmp_path / 'query'}", f"--support={tmp_path / 'support'}", "--slice-axis=1",
                         f"--out={tmp_path / 'out'}", "--size=0", "--params=any"])  # fmt: skip
    assert code == 0
    mask = nibabel.load(tmp_path / "out" / "masks" / "a.nii.gz")
    image = nibabel.load(tmp_path / "query" / "images" / "a.nii.gz")
    np.testing.assert_array_equal(mask.affine, image.affine)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), np.where(image.get_fdata() > 25, 2, 0))
    assert (tmp_path / "out" / "overlays" / "a.png").stat().st_size > 0


def test_nothing_is_written_over_that_the_command_did_not_write(tmp_path, stand_in, capsys):
    write_pairs(tmp_path / "mine")
    (tmp_path / "mine" / "labels").rename(tmp_path / "mine" / "masks")
    drawn = {path: path.read_bytes() for path in (tmp_path / "mine" / "masks").iterdir()}
    command = [f"--support={tmp_path / 'mine'}", f"--images={tmp_path / 'mine' / 'images'}", "--size=0", "--params=any"]
    assert segment.main([*command, f"--out={tmp_path / 'mine'}"]) == 2
    assert "case_0.png is there and was not written by this command" in capsys.readouterr().err
    assert drawn == {path: path.read_bytes() for path in drawn} and not (tmp_path / "mine" / "overlays").exists()
    assert [segment.main([*command, f"--out={tmp_path / 'out'}"]) for _ in range(2)] == [0, 0]  # its own it replaces
    mask = tmp_path / "out" / "masks" / "case_1.png"
    Image.fromarray(np.zeros((20, 26), np.uint8)).save(mask)  # mended by hand
    capsys.readouterr()
    assert segment.main([*command, f"--out={tmp_path / 'out'}"]) == 2
    assert "case_1.png is there and was changed since this command wrote it" in capsys.readouterr().err
    assert np.asarray(Image.open(mask)).max() == 0


@pytest.mark.fast
@pytest.mark.parametrize(
    "option",
    ["--size=-1", "--size=99999999999", "--steps=0", "--steps=2.5", "--classes=0", "--seed=-1", "--threshold=1.5",
     "--threshold=nan", "--ensemble=0", "--support-size=0"],
)  # fmt: skip
def test_values_of_options_are_checked_before_folders_are_made(tmp_path, option, capsys):
    with pytest.raises(SystemExit) as ended:
        segment.main([f"--support={tmp_path}", f"--out={tmp_path / 'out'}", option])
    assert ended.value.code == 2 and option.partition("=")[0] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_images_of_another_depth_than_the_examples_are_refused(tmp_path, stand_in, capsys):
    write_pairs(tmp_path / "support")
    Image.fromarray(np.full((20, 26), 9000, np.uint16)).save(tmp_path / "support" / "images" / "q.png")
    code = segment.main([f"--support={tmp_path / 'support'}", f"--out={tmp_path / 'out'}", "--size=0", "--params=any"])
    assert code == 2 and "16 bits, 1 channel (q.png)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.fast
@pytest.mark.parametrize("label", [1, 300, 70_000])
@pytest.mark.parametrize("ending", [".png", ".tif", ".nii.gz", ".npy"])
def test_labels_of_any_size_are_written_whole(tmp_path, label, ending):
    values = np.array([[0, label], [label, 0]])
    source = tmp_path / f"a{ending}"
    if ending == ".nii.gz":
        nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.eye(4)), source)
    target, _ = segment.outputs_of(tmp_path / "out", source, [label])
    segment.write_mask(target, source, values)
    assert target.suffix == (".tif" if ending == ".png" and label == 70_000 else "." + ending.split(".")[-1])
    np.testing.assert_array_equal(read_labels(target).values, values)


@pytest.mark.fast
def test_a_nifti_mask_keeps_the_codes_and_units_of_its_image(tmp_path):
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.float32), None)
    image.set_sform(np.diag([1.0, 2, 3, 1]), 3)
    image.set_qform(np.diag([1.0, 2, 2, 1]), 1)
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "a.nii.gz")
    segment.write_mask(tmp_path / "out" / "a.nii.gz", tmp_path / "a.nii.gz", np.ones((4, 5, 6), int))
    mask = nibabel.load(tmp_path / "out" / "a.nii.gz")
    for field in ("sform_code", "qform_code", "xyzt_units"):
        assert mask.header[field] == image.header[field]
    np.testing.assert_allclose(mask.get_qform(), image.get_qform())
    np.testing.assert_allclose(mask.affine, image.affine)


def test_without_weights_networks_are_trained_and_their_worth_is_said_first(tmp_path, capsys):
    write_pairs(tmp_path / "support", count=5)
    image, truth = picture(10)
    Image.fromarray(image).save(tmp_path / "support" / "images" / "q.png")  # it has no mask, so that is what is wanted
    code = segment.main([f"--support={tmp_path / 'support'}", f"--out={tmp_path / 'out'}", "--steps=40"])
    out = capsys.readouterr().out
    assert code == 0 and "4 networks" in out and "full resolution, in windows of 24x32" in out
    assert "Dice of each of the 5 examples" in out and "  class 255: " in out and "; copy " in out
    mask = np.asarray(Image.open(tmp_path / "out" / "masks" / "q.png"))
    assert mask.shape == truth.shape and (mask == truth).mean() > 0.95


COLOURS = np.array([[90, 40, 40], [40, 90, 40]], np.uint8)  # of one grey value


def write_colours(folder, count=4):
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for index in range(count):
        inside = (picture(index)[1] > 0).astype(np.uint8)
        Image.fromarray(COLOURS[inside]).save(folder / "images" / f"case_{index}.png")
        Image.fromarray(inside).save(folder / "labels" / f"case_{index}.png")


def test_colours_are_seen(tmp_path):
    write_colours(tmp_path / "s")
    truth = (picture(10)[1] > 0).astype(np.uint8)
    Image.fromarray(COLOURS[truth]).save(tmp_path / "s" / "images" / "q.png")
    assert segment.main([f"--support={tmp_path / 's'}", f"--out={tmp_path / 'out'}", "--steps=60"]) == 0
    assert (np.asarray(Image.open(tmp_path / "out" / "masks" / "q.png")) == truth).mean() > 0.95
    overlay = np.asarray(Image.open(tmp_path / "out" / "overlays" / "q.png"))
    np.testing.assert_array_equal(overlay[::14, : 14 * 26 : 14], COLOURS[truth])


def test_masks_no_better_than_copies_are_written_under_a_name_that_says_so(tmp_path, capsys):
    write_pairs(tmp_path / "s", count=4)
    for index in range(4):  # all alike, so that a copy is perfect
        for name, values in zip(("images", "labels"), picture(0), strict=True):
            Image.fromarray(values).save(tmp_path / "s" / name / f"case_{index}.png")
    Image.fromarray(picture(10)[0]).save(tmp_path / "s" / "images" / "q.png")
    words = [f"--support={tmp_path / 's'}", f"--out={tmp_path / 'out'}", "--steps=1"]
    assert segment.main(words) == 1
    assert "NOT BETTER THAN A COPY: class 255 is" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith("masks")] == [segment.NOT_BETTER]
    assert segment.main([*words, "--anyway"]) == 0
    assert (tmp_path / "out" / "masks" / "q.png").exists()


def of_one_example(folder):
    for name in ("images", "labels"):
        for index in range(1, 4):
            (folder / name / f"case_{index}.png").unlink()


def empty_masks(folder):
    for path in (folder / "labels").iterdir():
        Image.fromarray(np.zeros((20, 26), np.uint8)).save(path)


def one_in_grey(folder):
    Image.fromarray(picture(0)[0]).save(folder / "images" / "case_0.png")


def not_a_number(folder):
    image = np.full((20, 26), 0.5, np.float32)
    image[3, 4] = np.nan
    (folder / "images" / "case_0.png").unlink()
    Image.fromarray(image).save(folder / "images" / "case_0.tif")


def one_class_in_one(folder):
    for index in range(1, 4):
        Image.fromarray(np.zeros((20, 26), np.uint8)).save(folder / "labels" / f"case_{index}.png")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of_one_example, "1 example is too few to train on"),
        (empty_masks, "all masks are empty; at least one must show what to segment"),
        (one_in_grey, r"8 bits, 1 channel \(case_0.png\).*; convert them to one kind"),
        (not_a_number, "case_0.tif holds values that are not finite"),
        (one_class_in_one, r"class 1 is in one example \(or examples of one subject\) alone"),
    ],
)
def test_examples_that_nothing_can_be_trained_on(tmp_path, capsys, change, message):
    write_colours(tmp_path / "s")
    change(tmp_path / "s")
    Image.fromarray(COLOURS[picture(9)[1] // 255]).save(tmp_path / "s" / "images" / "q.png")
    assert segment.main([f"--support={tmp_path / 's'}", f"--out={tmp_path / 'out'}"]) == 2
    told = capsys.readouterr().err
    assert re.search(message, told) and told.count("error:") == 1 and not (tmp_path / "out").exists()


def test_a_stop_ends_between_two_images(tmp_path, stand_in, monkeypatch, capsys):
    write_pairs(tmp_path / "s")
    words = [f"--images={tmp_path / 's'}", f"--support={tmp_path / 's'}", f"--out={tmp_path / 'out'}", "--size=0",
             "--params=any"]  # fmt: skip
    write = segment.write_mask
    with monkeypatch.context() as patch:
        patch.setattr(segment, "write_mask", lambda *given: (write(*given), signal.raise_signal(signal.SIGINT)))
        assert segment.main(words) == 130
    assert "stopped after 1 of 3 images" in capsys.readouterr().err
    written = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert written == {"case_0.png", "checksums.json"}
    assert segment.main(words) == 0  # what was written is known as the command's own


@pytest.mark.fast
def test_an_overlay_of_a_volume_shows_several_slices(tmp_path):
    volume, mask = np.zeros((30, 20, 12), np.float32), np.zeros((30, 20, 12), int)
    mask[5:9, 5:9, 2:10] = 3
    segment.write_overlay(tmp_path / "a.png", volume, mask, (3,), 2)
    shown = np.asarray(Image.open(tmp_path / "a.png"))
    assert shown.shape == (12 * 6 * 30, 12 * 2 * 20, 3)
    assert all(each.any() for each in np.split(shown, 6))


@pytest.mark.fast
def test_help_names_the_command_as_it_is_typed(capsys):
    for option in ("--help", "-h"):
        with pytest.raises(SystemExit):
            command.main(["segment", option])
        assert capsys.readouterr().out.startswith("usage: hyperlab segment ")


def test_images_without_a_mask_are_those_that_no_pair_has(tmp_path):
    write_pairs(tmp_path / "pairs")
    flat = tmp_path / "flat"
    flat.mkdir()
    for index in range(3):
        image, mask = picture(index)
        Image.fromarray(image).save(flat / f"a{index}.png")
        if index:
            Image.fromarray(mask).save(flat / f"a{index}_mask.png")
    assert segment.without_mask(flat) == [flat / "a0.png"]
    (tmp_path / "pairs" / "labels" / "case_1.png").unlink()
    assert segment.without_mask(tmp_path / "pairs") == [tmp_path / "pairs" / "images" / "case_1.png"]
    assert len(segment.load_support(tmp_path / "pairs", "auto", False)[0]) == 2


def test_the_masks_are_named_where_several_folders_hold_some(tmp_path, stand_in, capsys):
    write_pairs(tmp_path / "s")
    (tmp_path / "s" / "fields").mkdir()
    for index in range(3):
        Image.fromarray(np.full((20, 26), 9, np.uint8)).save(tmp_path / "s" / "fields" / f"case_{index}.png")
    image, truth = picture(10)
    Image.fromarray(image).save(tmp_path / "s" / "images" / "q.png")
    words = [f"--support={tmp_path / 's'}", f"--out={tmp_path / 'out'}", "--size=0", "--params=any"]
    assert segment.main(words) == 2
    assert "say which are the masks: --masks fields or labels" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert segment.main([*words, "--masks=labels"]) == 0
    assert [path.name for path in (tmp_path / "out" / "masks").iterdir()] == ["q.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "masks" / "q.png")), truth)


def test_examples_and_images_of_unlike_depths_are_refused_before_any_work(tmp_path, stand_in, capsys):
    write_pairs(tmp_path / "support")
    (tmp_path / "images").mkdir()
    image, _ = picture(9)
    Image.fromarray(image.astype(np.uint16) * 257).save(tmp_path / "images" / "deep.png")
    arguments = [f"--images={tmp_path / 'images'}", f"--support={tmp_path / 'support'}", f"--out={tmp_path / 'out'}",
                 "--size=0", "--params=any"]  # fmt: skip
    assert segment.main(arguments) == 2
    assert "images of 2 kinds" in (told := capsys.readouterr().err) and "deep.png" in told
    assert not (tmp_path / "out").exists()
    assert segment.main([*arguments, "--normalize=percentiles"]) == 0
    Image.fromarray(np.stack([image] * 3, -1)).save(tmp_path / "images" / "deep.png")  # colours are averaged
    assert segment.main(arguments) == 0


def test_examples_whose_palettes_differ_are_refused(tmp_path):
    write_pairs(tmp_path)
    for index, colours in enumerate([(9, 0, 0, 0, 0, 9), (0, 0, 9, 9, 0, 0)]):
        mask = Image.fromarray((picture(index)[1] > 0).astype(np.uint8), "P")
        mask.putpalette([0, 0, 0, *colours])
        mask.save(tmp_path / "labels" / f"case_{index}.png")
    (tmp_path / "images" / "case_2.png").unlink()
    (tmp_path / "labels" / "case_2.png").unlink()
    with pytest.raises(DataError, match=r"label 1 is drawn in \(9, 0, 0\) .* their palettes differ"):
        segment.load_support(tmp_path, "auto", False)
    assert segment.load_support(tmp_path, "auto", True)[2] == (1,)


def test_weights_from_a_file(tmp_path):
    network, one, two = UniverSeg([4, 4]), jnp.ones((1, 8, 8, 1)), jnp.ones((1, 2, 8, 8, 1))
    shapes = jax.eval_shape(network.init, jax.random.key(0), one, two, two)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes["params"])
    for name, tree in (("bare", params), ("outer", {"params": params})):
        save_variables(tmp_path / f"{name}.npz", tree)
        module, loaded = segment.load_network(tmp_path / f"{name}.npz")
        assert module == network and jax.tree.structure(loaded) == jax.tree.structure(params)


def test_weights_of_the_reference_are_converted(tmp_path, monkeypatch):
    with np.load(Path(__file__).parents[1] / "golden" / "universeg_8x3.npz") as golden:
        state = {name.removeprefix("state_dict/"): golden[name] for name in golden if name.startswith("state_dict/")}
    monkeypatch.setattr(segment.interop, "read_torch", lambda path: {"model": state})
    (tmp_path / "weights.pt").touch()
    module, params = segment.load_network(tmp_path / "weights.pt")
    assert module == network_of(params) == UniverSeg([8, 8, 8])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"select": "similar"}, "--select is for a network that is shown the examples, which --params names"),
        ({"params": "weights.npz", "steps": "9"}, "with --params nothing is trained"),
        ({"params": "absent.npz"}, "absent.npz does not exist"),
        ({"params": "support/images/case_0.png"}, "of no known format, expected .npz or .pt"),
        ({"params": "weights.npz", "images": "nowhere"}, "is no folder"),
        ({"params": "weights.npz", "images": ""}, "every image has a mask; say with --images DIR"),
        ({"params": "weights.npz", "images": "empty"}, "holds no images"),
        ({"params": "weights.npz", "support": "empty"}, "holds no pairs"),
        ({"params": "weights.npz", "classes": "7"}, "--classes 7: no mask"),
        ({"params": "weights.npz", "out": "weights.npz"}, "is a file, expected a folder"),
        ({"params": "weights.npz", "slice-axis": "1"}, "--slice-axis is for volumes"),
    ],
)
def test_bad_input_is_one_message_before_any_work(tmp_path, monkeypatch, capsys, change, message):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "support", count=1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "weights.npz").touch()
    load = segment.load_network
    stand_in = lambda path: (above, 0) if path and path.name == "weights.npz" else load(path)  # noqa: E731
    monkeypatch.setattr(segment, "load_network", stand_in)
    options = {"images": "support", "support": "support", "out": "out"} | change
    assert segment.main([f"--{name}={value}" for name, value in options.items() if value]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
