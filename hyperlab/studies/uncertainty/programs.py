"""Training and sampling of the study's networks, compiled: dropout rate, places, learning rate and seed are values.

So one program trains all arms that drop channels, at every rate and place, and those that drop nothing; another one
all that drop activations; and one each the networks of other kinds, see `reliability.networks`.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hyperlab import uncertainty
from hyperlab.data import evaluation_batches
from hyperlab.data.augmentation import Augmentation, augment_batch
from hyperlab.models import DropoutUNet
from hyperlab.studies.uncertainty import networks
from hyperlab.train import compiler, optimizers, state
from hyperlab.train.step import Aux, train_step
from hyperlab.train.units import kept

STREAMS = ("augmentation", "dropout")  # of random keys in a step
Maps = uncertainty.Maps


class Trial:
    """The programs of the study's networks, each by its name in `networks.NETWORKS`.

    Args:
      config: groups `network` and, of the networks that are asked for, `bayesian`, `tyche`, `noise`.
      shape: of an image, `(height, width, channel)`.
      classes: background included.
      optimizer: settings of `hyperlab.train.optimizers`, without a rate.
      augment: whether training images are mirrored, turned, scaled and changed in intensity at random.
      evaluation_batch: images that a program predicts at once.
      chunk: draws that are computed at once.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        shape: Sequence[int],
        classes: int,
        optimizer: Mapping[str, Any],
        *,
        augment: bool = False,
        evaluation_batch: int = 16,
        chunk: int = 1,
    ):
        self.config, self.shape, self.classes = config, tuple(shape), classes
        self.optimizer, self.augment = dict(optimizer), augment
        self.evaluation_batch, self.chunk = evaluation_batch, chunk
        self._making = threading.RLock()  # trainings side by side share programs

    @kept
    def network(self, name: str) -> networks.Network:
        """A network of the study."""
        return networks.build(name, self.config, self.shape, self.classes)

    def module(self, dropout: str) -> DropoutUNet:
        """The U-Net; `dropout` changes no parameter."""
        return self.network(dropout).module

    @kept
    def shapes(self, name: str) -> Any:
        """The shapes of a network's parameters."""
        return jax.eval_shape(self.network(name).init, jax.random.key(0), jnp.zeros((1, *self.shape)))

    # -- training ----------------------------------------------------------------------------------------------

    def start(self, name: str, key: jax.Array, learning_rate: float) -> state.TrainState:
        """The state before the first step."""
        with self._making:
            start = self._start(self.network(name).once)  # what is dropped changes no parameter
        return optimizers.with_learning_rate(start(key), learning_rate)

    @kept
    def _start(self, name: str) -> Callable:
        network = self.network(name)

        def start(key: jax.Array) -> state.TrainState:
            params = network.init(key, jnp.zeros((1, *self.shape)))
            return state.create({"params": params}, self._tx(params))

        return jax.jit(start, compiler_options=compiler.options_once())

    def step(self, name: str) -> Callable:
        """`(state, (images, labels, rows, beside), key) -> (state, metrics)`; the state is used up."""
        with self._making:
            return self._step(name)

    @kept
    def _step(self, name: str) -> Callable:
        network, changes = self.network(name), Augmentation(flips=(0, 1))

        def loss(params, collections, batch, keys):
            images, labels, rows, beside = batch

            def take(rows):
                if self.augment:
                    return augment_batch(keys["augmentation"], images[rows], labels[rows], changes)
                return images[rows], labels[rows]

            return network.loss(params, keys["dropout"], take, rows, beside).mean(), Aux()

        def step(current, batch, key):
            return train_step(loss, self._tx(current.params), streams=STREAMS)(current, batch, key)

        return jax.jit(step, donate_argnums=0, compiler_options=compiler.options())

    def _tx(self, params: Any) -> optax.GradientTransformation:
        return optimizers.build({**self.optimizer, "learning_rate": 0.0}, params)

    # -- prediction --------------------------------------------------------------------------------------------

    def predict(
        self, name: str, params: Any, images: np.ndarray, key: jax.Array | None = None, beside: Any = ()
    ) -> np.ndarray:
        """Probabilities `[n, height, width, class]` of one pass; the key is for networks that always draw."""
        key = jax.random.key(0) if key is None else key
        with self._making:
            program = self._predict(self.network(name).once)
        rows, _ = evaluation_batches(len(images), self.evaluation_batch)
        # one draw for all images, however many are predicted at once
        parts = [np.asarray(program(params, jax.random.clone(key), images[chosen], beside)) for chosen in rows]
        return np.concatenate(parts)[: len(images)]

    @kept
    def _predict(self, name: str) -> Callable:
        network = self.network(name)
        return jax.jit(
            lambda params, key, images, beside: uncertainty.probabilities(network.one(params, key, images, beside)),
            compiler_options=compiler.options(),
        )

    def sample(
        self, name: str, params: Any, beside: Any, key: jax.Array, images: np.ndarray, counts: Sequence[int]
    ) -> tuple[dict[int, Maps], np.ndarray]:
        """Maps after each of some numbers of draws, and the masks of all draws.

        Args:
          name: of the network.
          params: of the network.
          beside: what is given beside them.
          key: of the draws; fewer are the first of many.
          images: `[n, height, width, channel]`.
          counts: numbers of draws, increasing, 2 at least.

        Returns:
          `{count: Maps}` of `[n, height, width]` on the host, and bool `[n, most, height, width]`.
        """
        with self._making:
            program = self._sample(name, tuple(counts))
        rows, _ = evaluation_batches(len(images), self.evaluation_batch)
        keys = jax.random.split(key, len(rows))
        parts = [
            jax.device_get(program(params, beside, one, images[chosen])) for one, chosen in zip(keys, rows, strict=True)
        ]
        joined = jax.tree.map(lambda *arrays: np.concatenate(arrays)[: len(images)], *(maps for maps, _ in parts))
        bits = np.concatenate([bits for _, bits in parts])[: len(images)]
        return joined, np.asarray(uncertainty.unpack(bits, images.shape[1:-1]))

    @kept
    def _sample(self, name: str, counts: tuple[int, ...]) -> Callable:
        network = self.network(name)

        def program(params, beside, key, images):
            moments, masks = uncertainty.sample(
                network.sampler(params, beside),
                key,
                images,
                counts[-1],
                chunk=self.chunk,
                at=counts,
                masks=True,
                fixed=True,
            )
            maps = {count: uncertainty.maps(moments[count]) for count in counts}
            return maps, masks.bits

        return jax.jit(program, compiler_options=compiler.options())

    def spread(self, name: str, params: Any, key: jax.Array, images: np.ndarray) -> dict[str, np.ndarray]:
        """How far draws of a network differ in what is generated; see `networks.Bayesian.spread`."""
        with self._making:
            program = self._spread(name)
        return {key: np.asarray(value) for key, value in program(params, key, images).items()}

    @kept
    def _spread(self, name: str) -> Callable:
        return jax.jit(self.network(name).spread, compiler_options=compiler.options())


def of_passes(probabilities: np.ndarray) -> Maps:
    """Maps of networks that answer with one pass each, on the host.

    Args:
      probabilities: `[networks, n, height, width, class]`.
    """
    return Maps(*map(np.asarray, _maps_of(jnp.asarray(probabilities))))


_maps_of = jax.jit(lambda probabilities: uncertainty.maps(uncertainty.from_stacked(probabilities)))
