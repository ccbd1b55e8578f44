"""A folder of scans becomes a store: what is in it, what is refused, and that a kill or a full disk loses nothing."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from segmentation_files import blob, decathlon, nifti, nnunet, nuclei, picture, write_json

from hyperlab.cli import main
from hyperlab.data.layouts import detect, read_case
from hyperlab.data.prepared import backward, forward, open_store, prepare
from hyperlab.errors import DamagedError, DataError, InUseError
from hyperlab.files import locked

DATA = Path(__file__).parents[3] / "../shared/data"
fast = pytest.mark.fast


def contents(store):
    """Every file of a store, by name."""
    return {str(file.relative_to(store)): file.read_bytes() for file in sorted(store.rglob("*")) if file.is_file()}


def folder_of_cases(store):
    (folder,) = store.glob("cases-*")
    return folder


def check_against_files(store, root, foreground=False, **options):
    """Every image and mask of a store is what its files become, and goes back to them."""
    labelled = [case for case in detect(root, **options).cases if case.label is not None]
    assert [case.name for case in labelled] == [case.name for case in store.cases]
    for case, stored in zip(labelled, store.cases, strict=True):
        scan, mask = read_case(case)
        image, placement = forward(scan, store.preprocessing)
        found, labels = store.read(case.name)
        assert placement == stored.placement and stored.size == image.shape[:-1]
        np.testing.assert_array_equal(found, image)
        back = backward(labels, placement, store.preprocessing)
        truth = (mask.values > 0).astype(int) if foreground else mask.values
        if store.preprocessing.spacing is None or placement.size == placement.box:
            inside = np.zeros([placement.shape[axis] for axis in placement.axes], bool)
            inside[placement.window] = True
            inside = inside.reshape(placement.shape)
            np.testing.assert_array_equal(back[inside], truth[inside])
        assert stored.voxels == tuple(np.bincount(labels.ravel(), minlength=len(store.preprocessing.classes)))
        places = store.places(case.name)
        assert sorted(places) == [label for label in np.unique(labels) if label]
        for label, rows in places.items():
            assert (labels[tuple(rows.T)] == label).all() and len(rows) <= 1000


@fast
def test_an_nnunet_folder_of_two_channels(tmp_path):
    root = nnunet(tmp_path / "set", cases=5, channels=2, test=2, channel_names={"0": "CT", "1": "T2"})
    store = prepare(root, tmp_path / "store")
    assert [case.part for case in store.cases] == ["train"] * 5 + ["test"] * 2
    check_against_files(store, root)
    ct, mr = store.preprocessing.channels
    assert (ct.scheme, mr.scheme, mr.mean) == ("ct", "z_score", None)
    # the set's statistics are of the foreground of the training cases alone, each case counting alike
    train = [read_case(case) for case in detect(root).cases if case.part == "train"]
    values = [scan.values[..., 0][mask.values > 0] for scan, mask in train]
    expected = np.concatenate([np.resize(one, 10_000) for one in values])
    np.testing.assert_allclose((ct.mean, ct.deviation), (expected.mean(), expected.std()), rtol=0.02)
    np.testing.assert_allclose((ct.low, ct.high), np.percentile(expected, (0.5, 99.5)), rtol=0.03)
    assert store.preprocessing.classes == ("background", "left", "right")
    assert store.damage() == [] and not (store.path / ".work").exists()
    assert pickle.loads(pickle.dumps(store)).fingerprint == store.fingerprint


@fast
def test_the_spacing_is_the_median_or_what_is_asked_for(tmp_path):
    for i, step in enumerate((1.0, 2.0, 5.0)):
        image, mask = blob(i, (12, 10, 8))
        for part, array in (("images", image), ("labels", mask)):
            nifti(tmp_path / "set" / part / f"case{i}.nii.gz", array, np.diag([1, 1.5, step, 1]))
    store = prepare(tmp_path / "set", tmp_path / "median")
    assert store.preprocessing.spacing == (1.0, 1.5, 2.0)
    assert [case.placement.size[2] for case in store.cases] == [round(n * s / 2) for n, s in
            [(case.placement.box[2], case.placement.spacing[2]) for case in store.cases]]  # fmt: skip
    assert prepare(tmp_path / "set", tmp_path / "keep", spacing="keep").preprocessing.spacing is None
    assert prepare(tmp_path / "set", tmp_path / "mm", spacing=3).preprocessing.spacing == (3.0, 3.0, 3.0)
    for wrong, message in (("mean", "expected 'median'"), ((1, 2), "one for each of 3 axes"), (0.0, "positive")):
        with pytest.raises(DataError, match=message):
            prepare(tmp_path / "set", tmp_path / "wrong", spacing=wrong)


@fast
def test_mostly_empty_volumes_have_z_scores_of_what_is_not_empty(tmp_path):
    for i in range(3):
        image, mask = blob(i, (8, 8, 8))
        for part, array in (("images", np.maximum(image, 1)), ("labels", mask)):
            nifti(tmp_path / "set" / part / f"case{i}.nii.gz", np.pad(array, 3))
    store = prepare(tmp_path / "set", tmp_path / "store")
    assert store.preprocessing.masked and store.set_fingerprint.cropped == pytest.approx((8 / 14) ** 3)
    check_against_files(store, tmp_path / "set")


def coloured(root, cases=6):
    """RGB pictures as nnU-Net has them: one PNG of three channels, a mask with the values of the map."""
    for i in range(cases):
        image, mask = blob(i, (20 + i, 24))
        picture(root / "imagesTr" / f"c{i}_0000.png", np.stack([image, image // 2, 255 - image], -1))
        picture(root / "labelsTr" / f"c{i}.png", mask)
    names = {str(place): "rgb_to_0_1" for place in range(3)}
    write_json(root / "dataset.json", {"channel_names": names, "labels": {"background": 0, "a": 1, "b": 2},
                                       "numTraining": cases, "file_ending": ".png"})  # fmt: skip
    return root


@fast
def test_coloured_png_of_nnunet_form(tmp_path):
    store = prepare(coloured(tmp_path / "set"), tmp_path / "store")
    assert store.preprocessing.axes == 2 and store.preprocessing.spacing is None
    check_against_files(store, tmp_path / "set")
    image, _ = store.read("c3")
    assert image.min() >= 0 and image.max() <= 1 and image.shape == (23, 24, 3)


@fast
def test_windows_are_padded_and_read_what_they_say(tmp_path):
    store = prepare(coloured(tmp_path / "set"), tmp_path / "store")
    whole, labels = store.read(2)
    padded = np.pad(whole, ((5, 40), (7, 9), (0, 0)))
    patch, mask = store.read(2, [(-5, 30), (3, 33)])
    np.testing.assert_array_equal(patch, padded[:35, 10:40])
    np.testing.assert_array_equal(mask, np.pad(labels, ((5, 40), (7, 9)))[:35, 10:40])
    assert (store.read(2, [(900, 910), (0, 4)])[0] == 0).all()
    for window in ([(0, 3)], [(3, 3), (0, 2)]):
        with pytest.raises(DataError, match="expected .start, stop. for 2 axes"):
            store.read(2, window)
    with pytest.raises(DataError, match="no case 'c9'; did you mean"):
        store.read("c9")


@fast
def test_splits_and_folds_cut_no_group(tmp_path):
    names = [f"patient{i // 2:02d}_visit_{i % 2}" for i in range(20)]
    store = prepare(nnunet(tmp_path / "set", cases=20, names=names, shape=(8, 8, 4)), tmp_path / "store")
    assert len({case.group for case in store.cases}) == 10
    for parts in (list(store.split(seed=1).values()), store.folds(5, seed=1)):
        assert sorted(sum(parts, [])) == list(range(20))
        owners = [{store.cases[number].group for number in part} for part in parts]
        assert sum(map(len, owners)) == 10
    assert store.folds(5, seed=1) != store.folds(5, seed=2)
    tested = prepare(nnunet(tmp_path / "two", cases=8, test=3, shape=(8, 8, 4)), tmp_path / "tested")
    assert tested.split()["test"] == [8, 9, 10] and max(max(fold) for fold in tested.folds(4)) == 7


KILLED = """
import os, signal, sys
from hyperlab.data.prepared import prepare
def report(what, done, total):
    if (what, done) == (sys.argv[3], 3):
        os.kill(os.getpid(), signal.SIGKILL)
prepare(sys.argv[1], sys.argv[2], report=report)
"""


@pytest.mark.parametrize("where", ["reading", "preparing"])
def test_a_kill_then_the_same_call_is_as_if_nothing_had_happened(tmp_path, where):
    root = nnunet(tmp_path / "set", cases=6, channel_names={"0": "CT"})
    undisturbed = contents(prepare(root, tmp_path / "undisturbed").path)
    out = tmp_path / "store"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(root), str(out), where], capture_output=True)
    assert killed.returncode == -9, killed.stderr
    with pytest.raises(
        DataError, match=r"is not finished \(. cases are written\); run the same hyperlab prepare again"
    ):
        open_store(out)
    if where == "preparing":
        half = folder_of_cases(out) / ".part-000003" / "image"
        half.mkdir(parents=True)
        (half / "zarr.json").write_text("{")
    reports = []
    prepare(root, out, report=lambda *one: reports.append(one))
    assert (where, 3, 6) in reports and (where, 2, 6) not in reports
    assert contents(out) == undisturbed
    reports.clear()
    prepare(root, out, report=lambda *one: reports.append(one))
    assert reports == [] and contents(out) == undisturbed


HELD = """
import sys, time
from hyperlab.data.prepared import prepare
def report(what, done, total):
    if (what, done) == ("preparing", 1):
        print("held", flush=True)
        time.sleep(60)
prepare(sys.argv[1], sys.argv[2], report=report)
"""


def test_one_process_at_a_time_writes_to_a_store_and_a_killed_one_lets_go(tmp_path, capsys):
    root, out = nnunet(tmp_path / "set", cases=3), tmp_path / "store"
    words = [sys.executable, "-c", HELD, str(root), str(out)]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "held\n"
        for options in ([], ["--spacing", "2", "--overwrite"]):
            assert main(["prepare", str(root), "--out", str(out), *options]) == 2
            error = capsys.readouterr().err
            assert error == f"error: {out} is in use by another process; wait for it or choose another\n"
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert prepare(root, out).damage() == []
    assert contents(out) == contents(prepare(root, tmp_path / "undisturbed").path)
    with locked(out):  # while another one may be overwriting it, a finished store is found at once
        assert len(prepare(root, out)) == 3
        with pytest.raises(InUseError):
            prepare(root, out, spacing=2, overwrite=True)


@pytest.mark.slow
def test_processes_write_the_same_bytes(tmp_path):
    root = nnunet(tmp_path / "set", cases=5)
    one, two = (prepare(root, tmp_path / str(workers), workers=workers) for workers in (0, 2))
    assert contents(one.path) == contents(two.path)


FULL = """
import resource, sys
from hyperlab.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
sys.exit(main(["prepare", sys.argv[1], "--out", sys.argv[2]]))
"""


def test_a_full_disk_is_one_sentence_and_keeps_what_is_finished(tmp_path):
    root = tmp_path / "set"
    for i, shape in enumerate([(16, 16, 8), (12, 16, 8), (64, 64, 64)]):  # the last one has no room
        image, mask = np.random.default_rng(i).normal(0, 1, shape).astype(np.float32), np.ones(shape, np.uint8)
        nifti(root / "images" / f"case{i}.nii.gz", image)
        nifti(root / "labels" / f"case{i}.nii.gz", mask)
    out = tmp_path / "store"
    full = subprocess.run([sys.executable, "-c", FULL, str(root), str(out)], capture_output=True, text=True)
    assert full.returncode == 2 and "Traceback" not in full.stderr
    assert "000002 cannot be written" in full.stderr and "make room, and run the same hyperlab prepare" in full.stderr
    assert sorted(entry.name for entry in folder_of_cases(out).iterdir()) == ["000000", "000001"]
    prepare(root, out)
    assert contents(out) == contents(prepare(root, tmp_path / "undisturbed").path)


@fast
def test_a_store_of_other_settings_files_or_version_is_refused_and_begun_anew_where_asked(tmp_path):
    root, out = nnunet(tmp_path / "set", cases=3), tmp_path / "store"
    prepare(root, out)
    before = contents(out)
    with pytest.raises(
        DataError, match=r"begun with spacing median, now it is \[2.0\]; use another --out, or --overwr"
    ):
        prepare(root, out, spacing=2)
    os.utime(root / "labelsTr" / "case_001.nii.gz", (1, 1))
    with pytest.raises(DataError, match="begun from files that have changed since"):
        prepare(root, out)
    assert contents(out) == before
    store = prepare(root, out, spacing=2, overwrite=True)
    assert store.preprocessing.spacing == (2.0, 2.0, 2.0)
    described = json.loads((out / "store.json").read_text())
    (out / "store.json").write_text(json.dumps({**described, "version": 9}))
    with pytest.raises(DamagedError, match="changed since it was written"):
        open_store(out)
    (out / "store.json").write_text(
        json.dumps({key: value for key, value in described.items() if key != "checksum"} | {"version": 9})
    )
    for refused in (lambda: open_store(out), lambda: prepare(root, out)):
        with pytest.raises(DataError, match="is a store of version 9, this hyperlab reads version 1"):
            refused()
    assert prepare(root, out, spacing=2, overwrite=True).damage() == []


@fast
def test_a_store_stays_whole_until_the_one_that_overwrites_it_is(tmp_path):
    root, out = nnunet(tmp_path / "set", cases=3), tmp_path / "store"
    whole = prepare(root, out)
    before, patch = contents(out), whole.read(1)
    file = root / "imagesTr" / "case_001_0000.nii.gz"
    good = file.read_bytes()
    file.write_bytes(good[: len(good) // 2])
    with pytest.raises(DataError, match="truncated or damaged"):
        prepare(root, out, spacing=2, overwrite=True)
    assert contents(out).items() >= before.items() and open_store(out).damage() == []
    np.testing.assert_array_equal(open_store(out).read(1)[0], patch[0])
    file.write_bytes(good)
    reports = []
    store = prepare(root, out, spacing=2, overwrite=True, report=lambda *one: reports.append(one))
    assert reports[0] == ("reading", 2, 3) and store.preprocessing.spacing == (2.0, 2.0, 2.0)
    assert contents(out) == contents(prepare(root, tmp_path / "fresh", spacing=2).path)


KILLED_ANYWHERE = """
import os, shutil, sys
import tensorstore  # which starts no threads before it is used, so that this process may fork
from hyperlab.data.prepared import prepare
root, old, trials, step = *sys.argv[1:4], int(sys.argv[4])
moves = {"os.rename", "shutil.rmtree"}  # what takes a place, and what is taken away
for last in range(0, 10**6, step):
    trial = f"{trials}/{last:04d}"
    shutil.copytree(old, trial)
    if (child := os.fork()) == 0:
        left = last
        def ending(event, arguments):
            global left
            if event in moves:
                left -= 1
                if left < 0:
                    os._exit(7)
        sys.addaudithook(ending)
        prepare(root, trial, spacing=2, overwrite=True)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
"""


@pytest.mark.slow
def test_a_kill_at_any_move_leaves_the_old_store_or_the_new_one_and_the_next_call_goes_on(tmp_path):
    root, old = nnunet(tmp_path / "set", cases=2, shape=(6, 6, 4)), tmp_path / "old"
    before = contents(prepare(root, old).path)
    after = contents(prepare(root, tmp_path / "new", spacing=2).path)
    (tmp_path / "trials").mkdir()
    words = [str(root), str(old), str(tmp_path / "trials"), "3"]
    subprocess.run([sys.executable, "-c", KILLED_ANYWHERE, *words], check=True, timeout=120)
    *trials, undisturbed = sorted((tmp_path / "trials").iterdir())
    assert contents(undisturbed) == after and len(trials) > 5
    found = set()
    for trial in trials:
        store = open_store(trial)
        found.add(store.preprocessing.spacing)
        assert store.damage() == []
        left = contents(trial).items()
        assert left >= (before if store.preprocessing.spacing != (2.0, 2.0, 2.0) else after).items()
        assert contents(prepare(root, trial, spacing=2, overwrite=True).path) == after
    assert len(found) == 2


@fast
def test_folders_that_are_no_store_are_left_alone(tmp_path):
    root = nnunet(tmp_path / "set", cases=2)
    with pytest.raises(DataError, match="holds other files"):
        prepare(root, root, overwrite=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="is a file"):
        prepare(root, tmp_path / "file")
    with pytest.raises(DataError, match="is no prepared set; make one with hyperlab prepare"):
        open_store(root)


@fast
def test_damage_is_named_and_mended_by_the_same_call(tmp_path):
    root = nnunet(tmp_path / "set", cases=3)
    out = prepare(root, tmp_path / "store").path
    before = contents(out)
    file = next(path for path in (folder_of_cases(out) / "000001" / "image" / "c").rglob("*") if path.is_file())
    content = bytearray(file.read_bytes())
    content[60] ^= 1
    file.write_bytes(content)
    store = open_store(out)
    with pytest.raises(
        DataError, match="case case_001 is damaged .* remove .*000001 and run the same hyperlab prepare"
    ):
        store.read("case_001")
    assert len(store.damage()) == 1 and "case_001" in store.damage()[0]
    store.read("case_002")
    shutil.rmtree(folder_of_cases(out) / "000001")
    assert prepare(root, out).damage() == [] and contents(out) == before


def without(root, *names):
    for name in names:
        shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()
    return root


@fast
@pytest.mark.parametrize(
    "make, message",
    [
        (lambda root: without(nnunet(root, cases=2), "labelsTr"), "labelsTr/case_000.nii.gz does not exist"),
        (lambda root: without(nnunet(root, cases=2), "imagesTr"), "imagesTr does not exist"),
        (lambda root: nnunet(root, cases=2, channel_names={"0": "CT", "1": "PET"}), "case_000_0001.nii.gz does not"),
        (lambda root: nnunet(root, cases=2, labels={"background": 0, "left": 1}), "labels outside the map: 2"),
        (lambda root: nnunet(root, cases=2, labels={"background": 0, "a": 1, "b": 2, "ignore": 3}), "ignore label"),
        (lambda root: nifti(root / "images" / "a.nii.gz", np.ones((4, 4, 4))).parents[1], "no"),
    ],
)
def test_bad_folders_are_one_error_before_anything_is_written(tmp_path, make, message):
    with pytest.raises(DataError, match=message):
        prepare(make(tmp_path / "set"), tmp_path / "store")
    assert not list((tmp_path / "store").glob("cases*"))


@fast
def test_a_bad_case_is_read_again_alone_once_it_is_mended(tmp_path):
    root = nnunet(tmp_path / "set", cases=4)
    file = root / "imagesTr" / "case_002_0000.nii.gz"
    good = file.read_bytes()
    file.write_bytes(good[: len(good) // 2])
    with pytest.raises(DataError, match=r"1 problem:\n  .*case_002_0000.nii.gz is truncated or damaged"):
        prepare(root, tmp_path / "store")
    file.write_bytes(good)
    reports = []
    prepare(root, tmp_path / "store", report=lambda *one: reports.append(one))
    assert reports[:2] == [("reading", 3, 4), ("reading", 4, 4)]


@fast
def test_maps_of_instances_need_a_word(tmp_path):
    root = nuclei(tmp_path / "set")
    for i in range(2):
        picture(root / "labels" / f"many{i}.png", np.arange(40 * 40, dtype=np.uint16).reshape(40, 40))
        picture(
            root / "images" / f"many{i}.png", np.zeros((40, 40, 4), np.uint8) + np.arange(40, dtype=np.uint8)[:, None]
        )
    with pytest.raises(DataError, match="--foreground"):
        prepare(root, tmp_path / "store")
    store = prepare(root, tmp_path / "store", foreground=True)  # nothing was decided, so the folder is free
    assert store.preprocessing.classes == ("background", "foreground")
    check_against_files(store, root, foreground=True)


@fast
def test_the_command_prints_one_table(tmp_path, capsys):
    root = decathlon(tmp_path / "set", cases=4, modality={"0": "CT"})
    assert main(["prepare", str(root), "--out", str(tmp_path / "store"), "--spacing", "1", "1", "2"]) == 0
    out, err = capsys.readouterr()
    rows = dict(line.split("\t", 1) for line in out.splitlines())
    assert "1 x 1 x 2" in rows["spacing, mm"] and "ct: clipped" in rows["channel CT"] and "class right" in rows
    assert "reading ended at 4/4 cases" in err and "preparing ended at 4/4 cases" in err
    assert main(["prepare", str(root), "--out", str(tmp_path / "store"), "--spacing", "wide"]) == 2
    assert capsys.readouterr().err == "error: --spacing wide: expected median, keep, or mm for each axis\n"


PEAK = """
import resource, sys
from hyperlab.data.prepared import prepare
prepare(sys.argv[1], sys.argv[3])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
prepare(sys.argv[2], sys.argv[4])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_set(tmp_path):
    cases, shape = 12, (64, 96, 96)
    image, mask = (array.astype(np.float32) for array in blob(0, shape))
    for name, count in (("few", 2), ("many", cases)):
        for i in range(count):
            nifti(tmp_path / name / "images" / f"case{i:02d}.nii", image + i)
            nifti(tmp_path / name / "labels" / f"case{i:02d}.nii", mask.astype(np.uint8))
    words = [str(tmp_path / name) for name in ("few", "many", "a", "b")]
    done = subprocess.run([sys.executable, "-c", PEAK, *words], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2 * image.nbytes < cases * image.nbytes / 4


REAL = {  # how many cases of a set, and groups among them
    "msd_hippocampus": ("msd_hippocampus", {}, 20, 13),
    "wbc": ("wbc/Dataset 1", {}, 20, 20),
    "chasedb1": ("chasedb1/CHASEDB1", {"mask_suffix": "_1stHO"}, 4, 2),
    "nuclei": ("dsb2018_nuclei", {"foreground": True}, 20, 20),
}


def some_of(root, target, count, foreground=False, **options):
    """The first cases of a set, in a folder of links."""
    for case in detect(root, **options).cases[:count]:
        for file in (*case.images, case.label):
            link = target / file.relative_to(root)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.resolve())
    return target


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_sets(tmp_path, name):
    folder, options, cases, groups = REAL[name]
    if not (DATA / folder).is_dir():
        pytest.skip(f"{folder} is not here")
    root = some_of(DATA / folder, tmp_path / "set", cases, **options)
    store = prepare(root, tmp_path / "store", **options)
    assert len(store) == cases and len({case.group for case in store.cases}) == groups
    check_against_files(store, root, **options)
    assert sorted(sum(store.folds(2), [])) == list(range(cases))


@pytest.mark.slow
def test_real_volumes_at_another_spacing_come_back_nearly_the_same(tmp_path):
    if not (DATA / "msd_hippocampus").is_dir():
        pytest.skip("msd_hippocampus is not here")
    root = tmp_path / "Task04_Hippocampus"
    names = [file.name for file in sorted((DATA / "msd_hippocampus" / "images").iterdir())[:6]]
    for kind in ("images", "labels"):
        (root / f"{kind}Tr").mkdir(parents=True)
        for name in names:
            shutil.copy(DATA / "msd_hippocampus" / kind / name, root / f"{kind}Tr" / name)
    training = [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names]
    write_json(root / "dataset.json", {"modality": {"0": "MRI"}, "numTraining": 6, "training": training, "test": [],
                                       "labels": {"0": "background", "1": "anterior", "2": "posterior"}})  # fmt: skip
    for spacing, least in ((0.75, 0.98), (1.25, 0.92)):
        store = prepare(root, tmp_path / f"{spacing}", spacing=spacing)
        dice = []
        for case, stored in zip(detect(root).cases, store.cases, strict=True):
            back = backward(store.read(case.name)[1], stored.placement, store.preprocessing)
            truth = read_case(case)[1].values
            dice += [2 * ((back == v) & (truth == v)).sum() / ((back == v).sum() + (truth == v).sum()) for v in (1, 2)]
        assert np.mean(dice) > least
