"""What a folder says of the run that it holds, read before anything is written there."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hyperlab import files
from hyperlab.errors import DamagedError, WorkdirError
from hyperlab.train import config as configs
from hyperlab.train import engine

CONFIG, RUN = "config.json", "run.json"
LOG = "log.txt"  # what a run printed, where something keeps it; it may be there before the run is


class Contents:
    """What a folder says of the run that it holds, read before anything is written.

    Attributes:
      config: that of `config.json`, None where there is none or it is not the run's.
      record: of `run.json`, None where there is none that can be read.
      changes: what differs from the given config, `{dotted key: (there, here)}`; None where no run is there yet.
      damaged: files to be set aside.
      unknown_past: work was done of which no record is left.
      begun: the run never came to any work: its data were refused, or it was ended while they were read. Another
        config loses nothing there.
    """

    def __init__(self):
        self.config = self.record = self.changes = None
        self.damaged: list[Path] = []
        self.unknown_past = self.begun = False

    @classmethod
    def of(cls, path: Path, config: Mapping[str, Any]) -> "Contents":
        """Reads a folder that is to continue with a config.

        Raises:
          WorkdirError: it is a file, cannot be read, or is no run folder.
        """
        found = cls()
        if path.exists() and not path.is_dir():
            raise WorkdirError(f"{path} is a file, expected a folder")
        found.record = found._read(path / RUN)
        if found.record is not None and not _is_record(found.record):
            found.damaged.append(path / RUN)
            found.record = None
        found.config = found._read(path / CONFIG)
        if not (found.record or found.config or found.damaged):
            _refuse_others_files(path)
            return found
        starts = found.record["starts"] if found.record else []
        found.unknown_past = found.record is None
        found.changes = found._changes(path, config)
        ended = any(start.get("exit_reason") == "finished" for start in starts)
        found.begun = bool(starts) and not ended and not worked(path)
        return found

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            return files.read_object(path)
        except DamagedError:
            self.damaged.append(path)
            return None

    def _changes(self, path: Path, config: Mapping[str, Any]) -> dict[str, tuple]:
        held = (self.record or {}).get("config")
        if held is not None:
            if self.config is not None and configs.difference(held, self.config):
                self.damaged.append(path / CONFIG)  # changed by another hand: the record has what ran
                self.config = None
            return engine.changes(held, config)
        if self.config is not None:
            return engine.changes(self.config, config)
        starts = (self.record or {}).get("starts") or [{}]
        if starts[-1].get("config_digest") in (configs.digest(config), None):
            return {}
        # An older record has nothing but a digest.
        return {CONFIG: ("damaged, and by run.json another than the one that is given", "the one that is given")}


def _is_record(record: Mapping[str, Any]) -> bool:
    starts = record.get("starts")
    return isinstance(starts, list) and all(isinstance(start, dict) for start in starts)


def _refuse_others_files(path: Path) -> None:
    held = sorted(entry.name for entry in _listed(path))
    if held := [name for name in held if name[0] != "." and name != LOG]:
        raise WorkdirError(f"{path} is not a run folder: it has no {CONFIG} but holds {', '.join(held[:5])}")


def _listed(path: Path) -> Iterator[Path]:
    try:
        return path.iterdir() if path.is_dir() else iter(())
    except OSError as error:
        raise WorkdirError(f"{path} cannot be read: {error.strerror}") from error


def worked(path: Path) -> bool:
    """Whether a run left anything in its folder that took work."""
    folders = [path / "units", *path.glob("checkpoints*"), path / "networks"]
    if any(entry.is_file() for folder in folders for entry in folder.rglob("*")):
        return True
    return any((path / name).exists() and (path / name).stat().st_size for name in ("metrics.jsonl", "results.csv"))
