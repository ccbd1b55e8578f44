import subprocess
import sys
import time

import pytest

from hyperlab.errors import DistributedError
from hyperlab.train import distributed

CLUSTER = (
    "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "SLURM_NTASKS", "SLURM_PROCID",
    "TPU_WORKER_HOSTNAMES",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    for name in CLUSTER:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.fast
def test_a_laptop_is_no_cluster():
    assert not distributed.detected()
    assert distributed.initialize() is False
    assert distributed.is_main() and distributed.any_process(True) and not distributed.any_process(False)


@pytest.mark.fast
@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_NTASKS": "4", "SLURM_PROCID": "1"},
        {"TPU_WORKER_HOSTNAMES": "a,b"},
        {"JAX_COORDINATOR_ADDRESS": "a:1"},
    ],
)
def test_clusters_are_detected(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert distributed.detected()
    assert distributed.initialize({"distributed": False}) is False


@pytest.mark.fast
def test_one_slurm_task_is_no_cluster(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert not distributed.detected()


@pytest.mark.fast
def test_what_is_missing_is_named():
    with pytest.raises(DistributedError, match="num_processes is None"):
        distributed.initialize({"coordinator_address": "127.0.0.1:1"})


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:none"])
def test_a_coordinator_that_does_not_answer_is_an_error_in_time(address):
    start = time.monotonic()
    with pytest.raises(DistributedError, match=rf"process 1: no coordinator answers at '{address}' within 0.5 s"):
        distributed.initialize({"coordinator_address": address, "num_processes": 2, "process_id": 1}, timeout=0.5)
    assert time.monotonic() - start < 5


@pytest.mark.slow
def test_a_coordinator_whose_processes_never_come_is_an_error_in_time():
    code = (
        "from hyperlab.train import distributed\n"
        "settings = {'coordinator_address': '127.0.0.1:0', 'num_processes': 2, 'process_id': 0}\n"
        "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); port = s.getsockname()[1]; s.close()\n"
        "distributed.initialize({**settings, 'coordinator_address': f'127.0.0.1:{port}'}, timeout=3)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "DistributedError: process 0 of 2" in done.stderr and "within 3 s" in done.stderr


@pytest.mark.fast
def test_local_processes_get_their_numbers_and_their_output_comes_back():
    code = "import os, sys; print(os.environ['JAX_PROCESS_ID'], os.environ['JAX_NUM_PROCESSES'], os.environ['X'])"
    done = distributed.launch_local([sys.executable, "-c", code], 2, environment={"X": "y"})
    assert [(one.returncode, one.stdout) for one in done] == [(0, "0 2 y\n"), (0, "1 2 y\n")]


@pytest.mark.fast
def test_when_one_local_process_fails_the_others_are_ended():
    code = "import os, sys, time; sys.exit(3) if os.environ['JAX_PROCESS_ID'] == '1' else time.sleep(60)"
    start = time.monotonic()
    done = distributed.launch_local([sys.executable, "-c", code], 2)
    assert time.monotonic() - start < 10
    assert done[1].returncode == 3 and done[0].returncode < 0
