"""The pruning study: parents, and networks that were pruned from them, trained on and measured."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab import pruning, trees
from hyperlab.data.splits import fingerprint
from hyperlab.studies.base import Chosen, Study
from hyperlab.studies.pruning import described
from hyperlab.studies.pruning.arms import PARENT, UNPRUNED, Cell, cells_of, find, methods_of, parent_name, unpruned_name
from hyperlab.studies.pruning.counts import Counts
from hyperlab.studies.pruning.measuring import Curve, joined, measured
from hyperlab.studies.pruning.plan import Event, Plan
from hyperlab.studies.pruning.programs import Programs
from hyperlab.studies.pruning.schema import check
from hyperlab.studies.record import write_json
from hyperlab.tasks import Task, load
from hyperlab.train import durations, groups, state
from hyperlab.train.phases import REPORT
from hyperlab.train.protocols import Folder, Stop
from hyperlab.train.units import Measurements
from hyperlab.train.writers import MultiWriter


class Pruning(Study[Cell]):
    """Trains the networks of the study; the data are a task: a network on its examples."""

    page = "hyperlab.studies.pruning.page"
    lists = ("arms", "controls", "compressions", "compared", "speedup_contrasts", "published", "parent_rates", "rates",
             "tuning_seeds", "tuning_compression", "widenings", "report_seeds", "tasks.store")  # fmt: skip
    data: Task

    def __init__(self, config: Any, data: Task, folder: Folder, stop: Stop):
        super().__init__(config, data, folder, stop)
        self.task = data
        self.programs = Programs(data, config.optimizer)
        self.counts = Counts(data)
        self.variables = jax.eval_shape(data.init, jax.random.key(0))  # shapes
        self.parent_steps = self._steps(config.parent_length)
        self.tuning_steps = self._steps(config.tuning_length)
        self.parent_rate: float = None  # type: ignore[assignment]  # until it is chosen

    def _steps(self, length: Any) -> int:
        return durations.steps(length, batch_size=self.config.batch_size, examples=self.task.sizes["train"])

    @classmethod
    def load(cls, config: Any, folder: Path) -> Task:
        """A task whose network can be pruned as the config says."""
        check(config)
        task = load(config, folder)
        described.check_task(config, task)
        return task

    # -- what there is to do -----------------------------------------------------------------------------------

    def cells(self) -> list[Cell]:
        """All methods at all compressions."""
        return [cell for name in methods_of(self.config) for cell in cells_of(name, self.config)]

    def tuned(self) -> list[Cell]:
        """All methods, each at one compression."""
        names = methods_of(self.config)
        return [Cell(name) if name in UNPRUNED else Cell(name, self.config.tuning_compression) for name in names]

    def grid(self, key: str) -> Sequence[float]:
        """One grid for what is tuned after pruning, one for what is trained from the start."""
        tunes = key != PARENT and find(key).parent == "trained"
        return self.config.rates if tunes else self.config.parent_rates

    def describe(self, key: str) -> dict[str, Any]:
        """Of a method."""
        method = find(key)
        described = {"label": method.label, "track": method.track}
        return described | {"definition": method.definition(), "source": method.source}

    def steps(self, cell: Cell, phase: str = REPORT) -> int:
        """Training steps of all networks of a method, one or one for each operating point, after masks were made."""
        networks = len(self.task.operating_points()) if find(cell.method).per_point else 1
        return networks * self._steps_of_one(cell)

    def _steps_of_one(self, cell: Cell) -> int:
        tunes = find(cell.method).parent == "trained"
        return self.tuning_steps if tunes else self.parent_steps + self.tuning_steps

    def planned(self) -> int:
        """Those of the parents too."""
        parents = len(self.grid(PARENT)) * len(self.tuning_seeds) + len(self.report_seeds)
        return self.parent_steps * parents + super().planned()

    def first_trainings(self) -> Iterable[tuple[str, Callable[[], Any]]]:
        """A parent: what is pruned is trained by the same step."""
        yield PARENT, functools.partial(self.parent, self.grid(PARENT)[0], 0)

    def tune(self) -> Chosen | None:
        """First the rate of the parents, which all methods share, then that of each method."""

        def score(_: str, rate: float, seed: int) -> float | None:
            parent = self.parent(rate, seed)
            return None if parent is None else self.score(parent)

        parents = self.choose({PARENT: self.grid(PARENT)}, score)
        if parents is None:
            return None
        self.parent_rate = parents[PARENT].rate
        methods = super().tune()
        return methods and {PARENT: parents[PARENT].record(), **methods}

    def report(self, chosen: Chosen, writer: MultiWriter) -> bool:
        """First the parents: what shares one would train it side by side."""
        write_json(self.folder, "task.json", described.of(self))
        return None not in self.in_parallel(self.unpruned, self.report_seeds) and super().report(chosen, writer)

    def score(self, measured: Measurements) -> float:
        """The validation score in the end, mean over examples."""
        return measured[f"validation/{self.task.score}"].mean()

    def curve(self, cell: Cell, seed: int, measured: Measurements) -> Iterable[tuple[int, dict[str, float], str]]:
        """The validation score along training."""
        for step, score in zip(measured["curve/step"], measured["curve/score"], strict=True):
            split = f"{cell.method}/{cell.compression:g}/{seed}/validation"
            yield int(step), {self.task.score: float(score)}, split

    # -- parents -----------------------------------------------------------------------------------------------

    def parent(self, rate: float, seed: int) -> Measurements | None:
        """Trains a network from scratch, or reads what is known of it; None after a stop.

        Returns:
          `<stage>/<collection>/<path>` for the stages `initial`, `early` (for rewinding) and `trained`; of the last,
          `validation/<metric>`; `curve/step`, `curve/score`; `digest`, a hash of the trained parameters.
        """
        compute = lambda: self._train_parent(rate, seed)  # noqa: E731
        return self.unit(parent_name(rate, seed), self.parent_steps, compute, further={"rate": rate})

    def stage(self, parent: Measurements, stage: str) -> Any:
        """The variables of a parent at one of its stages."""
        leaves = {path: jnp.asarray(parent[f"{stage}/{path}"]) for path in trees.flatten(self.variables)}
        return trees.unflatten(leaves, self.variables)

    def _train_parent(self, rate: float, seed: int) -> Measurements | None:
        if self.stop.requested:
            return None
        variables = self.programs.init(self.key("initial", seed))
        initial, steps = jax.device_get(variables), self.parent_steps
        early = jax.tree.map(np.copy, initial)  # until it is that

        def remember(current: state.TrainState) -> state.TrainState:
            jax.tree.map(np.copyto, early, jax.device_get(current.variables))
            return current

        curve, masks = self._curve(self.task, steps), pruning.dense(variables["params"])
        events, kept = {round(self.config.rewind_to * steps): remember}, {"early": early}
        trained = self._fit(self.task, variables, masks, rate, steps, seed, events, curve, kept)
        if trained is None:
            return None
        stages = {"initial": initial, "early": early, "trained": jax.device_get(trained.variables)}
        result = {
            f"{stage}/{path}": leaf for stage, tree in stages.items() for path, leaf in trees.flatten(tree).items()
        }
        result |= curve.measurements() | measured(self.task, stages["trained"], "validation")
        digest = fingerprint(*(np.asarray(leaf) for leaf in trees.flatten(stages["trained"]).values()))
        return result | {"digest": np.array(digest), "seed": np.array(seed), "learning_rate": np.array(rate)}

    def unpruned(self, seed: int) -> Measurements | None:
        """The parent as it is, in the report phase: the point at compression 1, by the same code as all others."""

        def compute() -> Measurements | None:
            parent = self.parent(self.parent_rate, seed)
            if parent is None:
                return None
            variables = self.stage(parent, "trained")
            self.reads_test(REPORT)
            scores = measured(self.task, variables, "validation") | measured(self.task, variables, "test")
            return scores | {"parent": parent["digest"], "seed": np.array(seed)}

        name, further = unpruned_name(seed), {"parent_rate": self.parent_rate}
        known = self.files.read(name, further)
        if known is not None and self.parent(self.parent_rate, seed) is None:
            return None
        return known or self.files.measure(name, compute, further=further)

    # -- pruned networks ---------------------------------------------------------------------------------------

    def train(self, cell: Cell, setting: float, seed: int, phase: str) -> Measurements | None:
        """Prunes the seed's parent, trains on and measures, or reads what is known; None after a stop.

        Returns:
          `validation/<metric>` and, in the report phase, `test/<metric>` after the last step; `pruned/<part>/<metric>`
          before the first; `selected/<part>/<metric>` where validation was best once the masks had changed for the
          last time, an evaluation being all that is chosen; each `[examples]`. `curve/step`, `curve/score`
          (validation); `kept/<path>`, entries; `mask`, a hash of the masks; `parent`, one of the parent; `collapsed`,
          tensors of which nothing is left; see `Counts.sizes`.
        """
        compute = lambda: self._prune(cell, setting, seed, phase)  # noqa: E731
        further = {"compression": cell.compression, "rate": setting, "parent_rate": self.parent_rate}
        return self.unit(cell.unit_name(phase, setting, seed), self.steps(cell, phase), compute, further=further)

    def _prune(self, cell: Cell, rate: float, seed: int, phase: str) -> Measurements | None:
        parent, networks = self.parent(self.parent_rate, seed), []
        per_point = find(cell.method).per_point
        points = self.task.operating_points()
        for task in [self.task.restrict(point) for point in points] if per_point else [self.task]:
            if parent is None or self.stop.requested:
                return None
            networks.append(self._prune_one(task, cell, rate, seed, phase, parent))
        if None in networks:
            return None
        return joined(cast("list[Measurements]", networks)) if per_point else networks[0]

    def _prune_one(
        self, task: Task, cell: Cell, rate: float, seed: int, phase: str, parent: Measurements
    ) -> Measurements | None:
        method, steps = find(cell.method), self._steps_of_one(cell)
        draws = seed + 10_000 * method.stream
        # Every key is fixed before a mask is made.
        drawn = jax.random.split(self.key(cell.stream, draws), 3)
        keys = dict(zip(("masks", "values", "grow"), drawn, strict=True))
        variables = self.stage(parent, method.parent)
        plan = Plan(
            method, self.programs, task, variables, cell.compression, config=self.config, steps=steps, seed=seed,
            keys=keys,
        )  # fmt: skip
        # Of the values that training starts from; batch statistics go with them.
        if method.values == "rewound":
            variables = self.stage(parent, "early")
        elif method.values == "redrawn":
            variables = self.programs.init(keys["values"])
        result: Measurements = {"collapsed": np.array(len(pruning.collapsed(plan.masks)))}
        masks = task.parameter_masks(plan.masks, variables["params"])
        parts = ("validation", "test") if phase == REPORT else ("validation",)
        if phase == REPORT:
            self.reads_test(phase)
            start = {**variables, "params": pruning.apply(variables["params"], masks)}
            for part in parts:
                result |= measured(task, start, part, "pruned/")
            rate = rate * method.rate_factor
        # Networks whose masks are still to change are larger, or others, than what is reported.
        curve = self._curve(task, steps, max(plan.events, default=-1) if phase == REPORT else None)
        trained = self._fit(task, variables, masks, rate, steps, draws, plan.events, curve, {"masks": plan.held})
        if trained is None:
            return None
        for part in parts:
            result |= measured(task, trained.variables, part)
            if curve.best is not None:
                result |= measured(task, curve.best["variables"], part, "selected/")
        result |= curve.measurements() | self.counts.sizes(plan.masks, list(task.operating_points()))
        result |= {f"kept/{path}": np.array(count) for path, count in pruning.available(plan.masks).items()}
        flat = [np.packbits(np.asarray(mask)) for mask in trees.flatten(plan.masks).values()]
        return result | {
            "mask": np.array(fingerprint(*flat)),
            "parent": parent["digest"],
            "seed": np.array(seed),
            "learning_rate": np.array(rate),
        }

    def _curve(self, task: Task, steps: int, best_after: int | None = None) -> Curve:
        return Curve(task, steps, max(1, steps // self.config.curve_points), self.variables, best_after)

    def _fit(
        self,
        task: Task,
        variables: Any,
        masks: Any,
        rate: float,
        steps: int,
        draws: int,
        events: Mapping[int, Event],
        curve: Curve,
        kept: Mapping[str, Any],
    ) -> state.TrainState | None:
        """Trains variables under masks, with events before some steps; None after a stop."""
        step = self.programs.step

        def advance(current: state.TrainState, given: Any, key: jax.Array) -> tuple[state.TrainState, Any]:
            examples, (index, rows) = given
            if index in events:
                current = groups.current().placed(events[index](current))
            return step(current, (examples, rows), key)

        return self.fit(
            self.programs.start(variables, masks, rate, steps),
            advance,
            lambda index: (index, task.indices(draws, index)),
            steps=steps,
            key=self.key("training", draws),
            **task.feeding(),
            evaluate=curve.evaluate,
            evaluate_every=curve.every,
            kept={**kept, **curve.kept},
        )
