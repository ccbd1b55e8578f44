"""The local SGD study: replicas that are trained with one arm, one H and one seed, and measured."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from hyperlab import local_sgd
from hyperlab.studies import search
from hyperlab.studies.base import Chosen, Study
from hyperlab.studies.local_sgd import dealing, described, schedules
from hyperlab.studies.local_sgd.arms import COMPUTE, Cell, cells_of, drawn, find, space
from hyperlab.studies.local_sgd.drifts import Drifts
from hyperlab.studies.local_sgd.programs import Programs
from hyperlab.studies.local_sgd.schema import check
from hyperlab.studies.record import write_json
from hyperlab.tasks import Task, load
from hyperlab.train import durations
from hyperlab.train.curves import Curve
from hyperlab.train.phases import REPORT, TUNE
from hyperlab.train.protocols import Folder, Stop
from hyperlab.train.units import Measurements, memoize_method


class LocalSGD(Study[Cell]):
    """Trains the replicas of the study; the data are a task: a network on its examples.

    Every cell is tuned by random search, so that what is chosen, its setting, is a trial: an index of `drawn`.
    """

    page = "hyperlab.studies.local_sgd.page"
    lists = ("arms", "periods", "replicas", "parts", "trials", "rates", "tuning_seeds", "report_seeds", "target",
             "cost", "single", "tasks.store", "folder.threads")  # fmt: skip
    data: Task

    def __init__(self, config: Any, data: Task, folder: Folder, stop: Stop):
        super().__init__(config, data, folder, stop)
        self.task = data

    @classmethod
    def load(cls, config: Any, folder: Path) -> Task:
        """A task whose examples can be dealt out as the config says."""
        check(config)
        task = load(config, folder)
        for arm in config.arms:
            drawn(arm, config)
        if config.data.partition.kind != "iid":
            for replicas in config.replicas:
                dealing.shares(config, task, replicas)
        return task

    # -- what there is to do -----------------------------------------------------------------------------------

    def cells(self) -> list[Cell]:
        """All arms at all H and numbers of replicas."""
        return cells_of(self.config)

    def trials(self, cell: Cell) -> int:
        """Of every cell as many."""
        return self.config.trials

    def steps(self, cell: Cell, phase: str = REPORT) -> int:
        """Those of its number of replicas: arms and H share them."""
        return self.steps_of(cell.replicas)

    def steps_of(self, replicas: int) -> int:
        """Steps of every arm with so many replicas: a whole number of rounds of any H.

        Each step sees `batch_size` examples a replica, so all arms see the same number of examples in all.
        """
        batch = self.config.batch_size * replicas
        wanted = durations.steps(self.config.length, batch_size=batch, examples=self.task.sizes["train"])
        rounds = math.lcm(*self.config.periods)
        return rounds * max(1, -(-wanted // rounds))

    def first_trainings(self) -> Iterable[tuple[str, Callable[[], Any]]]:
        """The first trial of each cell."""
        for cell in self.cells():
            yield cell.key, functools.partial(self.train, cell, 0, 0, TUNE)

    def prepare(self) -> None:
        """What every cell sends, and the seconds of a step, alone on the machine."""
        write_json(self.folder, "task.json", described.of(self))

    def tune(self) -> Chosen | None:
        """The best trial of every cell, by random search."""
        trials, seeds = range(self.config.trials), self.tuning_seeds
        # Cells side by side: their programs are compiled at the same time.
        jobs = [(cell, trial, seed) for trial in trials for seed in seeds for cell in self.cells()]
        results = dict(zip(jobs, self.in_parallel(lambda job: self.train(*job, TUNE), jobs), strict=True))
        if None in results.values():
            return None
        known = cast("dict[tuple[Cell, int, int], Measurements]", results)
        scores = {job: float(self.score(measured)) for job, measured in known.items()}
        return {cell.key: self._choice(cell, scores) for cell in self.cells()}

    def _choice(self, cell: Cell, scores: Mapping[tuple[Cell, int, int], float]) -> dict[str, Any]:
        arm, own, numbers = find(cell.arm), space(cell.arm, self.config), drawn(cell.arm, self.config)
        score = lambda trial, seed: scores[cell, trial, seed]  # noqa: E731
        choice = cast("search.Choice", search.choose(own, numbers, self.tuning_seeds, score))
        outer_rate, outer_momentum = arm.outer_numbers(choice.numbers)
        return {
            **cell._asdict(),
            "label": arm.label,
            "definition": arm.definition(),
            "source": arm.source,
            "trial": choice.trial,
            "numbers": choice.numbers,
            "outer_rate": outer_rate,
            "outer_momentum": outer_momentum,
            "runs": choice.runs,
            "at_edge": list(choice.at_edge),
            "tuning": [{**trial.numbers, "score": trial.score} for trial in choice.trials],
        }

    def setting(self, chosen: Chosen, cell: Cell) -> int:
        """The trial whose numbers are used."""
        return chosen[cell.key]["trial"]

    def score(self, measured: Measurements) -> float:
        """The validation score after the last step, mean over examples."""
        return measured[f"validation/{self.task.score}"].mean()

    def curve(self, cell: Cell, seed: int, measured: Measurements) -> Iterable[tuple[int, dict[str, float], str]]:
        """The validation score along training."""
        for step, score in zip(measured["curve/step"], measured["curve/score"], strict=True):
            yield int(step), {self.task.score: float(score)}, f"{cell.name}/{seed}/validation"

    # -- programs and what they cost ---------------------------------------------------------------------------

    @memoize_method
    def programs(self, replicas: int) -> Programs:
        """The programs of a number of replicas."""
        config = self.config
        return Programs(self.task, config.optimizer, schedules.of(config), replicas, config.in_turn)

    @memoize_method
    def traffic(self, cell: Cell, replicas: int | None = None) -> local_sgd.Traffic:
        """What a cell sends; of another number of replicas, for a prediction."""
        return self.programs(cell.replicas).traffic(find(cell.arm), cell.period, self.steps(cell), replicas)

    def compute_seconds(self) -> float:
        """Seconds of a step of one replica alone: measured once in a run folder, unless the config gives them."""
        given = self.config.cost.compute_seconds
        if given:
            return given

        def measure() -> Measurements:
            rows = [self.task.indices(0, step) for step in range(4)]
            few = jax.tree.map(lambda *leaves: dealing.rounds(np.stack(leaves), 1), *rows)
            return {"seconds": np.array(self.programs(1).step_seconds(few, self.supply(**self.task.feeding())))}

        return float(cast("Measurements", self.files.measure(COMPUTE, measure))["seconds"])

    # -- training ----------------------------------------------------------------------------------------------

    @memoize_method
    def indices(self, replicas: int, draws: int) -> Any:
        """Which examples every replica sees at every step, `[steps, replicas, batch]`."""
        return dealing.indices(self.config, self.task, replicas, self.steps_of(replicas), draws)

    def train(self, cell: Cell, setting: int, seed: int, phase: str) -> Measurements | None:
        """Trains a cell with the numbers of a trial and measures the anchor, or reads what is known.

        Args:
          cell: arm, H and replicas.
          setting: the tuning trial whose numbers are used.
          seed: of the initial parameters and of the order of examples; arms share it.
          phase: `TUNE` or `REPORT`.

        Returns:
          `validation/<metric>` and, in the report phase, `test/<metric>` after the last step, each `[examples]`;
          `finite`, whether all parameters are; `curve/step`, `curve/score` (validation); `drift/step` and
          `drift/<measure>` at round ends; `number/<name>`.
          None after a stop.
        """
        numbers, steps = drawn(cell.arm, self.config)[setting], self.steps(cell, phase)
        compute = lambda: self._train(cell, dict(numbers), seed, phase)  # noqa: E731
        further = {"steps": steps, "numbers": dict(numbers)}
        return self.unit(cell.unit_name(phase, setting, seed), steps, compute, further=further)

    def _train(self, cell: Cell, numbers: dict[str, float], seed: int, phase: str) -> Measurements | None:
        if self.stop.requested:
            return None
        arm, steps, reported = find(cell.arm), self.steps(cell, phase), phase == REPORT
        if reported:
            numbers["rate"] *= arm.rate_factor
        draws = seed + 10_000 * arm.stream
        programs, indices = self.programs(cell.replicas), self.indices(cell.replicas, draws)
        if self.config.in_turn and arm.kind == "synchronous" and not arm.compression:
            # replicas that never differ are one replica with all their examples, which spares a program of them all
            programs = self.programs(1)
            indices = jax.tree.map(lambda leaf: leaf.reshape(steps, 1, -1, *leaf.shape[3:]), indices)
        start = programs.start(programs.init(self.key("initial", seed)), arm, cell.period, numbers, steps)
        every = max(1, steps // self.config.curve_points) if reported else steps
        curve = Curve(steps, every, {"score": ()})
        drifts = Drifts(steps, self.config.drift_points, jax.eval_shape(programs.drift, start))

        def evaluate(current: Any, step: int, stop: Any) -> None:
            curve.put(step, score=np.mean(self.task.measure(current.variables, "validation")[self.task.score]))

        def drift(current: Any, step: int) -> None:
            if drifts.is_due(step):
                drifts.put(step, programs.drift(current))

        trained = self.fit(
            start,
            programs.advance(arm, cell.period, steps, drift if reported else None),
            lambda index: (index, jax.tree.map(lambda leaf: leaf[index], indices)),
            steps=steps,
            key=self.key("training", draws),
            **self.task.feeding(),
            leading=1,  # replicas
            cycle=cell.period,
            evaluate=evaluate,
            evaluate_every=every,
            log_every=max(1, steps),
            kept={"curve": curve.values, "drift": drifts.kept},
        )
        if trained is None:
            return None
        leaves = jax.tree.leaves(jax.device_get(trained.params))
        result: Measurements = {"finite": np.array(all(np.isfinite(leaf).all() for leaf in leaves))}
        for part in ("validation", "test") if reported else ("validation",):
            result |= {f"{part}/{name}": v for name, v in self.task.measure(trained.variables, part).items()}
        self.reads_test(phase)
        result |= {"curve/step": curve.step, "curve/score": curve.values["score"], **drifts.measurements()}
        return result | {f"number/{name}": np.array(v) for name, v in numbers.items()} | {"seed": np.array(seed)}
