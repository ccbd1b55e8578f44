"""The folder of a run: its config, its provenance, its lock; the same folder again means continue.

`run.json` is sealed by a checksum and holds the config too, so that damage to it, or to `config.json`, is seen, and
either can be made again from the other; what was damaged is set aside and never deleted.
"""

import contextlib
import errno
import logging
import os
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from hyperlab import files
from hyperlab.errors import ConfigError, DataError, InUseError, MeshError, MissingExtraError, WorkdirError
from hyperlab.files import write_atomically  # its home until it moved to the ground floor
from hyperlab.train import config as configs
from hyperlab.train import distributed, provenance
from hyperlab.train.heartbeat import Heartbeat
from hyperlab.train.run_contents import CONFIG, LOG, RUN, Contents, worked

__all__ = ["CONFIG", "LOG", "REQUEUE", "RUN", "InUseError", "RunFolder", "default_workdir", "write_atomically"]

REQUEUE = "REQUEUE"  # is there after a stop by the system's signal: start the run again, and it goes on
REFUSALS = (ConfigError, DataError, MissingExtraError, MeshError)  # of what was given: another command may do

log = logging.getLogger(__name__)


class RunFolder:
    """A run's folder, opened by `RunFolder.open` and held by one process (of several: the first writes).

    Attributes:
      path: the folder. It holds `config.json`, `run.json`, `metrics.jsonl`, event files, `checkpoints/`,
        `figures/`, `results.csv` and `report.html`.
      unchanged: whether all starts on record had the same config and the same data.
    """

    def __init__(self, path: Path, lock: TextIO | None = None, *, allow_change: bool = False):
        self.path, self._lock = path, lock
        self._marks: dict[str, float] = {}
        self._heart = Heartbeat(path) if lock is not None else None
        self._marking = threading.Lock()
        self._allow_change = allow_change
        self._made: list[Path] = []  # by this start: the folder, and those above it
        self.unchanged = True

    @classmethod
    def open(
        cls, path: str | os.PathLike, config: Mapping[str, Any], *, allow_config_change: bool = False
    ) -> "RunFolder":
        """Opens a new folder, or one that holds the same config.

        Args:
          path: the folder; made if it is missing.
          config: the resolved config, anything that JSON can hold.
          allow_config_change: continue with another config, or other data; the change is kept in `run.json`, and
            units that what changed decides are computed again.

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
        there = cls.refuse_other(path, config, allow_config_change=allow_config_change)
        if not distributed.is_main():
            return cls(path, allow_change=allow_config_change)
        made = [folder for folder in (path, *path.parents) if not folder.exists()]
        folder = cls(path, files.locked(path), allow_change=allow_config_change)
        folder._made = made
        for damaged in there.damaged:
            log.warning("%s is damaged: set aside as %s and made again", damaged, files.set_aside(damaged).name)
        try:
            for place in (path, path / "units", path / "networks", path / "figures"):
                files.clear_partial(place)
            folder._start(config, there)
        except BaseException:
            if not folder.discard():
                folder.release()
            raise
        return folder

    @staticmethod
    def refuse_other(
        path: str | os.PathLike, config: Mapping[str, Any], *, allow_config_change: bool = False
    ) -> Contents:
        """What a folder holds that is to continue with a config; nothing is written.

        Args:
          path, config, allow_config_change: as for `open`.

        Raises:
          WorkdirError: the folder holds another config (the differing keys are named), or files but no config.
        """
        path = Path(path).expanduser().absolute()
        there = Contents.of(path, config)
        if there.changes and not allow_config_change and not there.begun:
            listed = "; ".join(f"{key} is {old!r} there and {new!r} here" for key, (old, new) in there.changes.items())
            raise WorkdirError(
                f"{path} holds another config: {listed}; choose another workdir, or continue in this one by "
                "--allow_config_change: what the new values decide is computed again, the rest is kept"
            )
        return there

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
        """What `run.json` holds: `starts` (one entry a start, with its provenance) and what was noted.

        Raises:
          WorkdirError: it cannot be read, or the folder was moved or removed while its run was at work.
        """
        record = files.read_object(self.path / RUN)
        if record is None and self._lock is not None and not self._is_here():
            raise WorkdirError(f"{self.path} was moved or removed while its run was at work")
        return record or {"starts": []}

    def note(self, **entries: Any) -> None:
        """Adds entries to this start in `run.json`.

        Raises:
          WorkdirError: it cannot be written, or is no longer there.
        """
        if self._lock is None:
            return
        record = self.record()
        if not record["starts"]:
            raise WorkdirError(f"{self.path / RUN} was removed while its run was at work")
        record["starts"][-1] |= entries
        self._write(record)

    def mark(self, event: str) -> None:
        """Notes how many seconds after the start of the process something happened, the first time it does.

        A mark that cannot be written ends no run: what else cannot be written will.
        """
        with self._marking:  # arms are in work in several threads
            if event not in self._marks:
                self._marks[event] = round(provenance.seconds_since_process_start(), 2)
                with contextlib.suppress(WorkdirError):
                    self.note(seconds_to=self._marks)

    def check_fingerprint(self, name: str, value: str) -> None:
        """Refuses data that differ from those of the run's first start, unless changes are allowed.

        Raises:
          WorkdirError: another fingerprint is on record under this name.
        """
        record = self.record()
        known = record.setdefault("data", {})
        if known.get(name, value) != value:
            if not self._allow_change:
                raise WorkdirError(
                    f"{self.path} was started on other data: {name} had fingerprint {known[name]}, now {value}; choose "
                    "another workdir, or compute all of it again here by --allow_config_change"
                )
            record["starts"][-1]["data_changes"] = {name: [known[name], value]}
            self.unchanged = False
        elif name in known or self._lock is None:
            return
        known[name] = value
        if self._lock is not None:
            self._write(record)

    def finish(self, reason: str, **entries: Any) -> None:
        """Notes how this start ended and gives the folder free; a stop by SIGTERM or SIGUSR1 leaves `REQUEUE` there.

        Args:
          reason: of the end.
          **entries: noted too.

        Raises:
          WorkdirError: it cannot be noted; the folder is free all the same.
        """
        if self._lock is None:
            return
        try:
            self.note(**entries, ended=provenance.now(), exit_reason=reason)
            if reason.startswith(("stopped: SIGTERM", "stopped: SIGUSR1")):
                write_atomically(self.path / REQUEUE, "")
        finally:
            self.release()

    def release(self) -> None:
        """Gives the folder free, and notes nothing."""
        if self._lock is not None:
            if self._heart is not None:
                self._heart.stop()
            self._lock.close()
            self._lock = None

    def concerns(self, error: OSError) -> bool:
        """Whether an error of the system is one of this folder, or of its disk: moved, unreadable, full."""
        inside = error.filename is not None and Path(os.fsdecode(error.filename)).is_relative_to(self.path)
        return inside or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

    def discard(self) -> bool:
        """Removes the folder, where this start made it and no work was done in it.

        Returns:
          Whether that was so; otherwise nothing happens.
        """
        if self._lock is None or not self._made or worked(self.path):
            return False
        with contextlib.suppress(OSError):
            shutil.rmtree(self.path)
        self.release()
        with contextlib.suppress(OSError):
            for folder in self._made[1:]:
                folder.rmdir()  # if nobody else has put anything there
        return True

    def _start(self, config: Mapping[str, Any], there: "Contents") -> None:
        (self.path / REQUEUE).unlink(missing_ok=True)
        record = there.record or {"starts": []}
        for start in record["starts"]:
            start.setdefault("exit_reason", "killed")  # it never came to say
        if there.begun:
            record.pop("data", None)  # of which nothing was made
        if there.unknown_past:
            record["past"] = "unknown"  # whether the config ever changed cannot be told any more
        entry = {"config_digest": configs.digest(config), **provenance.collect()}
        if patch := entry.pop("patch", None):
            entry["patch"] = f"code-{len(record['starts'])}.patch"
        if there.changes:
            entry["config_changes"] = {key: list(pair) for key, pair in there.changes.items()}
        record["starts"].append(entry)
        record |= {"restarts": len(record["starts"]) - 1, "config": configs.plain(config)}
        self.unchanged = "past" not in record and not any(
            {"config_changes", "data_changes"} & start.keys() for start in record["starts"]
        )
        # The record first: a kill between the two leaves a config.json that the record corrects.
        self._write(record)
        if there.config != configs.plain(config):
            write_atomically(self.path / CONFIG, configs.to_json(config))
        if patch:
            write_atomically(self.path / entry["patch"], patch)

    def _write(self, record: Mapping[str, Any]) -> None:
        files.write_json(self.path / RUN, record, sealed=True)

    def _is_here(self) -> bool:
        """Whether the folder that is held is still the one at the path."""
        if self._lock is None:
            return False
        try:
            here, held = os.stat(self.path / files.LOCK), os.fstat(self._lock.fileno())
        except OSError:
            return False
        return (here.st_dev, here.st_ino) == (held.st_dev, held.st_ino)


def default_workdir(study: str) -> str:
    """`runs/<study>-<date>-<time>-<random>`: two runs of the same second do not meet."""
    return f"runs/{study}-{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(2).hex()}"
