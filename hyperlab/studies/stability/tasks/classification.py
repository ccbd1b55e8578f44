"""Bayesian classification: a latent gamma, and a prediction that averages class probabilities over latents.

A latent is drawn at every step, theta = h(gamma) classifies the whole batch. Nothing but the loss keeps gamma in use,
so this is an implicit ensemble rather than a posterior; the disagreement between latents and the accuracy with delta
set to zero say how much of one.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab import losses, models, prng
from hyperlab.data import load as load_splits
from hyperlab.data.datasets import check_source
from hyperlab.data.splits import Splits, stratified_subset
from hyperlab.errors import ConfigError, nearest
from hyperlab.metrics import Metric
from hyperlab.metrics import classification as metrics
from hyperlab.nn.precision import computing_in
from hyperlab.studies.stability.tasks.task import Examples, Gammas, Task, Wording
from hyperlab.train import engine, rngs

GROUP = "data"  # of the config, where the data are described
PRIORS = ("uniform", "normal", "log_uniform")
PRIMARIES = {"mlp": models.MLP, "conv": models.ConvNet}


@dataclasses.dataclass(frozen=True)
class Latents:
    """The distribution of the latent.

    Attributes:
      dim: size of a latent.
      low: of a uniform or log-uniform latent.
      high: of a uniform or log-uniform latent.
      prior: `uniform`, `normal` or `log_uniform`: each factor of ten as often as every other.

    >>> Latents(dim=2).draw(jax.random.key(0), 3).shape
    (3, 2)
    """

    dim: int = 1
    low: float = 0.0
    high: float = 1.0
    prior: str = "uniform"

    def draw(self, key: jax.Array, *leading: int) -> jax.Array:
        """Latents `[*leading, dim]`."""
        shape = (*leading, self.dim)
        if self.prior == "normal":
            return prng.normal(key, shape)
        if self.prior == "log_uniform":
            return jnp.exp(prng.uniform(key, shape, minval=math.log(self.low), maxval=math.log(self.high)))
        return prng.uniform(key, shape, minval=self.low, maxval=self.high)

    def draw_steps(self, key: jax.Array, first: jax.Array, steps: int, *leading: int) -> jax.Array:
        """Latents of consecutive steps, `[steps, *leading, dim]`, each a function of key and step alone."""
        keys = jax.vmap(prng.fold_in, in_axes=(None, 0))(key, first + jnp.arange(steps))
        return jax.vmap(lambda one: self.draw(one, *leading))(keys)

    def grid(self, points: int) -> jax.Array:
        """Latents along the diagonal of the range; of +-2 standard deviations for a normal prior."""
        low, high = (-2.0, 2.0) if self.prior == "normal" else (self.low, self.high)
        if self.prior == "log_uniform":
            return jnp.geomspace(low, high, points)[:, None] * jnp.ones((1, self.dim))
        return jnp.linspace(low, high, points)[:, None] * jnp.ones((1, self.dim))


class Classification(Task):
    """Images of one class each; see `Task` for its parts.

    Args:
      config: the study's: `seed`, `data.split_seed`, `primary`, `gamma`, `samples`, `batch_size`.
      splits: the data.

    Raises:
      ConfigError: an unknown primary or prior.
    """

    probe_examples = 128

    def __init__(self, config: Any, splits: Splits):
        self.config, self.splits = config, splits
        self.name, self.fingerprint = splits.name, splits.fingerprint
        self.sizes = {name: len(split) for name, split in splits.parts().items()}
        check(config)
        kind, widths = config.primary.kind, tuple(config.primary.widths)
        self.primary = computing_in(PRIMARIES[kind](widths, len(splits.classes)), engine.of(config).precision)
        self.example = (jnp.zeros((1, *splits.image_shape)),)
        gamma = config.gamma
        self.latents = Latents(gamma.dim, gamma.low, gamma.high, gamma.prior)
        self.gamma_dim = gamma.dim
        self.gamma_range = None if gamma.prior == "normal" else (gamma.low, gamma.high)
        self.guess = 1.0 / len(splits.classes)
        self.root = jax.random.key(config.seed)
        limits: tuple[str, ...] = (
            "Nothing but the loss keeps gamma in use: the predictions are those of an implicit ensemble, not of a "
            "posterior. Disagreement between latents and the accuracy without delta are in results.csv.",
        )
        if splits.name == "digits":
            limits += (
                "The digits are learnt within some tens of steps: this default shows the mechanism, and cannot tell "
                "apart arms that are close. The configs in configs/stability are for that.",
            )
        self.wording = Wording(
            score="accuracy",
            setting=f"{splits.name}, a {kind} with widths {widths}, all parameters generated from a latent gamma of "
            f"dimension {gamma.dim}",
            gamma="the latent",
            limits=limits,
        )

    def train(self) -> Examples:
        """All training images."""
        return Examples.of(self.splits.train)

    def held_out(self, split: str, count: int) -> Examples:
        """Images of a split, classes in their proportions."""
        held_out = self.splits.parts()[split]
        if count < len(held_out):
            held_out = held_out.take(stratified_subset(held_out.labels, count, self.config.data.split_seed))
        return Examples.of(held_out)

    def draw(self, seeds: np.ndarray, steps: range, per_sample: bool) -> Gammas:
        """Latents from the prior."""
        return Gammas(self._draws(seeds, np.uint32(steps.start), len(steps), per_sample))

    @functools.cached_property
    def _draws(self):
        key = rngs.stream(self.root, "latents")

        def draw(seeds, first, steps, per_sample):
            leading = (self.config.batch_size,) if per_sample else ()
            keys = jax.vmap(lambda seed: prng.fold_in(key, seed))(seeds)
            return jax.vmap(lambda one: self.latents.draw_steps(one, first, steps, *leading))(keys)

        return jax.jit(draw, static_argnums=(2, 3))

    def fixed(self) -> Gammas:
        """What a prediction averages over."""
        return Gammas(self.latents.draw(rngs.stream(self.root, "evaluation"), self.config.samples))

    def grid(self, points: int) -> Gammas:
        """See `Latents.grid`."""
        return Gammas(self.latents.grid(points))

    def inputs(self, batch: Examples, aux_inputs: Any) -> tuple:
        """The images."""
        return (batch.images,)

    def loss(self, outputs: jax.Array, batch: Examples, gamma: jax.Array) -> jax.Array:
        """Mean cross-entropy."""
        return losses.cross_entropy(outputs, batch.labels).mean()

    def predict(self, outputs: jax.Array, held_out: Examples) -> jax.Array:
        """Class probabilities."""
        return jax.nn.softmax(outputs)

    def score(self, predictions: jax.Array, held_out: Examples) -> jax.Array:
        """Accuracy of the mean over latents."""
        return metrics.finish(metrics.accuracy(metrics.predictive(predictions), held_out.labels))

    def final(self, predictions: jax.Array, held_out: Examples) -> dict[str, jax.Array]:
        """Likelihood, calibration, and what the latents contribute."""
        mean, labels = metrics.predictive(predictions), held_out.labels
        measured: dict[str, Metric | metrics.Calibration] = {
            "nll": metrics.nll(mean, labels),
            "brier": metrics.brier(mean, labels),
            "ece": metrics.ece(mean, labels),
            "accuracy_of_one_latent": metrics.accuracy(predictions[0], labels),
            "disagreement": metrics.disagreement(predictions),
            "mutual_information": metrics.mutual_information(predictions),
        }
        return {name: metrics.finish(metric) for name, metric in measured.items()}


def check(config: Any) -> None:
    """Refuses settings that the task cannot use.

    Raises:
      ConfigError: an unknown primary or prior.
    """
    kind, prior = config.primary.kind, config.gamma.prior
    if kind not in PRIMARIES:
        raise ConfigError(f"primary.kind: {kind!r}; {nearest(kind, PRIMARIES)}")
    if prior not in PRIORS:
        raise ConfigError(f"gamma.prior is {prior!r}; {nearest(prior, PRIORS)}")
    if prior == "log_uniform" and config.gamma.low <= 0:
        raise ConfigError(f"gamma.low is {config.gamma.low:g}; a log-uniform gamma is above 0")


def check_files(config: Any) -> None:
    """See `data.datasets.check_source`."""
    check_source(config.data, GROUP, classified=True)


def load(config: Any) -> Classification:
    """The task of a config, with the data that it names.

    Raises:
      ConfigError: settings that it cannot use.
      DataError: data that it cannot use.
    """
    data = config.data
    splits = load_splits(data.name, data.root or None, split_seed=data.split_seed, limit=data.limit or None)
    if splits.train.labels.ndim > 1:
        raise ConfigError(f"data.name is {data.name!r}, which has a class a pixel; the task classifies images")
    return Classification(config, splits)
