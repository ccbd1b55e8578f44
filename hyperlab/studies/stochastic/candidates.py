"""Networks that draw, and the candidates of every arm: several masks of each query.

A candidate is a binary mask: where its probability is above 1/2.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab import losses, prng
from hyperlab.data.loaders import evaluation_batches
from hyperlab.in_context.programs import SMOOTH, Programs
from hyperlab.in_context.stochastic import augmented_candidates, noise_candidates
from hyperlab.train import compiler, groups

_LOSSES = {"best": losses.best_candidate_dice, "mean": losses.mean_candidate_dice}


@dataclasses.dataclass(frozen=True, eq=False)
class CandidatePrograms(Programs):
    """A network whose candidates differ by noise at the input, trained with a loss of all of them.

    Attributes: those of `Programs`, with a module that is called as `hyperlab.models.Tyche` is, and:
      candidates: in training.
      loss: `best` or `mean`.
    """

    candidates: int = 4
    loss: str = "best"

    def inputs(self, image):
        one = image[:, None]
        return one, one, one, one

    def _objective(self, params, key, queries, labels, support):
        logits = _with_noise(self.module, params, key, queries, self.candidates, *support)
        return _LOSSES[self.loss](logits, labels, smooth=SMOOTH)


@dataclasses.dataclass(frozen=True, eq=False)
class DropoutPrograms(Programs):
    """A network that draws what it drops; `predict` drops nothing."""

    def _objective(self, params, key, queries, labels, support):
        dropped = functools.partial(self.module.apply, rngs={"dropout": key})
        return self.single(dropped({"params": params}, queries, *support), labels)


def masks(
    answers: str, programs: Programs, params: Any, key: jax.Array, queries: np.ndarray, support: Callable, count: int
) -> np.ndarray:
    """The candidates of a network for some queries, bool `[n, count, height, width]`; see `noise_masks` for `noise`.

    Args:
      answers: how they come about, one of `arms.ANSWERS`.
      programs: of the network.
      params: of the network; for `networks` a list of as many as there are candidates, or more.
      key: what is drawn is a function of it, but for support sets.
      queries: float32 `[n, height, width, 1]`.
      support: candidate's number -> support set; all candidates but those of `draws` have number 0.
      count: candidates.
    """
    if answers == "draws":
        return _stacked(programs.predict(params, queries, *support(index)) for index in range(count))
    if answers == "networks":
        return _stacked(programs.predict(one, queries) for one in params[:count])
    program = _program(programs.module, answers, count)
    examples = support(0) if programs.in_context else ()
    rows, _ = evaluation_batches(len(queries), programs.evaluation_batch)
    keys = prng.split(key, len(rows))
    given = [(one, groups.deal(queries[chosen])) for one, chosen in zip(keys, rows, strict=True)]
    parts = [np.asarray(program(params, *one, *examples)) for one in given]
    return np.concatenate(parts)[: len(queries)]


def noise_masks(
    key: jax.Array, probabilities: np.ndarray, count: int, scale: float, smoothness: float
) -> np.ndarray:  # fmt: skip
    """Candidates of the control, bool `[n, count, height, width]`: `in_context.stochastic.noise_candidates` above 1/2.

    Args:
      key: of the noise.
      probabilities: `[n, height, width, 1]`, of a deterministic network.
      count: candidates.
      scale: of the noise, in units of a logit.
      smoothness: in pixels.
    """
    return np.asarray(_noise_program(count, smoothness)(key, probabilities, scale))


def _stacked(probabilities) -> np.ndarray:
    return np.stack([one[..., 0] > 0.5 for one in probabilities], 1)


def _with_noise(module, params, key, queries, count, images, labels):
    target = jnp.broadcast_to(queries[:, None], (len(queries), count, *queries.shape[1:]))
    return module.apply({"params": params}, target, prng.normal(key, target.shape), images, labels)


@functools.cache  # of a module and not of programs: arms that differ in their loss alone share programs
def _program(module: Any, answers: str, count: int) -> Callable:
    """`(params, key, queries [n, ...], support set...) -> masks [n, count, height, width]`, compiled."""

    def logits(params, key, queries, *support):
        sets = [jnp.broadcast_to(one, (len(queries), *one.shape)) for one in support]
        if answers == "channel":
            return _with_noise(module, params, key, queries, count, *sets)
        if answers == "dropout":
            drawn = module.apply({"params": params}, jnp.repeat(queries, count, 0), rngs={"dropout": key})
            return drawn.reshape(len(queries), count, *drawn.shape[1:])
        images, labels = sets
        predict = functools.partial(module.apply, {"params": params})
        where = {"augmented": "both", "augmented_target": "target", "augmented_context": "context"}[answers]
        return augmented_candidates(key, predict, queries, images, labels, count, where=where)

    masks = lambda *inputs: logits(*inputs)[..., 0] > 0  # noqa: E731
    return compiler.Program(masks, "candidates", compiler_options=compiler.options())


@functools.cache
def _noise_program(count: int, smoothness: float) -> Callable:
    def drawn(key, probabilities, scale):
        return noise_candidates(key, probabilities, count, scale, smoothness)[..., 0] > 0.5

    return compiler.Program(drawn, "candidates")
