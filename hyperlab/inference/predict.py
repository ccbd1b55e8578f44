"""A saved network on an image of any size: maps of its draws, from overlapping windows of one size.

An image is brought to the scale of the training images first, and what is found goes back to the image's own pixels: a
network that saw cells of 10 pixels does not know those of 40.

Every window is drawn with the same keys, and a draw drops the same for all windows: draw t is one network, whatever the
place. Where windows overlap, their moments are averaged, and maps are made of those: so where windows disagree
about the mean, this is part of the epistemic map. The sums over windows are on the host.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from hyperlab.data.resample import as_size, resample_image
from hyperlab.errors import ConfigError, DataError
from hyperlab.inference.saved import Saved
from hyperlab.inference.tiles import tiled
from hyperlab.models import UNet
from hyperlab.models.receptive import receptive_field
from hyperlab.seeds import check_seed
from hyperlab.uncertainty import Maps, Moments, dropout, maps, sample

SAMPLES = 20
SMALLEST = 5  # pixels of an object that is worth a row: single pixels are noise of the mask


def check_samples(samples: int) -> None:
    """Refuses fewer than 2 draws, before anything is read.

    Raises:
      ConfigError: see above.

    >>> check_samples(1)
    Traceback (most recent call last):
    hyperlab.errors.ConfigError: 1 samples have no spread; expected 2 or more (20 are usual)
    """
    if samples < 2:
        raise ConfigError(f"{samples} samples have no spread; expected 2 or more ({SAMPLES} are usual)")


def predictor(
    saved: Saved,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    window: int | Sequence[int] | None = None,
    scale: float | None = None,
    overlap: float = 0.5,
    batch: int = 4,
) -> Callable[[np.ndarray], Maps]:
    """A function from the pixels of an image to its maps; one program, compiled at the first call.

    Args:
      saved: the network.
      samples: draws, 2 or more.
      seed: of the draws.
      window: `(height, width)`, or one number for both; by default the network's own.
      scale: of the images that are given: the network's pixels for each of theirs; by default as in its training.
      overlap: the share of a window that its neighbour covers too.
      batch: windows a call.

    Returns:
      `(pixels [height, width, channel]) -> Maps` of host arrays `[height, width]`, the mean `[height, width, class]`.

    Raises:
      ConfigError: fewer than 2 samples; a seed that is none; a network without layers that draw (the layers that were
        looked for are named). The function raises DataError where an image has another number of channels.
    """
    check_samples(samples)
    check_seed(seed)
    window = saved.window if window is None else as_size(window, 2)
    scale = saved.scale if scale is None else scale

    def moments_of(variables: PyTree, windows: jax.Array) -> jax.Array:
        draws = dropout(saved.module.apply, variables, share_masks=True)
        found = sample(draws, jax.random.key(seed), windows, samples, temperature=saved.temperature)
        return jnp.concatenate([found.mean, found.deviations, found.entropy[..., None], found.votes], -1)

    compiled = jax.jit(moments_of)
    shape = jax.ShapeDtypeStruct((batch, *window, saved.channels), jnp.float32)
    # traced here already, so that a network that draws nothing is refused before an image is read
    classes = (jax.eval_shape(moments_of, saved.variables, shape).shape[-1] - 1) // 3

    def predict(pixels: np.ndarray) -> Maps:
        if pixels.shape[-1] != saved.channels:
            raise DataError(f"the image has {pixels.shape[-1]} channels, the network was trained on {saved.channels}")
        own = pixels.shape[:2]
        pixels = resample_image(pixels, [max(1, round(scale * n)) for n in own])
        packed = tiled(lambda each: compiled(saved.variables, each), pixels, window, overlap=overlap, batch=batch)
        packed = resample_image(packed, own)
        mean, deviations, entropy, votes = np.split(packed, np.cumsum([classes, classes, 1]), axis=-1)
        arrays = map(jnp.asarray, (np.float32(samples), mean, deviations, entropy[..., 0], votes))
        return jax.device_get(maps(Moments(*arrays)))

    return predict


def window_warning(saved: Saved, window: Sequence[int]) -> str:
    """What is wrong with a window smaller than what a pixel of the output depends on; empty where nothing is.

    The interior of a larger image is then seen as if a border were near, and windows differ by where they lie.
    """
    if not isinstance(saved.module, UNet):
        return ""
    needed = receptive_field(saved.module)
    if min(window) >= needed:
        return ""
    return (
        f"a window of {'x'.join(map(str, window))} is smaller than the receptive field of the network: pixels of its "
        f"output depend on up to {needed}x{needed} pixels; give a window of {needed} or more"
    )
