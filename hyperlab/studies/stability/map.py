"""The map of stability: every arm at every rate, under every law of gamma, on every primary. Nothing is tuned.

The cells are those of the study (`study.Stability` trains them), but the course is another one: there is nothing to
choose, so there are no tuning seeds, every rate is reported, and the page (`map_page`) asks how wide the range of rates
is in which an arm trains, and how often it diverges. The runs of a cell, all rates under all seeds, are one program.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hyperlab.errors import ConfigError
from hyperlab.studies.base import Chosen, Study
from hyperlab.studies.record import write_json
from hyperlab.studies.stability import laws, tasks
from hyperlab.studies.stability.arms import ARMS, Setting
from hyperlab.studies.stability.laws import MapCell
from hyperlab.studies.stability.schema import check_lengths
from hyperlab.studies.stability.study import Stability, length_of
from hyperlab.studies.stability.tasks import Task
from hyperlab.train.saving import Saved
from hyperlab.train.units import Measurements, memoize_method

Tasks = dict[tuple[Any, ...], Task]  # by place: primary and law


class Map(Study[MapCell]):
    """The map of a config with `map.laws`."""

    page = "hyperlab.studies.stability.map_page"
    lists = Stability.lists
    counted = "run-step"
    by_width = False  # whether arms may have scales and rates by width
    data: Tasks

    def __init__(self, config: Any, data: Tasks, folder: Any, stop: Any):
        super().__init__(config, data, folder, stop)
        self._parts: list[Part] = []

    @classmethod
    def load(cls, config: Any, folder: Path | None = None) -> Tasks:
        """The task of each primary and law, with its data.

        Raises:
          ConfigError: another task than classification; lengths that do not fit; arms with a gamma for each sample, or
            with rates by width, which a map has no base for.
        """
        if config.task != "classification":
            raise ConfigError(f"task: a map is of the task 'classification', not of {config.task!r}")
        if several := [name for name in config.arms if ARMS[name].per_sample]:
            raise ConfigError(f"arms: {', '.join(several)}: a map has one gamma a batch")
        if not cls.by_width and (of_transfer := [name for name in config.arms if ARMS[name].by_width]):
            raise ConfigError(f"arms: {', '.join(of_transfer)}: a map has one width; see transfer.widths")
        places = dict.fromkeys(cell.place for cell in cls.cells_of(config))
        found = {place: tasks.load(cls.placed(config, *place)) for place in places}
        for task in found.values():
            check_lengths(config, length_of(config, task))
        return found

    @staticmethod
    def cells_of(config: Any) -> list[Any]:
        """All cells of a config, in order."""
        return laws.cells_of(config)

    @staticmethod
    def placed(config: Any, *place: Any) -> Any:
        """A copy of a config for the cells of a place."""
        return laws.placed(config, *place)

    @property
    def fingerprint(self) -> tuple[str, str]:
        """Of the data, which are the same in all cells."""
        task = next(iter(self.data.values()))
        return task.name, task.fingerprint

    def cells(self) -> list[MapCell]:
        """Every arm with every optimizer, on every primary under every law."""
        return self.cells_of(self.config)

    def steps(self, cell: MapCell, phase: str) -> int:
        """Of one run."""
        return self.part(*cell.place).steps(cell, phase)  # it reads optimizer and arm

    def planned(self) -> int:
        """Training steps of all runs; those of a first fit are no training steps."""
        runs = len(self.report_seeds)
        return sum(runs * len(self.config.rates[cell.optimizer]) * self.steps(cell, "") for cell in self.cells())

    def prepare(self) -> None:
        """How the report speaks of the task."""
        write_json(self.folder, "task.json", next(iter(self.data.values())).wording._asdict())

    def tune(self) -> Chosen | None:
        """Nothing is chosen: what each cell is, for the page."""
        return {
            cell.key: {
                "label": ARMS[cell.arm].label,
                "definition": ARMS[cell.arm].variant(ARMS[cell.arm].untuned).definition(),
                "initializer": ARMS[cell.arm].untuned,
            }
            for cell in self.cells()
        }

    def jobs(self, chosen: Chosen) -> list[tuple[MapCell, Setting, Sequence[int]]]:
        """One unit a cell, with all rates and all seeds."""
        rates = {name: tuple(self.config.rates[name]) for name in self.config.optimizers}
        return [
            (cell, Setting(chosen[cell.key]["initializer"], rates[cell.optimizer]), self.report_seeds)
            for cell in self.cells()
        ]

    def train(self, cell: MapCell, setting: Setting, seed: Sequence[int], phase: str) -> Measurements | None:
        """Trains a cell at all rates under all seeds, or reads what is known of it."""
        return self.part(*cell.place).train(cell, setting, seed, phase)

    @property
    def saved(self) -> list[Saved]:
        """How far the trainings were that a stop cut off."""
        return [one for part in self._parts for one in part.saved]

    def _note(self) -> None:
        self.trained_steps = sum(part.trained_steps for part in self._parts)
        super()._note()

    @memoize_method
    def part(self, *place: Any) -> "Part":
        """The cells of one place."""
        part = self.made(place)
        self._parts.append(part)
        return part

    def made(self, place: tuple[Any, ...]) -> "Part":
        """A part, see `part`."""
        return Part(self, self.placed(self.config, *place), self.data[place])


class Part(Stability):
    """The cells of one primary and one law: trained as the study trains them, kept and counted by the map."""

    probed = False  # what stands before the first step is the certificate's

    def __init__(self, whole: Map, config: Any, task: Task):
        super().__init__(config, task, whole.folder, whole.stop)
        self.whole, self.files, self.peers = whole, whole.files, whole.peers

    def advance(self, steps: int) -> None:
        self.whole.advance(steps)

    def reads_test(self, phase: str, networks: int = 1) -> None:
        self.whole.reads_test(phase, networks)
