"""Units of work of the stability study: some runs of one variant of an arm, trained, measured, kept in a file."""

import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import PartitionSpec

from hyperlab.data import batch_indices
from hyperlab.hypernet import as_primary
from hyperlab.studies.conducted import StudyUnits
from hyperlab.studies.stability.arms import INITIALIZERS, Arm
from hyperlab.studies.stability.programs import Batches, Data, Trial
from hyperlab.studies.stability.tasks import Task
from hyperlab.train import durations, mesh, optimizers, rngs
from hyperlab.train.checkpoints import Checkpoints
from hyperlab.train.loop import fit
from hyperlab.train.phases import REPORT, TUNE
from hyperlab.train.units import Measurements, kept


class Run(NamedTuple):
    """One run of a unit."""

    learning_rate: float
    seed: int


class Units(StudyUnits):
    """Trains units of one study.

    Args:
      config: the study's config.
      task: what is learnt, with its data.
      folder: the run's folder.
      progress: a `train.progress.Progress` over run-steps.
      stop: an object with `.requested`.
    """

    lists = ("arms", "optimizers", "rates", "tuning_seeds", "report_seeds", "widenings", "target_score",
             "checkpoint_every")  # fmt: skip

    def __init__(self, config: Any, task: Task, folder: Any, progress: Any, stop: Any):
        super().__init__(config, folder, progress, stop)
        self.task = task
        self.steps = total_steps(config, task)
        self.initial_key = rngs.stream(self.root, "initial")
        train, gammas = task.train(), jax.device_put(task.fixed())
        # As many in both phases, so that they share the compiled steps.
        count = min(config.curve_examples, task.sizes["validation"], task.sizes["test"])
        held_out = {TUNE: "validation", REPORT: "test"}
        self.curve_data = {phase: Data(train, task.held_out(part, count), gammas) for phase, part in held_out.items()}
        # Tuning looks at the curves alone; what is reported in the end is measured on the whole test split.
        whole = Data(train, task.held_out("test", task.sizes["test"]), gammas)
        self.final_data = {TUNE: self.curve_data[TUNE], REPORT: whole}
        self.runs_per_program = config.runs_per_program or (1 if jax.default_backend() == "cpu" else 16)

    def measure(self, name: str, variant: Arm, optimizer: str, runs: list[Run], phase: str) -> Measurements | None:
        """Trains some runs of one variant, or reads them where that is done.

        Args:
          name: of the unit, `optimizer/arm/...`.
          variant: an arm with one initialiser.
          optimizer: `sgd` or `adam`.
          runs: learning rate and seed of each.
          phase: `TUNE` or `REPORT`.

        Returns:
          `{measurement: [runs, ...]}`: `final/...` on all held-out examples, `curve/...` along training,
          `probe/...` against gamma (hypernetworks of the report phase); None after a stop.
        """

        def compute() -> Measurements | None:
            parts, size = [], self.runs_per_program
            for start in range(0, len(runs), size):
                part = self._stack(f"{name}/{start}", variant, optimizer, runs[start : start + size], phase)
                if part is None:
                    return None
                parts.append(part)
            return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

        return self.unit(name, len(runs) * self.steps, compute, further=_further(variant, runs))

    def _stack(self, name: str, variant: Arm, optimizer: str, runs: list[Run], phase: str) -> Measurements | None:
        # A short stack is filled up with copies of its last run, so that every stack fits the same program.
        count = len(runs)
        runs = runs + [runs[-1]] * (self.runs_per_program - count)
        rates = np.array([run.learning_rate for run in runs], np.float32)
        seeds = np.array([run.seed + 10_000 * variant.stream for run in runs], np.uint32)
        data, trial = self.curve_data[phase], self._trial(_architecture(variant), optimizer)
        keys, own = self._own(seeds)
        state = self._over_devices(self._starter(_initial(variant), optimizer)(keys, rates, own))
        probing = phase == REPORT and variant.hypernetwork
        probes: dict[str, list[np.ndarray]] = {}

        def probe(state, step, stop) -> None:
            for key, value in trial.probe(state, own, data).items():
                probes.setdefault(f"probe/{key}", []).append(np.asarray(value))

        every, call = self.config.evaluate_every, self.config.steps_per_call

        def batches(step: int) -> Batches:
            steps, size = range(step, step + call), self.task.sizes["train"]
            indices = batch_indices(seeds.tolist(), steps, size, self.config.batch_size)
            drawn = Batches(indices, self.task.draw(seeds, steps, variant.per_sample))
            return jax.tree.map(lambda x: x.reshape(len(runs), call // every, every, *x.shape[2:]), drawn)

        saves = self.config.checkpoint_every
        checkpoints = Checkpoints(self._saves(name, variant, runs[:count]), anew=True) if saves else None
        if self.stop.requested:
            return None
        state = fit(
            state,
            lambda state, batch, key: trial.advance(state, batch, data),
            batches,
            total_steps=self.steps,
            root_key=self.initial_key,  # not used: the batches hold the gammas
            steps_per_call=call,
            evaluate=probe if probing else None,
            evaluate_every=max(1, self.steps // 3 // call) * call if probing else 0,
            checkpoints=checkpoints,
            save_every=saves,
            meta={"unit": name},
            place=self._over_devices,
            stop=self.stop,
            progress=self.counter(count),
            on_nonfinite="ignore",  # failures are part of what is measured
        )
        if self.stop.requested:
            return None
        self.reads_test(phase, count)
        state, final = trial.finish(state, self.final_data[phase])
        result = {f"final/{key}": value for key, value in final.items()}
        result |= {f"curve/{key}": value for key, value in state.history.items()}
        result |= {key: np.stack(values, 1) for key, values in probes.items()}
        result |= {"seed": np.array([run.seed for run in runs]), "learning_rate": rates}
        if checkpoints is not None:
            checkpoints.delete()
        return {key: np.asarray(value)[:count] for key, value in result.items()}

    def _saves(self, name: str, variant: Arm, runs: list[Run]) -> Path:
        """Where a stack saves its state; one that was left by other settings is not gone on from."""
        folder, basis = self.folder.checkpoints / self.files.path(name).stem, self.files.basis
        if basis is None or (basis.trusted and folder.exists()):  # of a version that did not tell them apart
            return folder
        return folder.with_name(f"{folder.name}-{self.files.stamp(_further(variant, runs))}")

    # Everything that decides a compiled program is in the key; arms that differ in draws or rates share them.

    @kept
    def _trial(self, architecture: Arm, optimizer: str) -> Trial:
        return Trial(
            task=self.task,
            model=self._model(architecture),
            optimizer=lambda rate, params: optimizers.build({"name": optimizer, "learning_rate": rate}, params),
            steps=self.steps,
            evaluate_every=self.config.evaluate_every,
        )

    @functools.cached_property
    def _own(self):
        """`seeds -> (keys, the primary's own variables)`: the same for every arm."""
        primary = as_primary(self.task.primary)

        def one(seed):
            key = jax.random.fold_in(self.initial_key, seed)
            # HyperModel.init splits the same key again: the first half is the primary's, for every arm.
            return jax.random.clone(key), primary.init(jax.random.split(key)[0], *self.task.example)

        return jax.jit(jax.vmap(one))

    @kept
    def _starter(self, initial: Arm, optimizer: str):
        return self._trial(_architecture(initial), optimizer).starter(self._model(initial))

    def _model(self, variant: Arm):
        hypernet, task = self.config.hypernet, self.task
        return variant.build(
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

    def _over_devices(self, stack: Any) -> Any:
        """Runs of a stack go to different devices where they divide by them."""
        devices = len(jax.devices())
        if devices == 1 or self.runs_per_program % devices:
            return jax.device_put(stack)
        rows = jax.sharding.NamedSharding(mesh.make_mesh({"data": devices}), PartitionSpec("data"))
        return jax.device_put(stack, rows)


def _further(variant: Arm, runs: list[Run]) -> dict[str, Any]:
    """What a unit depends on beside the config: its name says neither what was chosen nor which seeds."""
    return {"initializer": variant.initializer, "runs": [list(run) for run in runs]}


def total_steps(config: Any, task: Task) -> int:
    """Steps of one run."""
    return durations.steps(config.train_length, batch_size=config.batch_size, examples=task.sizes["train"])


def _initial(variant: Arm) -> Arm:
    """What decides a run's first state, apart from its seed."""
    return dataclasses.replace(variant, label="", stream=0, rate_factor=1.0)


def _architecture(variant: Arm) -> Arm:
    """What decides a run's compiled steps: variants of an arm, which differ in their initialiser, share them."""
    return dataclasses.replace(_initial(variant), initializers=INITIALIZERS[:1])
