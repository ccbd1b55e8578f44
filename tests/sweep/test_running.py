"""Rows that run: in one process and in several, stopped, killed, failed, run again; and the report over them."""

import json
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
import toy_sweep

from hyperlab import sweep
from hyperlab.errors import ConfigError
from hyperlab.sweep import page as report
from hyperlab.sweep import running
from hyperlab.train.heartbeat import State
from hyperlab.train.run_folder import LOG, REQUEUE

ROWS = ({}, {"fails": "no such image"}, {"seed": 1})


def starts(folder):
    return json.loads((folder / "run.json").read_text())["starts"]


def wait_for(happened, seconds=60):
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def steps_of(folder):
    reached = folder / "reached.txt"
    return int(reached.read_text() or 0) if reached.exists() else 0


def test_a_failed_row_stops_no_other_and_is_tried_again(tmp_path, capsys):
    command = ["--config", str(toy_sweep.write(tmp_path, ROWS)), "--workdir", str(tmp_path / "all")]
    for attempt in (1, 2):
        with pytest.raises(SystemExit) as ended:
            sweep.main(command)
        assert ended.value.code == 1
        assert "failed   fails=no_such_image: ConfigError: no such image" in capsys.readouterr().out
        assert len(starts(tmp_path / "all" / "fails=no_such_image")) == attempt
    assert len(starts(tmp_path / "all" / "default")) == len(starts(tmp_path / "all" / "seed=1")) == 1
    page = (tmp_path / "all" / "report.html").read_text()
    assert "3 rows: 2 finished, 1 failed; 2 have results." in page and "ConfigError: no such image" in page
    assert set(pd.read_csv(tmp_path / "all" / "results.csv").row) == {"default", "seed=1"}
    sweep.main([*command, "--only", "2"])
    assert capsys.readouterr().out == "finished seed=1\n"
    (tmp_path / "all" / "report.html").unlink()
    with pytest.raises(SystemExit):
        sweep.main([*command, "--report"])
    assert "ConfigError: no such image" in (tmp_path / "all" / "report.html").read_text()


def test_a_row_whose_folder_holds_another_config_is_not_passed_off_as_done(tmp_path, capsys):
    command = ["--config", str(toy_sweep.write(tmp_path, [{}])), "--workdir", str(tmp_path / "all")]
    sweep.main(command)
    with pytest.raises(SystemExit):
        sweep.main([*command, "--config.steps=7"])
    assert "steps is 6 there and 7 here" in capsys.readouterr().out
    sweep.main([*command, "--config.steps=7", "--allow_config_change"])
    assert len(starts(tmp_path / "all" / "default")) == 2


@pytest.mark.slow
def test_children_that_were_stopped_continue_to_the_results_of_one_process(tmp_path):
    file = toy_sweep.write(tmp_path, [{}, {"seed": 1}, {"fails": "no such image"}], steps=60)
    folder, trained = tmp_path / "cut", ("default", "seed=1")
    command = ["--config", file, "--workdir", folder, "--parallel", 2]
    # The pause changes nothing that is trained: the folders are made with it, and continue without.
    child = toy_sweep.start(*command, "--config.pause=0.2")
    wait_for(lambda: all(steps_of(folder / row) > 1 for row in trained))
    child.send_signal(signal.SIGTERM)
    output, error = child.communicate(timeout=60)
    assert child.returncode == 0, error
    lines = ["stopped  default: SIGTERM", "stopped  seed=1: SIGTERM", "new      fails=no_such_image"]
    assert output.splitlines()[:3] == lines
    for row in trained:
        assert (folder / row / REQUEUE).exists() and 0 < int((folder / row / "reached.txt").read_text()) < 59
    child = toy_sweep.start(*command, "--allow_config_change")
    output, error = child.communicate(timeout=100)
    assert child.returncode == 1, error
    assert "failed   fails=no_such_image: ConfigError: no such image" in output
    with pytest.raises(SystemExit):
        sweep.main(["--config", str(file), "--workdir", str(tmp_path / "straight")])
    for row in trained:
        assert len(starts(folder / row)) == 2 and not (folder / row / REQUEUE).exists()
        assert f": {row}" in (folder / row / LOG).read_text()
    # The results of the toy are its final parameters, to the last digit.
    assert (folder / "results.csv").read_bytes() == (tmp_path / "straight" / "results.csv").read_bytes()


@pytest.mark.slow
def test_a_row_that_runs_is_left_alone_and_a_killed_one_continues(tmp_path, capsys):
    file = toy_sweep.write(tmp_path, [{}], steps=40, pause=0.05)
    command = ["--config", str(file), "--workdir", str(tmp_path / "all")]
    child = toy_sweep.start(*command, "--only", 0)
    wait_for((tmp_path / "all" / "default" / "reached.txt").exists)
    sweep.main(command)
    assert capsys.readouterr().out.startswith("running  default\n")
    child.kill()
    child.communicate()
    sweep.main([*command, "--dry_run"])
    assert capsys.readouterr().out.splitlines()[1].split()[1] == "stale"
    sweep.main(command)
    assert [start["exit_reason"] for start in starts(tmp_path / "all" / "default")] == ["killed", "finished"]


@pytest.mark.fast
def test_cores_are_shared_without_rest():
    for count in range(1, 9):
        for processes in range(1, 9):
            shares = [running.share_of(range(count), place, processes) for place in range(processes)]
            assert {core for share in shares for core in share} == set(range(count)) and all(shares)
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.fast
def test_each_child_gets_a_device_that_this_process_may_use(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-7f")
    assert running.visible_devices() == ["2", "GPU-7f"]
    with pytest.raises(ConfigError, match="--parallel 3: .* 2 are visible"):
        running.side_by_side([], Path("x"), None, [], processes=3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert running.visible_devices() == []


@pytest.mark.fast
def test_the_last_line_of_a_log_is_its_last_word(tmp_path):
    (tmp_path / LOG).write_bytes(b"x" * 10_000 + b"\nMemoryError: \xff\n\n")
    assert running.last_line(tmp_path / LOG) == "MemoryError: \ufffd"


@pytest.mark.fast
def test_a_child_that_ends_without_a_word_failed_by_its_signal(tmp_path):
    (row,) = sweep.table({"study": "toy"}, [{}])
    assert running._outcome(row, tmp_path, -signal.SIGKILL, False, 1.0) == State("failed", "signal SIGKILL")
    assert running._outcome(row, tmp_path, 3, False, 1.0) == State("failed", "exit code 3")
    assert running._outcome(row, tmp_path, -signal.SIGTERM, True, 1.0).name == "stopped"


@pytest.mark.fast
def test_the_report_of_rows_without_results_is_a_page(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "results.csv").write_text("\n")
    page = report.write(tmp_path, {"a": State("failed", "OSError: <disk>"), "b": State("new")}).read_text()
    assert "OSError: &lt;disk&gt;" in page and "0 have results" in page


def test_the_report_takes_the_results_of_every_study(tmp_path):
    """Long tables and wide ones, with whatever tells measurements apart."""
    (tmp_path / "long").mkdir()
    (tmp_path / "long" / "results.csv").write_text(
        "arm,compression,seed,split,metric,value\n"
        "dense,1,100,test,accuracy,0.5\nlamp,2,100,test,accuracy,0.25\nlamp,2,101,test,accuracy,0.75\n"
        "lamp,4,101,test,accuracy,\n"
    )
    (tmp_path / "wide").mkdir()
    (tmp_path / "wide" / "results.csv").write_text("arm,seed,task,dice\nuniverseg,100,cells,0.8\nOtsu,,cells,0.6\n")
    (tmp_path / "wide" / "contrasts.csv").write_text(
        "of,metric,contrast,mean,low,high,p,n,verdict,label\ncells,dice,a - b,0.1,-0.1,0.3,0.5,5,not separable,look\n"
    )
    (tmp_path / "long" / "contrasts.csv").write_text(
        "at,metric,contrast,mean,low,high,p,n,verdict,label\n2,accuracy,c - d,0.5,0.25,0.75,0.01,5,better,\n"
    )
    for row, cell in (("long", "0.5 [0.25, 0.75]"), ("wide", "0.8 [0.8, 0.8]")):
        page = report.write(tmp_path, {row: State("finished")}).read_text()
        assert cell in page and "<img" in page
    page = report.write(tmp_path, {"long": State("finished"), "wide": State("finished")}).read_text()
    assert "+0.1 [-0.1, +0.3]" in page and "+0.5 [+0.25, +0.75]" in page
