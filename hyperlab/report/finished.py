"""What every finished study left in its run folder: its config, what tuning chose, and its units."""

from pathlib import Path
from typing import Any

from hyperlab import files
from hyperlab.errors import DamagedError, WorkdirError
from hyperlab.train import config as configs
from hyperlab.train import engine
from hyperlab.train.phases import CHOICES, MADE_BY
from hyperlab.train.run_folder import CONFIG, RUN
from hyperlab.train.units import Measurements, UnitFiles

AGAIN = "run the study again in its folder, which writes it again"
UNFINISHED = "run the study to its end first"


class Finished:
    """A run folder whose study came to its end.

    Attributes:
      config: as it ran.
      choices: the contents of `choices.json`.

    Raises:
      WorkdirError: tuning was not finished there, or with another config.
      DamagedError: a file is damaged, and which.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        if not (self.folder / CHOICES).exists():
            raise WorkdirError(f"{folder} holds no finished tuning ({CHOICES}); {UNFINISHED}")
        self._record = files.read_object(self.folder / RUN, AGAIN) or {}
        self.config: dict[str, Any] = self._config()
        self.choices: dict[str, Any] = self.json(CHOICES)
        made_by = files.seals(self.folder).get(MADE_BY)
        if made_by not in (None, engine.digest(self.config), configs.digest(self.config)):  # the last of older runs
            raise WorkdirError(f"{self.folder / CHOICES} was made with another config; {UNFINISHED}")
        self._files = UnitFiles(self.folder / "units")

    @property
    def code(self) -> tuple[str | None, str | None]:
        """Version and commit of the code that ran last, see `train.provenance.code`."""
        last = (self._record.get("starts") or [{}])[-1]
        return last.get("hyperlab"), (last.get("git") or {}).get("commit")

    @property
    def notes(self) -> list[str]:
        """What was done to the data before the study saw them, in sentences; of an older run nothing is known."""
        return self.json("data.json")["notes"] if (self.folder / "data.json").exists() else []

    def json(self, name: str) -> dict[str, Any]:
        """The contents of a JSON file of the run's folder.

        Raises:
          WorkdirError: it is missing.
          DamagedError: it is damaged.
        """
        path = self.folder / name
        files.check_seal(path, AGAIN)
        found = files.read_object(path, AGAIN)
        if found is None:
            raise WorkdirError(f"{path} is missing; {UNFINISHED}")
        return found

    def unit(self, name: str) -> Measurements:
        """A unit's measurements.

        Raises:
          WorkdirError: it is missing, or was made with other settings or of other data than the run's.
          DamagedError: it is damaged.
        """
        made_of, unit = self._files.finished(name)
        if differing := self._differing(made_of or {}):
            raise WorkdirError(
                f"{self._files.path(name)} was made with other settings ({', '.join(differing)}) than those of the "
                f"run; {UNFINISHED}"
            )
        return unit

    def unit_if_there(self, name: str) -> Measurements | None:
        """The same; None where there is none, of runs of older versions."""
        return self.unit(name) if self._files.path(name).exists() else None

    def _config(self) -> dict[str, Any]:
        """What ran: `run.json` holds it too, and is sealed; of an older run it does not."""
        held = self._record.get("config")
        if held is None:
            held = files.read_object(self.folder / CONFIG, AGAIN)
        if held is None:
            raise DamagedError(f"{self.folder / CONFIG} is missing; {AGAIN}")
        return held

    def _differing(self, made_of: dict[str, Any]) -> list[str]:
        now = configs.flat(configs.plain(self.config))
        found = [key for key, value in made_of.get("settings", {}).items() if now.get(key, value) != value]
        data = made_of.get("data") or []
        known = (self._record.get("data") or {}).get(data[0]) if data else None
        return found + (["the data"] if known is not None and known != data[1] else [])
