"""Whether a run folder's process lives: a small file that it touches now and then, and what that says of the run.

The beat is that of the process and not of its steps: a program that takes an hour to compile is alive, and a second
process that took its run for dead would write into the same folder. On the host of the process the operating system
is asked instead; the beat's age decides only between hosts that share a file system.
"""

import contextlib
import json
import os
import platform
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

FILE = ".heartbeat"
INTERVAL = 15.0  # seconds between two beats
STALE_AFTER = 180.0  # seconds; file servers may show a touch a minute late


class State(NamedTuple):
    """What a run folder says of its run.

    Attributes:
      name: `new` (never started), `running`, `stale` (it ended without a word), `stopped` (by a signal; it saved),
        `failed`, `changed` (it holds another config) or `finished`.
      detail: why, in one line; empty where there is nothing to say.
    """

    name: str
    detail: str = ""


class Heartbeat:
    """Touches a run folder's file from a thread, from its making until `stop`; the file is gone then.

    Args:
      folder: the run folder.
      interval: seconds between two beats.

    Attributes:
      thread: that beats.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> heart = Heartbeat(folder)
    >>> is_alive(folder)
    True
    >>> heart.stop()
    >>> is_alive(folder)
    False
    """

    def __init__(self, folder: str | os.PathLike, interval: float = INTERVAL):
        self._path, self._interval, self._ended = Path(folder) / FILE, interval, threading.Event()
        self._folder = None
        with contextlib.suppress(OSError):  # a full disk is reported by what the run itself writes
            self._folder = os.open(self._path.parent, os.O_RDONLY)  # finds the file in a folder that was moved, too
            self._path.write_text(json.dumps(_identity()) + "\n")
        self.thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Ends the beat."""
        self._ended.set()
        if self._folder is not None:
            with contextlib.suppress(OSError):
                os.unlink(FILE, dir_fd=self._folder)
            os.close(self._folder)
            self._folder = None

    def _beat(self) -> None:
        while not self._ended.wait(self._interval):
            try:
                os.utime(self._path)
            except FileNotFoundError:  # the folder was moved away or deleted
                return
            except OSError:
                continue  # a file server that is away for a while must not end a run


def is_alive(folder: str | os.PathLike, stale_after: float = STALE_AFTER) -> bool:
    """Whether the process that last opened a run folder still runs.

    Args:
      folder: the run folder.
      stale_after: seconds after which a beat from another host counts as the last one.
    """
    path = Path(folder) / FILE
    try:
        owner, age = json.loads(path.read_text()), time.time() - path.stat().st_mtime
        host, pid, started = owner["host"], owner["pid"], owner["started"]
        task = owner.get("task")
    except (OSError, ValueError, KeyError, TypeError):  # gone, or cut off when the disk was full
        return False
    if host == platform.node():
        return _runs_here(pid, started)
    here = _task()
    if here is not None and task is not None and here[0] == task[0] and here[1] > task[1]:
        return False  # the scheduler starts a task again only after its first start has ended
    return age <= stale_after


def state(
    folder: str | os.PathLike, config: Mapping[str, Any] | None = None, *, stale_after: float = STALE_AFTER
) -> State:
    """What became of the run in a folder, from its files alone.

    Args:
      folder: the run folder; it need not exist.
      config: the resolved config that the folder should hold; None asks nothing of it.
      stale_after: see `is_alive`.

    >>> state("no/such/folder")
    State(name='new', detail='')
    """
    from hyperlab.train import engine

    folder = Path(folder)
    try:
        record = json.loads((folder / "run.json").read_text())
        reason = record["starts"][-1].get("exit_reason")
        held = json.loads((folder / "config.json").read_text()) if config is not None else {}
    except FileNotFoundError:
        return State("running") if is_alive(folder, stale_after) else State("new")
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        return State("failed", f"its record cannot be read: {type(error).__name__}: {error}".splitlines()[0])
    if is_alive(folder, stale_after):
        return State("running")
    if config is not None and (changes := engine.changes(held, config)):
        listed = "; ".join(f"{key} is {old!r} there and {new!r} here" for key, (old, new) in changes.items())
        return State("changed", listed)
    if reason is None:
        return State("stale")
    if reason == "finished":
        return State("finished")
    name, _, detail = reason.partition(": ")
    return State(name, detail) if name in ("failed", "stopped") else State("stale", reason)


def _identity() -> dict[str, Any]:
    import psutil

    identity = {"host": platform.node(), "pid": os.getpid(), "started": psutil.Process().create_time()}
    return identity | ({"task": task} if (task := _task()) else {})


def _task() -> tuple[str, int] | None:
    """The SLURM job that this process is part of, and how often it was started again."""
    job = os.environ.get("SLURM_JOB_ID")
    restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
    return (job, int(restarts)) if job and restarts.isdigit() else None


def _runs_here(pid: int, started: float) -> bool:
    import psutil

    with contextlib.suppress(psutil.Error, ValueError):
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 2 and process.status() != psutil.STATUS_ZOMBIE
    return False
