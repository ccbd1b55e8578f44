"""What a study is: its cells, how each is tuned, trained, scored and kept, in one course for all studies.

A study is tuned on the validation split with tuning seeds, which count from 0, and reported on fresh seeds. Every
choice is on disk before what is held out is read for the first time. What was trained and measured is a file, a unit,
so whatever stops a study, another start goes on from there.
"""

import collections
import contextlib
import contextvars
import functools
import importlib
import io
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

import jax

from hyperlab import files
from hyperlab.studies import tuning
from hyperlab.studies.record import recording, sealing, write_json
from hyperlab.train import basis, distributed, engine, groups, loop, rngs
from hyperlab.train.checkpoints import save_variables
from hyperlab.train.peers import Peers
from hyperlab.train.phases import CHOICES, FIRST_REPORT_SEED, MADE_BY, REPORT, TUNE, report_seeds
from hyperlab.train.progress import Progress
from hyperlab.train.protocols import Folder, Stop
from hyperlab.train.saving import Saved, Saves
from hyperlab.train.signals import AgreedStop
from hyperlab.train.supply import Select, Supply
from hyperlab.train.units import Counter, Item, Measurements, Result, UnitFiles, in_parallel
from hyperlab.train.writers import MultiWriter

Chosen = dict[str, Any]  # what `choices.json` holds
_SAVES: contextvars.ContextVar[Saves | None] = contextvars.ContextVar("saves", default=None)  # of the unit in work


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
    groups.of(
        engine.of(config), config.get("batch_size", 0)
    )  # devices that cannot be are refused before any data are read
    peers = Peers.of(folder.path, stop, together=engine.of(config).across)
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


class Study(Generic[CellT]):
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
        self.config, self.data, self.folder, self.stop = config, data, folder, stop
        self.progress: Progress | None = None  # while the study runs
        self.files = UnitFiles(folder.path / "units")
        self.root = jax.random.key(config.seed)
        self.chosen: Chosen = {}  # until all is tuned
        self.done = 0  # training steps, of all units
        self.test_reads = 0  # networks that this start measured on what is held out
        self.engine = engine.of(config)
        self.devices = groups.Pool(groups.of(self.engine, config.get("batch_size", 0)), config.get("workers", 0))
        self.peers = Peers()  # the processes of the run
        self.across = self.engine.across and jax.process_count() > 1  # they train together, else share the trainings
        if self.across:
            self.stop, self.files.writes = AgreedStop(stop), distributed.is_main()
        self.trained_on: dict[str, int] = {}  # the group of devices of each unit that was trained
        self.trained_steps = 0  # training steps that this start did
        self.saved: list[Saved] = []  # trainings that a stop cut off
        self._told_streamed = False  # that examples stay on the host
        self._lock = threading.Lock()  # units may be computed in several threads
        self._counted: set[str] = set()  # units that the progress knows of
        self._working: dict[str, threading.Lock] = collections.defaultdict(threading.Lock)  # on one unit, one thread

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

    # -- the course of every study -----------------------------------------------------------------------------

    def run(self) -> None:
        """Runs the study in its folder: tuning, then fresh seeds, then the page."""
        with groups.using(self.devices.groups[0]):
            self._run()

    def _run(self) -> None:
        self.folder.check_fingerprint(*self.fingerprint)
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
            self.peers.meet()  # an orderly end of several processes is one of all at once

    @contextlib.contextmanager
    def _apart(self) -> Iterator[None]:
        """Inside the block this process does what no other has a part in."""
        if not self.across:
            yield
            return
        self.across = False
        with groups.using(groups.ALONE):
            yield
        self.across = True

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

    def _mean_score(self, key: str, rate: float, seed: int) -> float | None:
        results = [self.train(cell, rate, seed, TUNE) for cell in self.tuned() if cell.key == key]
        if None in results:
            return None
        return sum(map(self.score, cast("list[Measurements]", results))) / len(results)

    # -- units -------------------------------------------------------------------------------------------------

    def rest_on(self, data: Iterable[str]) -> None:
        """Says what units are made of from now on, and how many of those that are there are of use.

        Args:
          data: name and fingerprint.
        """
        trusted = getattr(self.folder, "unchanged", True)
        self.files.basis = basis.of(self.config, data, lists=self.lists, version=self.version, trusted=trusted)
        if (survey := self.files.survey()) and self.peers.is_main:
            print(survey, file=sys.stderr)

    def unit(
        self,
        name: str,
        steps: int,
        compute: Callable[[], Measurements | None],
        *,
        further: Mapping[str, Any] | None = None,
        beside: Sequence[str] = (),
    ) -> Measurements | None:
        """Reads a unit, or computes it; the progress is told once of the steps of one that was there already.

        Args:
          name: of the unit.
          steps: that its training takes.
          compute: measures, and tells the progress itself; None after a stop, and then nothing is kept.
          further: what it depends on beside the config and its name, such as a rate that was chosen for it.
          beside: files of the run folder that `compute` writes, by their path from there.
        """
        with self._lock:
            working = self._working[name]
        with working:  # arms may share a network
            known = self.files.read(name, further, beside)
            if known is None:
                self.trained_on[name] = groups.current().index
                claim = contextlib.nullcontext(True) if self.across else self.peers.claimed(self.files.path(name).name)
                with claim as mine, self._saving(name, further) as saves:
                    known = self.files.measure(name, compute, further=further, beside=beside) if mine else None
                    if known is not None:
                        saves.done(remove=self.files.writes)
                if self.across:
                    self.peers.meet()  # now it is there for all
            elif name not in self._counted:
                self.advance(steps)
            self._counted.add(name)
            return known

    @contextlib.contextmanager
    def _saving(self, name: str, further: Mapping[str, Any] | None) -> Iterator[Saves]:
        """Where the trainings of a unit are saved that is computed in the block; what ends it early loses none."""
        stem, stamp = self.files.path(name).stem, self.files.stamp(further)
        saves = Saves(name, self.folder.checkpoints / f"{stem}-{stamp}", self.engine.interval, alone=not self.across)
        token = _SAVES.set(saves)
        try:
            yield saves
        finally:
            _SAVES.reset(token)
            saves.flush()

    def keep_network(self, name: str, params: Any) -> None:
        """Writes the parameters of a network to a file of the run folder, beside the unit that is computed."""
        if self.files.writes:
            save_variables(self.folder.path / name, {"params": params})

    def keeps(self, seed: int, phase: str) -> bool:
        """Whether the network of a training is kept: those of the first report seeds are."""
        return phase == REPORT and seed < FIRST_REPORT_SEED + self.config.keep_networks

    # -- training ----------------------------------------------------------------------------------------------

    def fit(
        self,
        start: Any,
        step: Callable,
        batches: Callable[[int], Any],
        *,
        steps: int,
        key: jax.Array,
        examples: Any = None,
        select: Select | None = None,
        read: Callable[[Any], Any] | None = None,
        runs: int = 1,
        stack: int = 0,
        leading: int = 0,
        kept: Any = None,
        **options: Any,
    ) -> Any | None:
        """The one call of the training loop: the trained state, or None after a stop.

        Inside a unit, the training is saved now and then and when it is stopped, and goes on from there.

        Args:
          start: the state before the first step.
          step: `(state, batch, key) -> (state, metrics)`; with examples, the batch is `(examples, drawn)`.
          batches: `step -> ` what is drawn for it, on the host.
          steps: how many.
          key: the root of all keys of the steps.
          examples: what all steps gather their rows from, on the host; see `train.supply` for where they go.
          select: which rows of the examples a step needs; examples that a device has no room for are read by it.
          read: reads what was drawn, where a step is to be given more than indices.
          runs: how many trainings run side by side in the state.
          stack: the leading axis of a state of several runs, with those that only fill it up.
          leading: axes of a batch before that of its rows.
          kept: host arrays of fixed shapes that callbacks fill along the training, such as `train.curves.Curve.values`;
            whatever else they remember is lost when the training is cut off.
          **options: of `train.loop.fit`: `evaluate` with `evaluate_every`, `observe`, `steps_per_call`.

        Raises:
          DataError: rows or files that cannot be read; the training goes on from there when they are mended.
        """
        if self.stop.requested:
            return None
        saves, counter, group = _SAVES.get(), self.counter(runs), groups.current()
        dealt_out = (stack, 0) if group.deals(stack) else (self.config.get("batch_size", 0), leading)
        supply = self.supply(examples, select, read, dealt_out=dealt_out)

        def advance(current: Any, batch: Any, root_key: jax.Array) -> Any:
            current, metrics = step(current, batch, root_key)
            return group.placed(current, stack), metrics

        training = saves.training(steps) if saves is not None else None
        if training is not None:
            options |= {"checkpoints": training.checkpoints, "save_due": training.due, "saved": training.saved}
            options["meta"] = training.meta
        if group.spans and (evaluate := options.get("evaluate")):
            options["evaluate"] = lambda current, index, stop: evaluate(groups.to_host(current), index, stop)
        with supply.ahead(batches, steps, options.get("steps_per_call", 1)) as found:
            trained = loop.fit(
                group.placed(start, stack),
                step if group.mesh is None else advance,
                found,
                total_steps=steps,
                root_key=key,
                place=supply.place,
                stop=getattr(self.stop, "own", self.stop),
                progress=counter,
                kept={} if kept is None else kept,
                save_last=False,
                on_nonfinite="ignore",  # failures are part of what is measured
                together=self.across,
                **options,
            )
        if isinstance(self.stop, AgreedStop) and self.across:
            trained = groups.to_host(trained)
            self.stop.agree()
        with self._lock:
            self.trained_steps += runs * (counter.done - counter.begun)
        if not self.stop.requested:
            if training is not None:
                training.ended(loop.saved_tree(trained, kept or {}))
            return trained
        if training is not None:
            training.checkpoints.close()
            with self._lock:
                self.saved += [training.report] if training.step else []
        return None

    def supply(
        self,
        examples: Any,
        select: Select | None = None,
        read: Callable[[Any], Any] | None = None,
        *,
        dealt_out: tuple[int, int] | None = None,
    ) -> Supply:
        """`drawn -> ` what a step of `fit` is given on this thread's devices; see there for the arguments."""
        group, (rows, leading) = groups.current(), dealt_out or (self.config.get("batch_size", 0), 0)
        limit, processes = self.engine.device_bytes, self.engine.reader_processes
        supply = Supply(
            examples, select, read, group=group, rows=rows, leading=leading, limit=limit, processes=processes
        )
        with self._lock:
            told, self._told_streamed = self._told_streamed, self._told_streamed or supply.streamed
        if supply.streamed and not told:
            print(supply, file=sys.stderr)
            self.folder.note(streamed={"bytes": supply.bytes, "device_bytes": supply.limit})
        return supply

    @property
    def tuning_seeds(self) -> range:
        """The seeds that choices are made on."""
        return range(self.config.tuning_seeds)

    @property
    def report_seeds(self) -> range:
        """The fresh seeds that are reported."""
        return report_seeds(self.config)

    def key(self, stream: str, seed: int) -> jax.Array:
        """A random key, a function of the study's seed, of what it is for, and of the run's seed."""
        return jax.random.fold_in(rngs.stream(self.root, stream), seed)

    def in_parallel(self, measure: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Applies `measure` to every item, several trainings at a time."""

        def measured(item: Item) -> Result:
            with self.devices.lent():
                return measure(item)

        items, many = list(items), functools.partial(in_parallel, workers=self.devices.workers, stop=self.stop)
        if self.peers.count > 1 and not self.across:
            many(measured, self.peers.share(items))
            self.peers.meet()  # now the others' units are there, too
        return many(measured, items)

    def counter(self, runs: int = 1) -> Counter:
        """The progress of one training, of so many runs side by side."""
        return Counter(self.folder, lambda steps: self.advance(steps * runs))

    def advance(self, steps: int) -> None:
        """Tells the progress of steps that were done."""
        with self._lock:
            self.done += steps
            if self.progress is not None:
                self.progress.update(self.done)

    def reads_test(self, phase: str, networks: int = 1) -> None:
        """Counts networks that are measured on what is held out."""
        with self._lock:
            self.test_reads += networks * (phase == REPORT)
