"""The compiled functions of the registration study, made once for each architecture and shared by all trainings."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab.data import batch_indices
from hyperlab.hypernet import own_start
from hyperlab.nn.precision import computing_in
from hyperlab.registration.model import (
    coarse_shape,
    criterion_of,
    draw_weights,
    loss_function,
    measure,
    network_of,
    optimize_pairs,
)
from hyperlab.registration.pairs import PairDataset
from hyperlab.studies.registration import networks
from hyperlab.studies.registration.arms import INITIALIZERS, Arm
from hyperlab.train import capture, compiler, engine, groups, optimizers, schedules, state
from hyperlab.train.step import compile_step, train_step
from hyperlab.train.units import memoize_method


class Programs:
    """Training, registering and measuring, whatever the rate, the seed, the initialiser or the weight.

    Args:
      config: the study's.
      data: the pairs.
    """

    def __init__(self, config: Any, data: PairDataset):
        self.config, self.data = config, data
        self.network = computing_in(network_of(config), engine.of(config).precision)
        self.criterion = criterion_of(config)
        self.coarse_shape = coarse_shape(self.network, data.shape)
        self.leading = int(config.steps_per_call > 1)  # axes of a batch before that of its rows

    def start(self, variant: Arm, key: jax.Array, rate: float, steps: int) -> state.TrainState:
        """The state of a training of so many steps, before the first."""
        variables = groups.current().made(self.initial(variant), key)
        optimizer = self._optimizer(variables["params"])
        start = capture.computed(lambda variables: state.create(variables, optimizer), variables)
        return schedules.with_length(optimizers.with_learning_rate(start, rate * variant.rate_factor), steps)

    def training(self, architecture: Arm) -> tuple[Callable, float]:
        """The training steps, compiled for this thread's devices, and the seconds that their compilation took."""
        return self._training(architecture, groups.current())

    @memoize_method
    def _training(self, architecture: Arm, group: groups.Group) -> tuple[Callable, float]:
        abstract = jax.eval_shape(self.initial(architecture), jax.random.key(0))
        optimizer = self._optimizer(abstract["params"])
        step = train_step(loss_function(self.network, self._model(architecture), self.criterion), optimizer)
        start = jax.eval_shape(lambda variables: state.create(variables, optimizer), abstract)
        batch = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, self.batches(0, None)(0)))
        where = None if group.mesh is None else group.shardings(start)
        program = compile_step(step, steps_per_call=self.config.steps_per_call, shardings=where)
        given = group.abstract(start), group.abstract(batch, self.config.batch_size, leading=self.leading)
        return compiler.timed_compile(program, *given, jax.random.key(0))

    @memoize_method
    def initial(self, variant: Arm) -> Callable:
        """`key -> variables`; what a VoxelMorph of its own starts from is the same under a key in every arm."""
        model = self._model(dataclasses.replace(variant, label="", stream=0, rate_factor=1.0, length_factor=1))
        if model is None:
            return jax.jit(lambda key: own_start(self.network, key, *self._example_images()))
        return jax.jit(model.init)

    @memoize_method
    def theta(self, architecture: Arm) -> Callable:
        """`(params, weight) -> the VoxelMorph's own variables`."""
        model = self._model(architecture)
        if model is None:
            return lambda params, weight: {"params": params}
        return compiler.Program(lambda params, weight: model.generate({"params": params}, weight[None]), "theta")

    @functools.cached_property
    def register(self) -> Callable:
        """`(variables, moving, fixed) -> Registration`."""
        return compiler.Program(self.network.apply, "register", compiler_options=compiler.options())

    @functools.cached_property
    def measure(self) -> Callable:
        """`(registration, pairs) -> ` what it is worth, pair by pair."""
        classes = len(self.data.classes)
        return compiler.Program(lambda result, pairs: measure(self.criterion, classes, result, pairs), "measure")

    @functools.cached_property
    def optimize(self) -> Callable:
        """`(velocity, weights, rate, moving, fixed) -> Registration`, every pair on its own."""
        run = functools.partial(optimize_pairs, self.network, self.criterion, steps=self.config.pairwise.steps)
        return jax.jit(run, compiler_options=compiler.options())

    def batches(self, seed: int, weight: float | None) -> Callable[[int], dict[str, np.ndarray]]:
        """`step -> ` what the steps of one call see, of a network of one weight or (None) of all."""
        pairs, batch = self.data.train, self.config.batch_size
        size = (batch,) if self.config.weight_per_pair else ()

        def batches(step: int) -> dict[str, np.ndarray]:
            steps = range(step, step + self.config.steps_per_call)
            rows = batch_indices(seed, steps, len(pairs), batch)
            weights = draw_weights(seed, steps, size)
            weights = weights if weight is None else np.full_like(weights, weight)
            made = {"moving": pairs.moving(rows), "fixed": pairs.fixed(rows), "weight": weights}
            # One step a call has no leading axis of steps.
            return made if self.config.steps_per_call > 1 else {key: value[0] for key, value in made.items()}

        return batches

    @memoize_method
    def _model(self, variant: Arm):
        hypernet = self.config.hypernet
        options = {"hidden": tuple(hypernet.hidden), "activation": hypernet.activation}
        return networks.build(variant, self.network, *self._example_images(), **options)

    def _example_images(self) -> tuple[jax.Array, jax.Array]:
        return (jnp.zeros((1, *self.data.shape)),) * 2

    def _optimizer(self, params: Any):
        return optimizers.build(optimizers.recipe(self.config.optimizer, learning_rate=1.0), params)


def architecture_of(variant: Arm) -> Arm:
    """What decides a training's compiled steps: variants that differ in their initialiser share them."""
    initializers = INITIALIZERS[:1] if variant.hypernetwork else ("own",)
    return dataclasses.replace(variant, label="", stream=0, rate_factor=1.0, length_factor=1, initializers=initializers)
