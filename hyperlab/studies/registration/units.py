"""Units of work of the registration study: one training run of one arm, measured and kept in a file."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab.data import batch_indices
from hyperlab.hypernet import as_primary
from hyperlab.models.voxelmorph import Registration
from hyperlab.nn.spatial_transformer import warp, warp_labels
from hyperlab.registration.measurements import by_subject
from hyperlab.registration.model import (
    coarse_shape,
    criterion_of,
    draw_weights,
    loss_function,
    measure,
    network_of,
    optimize_pairs,
)
from hyperlab.registration.pairs import Part, Study
from hyperlab.studies.conducted import StudyUnits
from hyperlab.studies.registration.arms import INITIALIZERS, Arm
from hyperlab.train import compiler, durations, optimizers, state
from hyperlab.train.loop import fit
from hyperlab.train.phases import FIRST_REPORT_SEED, REPORT, TUNE
from hyperlab.train.step import compile_step, train_step
from hyperlab.train.units import Measurements, kept


class Units(StudyUnits):
    """Trains and measures units of one study.

    Args:
      config: the study's config.
      study: its data.
      folder: the run's folder.
      progress: a `train.progress.Progress` over training steps.
      stop: an object with `.requested`.
    """

    lists = ("arms", "initializers", "rates", "pairwise.rates", "tuning_seeds", "widenings", "report_seeds", "weights",
             "curve_weights")  # fmt: skip

    def __init__(self, config: Any, study: Study, folder: Any, progress: Any, stop: Any):
        super().__init__(config, folder, progress, stop)
        self.study = study
        self.steps = total_steps(config, study)
        self.network = network_of(config)
        self.criterion = criterion_of(config)
        self.held_out = {TUNE: study.validation, REPORT: study.test}

    # -- units -----------------------------------------------------------------------------------------------

    def train(
        self, name: str, variant: Arm, rate: float, seed: int, phase: str, weight: float | None = None
    ) -> Measurements | None:
        """Trains one network and measures it on the held-out part of the phase; None after a stop.

        Args:
          name: of the unit, `arm/...`.
          variant: an arm with one initialiser.
          rate: the learning rate.
          seed: of initialisation, order of the pairs, and regularisation weights.
          phase: `TUNE` or `REPORT`.
          weight: the regularisation weight of a separate network, which is measured there alone.

        Returns:
          `weight` `[weights]`; `dice` `[weights, subjects, classes - 1]`; `folding`, `similarity`, `smoothness` and
          `endpoint_error` (where known) `[weights, subjects]`; `subject`; `loss` along training; `seconds` of
          training and `compile_seconds`; `finite`; and, for the first seed of the report, `example/...`.
        """

        weights = (weight,) if weight is not None else self._weights(phase)

        def work() -> Measurements | None:
            program, compile_seconds = self._program(_architecture(variant))
            own = self.key("initial", seed + 10_000 * variant.stream)
            # HyperModel.init splits its key and gives the first half to the primary: every arm starts from the same.
            variables = self._initial(variant)(own)
            start = state.create(variables, self._optimizer(variables["params"]))
            start = optimizers.with_learning_rate(start, rate * variant.rate_factor)
            curve, began = _Curve(), time.perf_counter()
            trained = fit(
                start,
                program,
                self._batches(seed + 10_000 * variant.stream, weight),
                total_steps=self.steps * variant.length_factor,
                root_key=own,
                steps_per_call=self.config.steps_per_call,
                writer=curve,
                log_every=self.config.steps_per_call,
                stop=self.stop,
                progress=self.counter(),
                on_nonfinite="ignore",  # failures are part of what is measured
            )
            jax.block_until_ready(trained)
            seconds = time.perf_counter() - began
            if self.stop.requested:
                return None
            self.reads_test(phase)
            theta = self._theta(_architecture(variant))

            def register(at: float, moving, fixed) -> Registration:
                return self._register(theta(trained.params, jnp.float32(at)), moving, fixed)

            result = self._measured(register, weights, phase)
            if phase == REPORT and seed == FIRST_REPORT_SEED:
                result |= self._example(register, weights)
            finite = all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(trained.params))
            numbers = {"seconds": seconds, "compile_seconds": compile_seconds, "finite": finite}
            return result | {key: np.array(value) for key, value in numbers.items()} | {"loss": np.array(curve.loss)}

        further = {"rate": rate, "initializer": variant.initializer, "weights": weights}
        return self.unit(name, self.steps * variant.length_factor, work, further=further)

    def optimize(self, name: str, rate: float, phase: str) -> Measurements | None:
        """Registers every held-out pair on its own, at every weight: the same measurements as `train`."""

        def work() -> Measurements | None:
            if self.stop.requested:
                return None
            self.reads_test(phase)
            shape = coarse_shape(self.network, self.study.shape)
            seconds = 0.0

            def register(at: float, moving, fixed) -> Registration:
                nonlocal seconds
                began = time.perf_counter()
                weights, velocity = jnp.full(len(moving), at), jnp.zeros((len(moving), *shape))
                result = self._optimize(velocity, weights, jnp.float32(rate), moving, fixed)
                jax.block_until_ready(result)
                seconds += time.perf_counter() - began
                return result

            result = self._measured(register, self.config.weights, phase)
            if phase == REPORT:
                result |= self._example(register, self.config.weights)
            return result | {"seconds": np.array(seconds), "finite": np.array(True)}

        return self.unit(name, 0, work, further={"rate": rate, "weights": self.config.weights})

    def identity(self, phase: str) -> Measurements | None:
        """What is measured without any registration, at every weight."""
        shape = coarse_shape(self.network, self.study.shape)

        def register(at: float, moving, fixed) -> Registration:
            return Registration(jnp.zeros((*moving.shape[:-1], shape[-1])), jnp.zeros((len(moving), *shape)))

        return self.unit(
            f"identity/{phase}",
            0,
            lambda: None if self.stop.requested else self._measured(register, self.config.weights, phase),
            further={"weights": self.config.weights},
        )

    # -- measuring -------------------------------------------------------------------------------------------

    def _weights(self, phase: str) -> tuple[float, ...]:
        """Tuning looks at the weights of the separate networks alone; the report at a finer curve too."""
        curve = self.config.curve_weights if phase == REPORT else ()
        return tuple(sorted({*self.config.weights, *curve}))

    def _measured(self, register: Callable, weights: tuple[float, ...], phase: str) -> Measurements:
        part = self.held_out[phase]
        by_weight = []
        for weight in weights:
            chunks = []
            for rows in self._chunks(part):
                pairs = self._pairs(part, rows)
                chunks.append(jax.device_get(self._measure(register(weight, pairs["moving"], pairs["fixed"]), pairs)))
            by_weight.append({key: np.concatenate([c[key] for c in chunks])[: len(part)] for key in chunks[0]})
        per_pair = {key: np.stack([one[key] for one in by_weight]) for key in by_weight[0]}
        return by_subject(per_pair, part.groups) | {"weight": np.array(weights, np.float64)}

    def _chunks(self, part: Part):
        """Rows of equally many pairs; the last ones are filled up with the first pair, which is cut off later."""
        size = min(self.config.evaluation_batch, len(part))
        for start in range(0, len(part), size):
            rows = np.arange(start, start + size)
            yield np.where(rows < len(part), rows, 0)

    def _pairs(self, part: Part, rows: np.ndarray) -> dict[str, np.ndarray]:
        pairs = {"moving": part.moving(rows), "fixed": part.fixed(rows)}
        pairs |= {"moving_labels": part.labels[part.pairs[rows, 0]], "fixed_labels": part.labels[part.pairs[rows, 1]]}
        return pairs | ({} if part.fields is None else {"field": part.fields[rows]})

    def _example(self, register: Callable, weights: tuple[float, ...]) -> Measurements:
        """The first test pair at each weight, for figures; of a volume, the middle slice of the first axis."""
        part, rows = self.study.test, np.zeros(min(self.config.evaluation_batch, len(self.study.test)), int)
        pairs = self._pairs(part, rows)
        shown: dict[str, list] = {"moved": [], "moved_labels": [], "displacement": []}
        for weight in weights:
            displacement = register(weight, pairs["moving"], pairs["fixed"]).displacement[:1]
            labels = warp_labels(
                jnp.asarray(pairs["moving_labels"][:1]), displacement, method="linear", classes=len(self.study.classes)
            )
            shown["moved"].append(warp(jnp.asarray(pairs["moving"][:1]), displacement)[0, ..., 0])
            shown["moved_labels"].append(labels[0])
            shown["displacement"].append(displacement[0])
        result = {key: np.stack([_slice(x, key == "displacement") for x in values]) for key, values in shown.items()}
        result |= {key: _slice(pairs[key][0, ..., 0]) for key in ("moving", "fixed")}
        result |= {key: _slice(pairs[key][0]) for key in ("moving_labels", "fixed_labels")}
        return {f"example/{key}": value for key, value in result.items()}

    # -- programs: one for each architecture, whatever the rate, the seed, the initialiser or the weight -----------

    @kept
    def _program(self, architecture: Arm) -> tuple[Callable, float]:
        """The compiled training steps, and the seconds that their compilation took."""
        abstract = jax.eval_shape(self._initial(architecture), jax.random.key(0))
        optimizer = self._optimizer(abstract["params"])
        step = train_step(loss_function(self.network, self._model(architecture), self.criterion), optimizer)
        start = jax.eval_shape(lambda variables: state.create(variables, optimizer), abstract)
        batch = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, self._batches(0, None)(0)))
        program = compile_step(step, steps_per_call=self.config.steps_per_call)
        return compiler.timed_compile(program, start, batch, jax.random.key(0))

    @kept
    def _initial(self, variant: Arm) -> Callable:
        model = self._model(dataclasses.replace(variant, label="", stream=0, rate_factor=1.0, length_factor=1))
        if model is None:
            primary, example = as_primary(self.network), self._example_images()
            return jax.jit(lambda key: primary.init(jax.random.split(key)[0], *example))
        return jax.jit(model.init)

    @kept
    def _theta(self, architecture: Arm) -> Callable:
        """`(params, weight) -> the VoxelMorph's own variables`."""
        model = self._model(architecture)
        if model is None:
            return lambda params, weight: {"params": params}
        return jax.jit(lambda params, weight: model.generate({"params": params}, weight[None]))

    @functools.cached_property
    def _register(self) -> Callable:
        return jax.jit(self.network.apply, compiler_options=compiler.options())

    @functools.cached_property
    def _measure(self) -> Callable:
        classes = len(self.study.classes)
        return jax.jit(lambda result, pairs: measure(self.criterion, classes, result, pairs))

    @functools.cached_property
    def _optimize(self) -> Callable:
        run = functools.partial(optimize_pairs, self.network, self.criterion, steps=self.config.pairwise.steps)
        return jax.jit(run, compiler_options=compiler.options())

    @kept
    def _model(self, variant: Arm):
        hypernet = self.config.hypernet
        return variant.build(
            self.network,
            *self._example_images(),
            hidden=tuple(hypernet.hidden),
            activation=hypernet.activation,
        )

    def _example_images(self) -> tuple[jax.Array, jax.Array]:
        return (jnp.zeros((1, *self.study.shape)),) * 2

    def _optimizer(self, params: Any):
        return optimizers.build({"name": self.config.optimizer, "learning_rate": 1.0}, params)

    def _batches(self, seed: int, weight: float | None) -> Callable[[int], dict[str, np.ndarray]]:
        part, batch = self.study.train, self.config.batch_size
        size = (batch,) if self.config.weight_per_pair else ()

        def batches(step: int) -> dict[str, np.ndarray]:
            steps = range(step, step + self.config.steps_per_call)
            rows = batch_indices(seed, steps, len(part), batch)
            weights = draw_weights(seed, steps, size)
            weights = weights if weight is None else np.full_like(weights, weight)
            made = {"moving": part.moving(rows), "fixed": part.fixed(rows), "weight": weights}
            # One step a call has no leading axis of steps.
            return made if self.config.steps_per_call > 1 else {key: value[0] for key, value in made.items()}

        return batches


def total_steps(config: Any, study: Study) -> int:
    """Steps of one run."""
    return durations.steps(config.train_length, batch_size=config.batch_size, examples=len(study.train))


class _Curve:
    """Keeps the losses that the loop writes."""

    def __init__(self):
        self.loss: list[float] = []

    def scalars(self, step: int, values: dict, split: str = "train") -> None:
        if "loss" in values:
            self.loss.append(values["loss"])

    def flush(self) -> None:
        """Nothing waits."""


def _architecture(variant: Arm) -> Arm:
    """What decides a run's compiled steps: variants that differ in their initialiser share them."""
    initializers = INITIALIZERS[:1] if variant.hypernetwork else ("own",)
    return dataclasses.replace(variant, label="", stream=0, rate_factor=1.0, length_factor=1, initializers=initializers)


def _slice(values: Any, components: bool = False) -> np.ndarray:
    """A plane as it is; of a volume, the middle of its first axis, with the components that lie in it."""
    values = np.asarray(values)
    if values.ndim - components == 2:
        return values
    values = values[values.shape[0] // 2]
    return values[..., 1:] if components else values
