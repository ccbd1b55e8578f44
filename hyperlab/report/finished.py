"""What every finished study left in its run folder: its config, what tuning chose, and its units."""

import json
from pathlib import Path
from typing import Any

from hyperlab.errors import WorkdirError
from hyperlab.train.units import Measurements, UnitFiles


class Finished:
    """A run folder whose study came to its end.

    Attributes:
      config: as it ran.
      choices: the contents of `choices.json`.

    Raises:
      WorkdirError: tuning was not finished there.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        path = self.folder / "choices.json"
        if not path.exists():
            raise WorkdirError(f"{folder} holds no finished tuning (choices.json); run the study to its end first")
        self.config: dict[str, Any] = json.loads((self.folder / "config.json").read_text())
        self.choices: dict[str, Any] = json.loads(path.read_text())
        self._files = UnitFiles(self.folder / "units")

    @property
    def notes(self) -> list[str]:
        """What was done to the data before the study saw them, in sentences; of an older run nothing is known."""
        path = self.folder / "data.json"
        return json.loads(path.read_text())["notes"] if path.exists() else []

    def unit(self, name: str) -> Measurements:
        """A unit's measurements.

        Raises:
          WorkdirError: it is missing.
        """
        unit = self._files.read(name)
        if unit is None:
            raise WorkdirError(f"{self._files.path(name)} is missing; run the study to its end first")
        return unit
