"""UniverSeg at several resolutions: query and support set are rescaled by phi before it, its answer back after it.

UniverSeg's down-samplings are fixed (maxima of 2x2 pixels), so phi cannot be their factor. It is that of the images
themselves, which decides what the whole network costs: phi = 0.5 is a quarter of the multiply-accumulates. Parameters
are generated from phi, or one UniverSeg sees all factors. Each factor is a branch of one program, with its own sizes.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from ml_collections import ConfigDict

from hyperlab import prng
from hyperlab.data.splits import philox
from hyperlab.errors import ConfigError
from hyperlab.in_context.programs import Programs
from hyperlab.tasks.generated import Generated, root_mean_square
from hyperlab.tasks.in_context import InContext
from hyperlab.train.units import memoize_method

_STREAM = 31  # of the random words, apart from those of episodes


class Placed(NamedTuple):
    """What a step sees: batches, each at a factor of its own.

    Attributes:
      episodes: indices, see `data.in_context.Sampler`; leaves `[batches, batch, ...]`.
      place: int32 `[batches]`, which of the factors.
    """

    episodes: Any
    place: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Rescaled:
    """A network in the place of a module: called with images of the full size, it works at one of several sizes.

    Attributes:
      module: the network.
      theta: `(params, factor [1]) -> ` its parameters.
      factors: of the sizes.
      place: which of them, a number or a traced one.
    """

    module: nn.Module
    theta: Callable
    factors: tuple[float, ...]
    place: Any = 0

    def apply(self, variables: PyTree, target: jax.Array, *support: jax.Array) -> jax.Array:
        """Logits `[batch, height, width, 1]` of a target of that size."""
        branches = [functools.partial(self._at, factor) for factor in self.factors]
        if isinstance(self.place, int):
            return branches[self.place](variables["params"], target, *support)
        return jax.lax.switch(self.place, branches, variables["params"], target, *support)

    def _at(self, factor: float, params: PyTree, *images: jax.Array) -> jax.Array:
        theta = self.theta(params, jnp.array([factor], jnp.float32))
        return rescaled(self.module, theta, factor, *images)


def rescaled(module: nn.Module, theta: PyTree, factor: float, *images: jax.Array) -> jax.Array:
    """The logits of a network that works at a share of the images' size.

    Args:
      module: the network.
      theta: its parameters.
      factor: of the sides.
      *images: target and support set, `[..., height, width, 1]`.
    """
    full = images[0].shape
    sides = [round(factor * side) for side in full[-3:-1]]
    smaller = [jax.image.resize(x, (*x.shape[:-3], *sides, 1), "linear") for x in images] if factor != 1 else images
    logits: Any = module.apply({"params": theta}, *smaller)
    return jax.image.resize(logits, full, "linear") if factor != 1 else logits


def check_factors(given: Any) -> None:
    """Refuses factors at which the network cannot work.

    Args:
      given: the config's group `tasks`.

    Raises:
      ConfigError: a factor at which the sides are no multiples of what the levels need.
    """
    multiple = 2 ** (len(given.widths) - 1)
    for factor in map(float, given.factors):
        sides = [factor * side for side in given.size]
        if not 0 < factor <= 1 or any(side % multiple for side in sides):
            raise ConfigError(
                f"tasks.factors: at {factor:g} images of {tuple(given.size)} have sides {sides}, expected "
                f"multiples of {multiple} and factors in (0, 1]"
            )


class InContextScales(Generated, InContext):
    """UniverSeg at several resolutions on a store of tasks; see `InContext` for the arguments, `Task` for the parts.

    Raises:
      ConfigError: a factor at which the sides are no multiples of what the levels need.
    """

    def __init__(self, config: ConfigDict, folder: Path):
        given = config.tasks
        self.factors = self.branches = tuple(map(float, given.factors))  # a task at one point has all branches
        check_factors(given)
        super().__init__(config, folder)
        self.module = self.programs.module
        example = self.programs.inputs(jnp.zeros((1, *self.programs.size, 1)))
        self.generate(given.network, self.module, example, low=0.0, high=1.0, hidden=config.hypernet.hidden)
        self.architecture += f", {self.conditioning}"
        self.notes = (
            "phi is the factor by which query and support set are rescaled before the network, drawn at every step "
            f"from {', '.join(f'{factor:g}' for factor in self.factors)}; Dice is measured at the full size.",
            self.counted,
        )

    def init(self, key: jax.Array) -> PyTree:
        """Fresh parameters: those of UniverSeg, or of the hypernetwork with theta0."""
        return super().init(key) if self.model is None else self.model.init(key)

    def indices(self, seed: int, step: int) -> Placed:
        """One batch of episodes, and the place of its factor."""
        place = int(philox(seed, step, stream=_STREAM).random_raw(1)[0]) % len(self.branches)
        place = place if self.always is None else self.branches.index(self.always)
        episodes = jax.tree.map(lambda leaf: leaf[None], super().indices(seed, step))
        return Placed(episodes, np.array([place], np.int32))

    def select(self, examples: Any, indices: Placed) -> tuple[Any, Placed]:
        """By the episodes."""
        part, episodes = super().select(examples, indices.episodes)
        return part, indices._replace(episodes=episodes)

    def loss(self, params, collections, examples, indices: Placed, keys: Mapping[str, jax.Array]):
        """Cross-entropy and soft Dice of augmented episodes, at the full size; of several batches the mean."""

        def one(drawn: Placed, keys: Mapping[str, jax.Array]) -> jax.Array:
            return self.episode_loss(self._at(drawn.place), params, examples, drawn.episodes, keys)[0]

        batches = len(indices.place)
        if batches == 1:
            return one(_first(indices), keys), None
        own = {name: prng.split(key, batches) for name, key in keys.items()}
        return jax.lax.map(lambda batch: one(*batch), (indices, own)).mean(), None

    def _at(self, place: Any) -> Programs:
        module: Any = Rescaled(self.module, self.theta, self.branches, place)  # called as a module is
        return dataclasses.replace(self.programs, module=module)

    def deterministic_loss(self, params, collections, examples, indices: Placed) -> jax.Array:
        """The same loss of episodes as they are, mean over the fixed factors."""
        losses = [self._still_at(self.theta(params, at), float(at[0]), examples, indices) for at in self.fixed()]
        return jnp.stack(losses).mean()

    def _still_at(self, theta: PyTree, factor: float, examples: PyTree, indices: Placed) -> jax.Array:
        episode = examples.gather(_first(indices).episodes)
        images = (episode.query_images, episode.support_images, episode.support_labels)
        return self.programs.single(rescaled(self.module, theta, factor, *images), episode.query_labels).mean()

    def gradients(self, params: PyTree, collections: PyTree, examples: PyTree, indices: Placed) -> PyTree:
        """Root mean squares of the gradient by theta over the fixed factors, or the gradient by the parameters."""
        if self.model is None:
            return super().gradients(params, collections, examples, indices)
        found = [
            jax.grad(self._still_at)(self.theta(params, at), float(at[0]), examples, indices) for at in self.fixed()
        ]
        return jax.tree.map(lambda *leaves: root_mean_square(jnp.stack(leaves)), *found)

    @property
    @memoize_method
    def _programs_at(self) -> dict[float, Programs]:
        return {factor: self._at(place) for place, factor in enumerate(self.branches)}

    def measure(self, variables: PyTree, part: str) -> dict[str, np.ndarray]:
        """`dice` of every query, one task after the other: the mean over the fixed factors, and at each of them."""
        at = {f"dice_at_{f:.3g}": self.dice(self._programs_at[f], variables, part) for f in self.factors}
        return {"dice": np.mean(list(at.values()), axis=0), **at}

    def example_at(self, factor: float) -> tuple[Callable, tuple[Any, ...]]:
        """One query with its support set, at a factor."""
        _, inputs = InContext.example(self)
        return lambda theta, *images: rescaled(self.module, theta, factor, *images), inputs


def _first(indices: Placed) -> Placed:
    return jax.tree.map(lambda leaf: leaf[0], indices)


def load(config: ConfigDict, folder: Path) -> InContextScales:
    """The task of a config."""
    return InContextScales(config, folder)
