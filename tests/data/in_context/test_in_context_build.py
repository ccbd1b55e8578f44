"""Building a store from small fake trees; on the real sets where HYPERLAB_DATA names their folder."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import segmentation_files as files

from hyperlab.data import build as command
from hyperlab.data.in_context import building
from hyperlab.data.in_context.building import Options, build
from hyperlab.data.in_context.building_synthetic import build_synthetic
from hyperlab.data.in_context.sources import open_source
from hyperlab.data.in_context.standardize import Standardization
from hyperlab.data.in_context.store import TaskStore
from hyperlab.errors import DataError

REAL = Path(os.environ.get("HYPERLAB_DATA", "/nowhere"))
SMALL = Standardization(sizes=(16,))
fast = pytest.mark.fast


def names(store):
    return {str(name): len(store[name]) for name in store}


def groups_kept(store):
    for name in store:
        task = store[name]
        held = [set(task.subjects[task.splits == split].tolist()) for split in ("train", "validation", "test")]
        assert all(held) and not held[0] & held[1] and not held[0] & held[2] and not held[1] & held[2]


# the rows that a fake tree of each set gives
SETS = {
    "wbc": (files.wbc, {"wbc/grey/2d/cytoplasm": 30, "wbc/grey/2d/nucleus": 30}),
    "dsb2018_nuclei": (files.nuclei, {"dsb2018_nuclei/fluo/2d/nucleus": 10, "dsb2018_nuclei/colour/2d/nucleus": 5}),
    "chasedb1": (files.retinas, {"chasedb1/grey/2d/vessel": 28}),
    "isbi2012_membrane": (files.membranes, {"isbi2012_membrane/grey/2d/membrane": 40}),  # 10 of 12 sections
    "brain_t1_ptbp": (
        files.brains,
        {f"brain_t1_ptbp/t1/2d/{label}": 60
         for label in ("cerebrospinal_fluid", "grey_matter", "white_matter", "deep_grey_matter")},
    ),
    "msd_hippocampus": (
        files.hippocampi,
        {f"msd_hippocampus/mri/axis{axis}/{label}": 12 for axis in range(3) for label in ("anterior", "posterior")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_public_sets(tmp_path, name):
    make, expected = SETS[name]
    source = open_source(make(tmp_path / name))
    build(source, tmp_path / "store", SMALL, Options())
    store = TaskStore(tmp_path / "store")
    assert names(store) == expected
    groups_kept(store)
    assert store.damage() == [] and not (tmp_path / "store" / ".parts").exists()
    for task in map(store.__getitem__, store):
        assert task.images[0].shape == (16, 16, 1) and task.shares.max() > 0
        assert task.annotators == (2 if name == "chasedb1" else 1)


@fast
def test_near_copies_share_a_subject(tmp_path):
    build(open_source(files.wbc(tmp_path / "wbc")), tmp_path / "store", SMALL, Options())
    task = TaskStore(tmp_path / "store")["wbc/grey/2d/nucleus"]
    subject = dict(zip(task.cases.tolist(), task.subjects.tolist(), strict=True))
    assert subject["003"] == subject["004"] and subject["007"] == subject["008"] != subject["009"]


@fast
def test_both_annotators_are_kept(tmp_path):
    root = files.retinas(tmp_path / "chasedb1", size=(16, 16))
    build(open_source(root), tmp_path / "store", SMALL, Options())
    labels = TaskStore(tmp_path / "store")["chasedb1/grey/2d/vessel"].labels[:]
    assert labels.shape == (28, 2, 16, 16, 1)
    assert np.abs(labels[:, 0] - labels[:, 1]).mean() > 0.1


def test_patches_are_the_image_in_parts_and_stay_with_their_child(tmp_path):
    root = files.retinas(tmp_path / "chasedb1", size=(51, 40))
    whole, patches = open_source(root), open_source(root, "chasedb1_patches")
    assert len(patches.names) == 25 * len(whole.names) and patches.names[7] == "Image_01L[1,2]"
    image, parts = whole.read(whole.entries[3]), [patches.read(entry) for entry in patches.entries[75:100]]
    rows = [np.concatenate([part.image for part in parts[row : row + 5]], 1) for row in range(0, 25, 5)]
    np.testing.assert_array_equal(np.concatenate(rows), image.image[:50])
    rows = [np.concatenate([part.labels for part in parts[row : row + 5]], 2) for row in range(0, 25, 5)]
    np.testing.assert_array_equal(np.concatenate(rows, 1), image.labels[:, :50])
    build(patches, tmp_path / "store", SMALL, Options())
    groups_kept(TaskStore(tmp_path / "store"))


@pytest.mark.parametrize(
    "make, expected",
    [
        (lambda root: files.nnunet(root, shape=(12, 10, 8), channel_names={"0": "CT"}),
         {f"set/CT/axis{axis}/{label}": 8 for axis in (0, 2) for label in ("left", "right")}),
        (lambda root: files.nnunet(root, channels=2, shape=(12, 10), ending=".png"),
         {f"set/channel_{c}/2d/{label}": 8 for c in (0, 1) for label in ("left", "right")}),
        (lambda root: files.decathlon(root),
         {f"set/MRI/axis{axis}/{label}": 8 for axis in (0, 2) for label in ("left", "right")}),
        (lambda root: files.oasis(root), {f"set/image/2d/{label}": 6 for label in (
            "cortex", "subcortical_grey_matter", "white_matter", "cerebrospinal_fluid")}),
        (lambda root: files.camus(root), {f"set/image/2d/{label}": 20 for label in (
            "left_ventricle", "myocardium", "left_atrium")}),
    ],
    ids=["nnunet", "nnunet 2D", "decathlon", "oasis", "camus"],
)  # fmt: skip
def test_layouts(tmp_path, make, expected):
    source = open_source(make(tmp_path / "set"))
    build(source, tmp_path / "store", Standardization(sizes=(16,), planes=(0, 2)), Options())
    store = TaskStore(tmp_path / "store")
    assert names(store) == expected
    groups_kept(store)
    assert all(set(source.kinds) <= {"ct", "mr", "other"} for _ in store)


@fast
def test_instances_are_one_foreground(tmp_path):
    for i in range(10):
        image, mask = files.blob(i, (40, 40), labels=90)
        files.picture(tmp_path / "set" / "images" / f"{i}.png", image)
        files.picture(tmp_path / "set" / "masks" / f"{i}.png", mask)
    build(open_source(tmp_path / "set"), tmp_path / "store", SMALL, Options())
    assert names(TaskStore(tmp_path / "store")) == {"set/image/2d/foreground": 10}


class Killed(Exception):
    """Stands for the end of the process."""


def counting(monkeypatch, done):
    """Notes which cases are standardised."""
    original = building._standardize_case
    monkeypatch.setattr(
        building, "_standardize_case", lambda file, name, *rest: (done.append(name), original(file, name, *rest))[1]
    )


@fast
def test_a_killed_build_goes_on(tmp_path, monkeypatch):
    source, store, done = open_source(files.wbc(tmp_path / "wbc")), tmp_path / "store", []
    counting(monkeypatch, done)

    def kill_at(what, at):
        def report(now, count, _):
            if what in now and count == at:
                raise Killed

        return report

    with pytest.raises(Killed):  # among the cases
        build(source, store, SMALL, Options(), kill_at("cases", 12))
    assert len(done) == 12
    with pytest.raises(Killed):  # among the tasks, the first channel written
        build(source, store, SMALL, Options(), kill_at("tasks", 2))
    assert sorted(done) == sorted(source.names)  # none twice
    half = store / "16/wbc/grey/2d/nucleus"
    (half / "zarr.json").unlink()  # the second was interrupted
    finished = store / "16/wbc/grey/2d/cytoplasm/zarr.json"
    before = finished.stat().st_mtime_ns
    build(source, store, SMALL, Options())
    assert len(done) == 30 and finished.stat().st_mtime_ns == before
    assert names(TaskStore(store)) == SETS["wbc"][1] and not TaskStore(store).damage()
    build(source, store, SMALL, Options())
    assert len(done) == 30


@fast
def test_other_settings_are_refused_unless_overwritten(tmp_path):
    source, store = open_source(files.retinas(tmp_path / "chasedb1")), tmp_path / "store"
    build(source, store, SMALL, Options())
    with pytest.raises(DataError, match="was built with dtype uint8, now float32 is asked for; use another --out"):
        build(source, store, SMALL, Options(dtype="float32"))
    build(source, store, SMALL, Options(dtype="float32", overwrite=True))
    assert TaskStore(store)["chasedb1/grey/2d/vessel"].images.raw(0).dtype == np.float32


@fast
def test_float_and_byte_stores_agree(tmp_path):
    source = open_source(files.hippocampi(tmp_path / "msd_hippocampus"))
    for dtype in ("uint8", "float32"):
        build(source, tmp_path / dtype, SMALL, Options(dtype=dtype))
    low, high = (TaskStore(tmp_path / dtype)["msd_hippocampus/mri/axis1/anterior"] for dtype in ("uint8", "float32"))
    np.testing.assert_allclose(low.images[:], high.images[:], atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(low.labels[:], high.labels[:], atol=0.5 / 255 + 1e-6)


@fast
def test_synthetic_tasks(tmp_path):
    build_synthetic(tmp_path, 2, 10, SMALL, Options(), seed=3)
    store = TaskStore(tmp_path)
    assert {name.modality for name in store} == {"template_00000", "template_00001"} and len(store) > 4
    assert all(len(store[name]) == 10 for name in store)
    groups_kept(store)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("zarr.json")}
    build_synthetic(tmp_path, 3, 10, SMALL, Options(), seed=3)  # one more: those that are there stay
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert len({name.modality for name in TaskStore(tmp_path)}) == 3
    with pytest.raises(DataError, match="was built with seed 3, now 4 is asked for"):
        build_synthetic(tmp_path, 3, 10, SMALL, Options(), seed=4)


@fast
def test_the_command(tmp_path, capsys):
    wbc, retinas = files.wbc(tmp_path / "wbc"), files.retinas(tmp_path / "chasedb1")
    store = tmp_path / "store"
    arguments = ["--source", str(wbc), "--source", str(retinas), "--out", str(store), "--sizes", "16", "24"]
    assert command.main([*arguments, "--workers", "0", "--verify"]) == 0
    shown = capsys.readouterr()
    assert "16\twbc\tgrey\t2d\tcytoplasm, nucleus\t30\t28\t" in shown.out
    assert "24\tchasedb1\tgrey\t2d\tvessel\t28\t14\t16/4/8\t2\t" in shown.out
    assert "every array is as it was written" in shown.out and "wbc: cases 30/30" in shown.err
    chunk = next(p for p in (store / "16/wbc/grey/2d/nucleus/labels").rglob("*") if p.is_file() and p.suffix == "")
    chunk.write_bytes(b"")
    assert command.main(["--out", str(store), "--verify"]) == 1
    assert "task wbc/grey/2d/nucleus: 30 of 30 labels are damaged" in capsys.readouterr().out


@fast
def test_bad_input(tmp_path, capsys):
    assert command.main(["--out", str(tmp_path)]) == 2 and "nothing to do" in capsys.readouterr().err
    assert command.main(["--out", str(tmp_path), "--source", str(tmp_path / "no")]) == 2
    assert "no does not exist" in capsys.readouterr().err
    with pytest.raises(DataError, match="unknown layout 'nnunett'; did you mean 'nnunet'"):
        open_source(tmp_path, "nnunett")
    root = files.wbc(tmp_path / "wbc")
    files.picture(root / "Dataset 1" / "005.png", np.zeros((40, 41), np.uint8))
    with pytest.raises(DataError, match="case 005: image .* and labels"):
        build(open_source(root), tmp_path / "store", SMALL, Options())
    with pytest.raises(DataError, match=r"has the labels \['a_b', 'a b'\], expected different names"):
        build(replace(open_source(root), labels={1: "a_b", 2: "a b"}), tmp_path / "store", SMALL, Options())
    files.picture(root / "Dataset 1" / "005.png", np.zeros((40, 40), np.uint8))
    build(open_source(root), tmp_path / "store", SMALL, Options())
    assert json.loads((tmp_path / "store/16/wbc/grey/2d/nucleus/zarr.json").read_text())["attributes"]["shares"][4] == 0


def test_names_of_labels_stay_inside_the_store_or_are_refused(tmp_path):
    labels = {"background": 0, "../../../x": 1, "y": 2}
    root = files.nnunet(tmp_path / "deep" / "set", shape=(20, 20), ending=".png", labels=labels)
    build(open_source(root, name="../../up"), tmp_path / "deep" / "store", SMALL, Options())
    assert {name.label for name in TaskStore(tmp_path / "deep" / "store")} == {"x", "y"}
    assert {path.name for path in tmp_path.iterdir()} == {"deep"}
    files.nnunet(root, shape=(20, 20), ending=".png", labels={"background": 0, "HER2+": 1, "HER2++": 2})
    with pytest.raises(
        DataError, match=r"'HER2\+' of 'channel 0' and 'HER2\+\+' of .* would be one task, set/channel_0"
    ):
        build(open_source(root), tmp_path / "other", SMALL, Options())


def test_the_masks_of_a_folder_may_have_to_be_named(tmp_path):
    for i in range(6):
        image, mask = files.blob(i, (20, 20), labels=2)
        for folder, pixels in (("images", image), ("manual1", 255 * mask), ("mask", 255 * np.ones_like(mask))):
            files.picture(tmp_path / "hrf" / folder / f"{i:02d}_dr.png", pixels)
    with pytest.raises(DataError, match="--masks manual1 or mask"):
        open_source(tmp_path / "hrf")
    source = open_source(tmp_path / "hrf", masks="manual1")
    assert source.labels == {255: "value_255"} and source.read(source.entries[0]).labels.mean() < 200
    for layout in ("nnunet", "wbc"):
        with pytest.raises(DataError, match="masks and mask_suffix are for plain folders"):
            open_source(tmp_path / "hrf", layout, masks="manual1")


@pytest.mark.slow
def test_several_processes_give_the_same_store(tmp_path):
    source = open_source(files.hippocampi(tmp_path / "msd_hippocampus"))
    for workers in (0, 2):
        build(source, tmp_path / str(workers), SMALL, Options(workers=workers))
    alone, together = (TaskStore(tmp_path / str(workers)) for workers in (0, 2))
    for name in alone:
        np.testing.assert_array_equal(alone[name].images.raw(slice(None)), together[name].images.raw(slice(None)))
        assert alone[name].splits.tolist() == together[name].splits.tolist()


@pytest.mark.slow
def test_a_real_set(tmp_path):
    if not (REAL / "wbc").is_dir():
        pytest.skip("HYPERLAB_DATA names no folder with wbc")
    build(open_source(REAL / "wbc"), tmp_path, Standardization(sizes=(64,)), Options())
    task = TaskStore(tmp_path)["wbc/grey/2d/nucleus"]
    subject = dict(zip(task.cases.tolist(), task.subjects.tolist(), strict=True))
    for a, b in (("112", "139"), ("157", "158"), ("166", "171")):
        assert subject[a] == subject[b]
    assert len(task) == 300 and 0.02 < task.shares.mean() < 0.3
