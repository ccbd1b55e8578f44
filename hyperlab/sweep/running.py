"""Runs the rows of a sweep: one after the other in this process, or several at a time, each in a process of its own."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from hyperlab import launch
from hyperlab.errors import ConfigError
from hyperlab.sweep.rows import Row
from hyperlab.train.heartbeat import STALE_AFTER, State
from hyperlab.train.protocols import Stop
from hyperlab.train.run_folder import LOG, InUseError

POLL = 0.2  # seconds between two looks at the children
LEAVE_ALONE = ("finished", "running")
Outcome = dict[str, State]


def one_by_one(
    rows: Sequence[Row],
    workdir: Path,
    stop: Stop,
    *,
    stale_after: float = STALE_AFTER,
    allow_config_change: bool = False,
) -> Outcome:
    """Runs rows in this process: `{name: state}` of those that were looked at.

    Args:
      rows: those that are done, or running elsewhere, are left alone; one that fails does not stop the others.
      workdir: the folder of the sweep; each row has a folder inside.
      stop: an object with `.requested`; the row at work saves and ends, and no other is started.
      stale_after: seconds without a sign of life after which a row of another host is taken over.
      allow_config_change: continue rows whose folder holds another config.
    """
    outcome: Outcome = {}
    for row in rows:
        if stop.requested:
            break
        state = row.state(workdir, stale_after)
        if state.name not in LEAVE_ALONE:
            print(f"row {row.index}: {row.name}", file=sys.stderr)
            state = _run(row, workdir, stop, allow_config_change)
            _forget_programs()
        outcome[row.name] = state
    return outcome


def _run(row: Row, workdir: Path, stop: Stop, allow_config_change: bool) -> State:
    # A folder that is there is kept by a run that is refused, and with it why the row failed.
    (workdir / row.name).mkdir(parents=True, exist_ok=True)
    try:
        launch.run(row.config, workdir / row.name, stop=stop, allow_config_change=allow_config_change)
    except InUseError:  # between our look and our start, another process was quicker
        return State("running")
    except Exception as error:
        return State("failed", f"{type(error).__name__}: {error}".splitlines()[0])
    return State("stopped", str(getattr(stop, "reason", ""))) if stop.requested else State("finished")


def _forget_programs() -> None:
    """Programs of a row that is done: each takes memory mappings, and a process may have only so many of them."""
    import gc

    import jax

    gc.collect()
    jax.clear_caches()


def side_by_side(
    rows: Sequence[Row],
    workdir: Path,
    stop: Stop,
    command: Sequence[str],
    *,
    processes: int,
    stale_after: float = STALE_AFTER,
) -> Outcome:
    """Runs rows in up to `processes` child processes at a time, each with its own `log.txt` in the row's folder.

    A child has one accelerator to itself where there are some, otherwise its share of the cores.

    Args:
      rows: as in `one_by_one`.
      workdir: the folder of the sweep.
      stop: an object with `.requested`; the children are sent SIGTERM, save at their next step, and are waited for.
      command: the command line of this sweep without a choice of rows; `--only N` is put behind it.
      processes: how many at a time, at least 1.
      stale_after: as in `one_by_one`.

    Returns:
      `{name: state}` of the rows that were looked at.

    Raises:
      ConfigError: more processes than accelerators; two that share one would not both find memory.
    """
    devices = visible_devices()
    if devices and processes > len(devices):
        raise ConfigError(
            f"--parallel {processes}: each process needs an accelerator of its own, and {len(devices)} are visible"
        )
    outcome: Outcome = {}
    waiting = list(rows)
    places: list[tuple[Row, subprocess.Popen] | None] = [None] * processes
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(_end, places)
        while True:
            for place, held in enumerate(places):
                if held is not None and held[1].poll() is not None:
                    row, child = held
                    outcome[row.name] = _outcome(row, workdir, child.returncode, bool(stop.requested), stale_after)
                    print(f"row {row.index}: {row.name}: {': '.join(filter(None, outcome[row.name]))}", file=sys.stderr)
                    places[place] = None
                while waiting and places[place] is None and not stop.requested:
                    row = waiting.pop(0)
                    state = row.state(workdir, stale_after)
                    if state.name in LEAVE_ALONE:
                        outcome[row.name] = state
                        continue
                    places[place] = row, _start(row, workdir, command, place, processes, devices)
            if not any(places):
                return outcome
            if stop.requested:
                _end(places)
            time.sleep(POLL)


def _start(
    row: Row, workdir: Path, command: Sequence[str], place: int, processes: int, devices: Sequence[str]
) -> subprocess.Popen:
    folder = Path(workdir) / row.name
    folder.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    if devices:
        environment["CUDA_VISIBLE_DEVICES"] = devices[place]
    with (folder / LOG).open("ab") as log:
        child = subprocess.Popen(
            [*command, "--only", str(row.index)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches the parent alone, which tells its children once
        )
    if not devices and hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):  # it ended already
            os.sched_setaffinity(child.pid, share_of(sorted(os.sched_getaffinity(0)), place, processes))
    print(f"row {row.index}: {row.name}: started, see {os.path.relpath(folder / LOG)}", file=sys.stderr)
    return child


def share_of(cores: Sequence[int], place: int, processes: int) -> list[int]:
    """The cores of one of several processes: equal parts, or one core each in turn where there are too few.

    >>> [share_of([0, 1, 2, 3, 4], place, 2) for place in range(2)], share_of([0, 1], 2, 3)
    ([[0, 2, 4], [1, 3]], [0])
    """
    return list(cores[place::processes]) or [cores[place % len(cores)]]


def visible_devices() -> list[str]:
    """The CUDA devices that children may be given, by the names that `CUDA_VISIBLE_DEVICES` takes; none on a CPU.

    They are asked for without `jax`, which would take their memory in this process.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name not in ("", "-1")]
    if os.environ.get("JAX_PLATFORMS", "").startswith("cpu") or shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
    return [str(index) for index, line in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


def _outcome(row: Row, workdir: Path, code: int, stopping: bool, stale_after: float) -> State:
    """What became of a child, from what it left on disk and how it ended."""
    state = row.state(workdir, stale_after)
    if code == 0:
        return state
    if stopping and code == -signal.SIGTERM:  # before it could listen: nothing had begun
        return State("stopped", "SIGTERM")
    if state.name == "failed" and state.detail:
        return state
    ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return State("failed", last_line(Path(workdir) / row.name / LOG) or ended if code > 0 else ended)


def last_line(log: Path) -> str:
    """The last line of a log that is not empty, or nothing.

    >>> last_line(Path("no/such/log.txt"))
    ''
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _end(places: Sequence[tuple[Row, subprocess.Popen] | None]) -> None:
    """Asks all children to stop, and waits for them: what they train is saved first."""
    children: Iterator[subprocess.Popen] = (held[1] for held in places if held is not None)
    alive = [child for child in children if child.poll() is None]
    for child in alive:
        child.terminate()
    try:
        for child in alive:
            child.wait()
    except BaseException:  # a second Ctrl-C
        for child in alive:
            child.kill()
        raise
