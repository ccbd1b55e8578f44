"""A classifier whose parameters a hypernetwork generates: what is pruned is the hypernetwork.

gamma is drawn at every step and changes nothing in the task, so the network has to be good at every gamma. Its
score is the mean over gammas along the range.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from ml_collections import ConfigDict

from hyperlab import losses, prng
from hyperlab.data import evaluation_batches
from hyperlab.hypernet import hypernetize
from hyperlab.tasks.classification import Classification, splits_of, true_rank
from hyperlab.train import compiler, groups
from hyperlab.train.units import memoize_method

GAMMAS = 5  # along the range, that the score is a mean over


class Hypernetwork(Classification):
    """A hypernetwork with its primary; see `Classification` for the arguments and `Task` for the parts."""

    exclude: Sequence[str] = ()  # the classifier is generated: no parameter is its own

    def __init__(self, config: ConfigDict, splits: Any):
        super().__init__(config, splits)
        example = jnp.zeros((1, *splits.image_shape))
        self.model = hypernetize(self.module, example, hidden=tuple(config.hypernet.hidden))
        self.architecture = f"hypernetwork of {self.architecture}"

    def init(self, key: jax.Array) -> PyTree:
        """Fresh variables of hypernetwork and theta0."""
        return self.model.init(key)

    def loss(self, params, collections, examples, indices, keys: Mapping[str, jax.Array]):
        """Mean cross-entropy at one gamma."""
        gamma = prng.uniform(keys["augmentation"], (1,))
        logits = self.model.apply({"params": params}, gamma, examples[0][indices], train=False)
        return losses.cross_entropy(logits, examples[1][indices]).mean(), None

    def deterministic_loss(self, params, collections, examples, indices) -> jax.Array:
        """Mean cross-entropy over gammas along the range."""
        logits = jax.vmap(lambda gamma: self.model.apply({"params": params}, gamma, examples[0][indices], train=False))
        labels = examples[1][indices]
        return jnp.mean(jax.vmap(lambda one: losses.cross_entropy(one, labels).mean())(logits(_gammas())))

    def measure(self, variables: PyTree, part: str) -> dict[str, np.ndarray]:
        """Of every example: the share of the gammas at which it is classified rightly."""
        split = self.splits.parts()[part]
        rows, _ = evaluation_batches(len(split), groups.even(self.config.evaluation_batch))
        right = [
            np.asarray(
                self._right(variables, groups.deal((split.images[chosen] - self.mean) / self.std), split.labels[chosen])
            )
            for chosen in rows
        ]
        return {"accuracy": np.concatenate(right)[: len(split)].astype(np.float64)}

    @property
    @memoize_method
    def _right(self) -> Callable:
        @functools.partial(compiler.Program, compiler_options=compiler.options())
        def right(variables, images, labels):
            logits = jax.vmap(lambda gamma: self.model.apply(variables, gamma, images, train=False))(_gammas())
            return jax.vmap(lambda one: true_rank(one, labels) < 1)(logits).mean(0)

        return right

    def example(self) -> tuple[Callable, tuple[Any, ...]]:
        """Parameters generated once, then used on one image."""

        def function(params, gamma, image):
            return self.model.apply({"params": params}, gamma, image, train=False)

        image = jax.ShapeDtypeStruct((1, *self.splits.image_shape), jnp.float32)
        return function, (jax.ShapeDtypeStruct((1,), jnp.float32), image)


def _gammas() -> jax.Array:
    return jnp.linspace(0.0, 1.0, GAMMAS)[:, None]


def load(config: ConfigDict) -> Hypernetwork:
    """The task of a config, with the data that it names."""
    return Hypernetwork(config, splits_of(config))
