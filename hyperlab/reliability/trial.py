"""Training and sampling of the study's networks, compiled: dropout rate, places, learning rate and seed are values.

So one program trains all arms that drop channels, at every rate and place, and those that drop nothing; another one
all that drop activations.
"""

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hyperlab import losses, uncertainty
from hyperlab.data import evaluation_batches
from hyperlab.data.augmentation import Augmentation, augment_batch
from hyperlab.models import DropoutUNet
from hyperlab.nn.dropout import RATES
from hyperlab.train import compiler, optimizers, state
from hyperlab.train.step import Aux, train_step
from hyperlab.train.units import kept

STREAMS = ("augmentation", "dropout")  # of random keys in a step
Maps = uncertainty.Maps


class Trial:
    """The programs of a network.

    Args:
      network: `widths`, `normalization`, `convs_per_block`.
      shape: of an image, `(height, width, channel)`.
      classes: background included.
      optimizer: settings of `hyperlab.train.optimizers`, without a rate.
      augment: whether training images are mirrored, turned, scaled and changed in intensity at random.
      evaluation_batch: images that a program predicts at once.
      chunk: draws that are computed at once.
    """

    def __init__(
        self,
        network: Mapping[str, Any],
        shape: Sequence[int],
        classes: int,
        optimizer: Mapping[str, Any],
        *,
        augment: bool = False,
        evaluation_batch: int = 16,
        chunk: int = 1,
    ):
        self.network, self.shape, self.classes = dict(network), tuple(shape), classes
        self.optimizer, self.augment = dict(optimizer), augment
        self.evaluation_batch, self.chunk = evaluation_batch, chunk
        self._making = threading.Lock()  # trainings side by side share programs

    @kept
    def module(self, dropout: str) -> DropoutUNet:
        """The network; `dropout` changes no parameter."""
        return DropoutUNet(classes=self.classes, dropout=dropout, **self.network)

    # -- training ----------------------------------------------------------------------------------------------

    def start(self, key: jax.Array, learning_rate: float) -> state.TrainState:
        """The state before the first step."""
        return optimizers.with_learning_rate(self._start(key), learning_rate)

    @functools.cached_property
    def _start(self) -> Callable:
        module = self.module("spatial")

        def start(key: jax.Array) -> state.TrainState:
            params = module.init(key, jnp.zeros((1, *self.shape)))["params"]
            return state.create({"params": params}, self._tx(params))

        # Run once a network: optimising random number generators takes longer than executing them.
        quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
        return jax.jit(start, compiler_options=quick)

    def step(self, dropout: str) -> Callable:
        """`(state, (images, labels, indices, dropout rates), key) -> (state, metrics)`; the state is used up."""
        with self._making:
            return self._step(dropout)

    @kept
    def _step(self, dropout: str) -> Callable:
        module, changes = self.module(dropout), Augmentation(flips=(0, 1))

        def loss(params, collections, batch, keys):
            images, labels, indices, rates = batch
            images, labels = images[indices], labels[indices]
            if self.augment:
                images, labels = augment_batch(keys["augmentation"], images, labels, changes)
            logits = module.apply({"params": params, RATES: rates}, images, rngs={"dropout": keys["dropout"]})
            return losses.dice_cross_entropy(logits, labels).mean(), Aux()

        def step(current, batch, key):
            return train_step(loss, self._tx(current.params), streams=STREAMS)(current, batch, key)

        return jax.jit(step, donate_argnums=0, compiler_options=compiler.options())

    def _tx(self, params: Any) -> optax.GradientTransformation:
        return optimizers.build({**self.optimizer, "learning_rate": 0.0}, params)

    # -- prediction --------------------------------------------------------------------------------------------

    def predict(self, params: Any, images: np.ndarray) -> np.ndarray:
        """Probabilities `[n, height, width, class]` of one pass without dropout."""
        rows, _ = evaluation_batches(len(images), self.evaluation_batch)
        parts = [np.asarray(self._predict(params, images[chosen])) for chosen in rows]
        return np.concatenate(parts)[: len(images)]

    @functools.cached_property
    def _predict(self) -> Callable:
        module = self.module("spatial")
        return jax.jit(
            lambda params, images: jax.nn.softmax(module.apply({"params": params}, images)),
            compiler_options=compiler.options(),
        )

    def sample(
        self, dropout: str, params: Any, rates: Any, key: jax.Array, images: np.ndarray, counts: Sequence[int]
    ) -> tuple[dict[int, Maps], np.ndarray]:
        """Maps after each of some numbers of draws, and the masks of all draws.

        Args:
          dropout: what is dropped.
          params: of the network.
          rates: from `rates`.
          key: of the draws; fewer are the first of many.
          images: `[n, height, width, channel]`.
          counts: numbers of draws, increasing, 2 at least.

        Returns:
          `{count: Maps}` of `[n, height, width]` on the host, and bool `[n, most, height, width]`.
        """
        with self._making:
            program = self._sample(dropout, tuple(counts))
        rows, _ = evaluation_batches(len(images), self.evaluation_batch)
        keys = jax.random.split(key, len(rows))
        parts = [
            jax.device_get(program(params, rates, one, images[chosen])) for one, chosen in zip(keys, rows, strict=True)
        ]
        joined = jax.tree.map(lambda *arrays: np.concatenate(arrays)[: len(images)], *(maps for maps, _ in parts))
        bits = np.concatenate([bits for _, bits in parts])[: len(images)]
        return joined, np.asarray(uncertainty.unpack(bits, images.shape[1:-1]))

    @kept
    def _sample(self, dropout: str, counts: tuple[int, ...]) -> Callable:
        module = self.module(dropout)

        def program(params, rates, key, images):
            sampler = uncertainty.dropout(module.apply, {"params": params, RATES: rates})
            moments, masks = uncertainty.sample(
                sampler, key, images, counts[-1], chunk=self.chunk, at=counts, masks=True, fixed=True
            )
            maps = {count: uncertainty.maps(moments[count]) for count in counts}
            return maps, masks.bits

        return jax.jit(program, compiler_options=compiler.options())


def of_passes(probabilities: np.ndarray) -> Maps:
    """Maps of networks that answer with one pass each, on the host.

    Args:
      probabilities: `[networks, n, height, width, class]`.
    """
    return Maps(*map(np.asarray, _maps_of(jnp.asarray(probabilities))))


_maps_of = jax.jit(lambda probabilities: uncertainty.maps(uncertainty.from_stacked(probabilities)))
