"""One training over real processes: one that dies takes no finished round with it, and fewer replicas go on."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from experiments import local_sgd as study
from hyperlab import launch
from hyperlab.errors import ConfigError
from hyperlab.studies.local_sgd import processes, spawn
from hyperlab.train import distributed
from hyperlab.train.run_folder import RunFolder
from hyperlab.train.signals import StopFlag

PATIENCE = 10.0
OVERRIDES = {
    "data.limit": "60",
    "network.width": "0.05",
    "periods": "(2,)",
    "replicas": "(4,)",
    "batch_size": "4",
    "single.arm": "slowmo",
    "single.beta": "0.5",
    "single.patience": str(PATIENCE),
}


def small(**changes):
    config = study.get_config()
    for key, value in {**OVERRIDES, **changes}.items():
        launch.override(config, key, value)
    return config


def steps(folder):
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())


@pytest.mark.slow
def test_a_killed_process_ends_the_others_and_fewer_replicas_continue_from_the_last_round(tmp_path):
    run, address = tmp_path / "run", f"127.0.0.1:{distributed._free_port()}"
    command = [sys.executable, "-m", "experiments.local_sgd", "--config.distributed=True", "--workdir", str(run)]
    command += [f"--config.{key}={value}" for key, value in OVERRIDES.items()] + ["--config.length=4000 epochs"]
    children = []
    try:
        for index in range(2):
            environment = os.environ | {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
            environment |= {"JAX_PROCESS_ID": str(index), "JAX_PLATFORMS": "cpu"}
            with (tmp_path / f"err{index}").open("w") as err:
                children.append(subprocess.Popen(command, env=environment, stderr=err, stdout=subprocess.DEVNULL))
        end = time.monotonic() + 90
        while len(steps(run / "checkpoints-4")) < 2 and time.monotonic() < end:
            assert all(child.poll() is None for child in children), (tmp_path / "err0").read_text()[-2000:]
            time.sleep(0.05)
        children[1].send_signal(signal.SIGKILL)
        assert children[0].wait(PATIENCE + 30) == processes.LEFT
    finally:
        for child in children:
            child.kill()
            child.wait()
    last = max(steps(run / "checkpoints-4"))
    said = (tmp_path / "err0").read_text()
    assert "another process died or hangs" in said and f"boundary on disk is step {last}" in said
    assert last % 2 == 0
    starts = json.loads((run / "run.json").read_text())["starts"]
    assert starts[-1]["exit_reason"].startswith("failed: process 0 of 2")

    # one process, two replicas on two devices each: more steps than before for the same examples
    config = small(replicas="(2,)", length=f"{4 * last + 12} steps", distributed="True")
    folder = RunFolder.open(run, config, allow_config_change=True)
    with StopFlag() as stop:
        processes.train(config, folder, stop)
    assert max(steps(run / "checkpoints-2")) == last + 6 and min(steps(run / "checkpoints-2")) >= last
    note = json.loads((run / "run.json").read_text())["starts"][-1]
    assert note["segments"] == [[0, 4], [last, 2]] and 0 <= note["test_accuracy"] <= 1
    folder.finish("finished")


def test_bad_input(tmp_path, capsys):
    for changes, message in [
        ({"data.partition.kind": "shards"}, "'iid'"),
        ({"replicas": "(2,)", "batch_size": "3"}, "3 examples of a replica do not divide by the 2 devices"),
        ({"single.arm": "slomo"}, "'slowmo'"),
    ]:
        config = small(**changes)
        with pytest.raises(ConfigError, match=message), StopFlag() as stop:
            processes.train(config, RunFolder(tmp_path), stop)
    assert spawn.main([]) == spawn.main(["two"]) == spawn.main(["2"]) == 2
    assert "--workdir FOLDER is needed" in capsys.readouterr().err
