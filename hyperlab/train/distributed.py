"""Several processes as one run: start-up with a clear error, agreement, and local trials.

Process 0 writes; every process computes. On CPU the processes talk over gloo.
"""

import contextlib
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from hyperlab.errors import DistributedError


class Finished(NamedTuple):
    """How one local process ended."""

    returncode: int
    stdout: str
    stderr: str


def detected() -> bool:
    """Whether the environment is that of a cluster: SLURM, a TPU pod, or a coordinator's address."""
    environment = os.environ
    slurm = int(environment.get("SLURM_NTASKS", "1") or 1) > 1 and "SLURM_PROCID" in environment
    pod = "," in environment.get("TPU_WORKER_HOSTNAMES", "")
    return slurm or pod or "JAX_COORDINATOR_ADDRESS" in environment


def initialize(config: Mapping[str, Any] | None = None, *, timeout: float = 300.0) -> bool:
    """Joins the other processes of the run, if there are any; to be called before any computation.

    Args:
      config: `distributed` (True, False, or None: only where a cluster is detected), and, where the
        cluster does not tell, `coordinator_address` ("host:port"), `num_processes`, `process_id`. The
        environment variables JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID say the same.
      timeout: seconds until a coordinator or a process that does not answer is an error.

    Returns:
      Whether this is a run of several processes now.

    Raises:
      DistributedError: the coordinator cannot be reached in time, or a setting is missing.
    """
    config = dict(config or {})
    wanted = config.get("distributed")
    address = config.get("coordinator_address") or os.environ.get("JAX_COORDINATOR_ADDRESS")
    if wanted is False or not (wanted or address or detected()):
        return False
    count = _number(config, "num_processes", "JAX_NUM_PROCESSES")
    index = _number(config, "process_id", "JAX_PROCESS_ID")
    if address and "SLURM_PROCID" not in os.environ and (count is None or index is None):
        raise DistributedError(
            f"coordinator {address} is given, but num_processes is {count} and process_id is {index}: give both"
        )
    if address and index:
        _await(address, index, timeout)
    # without a collective implementation the CPU backend cannot talk across processes
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    _join(address, count, index, timeout)
    return jax.process_count() > 1


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def is_one_of_several() -> bool:
    """Whether this process has joined others; asking starts no backend."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


@contextlib.contextmanager
def main_first(what: str) -> Iterator[None]:
    """Process 0 does what is in the block before the others do, which do not where it fails.

    Args:
      what: in words, for the error of the others.

    Raises:
      DistributedError: process 0 failed.
    """
    if jax.process_count() == 1:
        yield
        return
    if is_main():
        done = False
        try:
            yield
            done = True
        finally:
            from_main(int(done))
    else:
        if not from_main(0):
            raise DistributedError(f"process 0 did not open {what}, and says why")
        yield


def from_main(value: int) -> int:
    """The number, of 31 bits, that process 0 gives, in every process; all of them call this."""
    from jax.experimental import multihost_utils

    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process; every process must ask at the same step."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def launch_local(
    command: Sequence[str],
    processes: int,
    *,
    environment: Mapping[str, str] | None = None,
    timeout: float = 120.0,
) -> list[Finished]:
    """Runs one command as several processes of one run on this machine, to try things out.

    Args:
      command: for instance `[sys.executable, "-m", "experiments.stability"]`.
      processes: how many.
      environment: variables to add to this process's own.
      timeout: seconds for all; what still runs then is ended.

    Returns:
      Exit code and output of each process. When one fails, the others are ended: they would wait for it.
    """
    address = f"127.0.0.1:{_free_port()}"
    with tempfile.TemporaryDirectory() as folder:
        outputs = [(Path(folder, f"out{index}"), Path(folder, f"err{index}")) for index in range(processes)]
        children = []
        try:
            for index, (out_path, err_path) in enumerate(outputs):
                variables = {
                    **os.environ,
                    **(environment or {}),
                    "JAX_COORDINATOR_ADDRESS": address,
                    "JAX_NUM_PROCESSES": str(processes),
                    "JAX_PROCESS_ID": str(index),
                }
                with out_path.open("w") as out, err_path.open("w") as err:
                    children.append(subprocess.Popen(command, env=variables, stdout=out, stderr=err))
            _wait_for(children, timeout)
        finally:
            for child in children:
                if child.poll() is None:
                    child.kill()
                    child.wait()
        return [
            Finished(child.returncode, out.read_text(), err.read_text())
            for child, (out, err) in zip(children, outputs, strict=True)
        ]


def _wait_for(children: list[subprocess.Popen], timeout: float) -> None:
    end = time.monotonic() + timeout
    while any(child.poll() is None for child in children):
        failed = any(child.poll() for child in children)
        if failed or time.monotonic() > end:
            for child in children:
                if child.poll() is None:
                    child.terminate()
            for child in children:
                try:
                    child.wait(5)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
            return
        time.sleep(0.02)


def _number(config: Mapping[str, Any], name: str, variable: str) -> int | None:
    value = config.get(name)
    value = os.environ.get(variable) if value is None else value
    return None if value is None else int(value)


def _join(address: str | None, count: int | None, index: int | None, timeout: float) -> None:
    """Calls jax in a thread: past its own time limit it would end the process instead of raising."""
    failures = []

    def join():
        try:
            jax.distributed.initialize(address, count, index, initialization_timeout=int(timeout) + 60)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=join, daemon=True)
    thread.start()
    thread.join(timeout)
    if thread.is_alive() or failures:
        reason = str(failures[0]).splitlines()[0] if failures else "not every process came"
        raise DistributedError(
            f"process {index} of {count} could not start with coordinator {address} within {timeout:g} s: {reason}"
        )


def _await(address: str, index: int, timeout: float) -> None:
    """Waits until the coordinator listens, to tell a wrong address from processes that did not come."""
    host, _, port = address.rpartition(":")
    end = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=max(0.1, min(5.0, timeout))).close()
            return
        except (OSError, ValueError) as error:
            if time.monotonic() > end or isinstance(error, ValueError):
                raise DistributedError(
                    f"process {index}: no coordinator answers at {address!r} within {timeout:g} s ({error}); "
                    "is process 0 running, and is the address host:port?"
                ) from error
            time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
