"""Signs of life: whose process is gone, whose lives, and who may take over."""

import json
import os
import platform
import subprocess
import sys
import time

import psutil
import pytest

from hyperlab.errors import WorkdirError
from hyperlab.train import heartbeat
from hyperlab.train.heartbeat import FILE, Heartbeat, State, is_alive, state
from hyperlab.train.run_folder import LOG, REQUEUE, InUseError, RunFolder

pytestmark = pytest.mark.fast

CONFIG = {"seed": 0}


def write(folder, age=0.0, **identity):
    known = {"host": "elsewhere", "pid": 1, "started": 0.0}
    (folder / FILE).write_text(json.dumps(known | identity))
    os.utime(folder / FILE, (time.time() - age,) * 2)


def test_it_beats_until_it_is_stopped(tmp_path):
    heart = Heartbeat(tmp_path, interval=0.01)
    os.utime(tmp_path / FILE, (0, 0))
    until = time.monotonic() + 5
    while (tmp_path / FILE).stat().st_mtime == 0 and time.monotonic() < until:
        time.sleep(0.01)
    assert (tmp_path / FILE).stat().st_mtime > 0 and is_alive(tmp_path)
    heart.stop()
    assert not (tmp_path / FILE).exists() and not is_alive(tmp_path)


def test_on_another_host_the_age_decides(tmp_path):
    write(tmp_path, age=100)
    assert is_alive(tmp_path, stale_after=200) and not is_alive(tmp_path, stale_after=50)


def test_on_this_host_the_process_decides(tmp_path):
    here = {"host": platform.node(), "pid": os.getpid(), "started": psutil.Process().create_time()}
    write(tmp_path, age=1e6, **here)
    assert is_alive(tmp_path)  # stopped for a while, or its file server: it holds the folder all the same
    write(tmp_path, **here | {"started": here["started"] - 1000})  # another process got its number
    assert not is_alive(tmp_path)
    write(tmp_path, **here | {"pid": 2**22 + 1})
    assert not is_alive(tmp_path)


def test_a_task_that_the_scheduler_started_again_takes_over_at_once(tmp_path, monkeypatch):
    write(tmp_path, task=["7", 0])
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert is_alive(tmp_path)  # a step of the same start, on another node
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert not is_alive(tmp_path)
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert is_alive(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[1]", "{}", "null"])
def test_a_broken_heartbeat_is_none(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    assert not is_alive(tmp_path)


@pytest.mark.slow
def test_a_killed_process_is_stale_at_once(tmp_path):
    script = (
        "import sys\nfrom hyperlab.train.run_folder import RunFolder\n"
        "folder = RunFolder.open(sys.argv[1], {'seed': 0})\nprint('open', flush=True)\nsys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        assert state(tmp_path, CONFIG) == State("running")
        with pytest.raises(InUseError, match="in use by another process"):
            RunFolder.open(tmp_path, CONFIG)
        child.kill()
        child.wait()
        assert state(tmp_path, CONFIG) == State("stale")
    RunFolder.open(tmp_path, CONFIG).finish("finished")
    assert state(tmp_path, CONFIG) == State("finished")


def test_a_stop_by_the_system_leaves_a_mark_until_the_next_start(tmp_path):
    for reason, marked in (("stopped: SIGTERM", True), ("stopped: SIGINT", False), ("finished", False)):
        folder = RunFolder.open(tmp_path, CONFIG)
        assert not (tmp_path / REQUEUE).exists()
        folder.finish(reason)
        assert (tmp_path / REQUEUE).exists() == marked


def test_a_log_may_be_there_before_the_run(tmp_path):
    (tmp_path / LOG).write_text("starting\n")
    RunFolder.open(tmp_path, CONFIG).finish("finished")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(WorkdirError, match=r"holds thesis\.tex"):
        RunFolder.open(tmp_path / "other", CONFIG)


def test_a_folder_that_goes_away_ends_the_beat(tmp_path):
    heart = Heartbeat(tmp_path, interval=0.01)
    (tmp_path / FILE).unlink()
    heart.thread.join(5)
    assert not heart.thread.is_alive()
    heart.stop()


def test_a_beat_may_be_late():
    assert heartbeat.INTERVAL * 4 < heartbeat.STALE_AFTER
