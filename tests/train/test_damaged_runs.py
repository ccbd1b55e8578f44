"""Whatever becomes of a run folder, its run goes on and ends as an undisturbed one, or one error says what is wrong."""

import io
import json
import os
import shutil
import stat
import struct
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import experiments
from hyperlab import files, launch
from hyperlab.errors import DamagedError, DataError, HyperlabError, WorkdirError
from hyperlab.report.finished import Finished
from hyperlab.results import runs
from hyperlab.studies.again import write_again
from hyperlab.train import heartbeat
from hyperlab.train.run_folder import RunFolder
from hyperlab.train.units import RECORD
from hyperlab.train.writers import JsonLines

STUDIES = Path(__file__).parents[1] / "helpers" / "toy_studies"


@pytest.fixture(scope="module", autouse=True)
def guessing():
    """The toy study, which is found as those of the library are, and its report."""
    experiments.__path__.append(str(STUDIES))
    yield launch.load_study("guessing")
    experiments.__path__.remove(str(STUDIES))


def config(**changes):
    made = launch.load_study("guessing").get_config()
    for key, value in changes.items():
        launch.override(made, key.replace("__", "."), str(value))
    return made


def run(folder, allow=False, **changes):
    """The units that were computed."""
    done = launch.load_study("guessing").computed
    done.clear()
    launch.run(config(**changes), folder, allow_config_change=allow)
    return list(done)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert len(run(folder)) == 8
    return folder


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """After the first unit of the report phase."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    asked = launch.load_study("guessing").computed

    class Stop:
        requested = property(lambda self: len(asked) >= 5)
        reason = "SIGTERM"

        def request(self, reason): ...

    asked.clear()
    launch.run(config(), folder, stop=Stop())
    assert len(list((folder / "units").iterdir())) == 5 and not (folder / "results.csv").exists()
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def middle_bit(content):
    """One bit of what a file says: of an archive, of its largest array, since its dates say nothing."""
    place = len(content) // 2
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entry = max(archive.infolist(), key=lambda one: one.compress_size)
        name, more = struct.unpack_from("<2H", content, entry.header_offset + 26)
        place = entry.header_offset + 30 + name + more + entry.compress_size // 2
    return content and content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


DAMAGE = {
    "empty": lambda b: b"",
    "half": lambda b: b[: len(b) // 2],
    "one bit": middle_bit,
    "text": lambda b: b"\xff\xfehello\n\n[1]\n",
    "gone": None,
}
FILES = (
    "config.json", "run.json", "choices.json", "data.json", "checksums.json", "metrics.jsonl", "results.csv",
    "report.html", "figures/guesses.png", "networks/low_100.npz", "units/low--tune--0.1--0.npz",
    "units/low--report--0.1--100.npz", ".lock", ".heartbeat",
)  # fmt: skip


def spoil(path, damage):
    content = path.read_bytes() if path.exists() else b"{}"
    path.unlink(missing_ok=True)
    if damage is not None:
        path.write_bytes(damage(content))


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_a_run_with_a_damaged_file_goes_on_and_ends_as_one_without(finished, stopped, tmp_path, name, damage):
    for source in (finished, stopped):
        if source is stopped and (damage is not middle_bit or not (stopped / name).exists()):
            continue
        folder = Path(shutil.copytree(source, tmp_path / source.name))
        spoil(folder / name, damage)
        before = (folder / name).read_bytes() if damage else None
        run(folder)
        for written in ("results.csv", "config.json", "choices.json", "networks/low_100.npz", "report.html"):
            ours, theirs = (place / written for place in (folder, finished))
            if written != "networks/low_100.npz" and written != "report.html":
                assert ours.read_bytes() == theirs.read_bytes()
            assert ours.exists()
        assert np.load(folder / "networks/low_100.npz")["guess"].nbytes == 24
        json.loads((folder / "run.json").read_text())
        made_again_from_nothing_else = name.startswith(("units", "networks", "run.json", "config.json"))
        if before is not None and made_again_from_nothing_else:
            (aside,) = folder.rglob(f"{Path(name).name}.damaged-1")
            assert aside.read_bytes() == before


READ = {"choices.json": DamagedError, "data.json": DamagedError, "run.json": DamagedError,
        "units/low--report--0.1--100.npz": DamagedError, "config.json": None, "checksums.json": None,
        "results.csv": None, "report.html": None}  # fmt: skip


@pytest.mark.parametrize("damage", [DAMAGE[name] for name in ("empty", "half", "one bit", "text")])
@pytest.mark.parametrize(("name", "error"), READ.items())
def test_a_report_is_written_again_or_names_the_damaged_file(copy, finished, name, error, damage):
    spoil(copy / name, damage)
    if error is None:
        write_again(copy)
        assert (copy / "results.csv").read_bytes() == (finished / "results.csv").read_bytes()
    else:
        with pytest.raises(error, match=f"{Path(name).name} is damaged .*again"):
            write_again(copy)


@pytest.mark.parametrize("damage", [DAMAGE[name] for name in ("empty", "half", "one bit", "text")])
@pytest.mark.parametrize("name", ["config.json", "run.json", "results.csv"])
def test_a_damaged_table_or_record_is_no_result(copy, name, damage):
    assert runs(copy.parent)["status"].tolist() == ["finished"]
    spoil(copy / name, damage)
    (row,) = runs(copy.parent).itertuples()
    assert row.status == "broken" and name in row.error
    write_again(copy) if name == "results.csv" else run(copy)
    assert runs(copy.parent)["status"].tolist() == ["finished"]


CHANGES = {
    "nothing that decides": ({"workers": 2, "contrasts": "('low - high',)", "data__root": "/numbers/moved"}, 0, ""),
    "another arm": ({"arms": "('low', 'high', 'middle')"}, 4, ""),
    "another seed to report": ({"report_seeds": 3}, 2, ""),
    "another rate": ({"rates": "(0.1, 0.3, 0.5)"}, 4, ""),  # two to tune, and one arm is reported with it
    "one network more": ({"keep_networks": 2}, 2, ""),
    "a setting": ({"length": 4}, 8, "kept 0 of 8 units; 8 were made with other settings (length)"),
    "the seed and a setting": ({"seed": 5, "length": 4}, 8, "8 were made with other settings (length, seed)"),
    "the data": ({"data__contents": "'4 5'"}, 8, "8 were made with other settings (data.contents, the data)"),
}


@pytest.mark.parametrize(("changes", "count", "said"), CHANGES.values(), ids=CHANGES)
def test_another_config_computes_again_what_it_decides(copy, tmp_path, changes, count, said, capsys):
    with pytest.raises(WorkdirError, match="what the new values decide is computed again, the rest is kept"):
        run(copy, **changes)
    done = run(copy, allow=True, **changes)
    assert len(done) == count and (said in capsys.readouterr().err)
    run(tmp_path / "new", **changes)
    for name in ("results.csv", "choices.json", "config.json"):
        assert (copy / name).read_bytes() == (tmp_path / "new" / name).read_bytes()
    assert run(copy, **changes) == []  # and is not asked for a second time


def test_other_data_of_the_same_config_are_refused_or_computed_again(copy, monkeypatch):
    real = RunFolder.check_fingerprint
    monkeypatch.setattr(RunFolder, "check_fingerprint", lambda self, name, value: real(self, name, "other"))
    with pytest.raises(WorkdirError, match="other data.*or compute all of it again here by --allow_config_change"):
        run(copy)


def test_units_of_an_older_version_are_taken_while_the_config_is_the_same(copy):
    for path in (copy / "units").iterdir():
        with np.load(path) as saved:
            old = {key: saved[key] for key in saved if key != RECORD}
        np.savez_compressed(path, **old)
    record = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({"starts": record["starts"], "data": record["data"]}))
    (copy / "checksums.json").unlink()
    write_again(copy)
    (copy / "networks" / "low_100.npz").write_bytes(b"half")
    assert run(copy) == ["low/report/0.1/100"] or len(launch.load_study("guessing").computed) == 1
    again = run(copy, allow=True, report_seeds=3)
    assert len(again) == 9  # from now on nobody knows what they were made of, but for the one that was made since


@pytest.mark.parametrize("commit", ["this one", "another"])
def test_what_an_older_run_lacks_is_told_from_a_fault_of_the_page(copy, monkeypatch, commit):
    run(copy, report_seeds=2)
    record = json.loads((copy / "run.json").read_text())
    if commit == "another":
        record["starts"][-1]["git"] = {"commit": "0" * 40}
    record.pop("checksum")
    (copy / "run.json").write_text(json.dumps(record))

    def page(folder):
        raise KeyError("score_of_tomorrow")

    monkeypatch.setattr(launch.load_study("guessing"), "write_page", page)
    error, message = (KeyError, "score_of_tomorrow") if commit == "this one" else (WorkdirError, "lacks what a report")
    with pytest.raises(error, match=message):
        write_again(copy)


def test_a_report_of_a_run_that_stopped_after_a_change_is_refused(copy, monkeypatch):
    module = launch.load_study("guessing")
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patched:
        patched.setattr(module.Guessing, "train", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        run(copy, allow=True, seed=1)
    with pytest.raises(WorkdirError, match=r"choices\.json was made with another config; run the study to its end"):
        Finished(copy)
    assert len(run(copy, seed=1)) == 8


# -- refused, moved, full ------------------------------------------------------------------------------------------


def test_a_refused_run_leaves_nothing_and_the_corrected_one_runs(tmp_path):
    folder = tmp_path / "some" / "where"
    with pytest.raises(DataError, match="holds no numbers"):
        run(folder, data__root="/nmbers")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "log.txt").write_text("kept by a sweep")
    with pytest.raises(DataError):
        run(tmp_path / "beside", data__root="/nmbers")
    assert heartbeat.state(tmp_path / "beside").name == "failed"
    assert len(run(tmp_path / "beside")) == 8  # no work was done there with the other config
    with pytest.raises(DataError):
        run(tmp_path / "beside", allow=True, data__root="/nmbers")
    assert (tmp_path / "beside" / "results.csv").exists()


@pytest.mark.parametrize("what", ["moved", "removed", "replaced"])
def test_a_folder_that_goes_while_its_run_is_at_work(tmp_path, what):
    folder = RunFolder.open(tmp_path / "run", {"seed": 0})
    if what == "removed":
        shutil.rmtree(folder.path)
    else:
        folder.path.rename(tmp_path / "moved")
    if what == "replaced":
        folder.path.mkdir()
    with pytest.raises(WorkdirError, match="run was moved or removed while its run was at work"):
        folder.note(answer=1)
    with pytest.raises(WorkdirError):
        folder.finish("finished")
    assert not any(path.name == heartbeat.FILE for path in tmp_path.rglob("*"))
    if what == "moved":
        RunFolder.open(tmp_path / "moved", {"seed": 0}).finish("finished")


@pytest.mark.parametrize("name", ["units", "run.json", "choices.json", "results.csv", "guesses.png",
                                  "report.html", "low_100.npz"])  # fmt: skip
def test_a_full_disk_names_what_was_not_written_and_frees_the_folder(tmp_path, monkeypatch, name):
    folder = tmp_path / "run"

    def full(path, real=files.to_disk):
        if name in str(path):
            raise OSError(28, "No space left on device")
        real(path)

    with monkeypatch.context() as patched:
        patched.setattr("hyperlab.files.to_disk", full)
        with pytest.raises(HyperlabError, match=f"{name}.* cannot be written: No space left on device"):
            run(folder)
    assert not heartbeat.is_alive(folder)
    assert run(folder) is not None and (folder / "results.csv").exists()


def test_a_record_on_a_full_disk_is_named(tmp_path):
    writer = JsonLines(tmp_path / "metrics.jsonl")
    writer.scalars(0, {"loss": 1.0})
    writer.close()
    writer._file = Path("/dev/full").open("a")  # noqa: SIM115
    writer.scalars(1, {"loss": 1.0})
    with pytest.raises(WorkdirError, match=r"metrics\.jsonl cannot be written: No space left on device"):
        writer.close()
    writer.close()  # and is closed


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o027])
def test_files_have_the_rights_that_the_user_gives_to_new_files(tmp_path, mask):
    before = os.umask(mask)
    try:
        run(tmp_path / "run")
    finally:
        os.umask(before)
    for path in (tmp_path / "run").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~mask, path


def test_what_a_kill_left_half_written_goes_with_the_next_start(copy):
    for place in (copy, copy / "units", copy / "networks"):
        (place / ".part-1-2-a.npz").write_bytes(b"half")
        (place / ".a.npz.17.23.part").write_bytes(b"half, of an older version")
    assert run(copy) == []
    assert not [path for path in copy.rglob("*") if "part" in path.name]


def test_a_stop_is_no_error_of_the_record(tmp_path):
    stop = SimpleNamespace(requested=True, reason="SIGTERM", request=lambda reason: None)
    launch.run(config(), tmp_path / "run", stop=stop)
    assert heartbeat.state(tmp_path / "run").name == "stopped" and (tmp_path / "run" / "REQUEUE").exists()
