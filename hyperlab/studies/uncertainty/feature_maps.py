"""How independent the feature maps of a network are, nothing being dropped, and what it can spare of them."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hyperlab.errors import DataError
from hyperlab.metrics.defined import mean_defined
from hyperlab.studies.uncertainty.data import EvalSplit
from hyperlab.train.units import Measurements
from hyperlab.uncertainty import features, proper

PROBED = "*_dropout"  # the output of every block, where it may be dropped
REMOVALS = 4  # draws of the channels that are removed


def measures(module: nn.Module, params: Any, split: EvalSplit, removed: float, seed: int) -> Measurements:
    """Measures of a U-Net's feature maps.

    Args:
      module: the U-Net.
      params: of it.
      split: images, and labels that tell foreground from background.
      removed: share of the channels that is removed.
      seed: of the pixels, and of which channels.

    Returns:
      Over the outputs of all blocks, within foreground and background: `<region>/mean_absolute`, `/above_half`,
      `/effective_rank` (as a share of the channels), `/live` (a share); `layers`, how many have places enough.
      `kept_dice`, `[n]`: of the mask when a share of every block's channels is removed, mean over draws of which.
    """
    found: dict[str, list[float]] = {}
    outputs, layers = _capture(module)({"params": params}, jnp.asarray(split.images)), 0
    for activations in outputs.values():
        try:
            regions = features.region_pixels(activations, split.labels, seed=seed)
        except DataError:  # a layer too coarse for any of its places to lie within an object
            continue
        layers += 1
        for region, values in regions.items():
            for name, value in _shares(_independence(values)).items():
                found.setdefault(f"{region}/{name}", []).append(float(value))
    forward = _without(module, removed)
    images, labels = jnp.asarray(split.images), jnp.asarray(split.labels)
    keys = jax.random.split(jax.random.key(seed), REMOVALS)
    kept = [np.asarray(_dice(forward(key, {"params": params}, images), labels)) for key in keys]
    result = {name: mean_defined(np.array(values)) for name, values in found.items()}
    return result | {"layers": np.array(layers), "kept_dice": np.mean([mean_defined(one) for one in kept], 0)}


def _shares(one: features.Independence) -> dict[str, Any]:
    return {
        "mean_absolute": one.mean_absolute,
        "above_half": one.above_half,
        "effective_rank": one.effective_rank / one.channels,
        "live": one.live / one.channels,
    }


@functools.cache
def _capture(module: nn.Module):
    return jax.jit(lambda variables, images: features.capture(module, variables, images, PROBED))


@functools.cache
def _without(module: nn.Module, share: float):
    forward = features.without_channels(module, PROBED, share)
    return jax.jit(lambda key, variables, images: jax.nn.softmax(forward(key, variables, images)))


_dice = jax.jit(lambda probabilities, labels: proper.overlap(probabilities, labels).dice)
_independence = jax.jit(features.independence)
