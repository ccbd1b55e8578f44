"""Training and sampling of the study's networks, compiled: dropout rate, places, learning rate and seed are values.

So one program trains all arms that drop channels, at every rate and place, and those that drop nothing; another one
all that drop activations; and one each the networks of other sources.
"""

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hyperlab import prng, uncertainty
from hyperlab.data import evaluation_batches
from hyperlab.data.augmentation import Augmentation, augment_batch
from hyperlab.studies.uncertainty.arms import find
from hyperlab.studies.uncertainty.sources.base import Problem, Source
from hyperlab.studies.uncertainty.sources.unet import OnePass
from hyperlab.train import compiler, groups, optimizers, rngs, schedules, state
from hyperlab.train.step import Aux, train_step

STREAMS = ("augmentation", "dropout")  # of random keys in a step
Maps = uncertainty.Maps


def defining(source: Source, *methods: str) -> type:
    """The class that a source has methods from, the last that defines any: its programs serve who inherits them all.

    >>> from hyperlab.studies.uncertainty import ARMS
    >>> [defining(ARMS[arm], "network", "loss").__name__ for arm in ("none", "spatial", "element")]
    ['OnePass', 'OnePass', 'ElementDropout']
    """
    return next(kind for kind in type(source).__mro__ if any(name in vars(kind) for name in methods))


class Programs:
    """The programs of the study's sources of uncertainty.

    Args:
      problem: what all of them are given.
      optimizer: the recipe of all networks, see `hyperlab.train.optimizers.recipe`.
      augment: whether training images are mirrored, turned, scaled and changed in intensity at random.
      evaluation_batch: images that a program predicts at once.
      chunk: draws that are computed at once.
    """

    def __init__(
        self,
        problem: Problem,
        optimizer: Mapping[str, Any],
        *,
        augment: bool = False,
        evaluation_batch: int = 16,
        chunk: int = 1,
    ):
        self.problem, self.optimizer, self.augment = problem, dict(optimizer), augment
        self.evaluation_batch, self.chunk = evaluation_batch, chunk
        self._made: dict[Hashable, Any] = {}
        self._making = threading.RLock()  # trainings side by side share programs

    def _once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        with self._making:
            if key not in self._made:
                self._made[key] = make()
            return self._made[key]

    def source(self, arm: str) -> Source:
        """An arm with its network.

        Raises:
          ConfigError: it cannot segment these images.
        """
        return self._once(("source", arm), lambda: find(arm).bound(self.problem))

    @property
    def unet(self) -> Source:
        """The U-Net that all others are compared with."""
        return self._once("unet", lambda: OnePass("").bound(self.problem))

    def shapes(self, source: Source) -> Any:
        """The shapes of a network's parameters."""
        make = lambda: jax.eval_shape(source.init, jax.random.key(0), self._image())  # noqa: E731
        return self._once(("shapes", defining(source, "network", "init")), make)

    def _image(self) -> jax.Array:
        return jnp.zeros((1, *self.problem.shape))

    # -- training ----------------------------------------------------------------------------------------------

    def start(self, source: Source, key: jax.Array, learning_rate: float, steps: int = 1) -> state.TrainState:
        """The state before the first step of so many."""
        start = self._once(("start", defining(source, "network", "init")), lambda: self._start(source))
        made = optimizers.with_learning_rate(groups.current().made(start, key), learning_rate)
        return schedules.with_length(made, steps)

    def _start(self, source: Source) -> Callable:
        def start(key: jax.Array) -> state.TrainState:
            params = source.init(key, self._image())
            return state.create({"params": params}, self._tx(params))

        return jax.jit(start, compiler_options=compiler.options_once())

    def step(self, source: Source) -> Callable:
        """`(state, (images, labels, rows, aux_inputs), key) -> (state, metrics)`; the state is used up."""
        return self._once(("step", defining(source, "network", "loss")), lambda: self._step(source))

    def _step(self, source: Source) -> Callable:
        changes = Augmentation(flips=(0, 1))

        def loss(params, collections, batch, keys):
            images, labels, rows, aux_inputs = batch

            def take(rows):
                if self.augment:
                    return augment_batch(keys["augmentation"], images[rows], labels[rows], changes)
                return images[rows], labels[rows]

            return source.loss(params, keys["dropout"], take, rows, aux_inputs).mean(), Aux()

        def step(current, batch, key):
            return train_step(loss, self._tx(current.params), streams=STREAMS)(current, batch, key)

        return compiler.Program(step, donate_argnums=0, compiler_options=compiler.options())

    def rows(self, source: Source) -> Callable:
        """`(key, step, rows of the images, aux_inputs) -> ` all rows that the step takes; the key is the step's."""
        if defining(source, "rows") is Source:
            return lambda key, step, rows, aux_inputs: rows
        return self._once(("rows", defining(source, "rows")), lambda: self._rows(source))

    def _rows(self, source: Source) -> Callable:
        def rows(key, step, rows, aux_inputs):
            return source.rows(rngs.stream(key, STREAMS[1], step), rows, aux_inputs)

        return compiler.Program(rows, compiler_options=compiler.options_once())

    def _tx(self, params: Any) -> optax.GradientTransformation:
        return optimizers.build(optimizers.recipe(self.optimizer, learning_rate=0.0), params)

    # -- answers -----------------------------------------------------------------------------------------------

    def answers(
        self,
        source: Source,
        params: Sequence[Any],
        images: np.ndarray,
        aux_inputs: Any,
        *,
        pass_key: jax.Array,
        draw_key: jax.Array,
        draws: Sequence[int],
    ) -> tuple[dict[str, Maps], np.ndarray | None]:
        """The maps of every answer of a source, see `Source.answers`, and the masks of its draws or networks.

        Args:
          source: with its network.
          params: of each network that answers.
          images: `[n, height, width, channel]`.
          aux_inputs: what is given beside them.
          pass_key: of one pass, for networks that always draw.
          draw_key: of the draws; fewer are the first of many.
          draws: numbers of draws, increasing, 2 at least.

        Returns:
          `{answer: Maps}` of `[n, height, width]` on the host, and bool `[n, several, height, width]`; None of one
          pass.
        """
        passes = np.stack([self.predict(source, one, images, pass_key, aux_inputs) for one in params])
        answers = {"pass": of_passes(passes[:1])}
        if source.ensemble:
            return answers | {str(len(passes)): of_passes(passes)}, np.moveaxis(passes, 0, 1).argmax(-1) > 0
        if not source.draws:
            return answers, None
        found, masks = self.sample(source, params[0], aux_inputs, draw_key, images, draws)
        return answers | {str(count): maps for count, maps in found.items()}, masks

    def predict(
        self, source: Source, params: Any, images: np.ndarray, key: jax.Array | None = None, aux_inputs: Any = ()
    ) -> np.ndarray:
        """Probabilities `[n, height, width, class]` of one pass; the key is for networks that always draw."""
        key = jax.random.key(0) if key is None else key
        program = self._once(("predict", defining(source, "network", "one_pass")), lambda: self._predict(source))
        rows, _ = evaluation_batches(len(images), groups.even(self.evaluation_batch))
        # one draw for all images, however many are predicted at once
        given = [(jax.random.clone(key), groups.deal(images[chosen]), aux_inputs) for chosen in rows]
        return np.concatenate([np.asarray(program(params, *one)) for one in given])[: len(images)]

    def _predict(self, source: Source) -> Callable:
        return compiler.Program(
            lambda params, key, images, aux_inputs: uncertainty.probabilities(
                source.one_pass(params, key, images, aux_inputs)
            ),
            "predict",
            compiler_options=compiler.options(),
        )

    def sample(
        self,
        source: Source,
        params: Any,
        aux_inputs: Any,
        key: jax.Array,
        images: np.ndarray,
        counts: Sequence[int],
    ) -> tuple[dict[int, Maps], np.ndarray]:
        """Maps after each of some numbers of draws, and the masks of all draws.

        Returns:
          `{count: Maps}` of `[n, height, width]` on the host, and bool `[n, most, height, width]`.
        """
        counts = tuple(counts)
        name = "sample", defining(source, "network", "sampler"), counts
        program = self._once(name, lambda: self._sample(source, counts))
        rows, _ = evaluation_batches(len(images), self.evaluation_batch)
        keys = prng.split(key, len(rows))
        parts = [
            jax.device_get(program(params, aux_inputs, one, groups.deal(images[chosen])))
            for one, chosen in zip(keys, rows, strict=True)
        ]
        joined = jax.tree.map(lambda *arrays: np.concatenate(arrays)[: len(images)], *(maps for maps, _ in parts))
        bits = np.concatenate([bits for _, bits in parts])[: len(images)]
        return joined, np.asarray(uncertainty.unpack(bits, images.shape[1:-1]))

    def _sample(self, source: Source, counts: tuple[int, ...]) -> Callable:
        def program(params, aux_inputs, key, images):
            moments, masks = uncertainty.sample(
                source.sampler(params, aux_inputs),
                key,
                images,
                counts[-1],
                chunk=self.chunk,
                at=counts,
                masks=True,
                fixed=True,
            )
            return {count: uncertainty.maps(moments[count]) for count in counts}, masks.bits

        return compiler.Program(program, "sample", compiler_options=compiler.options())

    def spread(self, source: Source, params: Any, key: jax.Array, images: np.ndarray) -> dict[str, np.ndarray]:
        """How far the networks of a source differ, see `Source.spread`."""
        make = lambda: jax.jit(source.spread, compiler_options=compiler.options())  # noqa: E731
        program = self._once(("spread", defining(source, "network", "spread")), make)
        return {name: np.asarray(value) for name, value in program(params, key, images).items()}


def of_passes(probabilities: np.ndarray) -> Maps:
    """Maps of networks that answer with one pass each, on the host.

    Args:
      probabilities: `[networks, n, height, width, class]`.
    """
    return Maps(*map(np.asarray, _maps_of(jnp.asarray(probabilities))))


_maps_of = jax.jit(lambda probabilities: uncertainty.maps(uncertainty.from_stacked(probabilities)))
