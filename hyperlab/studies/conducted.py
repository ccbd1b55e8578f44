"""What all studies share: their course, the record, where units are kept, how often the test was read.

A study is tuned on the validation split with tuning seeds, which count from 0, and reported on fresh seeds.
"""

import collections
import contextlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from hyperlab import files
from hyperlab.train import basis, rngs
from hyperlab.train import config as configs
from hyperlab.train.phases import CHOICES, MADE_BY, REPORT, report_seeds
from hyperlab.train.progress import Progress
from hyperlab.train.tensorboard import TensorBoard
from hyperlab.train.units import Counter, Measurements, UnitFiles, in_parallel
from hyperlab.train.writers import JsonLines, MultiWriter


def conduct(
    config: Any,
    folder: Any,
    *,
    data: tuple[str, str],
    units: Callable[[Progress], "StudyUnits"],
    planned: Callable[[Any], int],
    tune: Callable[[Any], dict | None],
    report: Callable[[Any, dict, MultiWriter], bool],
    finish: Callable[[Any, dict, MultiWriter], None],
    counted: str = "step",
) -> None:
    """Runs a study in its folder: every choice is on disk before what is held out is read for the first time.

    Whatever stops it, finished units stay, and another start goes on from there. Units that were made with other
    settings, of other data or by other code are computed again, and how many is said.

    Args:
      config: the study's config.
      folder: the run's folder.
      data: their name and fingerprint; a folder of other data is refused.
      units: makes the study's units.
      planned: `units -> ` how much there is to do, in what is counted, unless a grid is widened.
      tune: `units -> ` what was chosen on tuning seeds and validation data, for `choices.json`; None after a stop.
      report: `(units, chosen, writer) -> ` whether all fresh seeds are trained and judged; False after a stop.
      finish: `(units, chosen, writer)`: writes the report of a complete study.
      counted: the unit of the progress.
    """
    folder.check_fingerprint(*data)
    with _recording(folder, config) as writer:
        with Progress(1, config.study, unit=counted) as progress:
            made = units(progress)
            made.rest_on(data)
            progress.total = planned(made)
            chosen, complete = tune(made), False
            if chosen is not None:
                write_json(folder, CHOICES, chosen)
                files.seal(folder.path, [], **{MADE_BY: configs.digest(config)})
                complete = report(made, chosen, writer)
        folder.note(test_reads=made.test_reads)
        if complete:
            with sealing(folder.path):
                finish(made, chosen, writer)


def write_json(folder: Any, name: str, content: Any) -> None:
    """Writes what the report has to know as a file of the run's folder, and notes its checksum."""
    files.write_json(folder.path / name, content)
    files.seal(folder.path, [name])


@contextlib.contextmanager
def sealing(path: Path) -> Iterator[None]:
    """Notes the checksums of what a report read and wrote in a run folder, so that damage to it is seen.

    Args:
      path: the run folder.
    """
    files.unseal(path, (".csv", ".html"))  # while they are written again, the checksums of before say nothing
    yield
    apart = ("run.json", "config.json", files.SEALS)
    found = [*path.glob("*.csv"), *path.glob("*.html"), *path.glob("*.json")]
    files.seal(path, sorted(one.name for one in found if one.name not in apart))


def open_record(folder: Any, config: Any) -> MultiWriter:
    """The record of a study: `metrics.jsonl`, and a view of it for TensorBoard.

    It is empty at every start: rows of finished units are written again, from their files.

    Args:
      folder: the run's folder.
      config: the study's config, whose leaves are kept as hyperparameters.
    """
    writer = MultiWriter([JsonLines(folder.metrics_path), TensorBoard(folder.path)])
    writer.truncate_after(-1)
    writer.hparams(configs.flat(config))
    return writer


@contextlib.contextmanager
def _recording(folder: Any, config: Any) -> Iterator[MultiWriter]:
    """The record inside the block; where an error ended it, one of closing the record does not take its place."""
    writer = open_record(folder, config)
    try:
        yield writer
    except BaseException:
        with contextlib.suppress(Exception):
            writer.close()
        raise
    writer.close()


class StudyUnits:
    """The base of a study's units of work.

    Attributes:
      lists: keys of the config, or groups of them, that say which units there are or what is said of them: other
        values leave the numbers of a unit as they are. What a unit is given of such a key is in its name, or in
        `further`. All other keys count, see `train.basis`.
      version: of the code that computes the study's units; a change of it that changes numbers raises it by one.

    Args:
      config: the study's config, with `seed` and `workers`.
      folder: the run's folder.
      progress: a `train.progress.Progress` over training steps.
      stop: an object with `.requested`.
    """

    lists: Sequence[str] = ()
    version = 1

    def __init__(self, config: Any, folder: Any, progress: Any, stop: Any):
        self.config, self.folder, self.progress, self.stop = config, folder, progress, stop
        self.files = UnitFiles(folder.path / "units")
        self.root = jax.random.key(config.seed)
        self.done = 0  # training steps, of all units
        self.test_reads = 0  # networks that this start measured on what is held out
        self._lock = threading.Lock()  # units may be computed in several threads
        self._counted: set[str] = set()  # units that the progress knows of
        self._working: dict[str, threading.Lock] = collections.defaultdict(threading.Lock)  # on one unit, one thread

    def rest_on(self, data: Iterable[str]) -> None:
        """Says what units are made of from now on, and how many of those that are there are of use.

        Args:
          data: name and fingerprint.
        """
        trusted = getattr(self.folder, "unchanged", True)
        self.files.basis = basis.of(self.config, data, lists=self.lists, version=self.version, trusted=trusted)
        if survey := self.files.survey():
            print(survey, file=sys.stderr)

    @property
    def tuning_seeds(self) -> range:
        """The seeds that choices are made on."""
        return range(self.config.tuning_seeds)

    @property
    def report_seeds(self) -> range:
        """The fresh seeds that are reported."""
        return report_seeds(self.config)

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
                known = self.files.measure(name, compute, further=further, beside=beside)
            elif name not in self._counted:
                self.advance(steps)
            self._counted.add(name)
            return known

    def in_parallel(self, measure: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """Applies `measure` to every item, several trainings at a time."""
        return in_parallel(measure, items, workers=self.config.workers, stop=self.stop)

    def key(self, stream: str, seed: int) -> jax.Array:
        """A random key, a function of the study's seed, of what it is for, and of the run's seed."""
        return jax.random.fold_in(rngs.stream(self.root, stream), seed)

    def counter(self, runs: int = 1) -> Counter:
        """The progress of one training, of so many runs side by side."""
        return Counter(self.folder, lambda steps: self.advance(steps * runs))

    def advance(self, steps: int) -> None:
        """Tells the progress of steps that were done."""
        with self._lock:
            self.done += steps
            self.progress.update(self.done)

    def reads_test(self, phase: str, networks: int = 1) -> None:
        """Counts networks that are measured on what is held out."""
        with self._lock:
            self.test_reads += networks * (phase == REPORT)
