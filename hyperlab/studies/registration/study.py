"""The registration study: HyperMorphs of all weights, a network of its own for each, and pairs optimised one by one."""

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab import registration
from hyperlab.models.voxelmorph import Registration as Field
from hyperlab.registration import PairDataset, relative_objective
from hyperlab.studies.base import Chosen, Study
from hyperlab.studies.registration import measuring, tuning
from hyperlab.studies.registration.arms import (
    ARMS,
    Cell,
    Setting,
    cells_of,
    chosen_setting,
    identity_name,
    pairwise_name,
    taken_over,
)
from hyperlab.studies.registration.measuring import Register
from hyperlab.studies.registration.programs import Programs, architecture_of
from hyperlab.studies.registration.schema import check, check_lengths
from hyperlab.train import durations
from hyperlab.train.phases import FIRST_REPORT_SEED, REPORT, TUNE
from hyperlab.train.protocols import Folder, Stop
from hyperlab.train.step import means
from hyperlab.train.units import Item, Measurements, Result
from hyperlab.train.writers import MultiWriter


class Registration(Study[Cell]):
    """Trains and measures the networks of the study; the data are pairs of images with labels."""

    page = "hyperlab.studies.registration.page"
    lists = ("arms", "initializers", "rates", "pairwise.rates", "tuning_seeds", "widenings", "report_seeds", "weights",
             "curve_weights")  # fmt: skip
    data: PairDataset

    def __init__(self, config: Any, data: PairDataset, folder: Folder, stop: Stop):
        super().__init__(config, data, folder, stop)
        self.length = length_of(config, data)
        self.programs = Programs(config, data)

    @classmethod
    def load(cls, config: Any, folder: Path) -> PairDataset:
        """The pairs of a config."""
        check(config)
        data = registration.load(config.data)
        check_lengths(config, length_of(config, data))
        return data

    # -- what there is to do -----------------------------------------------------------------------------------

    @property
    def fingerprint(self) -> tuple[str, str]:
        """Of the data, which the config names."""
        return self.config.data.name, self.data.fingerprint

    def cells(self) -> list[Cell]:
        """The networks of all arms."""
        return [cell for arm in self.config.arms for cell in cells_of(arm, self.config)]

    def trials(self, cell: Cell) -> int:
        """Every initialiser at every rate; one where another arm's choice is taken over."""
        if taken_over(cell.arm, self.config.arms):
            return 1
        return len(ARMS[cell.arm].tried(self.config.initializers)) * len(self.config.rates)

    def first_trainings(self) -> Iterable[tuple[str, Callable[[], Any]]]:
        """A network of each arm, with its first initialiser."""
        for arm, cell in {cell.key: cell for cell in self.cells()}.items():
            tried = Setting(ARMS[cell.arm].tried(self.config.initializers)[0], self.config.rates[0])
            yield arm, functools.partial(self.train, cell, tried, 0, TUNE)

    def steps(self, cell: Cell, phase: str) -> int:
        """Training steps of one network."""
        return self.length * ARMS[cell.arm].length_factor

    def score(self, measured: Measurements) -> float:
        """What training minimises, as a share of where it started: one scale for all weights."""
        return -relative_objective(measured, cast("Measurements", self.identity(TUNE))).mean()

    def tune(self) -> Chosen | None:
        """What is said of the data, and what is chosen for each arm and for the optimisation of pairs."""
        arms = tuning.tune(self)
        described = {"classes": self.data.classes, "notes": self.data.notes, "name": self.data.name}
        return arms and {"data": described, "arms": arms}

    def setting(self, chosen: Chosen, cell: Cell) -> Setting:
        """What was chosen for a network."""
        return chosen_setting(cell, chosen["arms"][cell.arm], self.config)

    def in_parallel(self, measure: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """One after the other on the same devices: the seconds of a training are among what is compared."""
        if len(self.devices.groups) > 1:
            return super().in_parallel(measure, items)
        return [measure(item) for item in items]

    def report(self, chosen: Chosen, writer: MultiWriter) -> bool:
        """What is measured without a network, then the arms on fresh seeds; False after a stop."""
        if self.identity(REPORT) is None:
            return False
        if self.optimize(chosen["arms"]["pairwise"]["learning_rate"], REPORT) is None:
            return False
        return super().report(chosen, writer)

    def curve(self, cell: Cell, seed: int, measured: Measurements) -> Iterable[tuple[int, dict[str, float], str]]:
        """The loss along training."""
        for index, loss in enumerate(measured["loss"]):
            yield index * self.config.steps_per_call, {"loss": float(loss)}, cell.run_name(seed)

    def record(self, cell: Cell, seed: int, measured: Measurements, writer: MultiWriter) -> None:
        """The curve, and of some networks the first test pair at each weight."""
        super().record(cell, seed, measured, writer)
        if "example/moved" not in measured:
            return
        fixed, moving, run = measured["example/fixed"], measured["example/moving"], cell.run_name(seed)
        writer.images(0, {"input": moving, "truth": fixed}, split=run)
        for weight, moved in zip(measured["weight"], measured["example/moved"], strict=True):
            images = {f"prediction_{weight:g}": moved, f"error_{weight:g}": np.abs(moved - fixed)}
            writer.images(len(measured["loss"]) * self.config.steps_per_call, images, split=run)

    # -- units -------------------------------------------------------------------------------------------------

    def train(self, cell: Cell, setting: Setting, seed: int, phase: str) -> Measurements | None:
        """Trains one network and measures it on the held-out split of the phase, or reads what is known of it.

        Returns:
          `weight` `[weights]`; `dice` `[weights, subjects, classes - 1]`; `folding`, `similarity`, `smoothness` and
          `endpoint_error` (where known) `[weights, subjects]`; `subject`; `loss` along training; `seconds` of
          training and `compile_seconds`; `finite`; and, for the first seed of the report, `example/...`. None after
          a stop.
        """
        compute = lambda: self._train(cell, setting, seed, phase)  # noqa: E731
        further = {"rate": setting.rate, "initializer": setting.initializer, "weights": self._weights(cell, phase)}
        return self.unit(cell.unit_name(phase, setting, seed), self.steps(cell, phase), compute, further=further)

    def _train(self, cell: Cell, setting: Setting, seed: int, phase: str) -> Measurements | None:
        if self.stop.requested:
            return None
        variant, weights = ARMS[cell.arm].variant(setting.initializer), self._weights(cell, phase)
        architecture, draws = architecture_of(variant), seed + 10_000 * variant.stream
        program, compile_seconds = self.programs.training(architecture)
        key, steps, call = self.key("initial", draws), self.steps(cell, phase), self.config.steps_per_call
        start, course = self.programs.start(variant, key, setting.rate, steps), _Course(steps, call)
        trained = self.fit(
            start,
            program,
            self.programs.batches(draws, cell.weight),
            steps=steps,
            key=key,
            leading=self.programs.leading,
            steps_per_call=call,
            observe=course.observe,
            kept=course.kept,
        )
        if trained is None:
            return None
        jax.block_until_ready(trained)
        course.lap()
        self.reads_test(phase)
        theta = self.programs.theta(architecture)

        def register(weight: float, moving, fixed) -> Field:
            return self.programs.register(theta(trained.params, jnp.float32(weight)), moving, fixed)

        result = self._measured(register, weights, phase)
        if phase == REPORT and seed == FIRST_REPORT_SEED:
            result |= self._example(register, weights)
        finite = all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(trained.params))
        numbers = {**course.kept, "compile_seconds": compile_seconds, "finite": finite}
        return result | {key: np.array(value) for key, value in numbers.items()}

    def optimize(self, rate: float, phase: str) -> Measurements | None:
        """Registers every held-out pair on its own, at every weight: the same measurements as `train`."""

        def compute() -> Measurements | None:
            if self.stop.requested:
                return None
            self.reads_test(phase)
            seconds = 0.0

            def register(weight: float, moving, fixed) -> Field:
                nonlocal seconds
                began = time.perf_counter()
                weights, velocity = jnp.full(len(moving), weight), jnp.zeros((len(moving), *self.programs.coarse_shape))
                result = self.programs.optimize(velocity, weights, jnp.float32(rate), moving, fixed)
                jax.block_until_ready(result)
                seconds += time.perf_counter() - began
                return result

            result = self._measured(register, self.config.weights, phase)
            if phase == REPORT:
                result |= self._example(register, self.config.weights)
            return result | {"seconds": np.array(seconds), "finite": np.array(True)}

        return self.unit(pairwise_name(phase, rate), 0, compute, further={"rate": rate, "weights": self.config.weights})

    def identity(self, phase: str) -> Measurements | None:
        """What is measured without any registration, at every weight."""
        shape = self.programs.coarse_shape

        def register(weight: float, moving, fixed) -> Field:
            return Field(jnp.zeros((*moving.shape[:-1], shape[-1])), jnp.zeros((len(moving), *shape)))

        compute = lambda: None if self.stop.requested else self._measured(register, self.config.weights, phase)  # noqa: E731
        return self.unit(identity_name(phase), 0, compute, further={"weights": self.config.weights})

    # -- where, and on what, is measured -----------------------------------------------------------------------

    def _weights(self, cell: Cell, phase: str) -> tuple[float, ...]:
        """Where a network is measured: in tuning at the weights of the separate networks, in the end along a curve."""
        if cell.weight is not None:
            return (cell.weight,)
        curve = self.config.curve_weights if phase == REPORT else ()
        return tuple(sorted({*self.config.weights, *curve}))

    def _measured(self, register: Register, weights: Sequence[float], phase: str) -> Measurements:
        split = {TUNE: self.data.validation, REPORT: self.data.test}[phase]
        return measuring.by_weight(register, self.programs.measure, split, weights, self.config.evaluation_batch)

    def _example(self, register: Register, weights: Sequence[float]) -> Measurements:
        return measuring.example(register, self.data, weights, self.config.evaluation_batch)


def length_of(config: Any, data: PairDataset) -> int:
    """Steps of one run, before an arm multiplies them."""
    return durations.steps(config.train_length, batch_size=config.batch_size, examples=len(data.train))


class _Course:
    """Losses and seconds of a training, those of all its starts together."""

    def __init__(self, steps: int, steps_per_call: int):
        self.kept = {"seconds": np.zeros(()), "loss": np.full(steps // steps_per_call, np.nan)}
        self._steps_per_call, self._last = steps_per_call, time.perf_counter()

    def observe(self, step: int, metrics: Any) -> None:
        """A call has ended: a callback of the training loop."""
        self.kept["loss"][step // self._steps_per_call] = means(metrics)["loss"]
        self.lap()

    def lap(self) -> None:
        """Adds the seconds since the last one."""
        now = time.perf_counter()
        self.kept["seconds"] += now - self._last
        self._last = now
