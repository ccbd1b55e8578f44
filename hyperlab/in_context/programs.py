"""Training and prediction of one kind of network, as compiled functions over examples that are given.

A network that is trained across tasks sees episodes: queries, each with a support set of its task. One that is trained
for a task sees its examples alone. The indices of every step come from the host, and everything else happens in one
program, whatever the task, the seed and the learning rate.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from hyperlab import losses
from hyperlab.data import streaming
from hyperlab.data.in_context import Episode, augment_episodes
from hyperlab.data.loaders import evaluation_batches
from hyperlab.train import compiler, groups, optimizers, state
from hyperlab.train.step import Aux, train_step
from hyperlab.train.units import memoize_method

STREAMS = ("augmentation", "network")  # of random keys in a step
SMOOTH = 1.0  # of soft Dice: a label that an augmentation emptied still has a gradient


class Examples(NamedTuple):
    """The examples of one task, for a network that takes no support set; gathered as a pool of tasks is.

    Attributes:
      images: float32 `[rows, height, width, 1]` in 0..1.
      labels: as the images.
    """

    images: jax.Array | np.ndarray
    labels: jax.Array | np.ndarray

    def select(self, rows: np.ndarray) -> "tuple[Examples, np.ndarray]":
        """Some rows alone, and their numbers there; see `data.streaming`."""
        return streaming.select(self, rows)

    def gather(self, rows: jax.Array) -> Episode:
        """Queries `[batch, height, width, 1]` with support sets of no image."""
        images, labels = self.images[rows], self.labels[rows]
        return Episode(images, labels, images[:, None][:, :0], labels[:, None][:, :0])


@dataclasses.dataclass(frozen=True, eq=False)
class Programs:
    """One kind of network with its compiled programs.

    Attributes:
      module: `(target, support_images, support_labels) -> logits [batch, height, width, 1]`, or `(target) -> logits`.
      size: `(height, width)`.
      in_context: whether the module takes a support set.
      in_task: steps of augmentation with a draw for each image.
      task: steps with a draw for each episode.
      optimizer: name, see `hyperlab.train.optimizers`.
      evaluation_batch: queries that a program predicts at once.
    """

    module: nn.Module
    size: tuple[int, int]
    in_context: bool = True
    in_task: tuple = ()
    task: tuple = ()
    optimizer: str = "adam"
    evaluation_batch: int = 16

    # -- training ----------------------------------------------------------------------------------------------

    def start(self, key: jax.Array, learning_rate: float) -> state.TrainState:
        """The state before the first step; the learning rate is a number in it, so one program serves all rates."""
        return optimizers.with_learning_rate(groups.current().made(self._start, key), learning_rate)

    @property
    @memoize_method
    def _start(self) -> Callable:
        inputs = self.inputs(jnp.zeros((1, *self.size, 1)))

        def start(key):
            params = self.module.init(key, *inputs)["params"]
            return state.create({"params": params}, self._tx(params))

        return jax.jit(start, compiler_options=compiler.options_once())

    def inputs(self, image: jax.Array) -> tuple[jax.Array, ...]:
        """An example of what the module is called with, from an image `[1, height, width, 1]`."""
        return (image, image[:, None], image[:, None]) if self.in_context else (image,)

    @property
    @memoize_method
    def step(self) -> Callable:
        """`(state, (pool, indices), key) -> (state, metrics)`; the state is used up.

        The pool is one of tasks (`data.in_context.Pool`), or the `Examples` of one; both gather episodes.
        """

        def step(current, batch, key):
            return train_step(self.episode_loss, self._tx(current.params), streams=STREAMS)(current, batch, key)

        return compiler.Program(step, donate_argnums=0, compiler_options=compiler.options())

    def _tx(self, params: PyTree) -> optax.GradientTransformation:
        return optimizers.build({"name": self.optimizer, "learning_rate": 0.0}, params)

    def episode_loss(self, params, collections, batch, keys) -> tuple[jax.Array, Aux]:
        """The mean loss of augmented episodes, as `train_step` wants it; the batch is `(pool, indices)`."""
        pool, indices = batch
        dealt = groups.current().kept_dealt
        episode = dealt(pool.gather(indices))
        images = jnp.concatenate([episode.query_images[:, None], episode.support_images], 1)
        labels = jnp.concatenate([episode.query_labels[:, None], episode.support_labels], 1)
        changed = augment_episodes(keys["augmentation"], images, labels, in_task=self.in_task, task=self.task)
        images, labels = dealt(changed)
        support = (images[:, 1:], labels[:, 1:]) if self.in_context else ()
        return self._objective(params, keys["network"], images[:, 0], labels[:, 0], support).mean(), Aux()

    def _objective(self, params, key, queries, labels, support) -> jax.Array:
        """The loss of each query, `[batch]`; the key is for networks that draw."""
        return self.single(self.module.apply({"params": params}, queries, *support), labels)

    def single(self, logits, labels) -> jax.Array:
        """Cross-entropy and soft Dice of one answer to each query."""
        pixels = optax.losses.sigmoid_binary_cross_entropy(logits, labels).mean((1, 2, 3))
        return pixels + losses.binary_soft_dice(logits, labels, smooth=SMOOTH)

    # -- prediction --------------------------------------------------------------------------------------------

    def predict(
        self, params: PyTree, queries: np.ndarray, images: np.ndarray | None = None, labels: np.ndarray | None = None
    ) -> np.ndarray:
        """Probabilities `[n, height, width, 1]` of the foreground; one support set for all queries.

        Args:
          params: of the module.
          queries: `[n, height, width, 1]`.
          images: `[set, height, width, 1]`, for a network that takes a support set.
          labels: `[set, height, width, 1]`.
        """
        rows, _ = evaluation_batches(len(queries), groups.even(self.evaluation_batch))
        support = (images, labels) if self.in_context else ()
        parts = [np.asarray(self._predict(params, groups.deal(queries[indices]), *support)) for indices in rows]
        return np.concatenate(parts)[: len(queries)]

    @property
    @memoize_method
    def _predict(self) -> Callable:
        def predict(params, queries, *support):
            sets = [jnp.broadcast_to(one, (len(queries), *one.shape)) for one in support]
            logits: Any = self.module.apply({"params": params}, queries, *sets)
            return jax.nn.sigmoid(logits)

        return compiler.Program(predict, compiler_options=compiler.options())
