"""Units of work of the local SGD study: replicas that were trained with one arm, one H, one seed, and measured."""

import functools
import math
from typing import Any, NamedTuple

import jax
import numpy as np

from hyperlab import local_sgd
from hyperlab.data import batch_indices
from hyperlab.data.partitions import partition
from hyperlab.errors import ConfigError
from hyperlab.studies.conducted import StudyUnits
from hyperlab.studies.local_sgd import schedules
from hyperlab.studies.local_sgd.arms import Arm, find
from hyperlab.studies.local_sgd.programs import Trial
from hyperlab.studies.search import Axis, draw
from hyperlab.tasks import Task
from hyperlab.train import durations
from hyperlab.train.phases import REPORT
from hyperlab.train.units import Measurements, kept


class Cell(NamedTuple):
    """What is tuned by itself: an arm at one H, with one number of replicas."""

    arm: str
    period: int
    replicas: int

    @property
    def name(self) -> str:
        """For files and tables.

        >>> Cell("local", 16, 8).name
        'local/16/8'
        """
        return f"{self.arm}/{self.period}/{self.replicas}"


class Units(StudyUnits):
    """Trains the replicas of one study.

    Args:
      config: the study's config.
      task: network and data.
      folder: the run's folder.
      progress: a `train.progress.Progress` over training steps.
      stop: an object with `.requested`.
    """

    lists = ("arms", "periods", "replicas", "parts", "trials", "rates", "tuning_seeds", "report_seeds", "target",
             "cost", "single", "tasks.store", "folder.threads")  # fmt: skip

    def __init__(self, config: Any, task: Task, folder: Any, progress: Any, stop: Any):
        super().__init__(config, folder, progress, stop)
        self.task = task
        self._trials: dict[int, Trial] = {}

    # -- what there is to do -----------------------------------------------------------------------------------

    @functools.cached_property
    def cells(self) -> list[Cell]:
        """All that is tuned and reported, in order."""
        return [
            Cell(arm, period, replicas)
            for replicas in self.config.replicas
            for arm in self.config.arms
            for period in self._periods(find(arm), replicas)
        ]

    def _periods(self, arm: Arm, replicas: int) -> list[int]:
        if arm.kind == "synchronous" and not arm.accumulate:
            return [1]
        return [period for period in self.config.periods if arm.takes(period, replicas)]

    def steps(self, replicas: int) -> int:
        """Steps of every arm with so many replicas: a whole number of rounds of any H.

        Each step sees `batch_size` examples a replica, so all arms see the same number of examples in all.
        """
        batch = self.config.batch_size * replicas
        wanted = durations.steps(self.config.length, batch_size=batch, examples=self.task.sizes["train"])
        rounds = math.lcm(*self.config.periods)
        return rounds * max(1, -(-wanted // rounds))

    def trial(self, replicas: int) -> Trial:
        """The programs of a number of replicas."""
        with self._lock:
            if replicas not in self._trials:
                config = self.config
                schedule = schedules.of(config)
                self._trials[replicas] = Trial(self.task, config.optimizer, schedule, replicas, config.in_turn)
            return self._trials[replicas]

    def space(self, arm: str) -> dict[str, Axis]:
        """What an arm is tuned in."""
        return {"rate": Axis(*self.config.rates, log=True)} | {
            name: Axis(*ends) for name, ends in find(arm).space.items()
        }

    @kept
    def drawn(self, arm: str) -> list[dict[str, float]]:
        """The numbers of each tuning trial of an arm: the same at every H and number of replicas."""
        return draw(self.space(arm), self.config.trials, self.config.seed)

    def check(self) -> None:
        """Draws all trials and deals out the examples: what cannot be is refused before anything is compiled."""
        for arm in self.config.arms:
            self.drawn(arm)
        if self.config.data.partition.kind != "iid":
            for replicas in self.config.replicas:
                self.partition(replicas)

    # -- who sees what -----------------------------------------------------------------------------------------

    @kept
    def indices(self, replicas: int, draws: int) -> Any:
        """Which examples every replica sees at every step, `[steps, replicas, batch]`.

        Replicas that are alike are dealt consecutive batches of one order of all examples, drawn anew every epoch.
        """
        steps, kind = self.steps(replicas), self.config.data.partition.kind
        if kind != "iid":
            own = self.partition(replicas)
            batch = self.config.batch_size
            # another order for each replica, of its own examples
            orders = [
                batch_indices(draws + 1_000_003 * (1 + r), range(steps), own.shape[1], batch) for r in range(replicas)
            ]
            return np.stack([own[r][order] for r, order in enumerate(orders)], axis=1)
        rows = [self.task.indices(draws, step) for step in range(steps * replicas)]
        return jax.tree.map(lambda *leaves: _rounds(np.stack(leaves), replicas), *rows)

    def partition(self, replicas: int) -> np.ndarray:
        """Which examples each replica has, `[replicas, examples]`, where replicas are not alike.

        Raises:
          ConfigError: the task has no classes.
        """
        given = self.config.data.partition
        splits = getattr(self.task, "splits", None)
        if splits is None:
            raise ConfigError(
                f"data.partition.kind is {given.kind!r}, but the task {self.config.task} holds no examples with classes"
            )
        labels = splits.train.labels
        return partition(
            given.kind, labels, replicas, self.config.data.split_seed, shards=given.shards, alpha=given.alpha
        )

    # -- what it costs -----------------------------------------------------------------------------------------

    @kept
    def traffic(self, cell: Cell, replicas: int | None = None) -> local_sgd.Traffic:
        """What a cell sends; of another number of replicas, for a prediction."""
        return self.trial(cell.replicas).traffic(find(cell.arm), cell.period, self.steps(cell.replicas), replicas)

    def compute_seconds(self) -> float:
        """Seconds of a step of one replica alone: measured once in a run folder, unless the config gives them."""
        given = self.config.cost.compute_seconds
        if given:
            return given

        def measure() -> Measurements:
            return {"seconds": np.array(self.trial(1).step_seconds(self._few_rows()))}

        return float(self.files.measure("compute", measure)["seconds"])

    def _few_rows(self) -> Any:
        rows = [self.task.indices(0, step) for step in range(4)]
        return jax.tree.map(lambda *leaves: _rounds(np.stack(leaves), 1), *rows)

    # -- training ----------------------------------------------------------------------------------------------

    def measure(self, cell: Cell, trial: int, seed: int, phase: str) -> Measurements | None:
        """Trains a cell with the numbers of a trial and measures the anchor, or reads what is known.

        Args:
          cell: arm, H and replicas.
          trial: the tuning trial whose numbers are used.
          seed: of the initial parameters and of the order of examples; arms share it.
          phase: `TUNE` or `REPORT`.

        Returns:
          `validation/<metric>` and, in the report phase, `test/<metric>` after the last step, each `[examples]`;
          `finite`, whether all parameters are; `curve/step`, `curve/score` (validation); `drift/step` and
          `drift/<measure>` at round ends; `number/<name>`.
          None after a stop.
        """
        unit = f"{cell.name}/{phase}/{trial}/{seed}"
        steps = self.steps(cell.replicas)
        further = {"steps": steps, "numbers": dict(self.drawn(cell.arm)[trial])}
        return self.unit(unit, steps, lambda: self._train(cell, trial, seed, phase), further=further)

    def _train(self, cell: Cell, number: int, seed: int, phase: str) -> Measurements | None:
        if self.stop.requested:
            return None
        arm, steps = find(cell.arm), self.steps(cell.replicas)
        numbers = dict(self.drawn(cell.arm)[number])
        if phase == REPORT:
            numbers["rate"] *= arm.rate_factor
        draws = seed + 10_000 * arm.stream
        trial, indices = self.trial(cell.replicas), self.indices(cell.replicas, draws)
        if self.config.in_turn and arm.kind == "synchronous" and not arm.compression:
            # replicas that never differ are one replica with all their examples, which spares a program of them all
            trial = self.trial(1)
            indices = jax.tree.map(lambda leaf: leaf.reshape(steps, 1, -1, *leaf.shape[3:]), indices)
        curve: list[tuple[int, float]] = []
        drifts: list[dict[str, Any]] = []

        def evaluate(current: Any, step: int) -> None:
            curve.append((step, float(np.mean(self.task.measure(current.variables, "validation")[self.task.score]))))

        def drift(current: Any, step: int) -> None:
            # of tuning runs nobody looks at it
            if phase == REPORT:
                drifts.append({"step": step, **trial.drift(current)})

        trained = trial.train(
            trial.init(self.key("initial", seed)),
            arm,
            period=cell.period,
            numbers=numbers,
            steps=steps,
            indices=indices,
            key=self.key("training", draws),
            evaluate=evaluate,
            evaluate_every=max(1, steps // self.config.curve_points) if phase == REPORT else steps,
            drift=drift,
            drift_every=steps // self.config.drift_points,
            progress=self.counter(),
            stop=self.stop,
        )
        if trained is None:
            return None
        leaves = jax.tree.leaves(jax.device_get(trained.params))
        result: Measurements = {"finite": np.array(all(np.isfinite(leaf).all() for leaf in leaves))}
        for part in ("validation", "test") if phase == REPORT else ("validation",):
            result |= {f"{part}/{name}": v for name, v in self.task.measure(trained.variables, part).items()}
        self.reads_test(phase)
        result |= {"curve/step": np.array([s for s, _ in curve]), "curve/score": np.array([v for _, v in curve])}
        for name in drifts[0] if drifts else ():
            result[f"drift/{name}"] = np.array([np.asarray(one[name]) for one in drifts])
        return result | {f"number/{name}": np.array(v) for name, v in numbers.items()} | {"seed": np.array(seed)}


def _rounds(rows: np.ndarray, replicas: int) -> np.ndarray:
    return rows.reshape(-1, replicas, *rows.shape[1:])
