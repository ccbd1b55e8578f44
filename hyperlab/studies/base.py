"""What a study is: its cells, how each is tuned, trained, scored and kept, in one course for all studies.

A study is tuned on the validation split with tuning seeds, which count from 0, and reported on fresh seeds. Every
choice is on disk before what is held out is read for the first time. What was trained and measured is a file, a unit,
so whatever stops a study, another start goes on from there.
"""

import functools
import importlib
import io
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

from hyperlab import files
from hyperlab.studies import tuning
from hyperlab.studies.record import recording, sealing, write_json
from hyperlab.studies.trainings import Trainings
from hyperlab.train import capture, engine, groups
from hyperlab.train.peers import Peers
from hyperlab.train.phases import CHOICES, MADE_BY, REPORT, TUNE
from hyperlab.train.progress import Progress
from hyperlab.train.protocols import Folder, Rehearsal, Stop
from hyperlab.train.saving import Saved
from hyperlab.train.units import Measurements
from hyperlab.train.writers import MultiWriter

Chosen = dict[str, Any]  # what `choices.json` holds


class Cell(Protocol):
    """What is trained and reported: an arm, and whatever else tells its networks apart. It names its units."""

    @property
    def key(self) -> str:
        """Under which its choice stands in `choices.json`."""

    def unit_name(self, phase: str, setting: Any, seed: Any) -> str:
        """The name of the unit of one training, for the study that writes it and the report that reads it."""


CellT = TypeVar("CellT", bound=Cell)


def _said_of(saved: Sequence[Saved]) -> str:
    shown = "; ".join(f"{one.unit} at step {one.step} of {one.steps}" for one in saved[:4])
    more = f"; and {len(saved) - 4} more" if len(saved) > 4 else ""
    return f"trainings in work, saved: {shown}{more}" if saved else "no training was in work"


def run_study(study: "type[Study]", config: Any, folder: Folder, stop: Stop) -> None:
    """Reads a study's data and runs it in its folder; a stopped study continues.

    Args:
      study: its class.
      config: of it, checked.
      folder: the run's folder.
      stop: asked between two steps whether to go on.
    """
    settings = engine.of(config)
    groups.of(settings, config.get("batch_size", 0))  # devices that cannot be are refused before any data are read
    peers = Peers.of(folder.path, stop, together=settings.across)
    try:
        with peers.main_first():  # who may make a store of the data in the folder
            data = study.load(config, folder.path)
        made = study(config, data, folder, stop)
        made.peers = peers
        made.run()
        peers.check()
    except BaseException as error:
        peers.leave(f"{type(error).__name__}: {error}")
        raise
    peers.leave()


class Study(Trainings, Generic[CellT]):
    """The base of a study. A study says which cells there are, how one is trained and scored, and what stands beside.

    Attributes:
      lists: keys of the config, or groups of them, that say which units there are or what is said of them: other
        values leave the numbers of a unit as they are. What a unit is given of such a key is in its name, or in
        `further`. All other keys count, see `train.basis`.
      version: of the code that computes the study's units; a change of it that changes numbers raises it by one.
      counted: the unit of the progress.
      page: the module whose `write(folder)` writes the page; it is imported when it is written.

    Args:
      config: the study's config, with `seed`.
      data: what `load` read, with `name` and `fingerprint`.
      folder: the run's folder.
      stop: asked between two steps whether to go on.
    """

    lists: ClassVar[Sequence[str]] = ()
    version: ClassVar[int] = 1
    counted: ClassVar[str] = "step"
    page: ClassVar[str] = ""

    def __init__(self, config: Any, data: Any, folder: Folder, stop: Stop):
        super().__init__(config, folder, stop)
        self.data = data
        self.chosen: Chosen = {}  # until all is tuned

    # -- what a study says -------------------------------------------------------------------------------------

    @classmethod
    def load(cls, config: Any, folder: Path) -> Any:
        """The data of a config; what the two cannot give each other is refused before anything is compiled."""
        raise NotImplementedError

    @classmethod
    def write_page(cls, folder: Path) -> Path | None:
        """Writes the tables, the figures and the page of a complete run, from its folder alone."""
        return importlib.import_module(cls.page).write(folder) if cls.page else None

    @property
    def fingerprint(self) -> tuple[str, str]:
        """Name and fingerprint of the data; a folder of other data is refused."""
        return self.data.name, self.data.fingerprint

    def cells(self) -> Sequence[CellT]:
        """All that is reported, in order."""
        raise NotImplementedError

    def tuned(self) -> Sequence[CellT]:
        """The cells that are trained to choose by; several of one key are scored together, by their mean."""
        return self.cells()

    def grid(self, key: str) -> Sequence[float]:
        """The learning rates to try, increasing."""
        return self.config.rates

    def trials(self, cell: CellT) -> int:
        """Trainings of a tuned cell under one tuning seed, unless its grid is widened."""
        return len(self.grid(cell.key))

    def describe(self, key: str) -> Mapping[str, Any]:
        """What `choices.json` says of a key beside the choice: its label, its definition."""
        return {}

    def steps(self, cell: CellT, phase: str) -> int:
        """Training steps of all networks of a cell under one seed."""
        raise NotImplementedError

    def train(self, cell: CellT, setting: Any, seed: Any, phase: str) -> Measurements | None:
        """Trains a cell and measures it, or reads what is known of it; None after a stop.

        Args:
          cell: what is trained.
          setting: what was chosen for it: a learning rate, in most studies.
          seed: of everything that is drawn.
          phase: `TUNE` or `REPORT`.
        """
        raise NotImplementedError

    def score(self, measured: Measurements) -> float:
        """What a training is chosen by, larger is better; NaN is a failed one."""
        raise NotImplementedError

    def curve(self, cell: CellT, seed: Any, measured: Measurements) -> Iterable[tuple[int, dict[str, float], str]]:
        """Rows of the record: `(step, {name: value}, split)`."""
        return ()

    def prepare(self) -> None:
        """What is measured and written before the first training."""

    def finish(self, chosen: Chosen, writer: MultiWriter) -> None:
        """What stands beside the cells of a complete study, before the page is written."""

    def verdict(self) -> str:
        """What a finished study comes to, in a sentence that ends its run in the terminal; empty: none is said."""
        return ""

    # -- the course of every study -----------------------------------------------------------------------------

    def run(self) -> None:
        """Runs the study in its folder: tuning, then fresh seeds, then the page."""
        with groups.using(self.devices.groups[0]):
            self._run()

    def _run(self) -> None:
        self.folder.check_fingerprint(*self.fingerprint)
        if isinstance(self.stop, Rehearsal):
            self.planned()
            return
        if (noting := capture.current()) is not None:
            self._note_programs(noting)
            return
        with recording(self.folder, self.config) as writer:
            shown = None if self.peers.is_main else io.StringIO()  # one bar is enough
            with Progress(1, self.config.study, unit=self.counted, file=shown) as self.progress:
                self.rest_on(self.fingerprint)
                self.progress.total = self.planned()
                with self.peers.main_first(), self._apart():
                    self.prepare()
                chosen, complete = self.tune(), False
                if chosen is not None:
                    self.chosen = chosen
                    write_json(self.folder, CHOICES, chosen)
                    if self.peers.is_main:
                        files.seal(self.folder.path, [], **{MADE_BY: engine.digest(self.config)})
                    complete = self.report(chosen, writer)
            self._note()
            if chosen is not None and complete and self.peers.is_main:
                shutil.rmtree(self.folder.checkpoints, ignore_errors=True)  # what older settings left there, too
                with sealing(self.folder.path), self._apart():
                    self.finish(chosen, writer)
                    self.write_page(self.folder.path)
                    writer.flush()  # what is not in the file yet would not be in its checksum
                    if said := self.verdict():
                        print(said, flush=True)
            self.peers.meet()  # an orderly end of several processes is one of all at once

    def _note(self) -> None:
        """Notes in `run.json` what this start did, all processes together; and tells of a stop what was saved."""
        shown = [[str(device) for device in group.devices] for group in self.devices.groups]
        own = {"test_reads": self.test_reads, "trained_steps": self.trained_steps, "saved": self.saved}
        found = self.peers.gathered(
            own | ({"device_groups": shown, "trained_on": self.trained_on} if any(shown) else {})
        )
        if not self.peers.is_main:
            return
        notes: dict[str, Any] = {name: sum(one[name] for one in found) for name in ("test_reads", "trained_steps")}
        saved = [Saved(*one) for notes in found for one in notes["saved"]]
        if self.stop.requested:
            notes["saved"] = {one.unit: one.step for one in saved}
            print(f"stopped; {_said_of(saved)}; the same command goes on from there", file=sys.stderr)
        placed: list[dict[str, Any]] = [
            {name: one[name] for name in ("device_groups", "trained_on") if name in one} for one in found
        ]
        if any(placed):
            notes |= {"trained_by": placed} if len(placed) > 1 else placed[0]
        self.folder.note(**notes)

    def tune(self) -> Chosen | None:
        """What is chosen for each key on tuning seeds and validation data, for `choices.json`; None after a stop."""
        choices = self.choose({cell.key: self.grid(cell.key) for cell in self.tuned()}, self._mean_score)
        if choices is None:
            return None
        return {key: {**self.describe(key), **choice.record()} for key, choice in choices.items()}

    def choose(
        self, grids: Mapping[Any, Sequence[float]], score: Callable[[Any, float, int], float | None]
    ) -> dict[Any, tuning.Choice] | None:
        """The best rate of each grid by the mean over tuning seeds; see `tuning.choose_rates`."""
        widenings = self.config.get("widenings", 0)
        return tuning.choose_rates(grids, self.tuning_seeds, score, self.in_parallel, widenings=widenings)

    def setting(self, chosen: Chosen, cell: CellT) -> Any:
        """What was chosen for a cell."""
        return chosen[cell.key]["learning_rate"]

    def jobs(self, chosen: Chosen) -> list[tuple[CellT, Any, Any]]:
        """The trainings that are reported: cell, setting, seed."""
        return [(cell, self.setting(chosen, cell), seed) for cell in self.cells() for seed in self.report_seeds]

    def report(self, chosen: Chosen, writer: MultiWriter) -> bool:
        """Trains and measures every cell as it was chosen, on fresh seeds; False after a stop."""
        jobs = self.jobs(chosen)
        results = self.in_parallel(lambda job: self.train(*job, REPORT), jobs)
        for (cell, _, seed), result in zip(jobs, results, strict=True):
            if result is None:
                return False
            self.record(cell, seed, result, writer)
        return True

    def record(self, cell: CellT, seed: Any, measured: Measurements, writer: MultiWriter) -> None:
        """Writes what the record shows of a reported training: its curve."""
        for step, shown, split in self.curve(cell, seed, measured):
            writer.scalars(step, shown, split=split)

    def planned(self) -> int:
        """Training steps of the whole study, unless a grid is widened."""
        tried = sum(self.trials(cell) * self.steps(cell, TUNE) for cell in self.tuned())
        reported = sum(self.steps(cell, REPORT) for cell in self.cells())
        return tried * len(self.tuning_seeds) + reported * len(self.report_seeds)

    def planned_of(self) -> dict[str, int]:
        """The same by key, of the cells alone."""
        found = {cell.key: 0 for cell in (*self.tuned(), *self.cells())}
        for cell in self.tuned():
            found[cell.key] += self.trials(cell) * self.steps(cell, TUNE) * len(self.tuning_seeds)
        for cell in self.cells():
            found[cell.key] += self.steps(cell, REPORT) * len(self.report_seeds)
        return found

    def first_trainings(self) -> Iterable[tuple[str, Callable[[], Any]]]:
        """A training of each key, whose programs a plan looks at: the key, and what begins it."""
        for key, cell in {cell.key: cell for cell in self.tuned()}.items():
            yield key, functools.partial(self.train, cell, self.grid(key)[0], 0, TUNE)

    def _note_programs(self, noting: capture.Capture) -> None:
        noting.planned, noting.planned_of = self.planned(), self.planned_of()
        for key, begin in self.first_trainings():
            noting.known.append(key)
            if noting.only and key not in noting.only:
                continue
            with noting.of(key, groups.current().mesh):
                begin()

    def _mean_score(self, key: str, rate: float, seed: int) -> float | None:
        results = [self.train(cell, rate, seed, TUNE) for cell in self.tuned() if cell.key == key]
        if None in results:
            return None
        return sum(map(self.score, cast("list[Measurements]", results))) / len(results)
