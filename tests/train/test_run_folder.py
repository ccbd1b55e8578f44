"""Run folders: continuing, refusing, provenance; writers: what a kill leaves, what a restart drops."""

import json
import math
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hyperlab.errors import DamagedError, WorkdirError
from hyperlab.studies.record import sealing
from hyperlab.train.run_folder import RunFolder
from hyperlab.train.tensorboard import TensorBoard
from hyperlab.train.writers import JsonLines, MultiWriter, NullWriter, read_rows

CONFIG = {"seed": 0, "data": {"name": "digits"}, "widths": (64, 64)}


def contents(path):
    return {file.name: file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_the_same_config_continues_and_counts_restarts(tmp_path):
    for start in range(3):
        folder = RunFolder.open(tmp_path / "run", CONFIG)
        folder.note(answer=start)
        folder.mark("first_step")
        folder.finish("finished")
    record = folder.record()
    assert record["restarts"] == 2
    assert [start["answer"] for start in record["starts"]] == [0, 1, 2]
    assert record["starts"][0]["seconds_to"]["first_step"] > 0


def test_another_config_is_refused_by_name_and_nothing_is_written(tmp_path):
    RunFolder.open(tmp_path / "run", CONFIG).finish("finished")
    before = contents(tmp_path)
    other = {**CONFIG, "data": {"name": "mnist"}, "batch_size": 8}
    with pytest.raises(WorkdirError, match="batch_size is None there and 8 here; data.name is 'digits' there and"):
        RunFolder.open(tmp_path / "run", other)
    assert contents(tmp_path) == before
    folder = RunFolder.open(tmp_path / "run", other, allow_config_change=True)
    assert folder.record()["starts"][-1]["config_changes"]["data.name"] == ["digits", "mnist"]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["batch_size"] == 8
    folder.finish("finished")


@pytest.mark.parametrize("end", [lambda folder: folder.release(), lambda folder: folder.finish("stopped: SIGTERM"),
                                 lambda folder: folder.finish("failed: DataError: no such folder")])  # fmt: skip
def test_a_run_that_ended_before_it_did_any_work_leaves_its_folder_to_the_corrected_command(tmp_path, end):
    other = {**CONFIG, "data": {"name": "mnist"}}
    folder = RunFolder.open(tmp_path, other)
    folder.check_fingerprint("mnist", "abc")  # the data were read, and are others now
    end(folder)  # a kill lets go as `release` does: nothing is noted
    folder = RunFolder.open(tmp_path, CONFIG)
    folder.check_fingerprint("mnist", "abd")
    assert json.loads((tmp_path / "config.json").read_text())["data"] == CONFIG["data"]
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / "a.npz").touch()  # from here on there is something to lose
    end(folder)
    with pytest.raises(WorkdirError, match="holds another config"):
        RunFolder.open(tmp_path, other)


def test_a_folder_of_other_files_and_a_file_are_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(WorkdirError, match=r"no config\.json but holds thesis\.tex"):
        RunFolder.open(tmp_path, CONFIG)
    with pytest.raises(WorkdirError, match="is a file"):
        RunFolder.open(tmp_path / "thesis.tex", CONFIG)
    assert contents(tmp_path) == {"thesis.tex": b"precious"}


def test_two_processes_cannot_hold_one_folder_and_a_killed_one_lets_go(tmp_path):
    script = (
        "import sys, time; from hyperlab.train.run_folder import RunFolder\n"
        f"folder = RunFolder.open({str(tmp_path / 'run')!r}, {{'seed': 0}}); print('open', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "open\n"
        with pytest.raises(WorkdirError, match="in use"):
            RunFolder.open(tmp_path / "run", {"seed": 0})
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    folder = RunFolder.open(tmp_path / "run", {"seed": 0})
    assert folder.record()["starts"][0]["exit_reason"] == "killed"
    folder.finish("finished")


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"\xff\xfe", lambda b: b"[1]",
                                    lambda b: b.replace(b"0", b"1")])  # fmt: skip
@pytest.mark.parametrize("name", ["config.json", "run.json"])
def test_a_damaged_record_is_set_aside_and_made_again_from_the_other(tmp_path, name, damage, caplog):
    run = tmp_path / "run"
    for _ in range(2):
        RunFolder.open(run, CONFIG).finish("finished")
    damaged = damage((run / name).read_bytes())
    (run / name).write_bytes(damaged)
    with pytest.raises(WorkdirError, match="holds another config: batch_size is None there and 8 here"):
        RunFolder.open(run, {**CONFIG, "batch_size": 8})
    assert (run / name).read_bytes() == damaged
    folder = RunFolder.open(run, CONFIG)
    assert f"{name} is damaged: set aside as {name}.damaged-1" in caplog.text
    assert (run / f"{name}.damaged-1").read_bytes() == damaged
    assert json.loads((run / "config.json").read_text()) == {**CONFIG, "widths": [64, 64]}
    assert folder.record()["restarts"] == (2 if name == "config.json" else 0)
    assert folder.unchanged == (name == "config.json")  # of a past without record nothing is known
    folder.finish("finished")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(WorkdirError, match="cannot be written"):
        RunFolder.open(tmp_path / "run", CONFIG)


def test_other_data_are_refused(tmp_path):
    folder = RunFolder.open(tmp_path / "run", CONFIG)
    folder.check_fingerprint("digits", "abc")
    folder.check_fingerprint("digits", "abc")
    with pytest.raises(WorkdirError, match="digits had fingerprint abc, now abd"):
        folder.check_fingerprint("digits", "abd")
    folder.finish("finished")


def test_provenance_says_where_from_and_tells_no_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("API_TOKEN", "hush")
    monkeypatch.setenv("JAX_TRACEBACK_FILTERING", "off")
    folder = RunFolder.open(tmp_path / "run", CONFIG)
    start = folder.record()["starts"][0]
    assert {"command", "git", "python", "machine", "devices", "packages", "config_digest", "started"} <= set(start)
    assert start["devices"] == {"backend": "cpu", "kind": "cpu", "count": 4}
    assert start["packages"]["jax"] and start["environment"]["JAX_TRACEBACK_FILTERING"] == "off"
    assert "hush" not in (tmp_path / "run" / "run.json").read_text()
    folder.finish("finished")


# -- the record ---------------------------------------------------------------------------------------------------


def test_rows_come_back_and_what_is_not_finite_is_null(tmp_path):
    writer = JsonLines(tmp_path / "metrics.jsonl")
    writer.scalars(0, {"loss": np.float32(0.5), "count": np.int64(3)})
    writer.scalars(1, {"loss": float("inf")}, split="validation")
    writer.close()
    first, second = read_rows(tmp_path / "metrics.jsonl")
    assert (first["step"], first["split"], first["loss"], first["count"]) == (0, "train", 0.5, 3)
    assert second["split"] == "validation" and math.isnan(second["loss"])
    assert "Infinity" not in (tmp_path / "metrics.jsonl").read_text()


def test_half_a_line_left_by_a_kill_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0, "split": "train"}\n{"step": 1, "spl')
    assert [row["step"] for row in read_rows(path)] == [0]
    writer = JsonLines(path)
    writer.scalars(1, {"loss": 1.0})
    writer.close()
    assert [row["step"] for row in read_rows(path)] == [0, 1]


def test_truncation_drops_later_rows_only(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = JsonLines(path)
    for step in range(5):
        writer.scalars(step, {"loss": 1.0})
    writer.truncate_after(2)
    writer.scalars(3, {"loss": 2.0})
    writer.close()
    assert [(row["step"], row["loss"]) for row in read_rows(path)] == [(0, 1.0), (1, 1.0), (2, 1.0), (3, 2.0)]


def test_a_damaged_line_of_a_record_is_named_and_left_out(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\nrubbish\n{"step": 1}\n{"step": 2')
    assert [row["step"] for row in read_rows(path)] == [0, 1]
    assert "metrics.jsonl, line 2 is damaged and left out: 'rubbish'" in caplog.text
    with pytest.raises(WorkdirError, match="does not exist"):
        read_rows(tmp_path / "absent")


@pytest.mark.parametrize("damage", [lambda b: b.replace(b"0.5", b"0.7"), lambda b: b[:-9], lambda b: b[:-1] + b"\0",
                                    lambda b: b""])  # fmt: skip
def test_a_record_that_was_sealed_is_read_as_it_was_written_or_not_at_all(tmp_path, damage):
    path = tmp_path / "metrics.jsonl"
    writer = JsonLines(path)
    for step in range(3):
        writer.scalars(step, {"loss": 0.5})
    writer.close()
    with sealing(tmp_path):
        pass
    assert [row["loss"] for row in read_rows(path)] == [0.5] * 3
    path.write_bytes(damage(path.read_bytes()))
    for _ in range(2):
        with pytest.raises(DamagedError, match="changed since it was written.*start the run again"):
            read_rows(path)
        with sealing(tmp_path):  # as `hyperlab report` does
            pass
    writer.truncate_after(-1)  # the run again
    writer.scalars(0, {"loss": 0.25})
    writer.close()
    assert [row["loss"] for row in read_rows(path)] == [0.25]


def test_a_view_that_fails_is_dropped_and_the_record_goes_on(tmp_path, caplog):
    class Broken(NullWriter):
        def scalars(self, step, values, split="train"):
            raise OSError("no network")

    path = tmp_path / "metrics.jsonl"
    writer = MultiWriter([JsonLines(path), Broken()])
    for step in range(3):
        writer.scalars(step, {"loss": 1.0})
    writer.close()
    assert len(read_rows(path)) == 3
    assert [record.getMessage() for record in caplog.records] == ["Broken gave up: no network"]
    with pytest.raises(OSError, match="no network"):
        MultiWriter([Broken()]).scalars(0, {})


def test_tensorboard_is_read_back_without_tensorflow(tmp_path):
    writer = TensorBoard(tmp_path)
    writer.hparams({"rate": 0.1, "widths": (64, 64), "on": True}, metrics=("validation/accuracy",))
    for step in range(3):
        writer.scalars(step, {"loss": 1.0 - step / 4})
    writer.images(1, {"digit": np.linspace(0, 1, 64).reshape(8, 8, 1), "colour": np.zeros((4, 6, 3), np.uint8)})
    writer.histograms(2, {"norms": np.array([1.0, np.nan, 2.0])})
    writer.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.value for event in events.Scalars("train/loss")] == [1.0, 0.75, 0.5]
    image = events.Images("train/colour")[0]
    assert (image.width, image.height, image.encoded_image_string[:4]) == (6, 4, b"\x89PNG")
    assert set(events.PluginTagToContent("hparams")) >= {"_hparams_/experiment", "_hparams_/session_start_info"}
    assert "tensorflow" not in sys.modules
    assert "train/norms" in events.Tags()["tensors"]


def test_tensorboard_forgets_what_a_restart_writes_again(tmp_path):
    first = TensorBoard(tmp_path)
    for step in range(4):
        first.scalars(step, {"loss": float(step)})
    first.close()
    second = TensorBoard(tmp_path)
    second.truncate_after(1)
    second.scalars(2, {"loss": 20.0})
    second.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(0, 0.0), (1, 1.0), (2, 20.0)]


def test_an_image_of_another_shape_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\(2, 2, 2\)"):
        TensorBoard(tmp_path).images(0, {"x": np.zeros((2, 2, 2))})


def test_several_threads_may_mark_at_once(tmp_path):
    folder = RunFolder.open(tmp_path / "run", {"seed": 0})
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(folder.mark, [f"event_{index % 20}" for index in range(200)]))
    assert set(folder.record()["starts"][-1]["seconds_to"]) == {f"event_{index}" for index in range(20)}
    assert not list((tmp_path / "run").glob(".*.part"))
    folder.finish("finished")
