"""The folder of a run: its config, its provenance, its lock; the same folder again means continue."""

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperlab.errors import WorkdirError
from hyperlab.train import config as configs
from hyperlab.train import distributed, provenance
from hyperlab.train.heartbeat import Heartbeat

CONFIG, RUN = "config.json", "run.json"
LOG = "log.txt"  # what a run printed, where something keeps it; it may be there before the run is
REQUEUE = "REQUEUE"  # is there after a stop by the system's signal: start the run again, and it goes on


class InUseError(WorkdirError):
    """Another process holds the run folder."""


class RunFolder:
    """A run's folder, opened by `RunFolder.open` and held by one process (of several: the first writes).

    Attributes:
      path: the folder. It holds `config.json`, `run.json`, `metrics.jsonl`, event files, `checkpoints/`,
        `figures/`, `results.csv` and `report.html`.
    """

    def __init__(self, path: Path, lock: Any = None):
        self.path, self._lock, self._marks = path, lock, {}
        self._heart = Heartbeat(path) if lock is not None else None
        self._marking = threading.Lock()

    @classmethod
    def open(
        cls, path: str | os.PathLike, config: Mapping[str, Any], *, allow_config_change: bool = False
    ) -> "RunFolder":
        """Opens a new folder, or one that holds the same config.

        Args:
          path: the folder; made if it is missing.
          config: the resolved config, anything that JSON can hold.
          allow_config_change: continue with another config; the change is kept in `run.json`.

        Raises:
          WorkdirError: the folder holds another config (the differing keys are named), or files but no
            config, or is in use by another process, or cannot be written. Nothing was written then.

        >>> import tempfile
        >>> folder = RunFolder.open(tempfile.mkdtemp(), {"seed": 0})
        >>> folder.finish("finished")
        >>> RunFolder.open(folder.path, {"seed": 1})
        Traceback (most recent call last):
          ...
        hyperlab.errors.WorkdirError: ... holds another config: seed is 0 there and 1 here; ...
        """
        path = Path(path).expanduser().absolute()
        changes = _changes(path, config)
        if changes and not allow_config_change:
            listed = "; ".join(f"{key} is {old!r} there and {new!r} here" for key, (old, new) in changes.items())
            raise WorkdirError(
                f"{path} holds another config: {listed}; choose another workdir, or continue "
                "this run with the new values by --allow_config_change"
            )
        if not distributed.is_main():
            return cls(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = (path / ".lock").open("a")
        except OSError as error:
            raise WorkdirError(f"{path} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel frees it, however the process ends
        except OSError as error:
            lock.close()
            raise InUseError(f"{path} is in use by another process; wait for it or choose another") from error
        folder = cls(path, lock)
        if changes is None or changes:
            write_atomically(path / CONFIG, configs.to_json(config))
        folder._start(configs.digest(config), changes or {})
        return folder

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    def record(self) -> dict[str, Any]:
        """What `run.json` holds: `starts` (one entry a start, with its provenance) and what was noted."""
        return _read_json(self.path / RUN) or {"starts": []}

    def note(self, **entries: Any) -> None:
        """Adds entries to this start in `run.json`."""
        if self._lock is None:
            return
        record = self.record()
        record["starts"][-1] |= entries
        write_atomically(self.path / RUN, json.dumps(record, indent=1) + "\n")

    def mark(self, event: str) -> None:
        """Notes how many seconds after the start of the process something happened, the first time it does."""
        with self._marking:  # arms are in work in several threads
            if event not in self._marks:
                self._marks[event] = round(provenance.seconds_since_process_start(), 2)
                self.note(seconds_to=self._marks)

    def check_fingerprint(self, name: str, value: str) -> None:
        """Refuses data that differ from those of the run's first start.

        Raises:
          WorkdirError: another fingerprint is on record under this name.
        """
        record = self.record()
        known = record.setdefault("data", {})
        if known.get(name, value) != value:
            raise WorkdirError(
                f"{self.path} was started on other data: {name} had fingerprint {known[name]}, now {value}"
            )
        if name not in known and self._lock is not None:
            known[name] = value
            write_atomically(self.path / RUN, json.dumps(record, indent=1) + "\n")

    def finish(self, reason: str) -> None:
        """Notes how this start ended and gives the folder free; a stop by SIGTERM or SIGUSR1 leaves `REQUEUE` there."""
        if self._lock is None:
            return
        self.note(ended=provenance.now(), exit_reason=reason)
        if reason.startswith(("stopped: SIGTERM", "stopped: SIGUSR1")):
            (self.path / REQUEUE).touch()
        self._heart.stop()
        self._lock.close()
        self._lock = None

    def _start(self, digest: str, changes: Mapping[str, Any]) -> None:
        (self.path / REQUEUE).unlink(missing_ok=True)
        record = self.record()
        for start in record["starts"]:
            start.setdefault("exit_reason", "killed")  # it never came to say
        entry = {"config_digest": digest, **provenance.collect()}
        if patch := entry.pop("patch", None):
            entry["patch"] = f"code-{len(record['starts'])}.patch"
            write_atomically(self.path / entry["patch"], patch)
        if changes:
            entry["config_changes"] = {key: list(pair) for key, pair in changes.items()}
        record["starts"].append(entry)
        record["restarts"] = len(record["starts"]) - 1
        write_atomically(self.path / RUN, json.dumps(record, indent=1) + "\n")


def write_atomically(path: Path, content: str) -> None:
    """Writes a text file so that a kill leaves the old or the new one, never half of one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        with partial.open("w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise WorkdirError(f"{path} cannot be written: {error.strerror}") from error


def default_workdir(study: str) -> str:
    """`runs/<study>-<date>-<time>-<random>`: two runs of the same second do not meet."""
    return f"runs/{study}-{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(2).hex()}"


def _changes(path: Path, config: Mapping[str, Any]) -> dict[str, tuple] | None:
    """What differs from the config in the folder; None where there is none yet."""
    if path.exists() and not path.is_dir():
        raise WorkdirError(f"{path} is a file, expected a folder")
    saved = _read_json(path / CONFIG)
    if saved is not None:
        return configs.difference(saved, config)
    held = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    if held := [name for name in held if name[0] != "." and name != LOG]:
        raise WorkdirError(f"{path} is not a run folder: it has no {CONFIG} but holds {', '.join(held[:5])}")
    return None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, json.JSONDecodeError) as error:
        raise WorkdirError(f"{path} cannot be read ({error}); move the folder away or mend the file") from error
