"""What studies over tasks share: networks are trained across all tasks, once, or anew for each on its own examples."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

import flax.linen as nn
import jax
import numpy as np

from hyperlab.data import batch_indices
from hyperlab.data.in_context import in_task_steps, task_steps
from hyperlab.in_context.benchmark import Benchmark, Episodes
from hyperlab.in_context.programs import Examples, Programs
from hyperlab.studies.base import Cell, Study
from hyperlab.train import durations
from hyperlab.train.curves import Curve
from hyperlab.train.phases import REPORT, TUNE
from hyperlab.train.protocols import Folder, Stop
from hyperlab.train.units import Measurements, memoize_method

_STRIP = 3  # support images of each task in the gallery


class Learner(Protocol):
    """What is trained.

    Attributes:
      across_tasks: whether one network is trained for all tasks.
      stream: another number gives other random draws under the same seeds.
      rate_factor: multiplies the learning rate of the reported runs.
    """

    @property
    def across_tasks(self) -> bool: ...

    @property
    def stream(self) -> int: ...

    @property
    def rate_factor(self) -> float: ...


class EpisodicCell(Cell, Protocol):
    """What is trained and reported; its networks may be kept."""

    def network_file(self, seed: int) -> str:
        """Where the network of a seed is kept, from the run folder."""


EpisodicCellT = TypeVar("EpisodicCellT", bound=EpisodicCell)


class EpisodicStudy(Study[EpisodicCellT]):
    """The base of the studies over tasks.

    Attributes:
      chosen_by: what a training is chosen by: measurements `<chosen_by>/<task>...` and its curve, larger is better.
    """

    lists = ("arms", "rates", "tuning_seeds", "widenings", "report_seeds")
    chosen_by: ClassVar[str]
    data: Benchmark

    def __init__(self, config: Any, data: Benchmark, folder: Folder, stop: Stop):
        super().__init__(config, data, folder, stop)
        self.targets = {TUNE: data.development, REPORT: data.test}

    # -- what a study over tasks says --------------------------------------------------------------------------

    def learner(self, cell: EpisodicCellT) -> Learner:
        """What is trained for a cell."""
        raise NotImplementedError

    def networks_a_task(self, cell: EpisodicCellT, phase: str) -> int:
        """How many networks are trained for each task under one seed, of a cell that is not trained across tasks."""
        raise NotImplementedError

    def depends_on(self, cell: EpisodicCellT, seed: int, phase: str) -> Mapping[str, Any] | None:
        """What the numbers of a training depend on, apart from the config, its cell and its rate; None after a stop."""
        return {}

    def train_across_tasks(
        self, cell: EpisodicCellT, rate: float, seed: int, phase: str, given: Mapping[str, Any]
    ) -> Measurements | None:
        """Trains a cell across tasks and measures it; `given` is what it `depends_on`."""
        raise NotImplementedError

    def train_task_by_task(
        self, cell: EpisodicCellT, rate: float, seed: int, phase: str, given: Mapping[str, Any]
    ) -> Measurements | None:
        """The same of a cell whose networks are trained for one task each."""
        raise NotImplementedError

    # -- trainings as units ------------------------------------------------------------------------------------

    def steps(self, cell: EpisodicCellT, phase: str) -> int:
        """Training steps of all networks of a cell under one seed."""
        each = self.steps_of_one(cell, phase)
        if self.learner(cell).across_tasks:
            return each
        return each * len(self.targets[phase]) * self.networks_a_task(cell, phase)

    def steps_of_one(self, cell: EpisodicCellT, phase: str) -> int:
        """Training steps of one network; while tuning, networks across tasks may be trained for less."""
        config, across = self.config, self.learner(cell).across_tasks
        tried = (config.tuning_length or config.train_length) if phase == TUNE else config.train_length
        examples = sum(map(len, self.data.tasks)) if across else 1
        return durations.steps(tried if across else config.task_length, batch_size=config.batch_size, examples=examples)

    def train(self, cell: EpisodicCellT, setting: float, seed: int, phase: str) -> Measurements | None:
        """Trains a cell's networks and measures them, or reads what is known; with `seed` and `learning_rate`."""
        given = self.depends_on(cell, seed, phase)
        if given is None:
            return None
        compute = lambda: self._train(cell, setting, seed, phase, given)  # noqa: E731
        beside = [cell.network_file(seed)] if self.keeps_network(cell, seed, phase) else []
        name, steps = cell.unit_name(phase, setting, seed), self.steps(cell, phase)
        return self.unit(name, steps, compute, further={"rate": setting, **given}, beside=beside)

    def _train(self, cell: EpisodicCellT, rate: float, seed: int, phase: str, given: Mapping) -> Measurements | None:
        rate = rate * (self.learner(cell).rate_factor if phase == REPORT else 1.0)
        self.reads_test(phase)
        train = self.train_across_tasks if self.learner(cell).across_tasks else self.train_task_by_task
        measured = train(cell, rate, seed, phase, given)
        return None if measured is None else {"seed": np.array(seed), "learning_rate": np.array(rate), **measured}

    def keeps_network(self, cell: EpisodicCellT, seed: int, phase: str) -> bool:
        """Whether the network of a training is kept: one across tasks, of the first report seeds."""
        return self.keeps(seed, phase) and self.learner(cell).across_tasks

    def score(self, measured: Measurements) -> float:
        """Mean over tasks of the mean over queries; what is undefined is left out."""
        return float(np.mean([np.nanmean(v) for key, v in measured.items() if key.startswith(f"{self.chosen_by}/")]))

    # -- training ----------------------------------------------------------------------------------------------

    def fit_across_tasks(
        self,
        cell: EpisodicCellT,
        programs: Programs,
        rate: float,
        seed: int,
        phase: str,
        score: Callable[[Any], float],
        *,
        synthetic: bool = True,
    ) -> tuple[Any, Measurements] | None:
        """Trains a network on episodes of all tasks, and keeps it where it is to be kept.

        Args:
          cell: it is of.
          programs: of the network.
          rate: of learning.
          seed: of initial parameters, episodes and augmentation.
          phase: `TUNE` or `REPORT`.
          score: `params -> ` the score of the curve, on development tasks.
          synthetic: whether synthetic tasks are among them.

        Returns:
          Its parameters, and the measurements `curve/step` and `curve/<chosen_by>`; None after a stop.
        """
        steps, draws = self.steps_of_one(cell, phase), seed + 10_000 * self.learner(cell).stream
        every, episodes = max(1, steps // self.config.curve_points), self.episodes(synthetic)
        curve = Curve(steps, every, {self.chosen_by: ()})
        params = self._fit(
            programs,
            episodes.pool,
            functools.partial(episodes.indices, draws),
            rate,
            draws,
            steps,
            evaluate=lambda state, step, stop: curve.put(step, **{self.chosen_by: score(state.params)}),
            evaluate_every=every,
            kept=curve.values,
        )
        if params is None:
            return None
        if self.keeps_network(cell, seed, phase):
            self.keep_network(cell.network_file(seed), params)
        return params, {f"curve/{name}": values for name, values in {"step": curve.step, **curve.values}.items()}

    def fit_to_task(
        self,
        programs: Programs,
        examples: Examples,
        rows: np.ndarray,
        rate: float,
        steps: int,
        *,
        order: int,
        draws: int,
    ) -> Any | None:
        """Trains a network on some examples of one task.

        Args:
          programs: of the network.
          examples: of the task.
          rows: which of them.
          rate: of learning.
          steps: how many.
          order: the seed of the batches.
          draws: the seed of initial parameters and augmentation.

        Returns:
          Its parameters; None after a stop.
        """

        def batch(step: int) -> np.ndarray:
            # Where there are fewer examples than a batch, some come twice, and are augmented differently.
            return rows[batch_indices(order, step, len(rows), self.config.batch_size)].astype(np.int32)

        return self._fit(programs, examples, batch, rate, draws, steps)

    def _fit(
        self, programs: Programs, pool: Any, batch: Callable[[int], Any], rate: float, draws: int, steps: int, **options
    ) -> Any | None:
        """Trains a network on what `batch` picks from a pool, or `Examples`: its parameters, or None after a stop."""
        if self.stop.requested:
            return None
        key = self.key("initial", draws)
        start, key = programs.start(key, rate), jax.random.clone(key)
        state = self.fit(
            start, programs.step, batch, steps=steps, key=key, examples=pool, select=type(pool).select, **options
        )
        return None if state is None else state.params

    @memoize_method
    def episodes(self, synthetic: bool) -> Episodes:
        """Batches of the tasks to train on, with or without the synthetic ones."""
        return Episodes(self.data.training(synthetic=synthetic), self.config.batch_size, self.config.train_support)

    def make_programs(
        self, kind: type[Programs], module: nn.Module, *, in_context: bool, in_task: bool, task: bool, **options: Any
    ) -> Programs:
        """The programs of a network, with the study's image size, augmentation and optimizer.

        Args:
          kind: of programs.
          module: the network.
          in_context: whether it takes a support set.
          in_task: whether every example is changed on its own.
          task: whether whole episodes are changed.
          **options: of the kind.
        """
        config = self.config
        return kind(
            module,
            tuple(config.data.size),
            in_context=in_context,
            in_task=in_task_steps(config.augmentation) if in_task else (),
            task=task_steps(config.augmentation) if task else (),
            optimizer=config.optimizer,
            evaluation_batch=config.evaluation_batch,
            **options,
        )

    # -- for the report ----------------------------------------------------------------------------------------

    def cases(self, size: int, shown: int, parts: Sequence[str], whole: Sequence[str] = ()) -> Measurements:
        """What the report needs of the held-out tasks: subjects of the queries, and pictures for the gallery.

        Args:
          size: of the support set that is shown.
          shown: queries of each task.
          parts: attributes of a target of which these queries are shown.
          whole: attributes that are kept for all queries.
        """
        result: Measurements = {}
        for target in self.data.test:
            images, labels = target.support(size, 0)
            known = {"groups": target.groups, "query": target.queries[:shown]}
            known |= {part: getattr(target, part)[:shown] for part in parts}
            known |= {part: getattr(target, part) for part in whole}
            known |= {"support": images[:_STRIP], "support_labels": labels[:_STRIP]}
            result |= {f"{what}/{target.name}": values for what, values in known.items()}
        return result
