"""The stability study: arms on one task, each tuned over initialisers and rates, and trained as stacks of runs."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hyperlab.data import batch_indices, streaming
from hyperlab.errors import ConfigError
from hyperlab.hypernet import own_start
from hyperlab.studies import tuning
from hyperlab.studies.base import Chosen, Study
from hyperlab.studies.record import write_json
from hyperlab.studies.stability import networks, tasks
from hyperlab.studies.stability.arms import ARMS, INITIALIZERS, Arm, Cell, Run, Setting, cells_of, chosen_setting
from hyperlab.studies.stability.programs import Batches, Data, Programs
from hyperlab.studies.stability.schema import check, check_lengths
from hyperlab.studies.stability.tasks import Task
from hyperlab.train import compiler, durations, groups, optimizers, rngs
from hyperlab.train.curves import Curve
from hyperlab.train.phases import REPORT, TUNE
from hyperlab.train.protocols import Folder, Stop
from hyperlab.train.units import Measurements, memoize_method


class Stability(Study[Cell]):
    """Trains the arms of the study; the data are a task's. A unit holds several runs: rates, each under every seed."""

    page = "hyperlab.studies.stability.page"
    lists = (
        "arms",
        "optimizers",
        "rates",
        "tuning_seeds",
        "report_seeds",
        "widenings",
        "target_score",
        "map",
        "transfer",
    )
    probed = True  # hypernetworks along gamma, in the report phase
    counted = "run-step"
    data: Task

    def __init__(self, config: Any, data: Task, folder: Folder, stop: Stop):
        super().__init__(config, data, folder, stop)
        self.task = task = data
        self.length = length_of(config, task)
        self.initial_key = rngs.stream(self.root, "initial")
        self.train_examples, gammas = task.train(), jax.device_put(task.fixed())
        # All that is measured of training examples; those of a batch take this place in a step.
        few = np.arange(min(task.probe_examples, task.sizes["train"]))
        probed = jax.device_put(streaming.read(task.rows(self.train_examples, few)[0]))
        # As many in both phases, so that they share the compiled steps.
        count = min(config.curve_examples, task.sizes["validation"], task.sizes["test"])
        held_out = {TUNE: "validation", REPORT: "test"}
        on_device = lambda split, count: jax.device_put(task.held_out(split, count))  # noqa: E731
        self.curve_data = {phase: Data(probed, on_device(split, count), gammas) for phase, split in held_out.items()}
        # Tuning looks at the curves alone; what is reported in the end is measured on the whole test split.
        whole = Data(probed, on_device("test", task.sizes["test"]), gammas)
        self.final_data = {TUNE: self.curve_data[TUNE], REPORT: whole}
        self.runs_per_program = config.runs_per_program or (1 if compiler.platform() == "cpu" else 16)

    @classmethod
    def load(cls, config: Any, folder: Path | None = None) -> Task:
        """The task of a config, with its data."""
        check(config)
        task = tasks.load(config)
        for name in config.arms:
            if ARMS[name].by_width:
                raise ConfigError(f"arms: {name!r} is of a study of transfer, with transfer.widths")
            if ARMS[name].per_sample and not task.per_sample:
                raise ConfigError(
                    f"arms: {name!r} has one gamma per sample, which {config.task} cannot have in a batch"
                )
        check_lengths(config, length_of(config, task))
        return task

    # -- what there is to do -----------------------------------------------------------------------------------

    def cells(self) -> list[Cell]:
        """Every arm with every optimizer."""
        return cells_of(self.config)

    def trials(self, cell: Cell) -> int:
        """Every initialiser at every rate."""
        return len(ARMS[cell.arm].initializers) * len(self.config.rates[cell.optimizer])

    def steps(self, cell: Cell, phase: str) -> int:
        """Of one run, without those of a first fit."""
        return self.length - self._prefit(ARMS[cell.arm])

    def _prefit(self, variant: Arm) -> int:
        return variant.prefit_steps(self.length, self.config.steps_per_call)

    def first_trainings(self) -> Iterable[tuple[str, Callable[[], Any]]]:
        """A stack of each arm, with its first initialiser."""
        for cell in self.cells():
            setting = Setting(ARMS[cell.arm].initializers[0], tuple(self.config.rates[cell.optimizer]))
            yield cell.key, functools.partial(self.train, cell, setting, self.tuning_seeds, TUNE)

    def prepare(self) -> None:
        """How the report speaks of the task."""
        write_json(self.folder, "task.json", self.task.wording._asdict())

    def score(self, measured: Measurements) -> np.ndarray:  # type: ignore[override]  # a unit holds several runs
        """`[runs]`, mean score along the run: it rewards speed as well as the end, and every run has one."""
        return measured["curve/score"].mean(1)

    def curve(
        self, cell: Cell, seed: Sequence[int], measured: Measurements
    ) -> Iterable[tuple[int, dict[str, float], str]]:
        """Medians over runs of the score and of the gradient norm."""
        name = self.task.wording.score.lower()
        for index, score in enumerate(np.median(measured["curve/score"], 0)):
            yield index * self.config.evaluate_every, {name: score}, f"{cell.key}/test"
        for step, norm in enumerate(np.median(measured["curve/gradient_theta"], 0)):
            yield step, {"gradient_norm": norm}, f"{cell.key}/train"

    # -- choices: of an initialiser and a rate, all seeds at once --------------------------------------------------

    def tune(self) -> Chosen | None:
        """The initialiser and the learning rate of each cell, for `choices.json`; None after a stop."""
        cells = self.cells()
        choices = self.in_parallel(self._tune, cells)
        return None if None in choices else {cell.key: choice for cell, choice in zip(cells, choices, strict=True)}

    def _tune(self, cell: Cell) -> dict[str, Any] | None:
        arm, seeds = ARMS[cell.arm], self.tuning_seeds

        def measure(index: int, runs: list[tuple[float, int]]) -> np.ndarray | None:
            rates = tuple(dict.fromkeys(rate for rate, _ in runs))
            result = self.train(cell, Setting(arm.initializers[index], rates), seeds, TUNE)
            return None if result is None else self.score(result)

        rates, widenings = self.config.rates[cell.optimizer], self.config.widenings
        choice = tuning.choose(len(arm.initializers), rates, seeds, measure, widenings=widenings)
        if choice is None:
            return None
        return choice.record(arm.initializers) | {
            "label": arm.label,
            "definition": arm.variant(arm.initializers[choice.variant]).definition(),
            "learning_rate": choice.rate * arm.rate_factor,
        }

    def setting(self, chosen: Chosen, cell: Cell) -> Setting:
        """What was chosen for a cell."""
        return chosen_setting(chosen[cell.key])

    def jobs(self, chosen: Chosen) -> list[tuple[Cell, Setting, Sequence[int]]]:
        """One unit a cell, with all fresh seeds."""
        return [(cell, self.setting(chosen, cell), self.report_seeds) for cell in self.cells()]

    # -- training ----------------------------------------------------------------------------------------------

    def train(self, cell: Cell, setting: Setting, seed: Sequence[int], phase: str) -> Measurements | None:
        """Trains a cell at some rates under some seeds, or reads what is known of it.

        Returns:
          `{measurement: [runs, ...]}`, the seeds of the first rate first: `final/...` on all held-out examples,
          `curve/...` along training, `probe/...` against gamma (hypernetworks of the report phase); None after a stop.
        """
        name, variant = cell.unit_name(phase, setting, seed), ARMS[cell.arm].variant(setting.initializer)
        runs, size = [Run(rate, one) for rate in setting.rates for one in seed], self.runs_per_program

        def compute() -> Measurements | None:
            stacks = []
            for start in range(0, len(runs), size):
                stack = self._stack(cell.optimizer, variant, runs[start : start + size], phase)
                if stack is None:
                    return None
                stacks.append(stack)
            return {key: np.concatenate([stack[key] for stack in stacks]) for key in stacks[0]}

        return self.unit(name, len(runs) * self.steps(cell, phase), compute, further=_further(variant, runs))

    def _stack(self, optimizer: str, variant: Arm, runs: list[Run], phase: str) -> Measurements | None:
        if self.stop.requested:
            return None
        # A short stack is filled up with copies of its last run, so that every stack fits the same program.
        count = len(runs)
        runs = runs + [runs[-1]] * (self.runs_per_program - count)
        rates = np.array([run.learning_rate for run in runs], np.float32)
        seeds = np.array([run.seed + 10_000 * variant.stream for run in runs], np.uint32)
        data, programs = self.curve_data[phase], self.programs(_architecture(variant), optimizer)
        keys, own = self.own(seeds)
        group, size = groups.current(), len(runs)
        data = _placed(data)
        own = self.own_of(variant, own)
        first, length = self._first_gammas(variant, seeds), self.length - self._prefit(variant)
        start = group.made(self.starter(_initial(variant), optimizer), keys, rates, own, stacked=size)
        if first:
            start = group.made(programs.fit_first, start, own, *first, stacked=size)
        call, probing = self.config.steps_per_call, self.probed and phase == REPORT and variant.hypernetwork
        every = max(1, length // 3 // call) * call if probing else 0
        probed = jax.eval_shape(compiler.uncompiled(programs.probe), start, own, data) if probing else {}
        probes = Curve(length, every, {key: value.shape for key, value in probed.items()})

        def probe(state, step, stop) -> None:
            probes.put(step, **programs.probe(state, own, data))

        shared = groups.current().whole(data)

        def advance(state, given, key):
            train, batches = given
            return programs.advance(state, batches, shared._replace(train=train))

        state = self.fit(
            start,
            advance,
            lambda step: self._batches(seeds, step, variant.per_sample),
            steps=length,
            key=self.initial_key,  # not used: the batches hold the gammas
            examples=self.train_examples,
            select=self._select,
            runs=count,
            stack=size,
            leading=3,  # runs, evaluations, steps
            steps_per_call=call,
            evaluate=probe if probing else None,
            evaluate_every=every,
            kept=probes.values,
        )
        if state is None:
            return None
        self.reads_test(phase, count)
        state, final = programs.finish(state, _placed(self.final_data[phase]))
        result = {f"final/{key}": value for key, value in final.items()}
        result |= {f"curve/{key}": value for key, value in state.history.items()}
        result |= {f"probe/{key}": np.moveaxis(v, 0, 1).astype(np.float32) for key, v in probes.values.items()}
        result |= {"seed": np.array([run.seed for run in runs]), "learning_rate": rates}
        if first:
            result["first_steps"] = np.full(size, self._prefit(variant))
        return {key: np.asarray(value)[:count] for key, value in result.items()}

    def _first_gammas(self, variant: Arm, seeds: np.ndarray) -> tuple[np.ndarray, ...]:
        """`[runs, steps, batch, d]` of a first fit: draws that no training step sees; nothing without one."""
        if not (steps := self._prefit(variant)):
            return ()
        batch, others = self.config.batch_size, seeds + np.uint32(1_000_000)
        drawn = np.asarray(self.task.draw(others, range(steps * batch), False).values)
        return (drawn.reshape(len(seeds), steps, batch, -1),)

    def _select(self, examples: Any, batches: Batches) -> tuple[Any, Batches]:
        part, indices = self.task.rows(examples, np.asarray(batches.indices))
        return part, batches._replace(indices=indices)

    def _batches(self, seeds: np.ndarray, step: int, per_sample: bool) -> Batches:
        """What the steps of one call see, of every run."""
        every, call = self.config.evaluate_every, self.config.steps_per_call
        steps = range(step, step + call)
        indices = batch_indices(seeds.tolist(), steps, self.task.sizes["train"], self.config.batch_size)
        drawn = Batches(indices, self.task.draw(seeds, steps, per_sample))
        return jax.tree.map(lambda x: x.reshape(len(seeds), call // every, every, *x.shape[2:]), drawn)

    # -- programs: everything that decides one is in its key; arms that differ in draws or rates share them --------

    @memoize_method
    def programs(self, architecture: Arm, optimizer: str) -> Programs:
        """The compiled functions of an architecture."""
        return Programs(
            task=self.task,
            model=self._model(architecture),
            optimizer=self.optimizer_of(architecture, optimizer),
            steps=self.length - self._prefit(architecture),
            evaluate_every=self.config.evaluate_every,
            starts_once=self.runs_per_program > 1,
        )

    def optimizer_of(self, architecture: Arm, name: str) -> Callable[[Any, Any], Any]:
        """`(learning rate, params) -> optax transformation` of an architecture."""
        recipe = optimizers.recipe(self.config.optimizer, name=name)
        return lambda rate, params: optimizers.build({**recipe, "learning_rate": rate}, params)

    def own_of(self, variant: Arm, own: Any) -> Any:
        """The primary's own variables `[runs]` that a variant starts from: as they are."""
        return own

    @functools.cached_property
    def own(self):
        """`seeds -> (keys, the primary's own variables)`: the same for every arm."""

        def one(seed):
            key = jax.random.fold_in(self.initial_key, seed)
            return jax.random.clone(key), own_start(self.task.primary, key, *self.task.example)

        return jax.jit(jax.vmap(one))

    @memoize_method
    def starter(self, initial: Arm, optimizer: str):
        """`(keys, rates, own) -> states` of a variant before the first step."""
        return self.programs(_architecture(initial), optimizer).starter(self._model(initial))

    def _model(self, variant: Arm):
        hypernet, task = self.config.hypernet, self.task
        return networks.build(
            variant,
            task.primary,
            *task.example,
            gamma_range=task.gamma_range,
            standardized=task.standardized,
            gamma_dim=task.gamma_dim,
            select=task.select,
            hidden=tuple(hypernet.hidden),
            activation=hypernet.activation,
            scale_by_dimension=hypernet.scale_by_dimension,
        )


def length_of(config: Any, task: Task) -> int:
    """Steps of one run."""
    return durations.steps(config.train_length, batch_size=config.batch_size, examples=task.sizes["train"])


def _placed(data: Data) -> Data:
    """Data on this thread's devices: the examples to train on whole on each, the rows of the others dealt.

    Where the devices are of several processes, each evaluates by itself.
    """
    group = groups.current()
    return data if group.spans else group.whole(data._replace(held_out=groups.deal(data.held_out)))


def _further(variant: Arm, runs: list[Run]) -> dict[str, Any]:
    """What a unit depends on beside the config: its name says neither what was chosen nor which seeds."""
    return {"initializer": variant.initializer, "runs": [list(run) for run in runs]}


def _initial(variant: Arm) -> Arm:
    """What decides a run's first state, apart from its seed."""
    return dataclasses.replace(variant, label="", stream=0, rate_factor=1.0)


def _architecture(variant: Arm) -> Arm:
    """What decides a run's compiled steps: variants of an arm, which differ in their initialiser, share them."""
    return dataclasses.replace(_initial(variant), initializers=INITIALIZERS[:1])
