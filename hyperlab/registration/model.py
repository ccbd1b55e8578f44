"""Registration by a network, as pure functions: the loss of a step, a registration, and what it is worth."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from hyperlab.data.splits import philox
from hyperlab.hypernet import HyperModel
from hyperlab.metrics import segmentation
from hyperlab.metrics.metric import mean_over
from hyperlab.models.voxelmorph import Registration, VoxelMorph, displacement_of
from hyperlab.nn.spatial_transformer import folding, warp, warp_labels
from hyperlab.registration.losses import SIMILARITIES, SMOOTHNESS, objective
from hyperlab.train.step import Aux

Loss = Callable[[jax.Array, jax.Array], jax.Array]
WITHOUT_FLOW = ("**", "!flow/**")  # what a hypernetwork generates: the flow layer stays an ordinary one
ENDPOINTS = 0.2  # share of the draws that are 0 or 1, as published


@dataclasses.dataclass(frozen=True, eq=False)
class Criterion:
    """The loss of a registration at a regularisation weight.

    Attributes:
      similarity: `(moved, fixed) -> [batch]`.
      smoothness: `(velocity) -> [batch]`, of the network's field before its integration.
    """

    similarity: Loss
    smoothness: Callable[[jax.Array], jax.Array]

    def terms(self, result: Registration, moving: jax.Array, fixed: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Similarity and smoothness of each pair, `[batch]` both. No gradient flows to the moving image."""
        moved = warp(jax.lax.stop_gradient(moving), result.displacement)
        return self.similarity(moved, fixed), self.smoothness(result.velocity)


def loss_function(network: VoxelMorph, model: HyperModel | None, criterion: Criterion) -> Callable:
    """The loss of a batch, as `train.step.train_step` takes it.

    A batch is `{"moving", "fixed": [batch, *spatial, 1], "weight": [] or [batch]}`; with a weight for each pair, a
    hypernetwork generates parameters for each.
    """

    def loss_fn(params, collections, batch: Mapping[str, jax.Array], rngs):
        weight, images = batch["weight"], (batch["moving"], batch["fixed"])
        if model is None:
            result: Any = network.apply({"params": params}, *images)
        elif weight.ndim:
            result = model.apply_per_sample({"params": params}, weight[:, None], *images)
        else:
            result = model.apply({"params": params}, weight[None], *images)
        similarity, smoothness = criterion.terms(result, *images)
        values = objective(weight, similarity, smoothness)
        return values.mean(), Aux({"similarity": mean_over(similarity), "smoothness": mean_over(smoothness)})

    return loss_fn


def draw_weights(seed: int, steps: range, size: tuple[int, ...] = ()) -> np.ndarray:
    """Regularisation weights of some steps: 0 or 1 with a probability of 0.2, else uniform in 0..1.

    Args:
      seed: of the run.
      steps: which; the draws of a step depend on seed and step alone.
      size: of the draws of one step.

    Returns:
      float32 `[steps, *size]`.

    >>> draw_weights(0, range(5)).round(2).tolist() == draw_weights(0, range(3, 5)).round(2).tolist()
    False
    >>> draw_weights(0, range(5))[3:].tolist() == draw_weights(0, range(3, 5)).tolist()
    True
    """

    def one(step: int) -> np.ndarray:
        uniform, chance = np.random.Generator(philox(seed, step, stream=6)).random((2, *size))
        return np.where(chance < ENDPOINTS / 2, 0.0, np.where(chance < ENDPOINTS, 1.0, uniform))

    return np.stack([one(step) for step in steps]).astype(np.float32)


def measure(
    criterion: Criterion, classes: int, result: Registration, pairs: Mapping[str, jax.Array]
) -> dict[str, jax.Array]:
    """What registrations are worth, one value a pair.

    Args:
      criterion: the loss.
      classes: number of label values.
      result: of a network, or of an optimisation.
      pairs: `moving`, `fixed` images `[n, *spatial, 1]`; `moving_labels`, `fixed_labels` int `[n, *spatial]`;
        `field`, the true displacement `[n, *spatial, dims]`, where it is known.

    Returns:
      `true_positive`, `false_positive`, `false_negative`, int `[n, classes - 1]` voxels of the warped labels;
      `folding`, in 0..1; `similarity` and `smoothness`; `endpoint_error`, voxels, the mean over the fixed image's
      foreground, where the truth is known. A field that is not finite labels everything background and folds
      everywhere.
    """
    displacement = result.displacement
    finite = jnp.isfinite(displacement).all(axis=range(1, displacement.ndim))
    similarity, smoothness = criterion.terms(result, pairs["moving"], pairs["fixed"])
    labels = warp_labels(pairs["moving_labels"], displacement, method="linear", classes=classes)
    labels = jnp.where(finite.reshape(-1, *[1] * (labels.ndim - 1)), labels, 0)
    counts = segmentation.counts(labels, pairs["fixed_labels"], classes)
    measured = {
        "true_positive": counts.true_positive,
        "false_positive": counts.false_positive,
        "false_negative": counts.false_negative,
        "folding": jnp.where(finite, folding(displacement), 1.0),
        "similarity": similarity,
        "smoothness": smoothness,
    }
    if "field" in pairs:
        error = jnp.linalg.norm(displacement - pairs["field"], axis=-1)
        inside = (pairs["fixed_labels"] > 0).astype(jnp.float32)
        axes = range(1, error.ndim)
        measured["endpoint_error"] = (error * inside).sum(axes) / jnp.maximum(inside.sum(axes), 1)
    return measured


def optimize_pairs(
    network: VoxelMorph,
    criterion: Criterion,
    velocity: jax.Array,
    weights: jax.Array,
    learning_rate: jax.Array,
    moving: jax.Array,
    fixed: jax.Array,
    steps: int,
) -> Registration:
    """Registers every pair on its own, by Adam on its velocity: what a network is asked to predict in one pass.

    Args:
      network: whose grid and integration are used; no parameters.
      criterion: the loss.
      velocity: `[n, *coarse, dims]`, where to start.
      weights: `[n]`, the regularisation weight of each pair.
      learning_rate: voxels of the coarse grid a step, roughly.
      moving: `[n, *spatial, 1]`.
      fixed: `[n, *spatial, 1]`.
      steps: how many.
    """
    size = moving.shape[1:-1]
    optimizer = optax.inject_hyperparams(optax.adam)(learning_rate=learning_rate)

    def registration(velocity):
        options = network.integration_steps, network.field_downsize
        return Registration(displacement_of(velocity, size, *options), velocity)

    def loss(velocity):
        # The sum, so that a pair's gradient does not depend on the others.
        return objective(weights, *criterion.terms(registration(velocity), moving, fixed)).sum()

    def step(carry, _):
        velocity, state = carry
        updates, state = optimizer.update(jax.grad(loss)(velocity), state)
        return (optax.apply_updates(velocity, updates), state), None

    (velocity, _), _ = jax.lax.scan(step, (velocity, optimizer.init(velocity)), length=steps)
    return registration(velocity)


def coarse_shape(network: VoxelMorph, shape: tuple[int, ...]) -> tuple[int, ...]:
    """`[*coarse, dims]` of the network's velocity for images `[*spatial, 1]`.

    >>> coarse_shape(VoxelMorph((4,), (4,)), (6, 7, 1))
    (3, 4, 2)
    """
    images: Any = jax.ShapeDtypeStruct((1, *shape), jnp.float32)

    def velocity(key, moving, fixed):
        return network.init_with_output(key, moving, fixed)[0].velocity

    return jax.eval_shape(velocity, jax.random.key(0), images, images).shape[1:]


def network_of(config: ConfigDict) -> VoxelMorph:
    """The VoxelMorph that a config describes."""
    n = config.network
    return VoxelMorph(tuple(n.encoder), tuple(n.decoder), n.integration_steps, n.field_downsize)


def criterion_of(config: ConfigDict) -> Criterion:
    """The loss that a config describes."""
    loss, downsize = config.loss, config.network.field_downsize
    options = {"sigma": loss.sigma} if loss.similarity == "mse" else {"window": loss.window}
    return Criterion(
        functools.partial(SIMILARITIES[loss.similarity], **options),
        functools.partial(SMOOTHNESS[loss.smoothness], field_downsize=downsize),
    )
