"""The noise of the control: as diverse as Tyche's candidates are, chosen on development tasks."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab.errors import ConfigError
from hyperlab.in_context.stochastic import matching_scale
from hyperlab.metrics.candidates import sample_diversity
from hyperlab.studies.stochastic.annotated import AnnotatedTarget
from hyperlab.studies.stochastic.candidates import noise_masks
from hyperlab.studies.stochastic.scoring import scores
from hyperlab.train.units import Measurements

_DROWNED = 1e3  # a scale at which nothing but the noise is left


class Noise(NamedTuple):
    """Smooth noise on logits.

    Attributes:
      scale: in units of a logit.
      smoothness: in pixels.
    """

    scale: float
    smoothness: float


def fit(
    key: jax.Array,
    predicted: Sequence[np.ndarray],
    targets: Sequence[AnnotatedTarget],
    *,
    diversity: float,
    count: int,
    smoothness: Sequence[float],
) -> tuple[Noise, Measurements]:
    """The noise that is as diverse as wanted; of several the one with the lowest unbiased GED.

    Args:
      key: of the noise.
      predicted: probabilities `[n, height, width, 1]` for the queries of each target.
      targets: development tasks.
      diversity: wanted.
      count: candidates.
      smoothness: to try.

    Returns:
      The noise, and the measurements `noise/scale`, `noise/smoothness`, `noise/wanted` and `noise/reached`.
    """
    joined, ends = np.concatenate(predicted), np.cumsum([len(one) for one in predicted])[:-1]
    tried = []
    for smooth in smoothness:
        scale = _matched(jax.random.clone(key), joined, diversity, count, smooth)
        drawn = noise_masks(jax.random.clone(key), joined, count, scale, smooth)
        parts = zip(np.split(drawn, ends), targets, strict=True)
        distance = np.mean([scores({count: one}, target)["ged"].mean() for one, target in parts])
        tried.append((float(distance), scale, smooth, diversity_of(drawn)))
    _, scale, smooth, reached = min(tried)
    found = {"scale": scale, "smoothness": smooth, "wanted": diversity, "reached": reached}
    return Noise(scale, smooth), {f"noise/{name}": np.array(float(value)) for name, value in found.items()}


def _matched(key: jax.Array, probabilities: np.ndarray, diversity: float, count: int, smoothness: float) -> float:
    """The scale at which noise is as diverse as wanted; where none is, that of noise alone, which the report shows."""
    try:
        return matching_scale(key, probabilities, diversity, count=count, smoothness=smoothness)
    except ConfigError:
        return _DROWNED


def diversity_of(masks: np.ndarray) -> float:
    """Unbiased diversity of candidates `[n, count, height, width]`, mean over queries."""
    return float(sample_diversity(jnp.asarray(masks), unbiased=True).mean())
