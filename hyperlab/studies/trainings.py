"""How the trainings of a study run: as units on disk, on groups of devices, in several processes, saved while in work.

There is one call of the training loop, `Trainings.fit`: what it knows of devices, processes, saves and examples of any
size, all studies have.
"""

import collections
import contextlib
import contextvars
import functools
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import jax

from hyperlab.errors import HyperlabError
from hyperlab.train import basis, capture, distributed, engine, groups, loop, rngs
from hyperlab.train.checkpoints import save_variables
from hyperlab.train.peers import Peers
from hyperlab.train.phases import FIRST_REPORT_SEED, REPORT, report_seeds
from hyperlab.train.progress import Progress
from hyperlab.train.protocols import Folder, Stop
from hyperlab.train.saving import Saved, Saves, Training
from hyperlab.train.signals import AgreedStop
from hyperlab.train.supply import Select, Supply
from hyperlab.train.units import Counter, Item, Measurements, Result, UnitFiles, in_parallel

_SAVES: contextvars.ContextVar[Saves | None] = contextvars.ContextVar("saves", default=None)  # of the unit in work


class Trainings:
    """The trainings of one study in one run folder.

    Attributes:
      lists: see `studies.base.Study`.
      version: see there.

    Args:
      config: the study's, with `seed`.
      folder: the run's folder.
      stop: asked between two steps whether to go on.
    """

    lists: ClassVar[Sequence[str]] = ()
    version: ClassVar[int] = 1

    def __init__(self, config: Any, folder: Folder, stop: Stop):
        self.config, self.folder, self.stop = config, folder, stop
        self.progress: Progress | None = None  # while the study runs
        self.files = UnitFiles(folder.path / "units")
        self.root = jax.random.key(config.seed)
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
        self._cut_off: list[Training] = []  # by a stop
        self._told_streamed = False  # that examples stay on the host
        self._lock = threading.Lock()  # units may be computed in several threads
        self._counted: set[str] = set()  # units that the progress knows of
        self._working: dict[str, threading.Lock] = collections.defaultdict(threading.Lock)  # on one unit, one thread

    @property
    def saved(self) -> list[Saved]:
        """How far the trainings were that a stop cut off."""
        return [training.report for training in self._cut_off if training.step]

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
        if capture.current() is not None:
            return compute()
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
        except BaseException:
            with contextlib.suppress(HyperlabError):  # a disk that was full is full: what failed first is told
                saves.flush()
            raise
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
        cycle: int = 1,
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
          cycle: steps after which the programs repeat that the steps call; a plan looks at so many.
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

        if (noting := capture.current()) is not None:
            call = options.get("steps_per_call", 1)
            return noting.fit(
                group.placed(start, stack),
                advance,
                lambda index: supply(batches(index)),
                key,
                indices=range(0, min(max(cycle, call), steps), call),
                evaluate=options.get("evaluate"),
            )
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
        stopped = self.stop.requested
        if training is not None:
            if not stopped or counter.done == steps:  # a stop may come after the last step
                training.ended(loop.saved_tree(trained, kept or {}))
            training.checkpoints.close()
            with self._lock:
                self._cut_off += [training] if stopped else []
        return None if stopped else trained

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

    @contextlib.contextmanager
    def _apart(self) -> Iterator[None]:
        """Inside the block this process does what no other has a part in."""
        if not self.across:
            yield
            return
        self.across = False
        try:
            with groups.using(groups.ALONE):
                yield
        finally:
            self.across = True
