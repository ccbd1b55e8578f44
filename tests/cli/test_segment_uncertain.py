import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hyperlab.cli import segment_uncertain
from hyperlab.data import microscopy
from hyperlab.data.parasites import parasites
from hyperlab.inference import saved
from hyperlab.models import DropoutUNet

NET = DropoutUNet((2,), rate=0.4)
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A network whose mask is what is brighter than a grey value, and which drops one of two channels."""
    folder = tmp_path_factory.mktemp("run")
    shapes = jax.eval_shape(NET.init, jax.random.key(0), jnp.ones((1, 16, 16, 1)))["params"]
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    for index in range(2):
        kernel = params[f"encoder_0_conv_{index}"]["kernel"]
        kernel[1, 1] = np.eye(*kernel.shape[2:]) + 0.1
    params["classifier"]["kernel"][0, 0] = [[0, 12], [0, 4]]
    params["classifier"]["bias"][1] = -4
    saved.save(folder, NET, {"params": params}, name="spatial_0", channels=1, classes=("background", "parasite"),
               window=(24, 24))  # fmt: skip
    return folder


def write(folder, names=NAMES, factor=257):
    folder.mkdir()
    drawn = parasites(count=len(names), size=(32, 40), difficulty=0).examples.images[..., 0]
    for name, image in zip(names, drawn, strict=True):
        Image.fromarray(image.astype(np.uint16) * factor).save(folder / f"{name}.tif")
    return folder


def test_maps_overlays_and_tables_interrupted_and_continued(run, tmp_path, monkeypatch, capsys):
    images, out = write(tmp_path / "images"), tmp_path / "out"
    command = [f"--model={run}", f"--images={images}", f"--out={out}", "--samples=4", "--batch=2", "--window=24",
               "--smallest=1"]  # fmt: skip
    read, calls = microscopy.read, []

    def interrupted(path, normalisation):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(path.stem)
        return read(path, normalisation)

    monkeypatch.setattr(microscopy, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        segment_uncertain.main(command)
    assert calls == ["a", "b"] and not (out / "images.csv").exists()
    before = (out / "epistemic" / "a.tif").stat().st_mtime_ns
    (out / "masks" / "c.tif").write_bytes(b"half a file")
    monkeypatch.setattr(microscopy, "read", read)
    assert segment_uncertain.main(command) == 0
    shown = capsys.readouterr()
    assert "3 images (2 finished already), 4 samples, classes background, parasite, images by full range" in shown.out
    assert (out / "epistemic" / "a.tif").stat().st_mtime_ns == before

    pages = {(kind, name): np.asarray(Image.open(out / kind / f"{name}.tif")) for name in NAMES
             for kind in ("masks", "mean", "epistemic", "aleatoric")}  # fmt: skip
    for name in NAMES:
        assert pages["masks", name].dtype == np.uint8 and pages["masks", name].shape == (32, 40)
        np.testing.assert_array_equal(pages["masks", name], pages["mean", name] > 0.5)
        for kind in ("mean", "epistemic", "aleatoric"):
            assert pages[kind, name].dtype == np.float32 and np.isfinite(pages[kind, name]).all()
        assert np.asarray(Image.open(out / "overlays" / f"{name}.png")).shape == (32, 120, 3)
    assert max(pages["epistemic", name].max() for name in NAMES) > 0.01
    assert not [path for path in out.rglob(".*.part")]

    table, objects = pd.read_csv(out / "images.csv"), pd.read_csv(out / "objects.csv")
    assert sorted(table["image"]) == list(NAMES) and table["score"].is_monotonic_decreasing
    assert set(table["white"]) == {65535} and objects["epistemic"].is_monotonic_decreasing
    for row in table.itertuples():
        inside = pages["masks", row.image] > 0
        own = objects[objects["image"] == row.image]
        assert len(own) == row.objects and own["area"].sum() == inside.sum()
        assert row.score == pytest.approx(pages["epistemic", row.image][inside].mean(), rel=1e-4)
        assert np.average(own["epistemic"], weights=own["area"]) == pytest.approx(row.score, rel=1e-4)
        assert np.all((own["mean_probability"] > 0.5) & (own["y"] < 32) & (own["x"] < 40))

    assert segment_uncertain.main([*command[:3], "--samples=5"]) == 2
    assert "was written with samples 4, now it is 5" in capsys.readouterr().err


def test_specks_are_counted_and_have_no_row(run, tmp_path):
    images = write(tmp_path / "images", NAMES[:1])
    command = [f"--model={run}", f"--images={images}", "--samples=2", "--window=24"]
    for smallest in (1, 12):
        assert segment_uncertain.main([*command, f"--out={tmp_path / str(smallest)}", f"--smallest={smallest}"]) == 0
    (every,), (large,) = (pd.read_csv(tmp_path / name / "images.csv").itertuples() for name in ("1", "12"))
    areas = pd.read_csv(tmp_path / "1" / "objects.csv")["area"]
    assert every.specks == 0 and every.objects == len(areas)
    assert (large.specks, large.objects) == ((areas < 12).sum(), (areas >= 12).sum())
    assert sorted(pd.read_csv(tmp_path / "12" / "objects.csv")["area"]) == sorted(areas[areas >= 12])


def test_a_window_that_sees_too_little_is_warned_about_once(run, tmp_path, capsys):
    images = write(tmp_path / "images", NAMES[:2])
    code = segment_uncertain.main([f"--model={run}", f"--images={images}", f"--out={tmp_path / 'out'}", "--samples=2",
                                   "--window=4", "--overlap=0", "--batch=80"])  # fmt: skip
    shown = capsys.readouterr()
    assert code == 0 and shown.err.count("warning: a window of 4x4 is smaller than the receptive field") == 1
    assert "give a window of 5 or more" in shown.err and "segment ended at 2/2 images" in shown.err


def test_bad_input_ends_with_one_message_before_anything_is_written(run, tmp_path, capsys):
    images = write(tmp_path / "images")
    colours = tmp_path / "colours"
    colours.mkdir()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(colours / "a.png")
    for options, message in (
        ({"--samples": 1, "--model": tmp_path / "missing"}, "error: 1 samples have no spread"),
        ({"--model": tmp_path}, "holds no networks/model.json"),
        ({"--images": tmp_path / "missing"}, "is not a folder"),
        ({"--images": colours}, "colours holds images of 8 bits, 3 channels; the network was trained on 1 channel"),
        ({"--overlap": 1}, "--overlap 1.0, --batch 4 and --smallest 5"),
        ({"--window": 0}, "size is 0"),
    ):
        given = {"--model": run, "--images": images, "--out": tmp_path / "out", **options}
        assert segment_uncertain.main([f"{name}={value}" for name, value in given.items()]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(images / "d.png")
    assert segment_uncertain.main([f"--model={run}", f"--images={images}", f"--out={tmp_path / 'out'}"]) == 2
    assert "mixes images of 2 kinds" in capsys.readouterr().err


@pytest.fixture(scope="module")
def segmented(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmented")
    write(folder / "images", NAMES[:2])
    assert segment_uncertain.main(command_in(run, folder)) == 0
    return folder


def command_in(run, folder):
    return [f"--model={run}", f"--images={folder / 'images'}", f"--out={folder / 'out'}", "--samples=2", "--batch=2",
            "--window=24"]  # fmt: skip


def flipped(content):
    return content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :]


def of_another_seed(path):
    content = json.loads(path.read_text())
    del content["checksum"]
    content["made_of"]["settings"] = "0" * 32
    path.write_text(json.dumps(content))


DAMAGE = {
    "an image that was replaced": ("images/a.tif", lambda path: path.write_bytes(path.with_name("b.tif").read_bytes())),
    "a row of other settings": ("out/rows/a.json", of_another_seed),
    **{f"{name}, {how}": (f"out/{name}", lambda path, damage=damage: path.write_bytes(damage(path.read_bytes())))
       for name in ("rows/a.json", "masks/a.tif", "epistemic/a.tif", "overlays/a.png", "settings.json", "images.csv")
       for how, damage in (("empty", lambda b: b""), ("half", lambda b: b[: len(b) // 2]), ("one bit", flipped))},
}  # fmt: skip


@pytest.mark.parametrize(("name", "change"), DAMAGE.values(), ids=DAMAGE)
def test_what_changed_is_done_again_and_the_rest_is_kept(run, segmented, tmp_path, name, change, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(segmented, folder)
    change(folder / name)
    kept = (folder / "out" / "masks" / "b.tif").stat().st_mtime_ns
    assert segment_uncertain.main(command_in(run, folder)) == 0
    if name.startswith("out/masks"):
        assert (folder / "out" / "masks" / "a.tif.damaged-1").exists()  # or edited by hand: nothing is lost
    whole = name.endswith((".csv", "settings.json"))
    assert ("(2 finished already)" if whole else "1 finished already") in capsys.readouterr().out
    assert (folder / "out" / "masks" / "b.tif").stat().st_mtime_ns == kept
    for written in ("masks/{}.tif", "epistemic/{}.tif", "overlays/{}.png"):
        source = "b" if name.startswith("images/") else "a"
        there = (folder / "out" / written.format("a")).read_bytes()
        assert there == (segmented / "out" / written.format(source)).read_bytes()
    if not name.startswith("images/"):
        for table in ("images.csv", "objects.csv"):
            assert (folder / "out" / table).read_bytes() == (segmented / "out" / table).read_bytes()


def test_rows_that_note_nothing_are_taken_until_their_image_is_newer(run, segmented, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(segmented, folder)
    for path in (folder / "out" / "rows").iterdir():
        content = json.loads(path.read_text())
        path.write_text(json.dumps({key: content[key] for key in ("image", "objects")}))
    os.utime(folder / "images" / "a.tif", (2e9, 2e9))
    assert segment_uncertain.main(command_in(run, folder)) == 0
    assert "1 finished already; 1 again" in capsys.readouterr().out
