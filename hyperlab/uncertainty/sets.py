"""How much the masks of several draws differ as wholes: in shape and in area.

Pixel by pixel, masks that differ along every border and masks of which one lacks an object can look alike; these
measures tell them apart. Empty masks are defined throughout, so that no image is left out: nothing and nothing
agree, and nothing has no spread.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from hyperlab.errors import DataError
from hyperlab.metrics.candidates import overlap


class Structure(NamedTuple):
    """Measures of the masks of each image, float32 `[n]`.

    Attributes:
      pairwise_dice: the mean Dice of two different masks; 1 where all are the same.
      consensus_dice: the mean Dice of a mask with the consensus.
      iou: the pixels in all masks over the pixels in any.
      area_variation: the standard deviation of the area (with 1/T) over its mean; 0 where all are the same.
    """

    pairwise_dice: Float[Array, " n"]
    consensus_dice: Float[Array, " n"]
    iou: Float[Array, " n"]
    area_variation: Float[Array, " n"]


def structure(masks: Bool[Array, "n T *spatial"], consensus: Bool[Array, " n *spatial"] | None = None) -> Structure:
    """How much several masks of an image agree.

    Args:
      masks: bool `[n, T, *spatial]`, with T of 2 at least; `unpack` makes them of what `sample` keeps.
      consensus: bool `[n, *spatial]`, by default the pixels that more than half of the masks have. Of the mean
        probability it is `mean.argmax(-1) > 0`, which may differ.

    Returns:
      A `Structure`. The Dice of two empty masks is 1, that of an empty and another mask 0; images whose masks are
      all empty have an IoU of 1 and an area variation of 0.

    Raises:
      DataError: masks that are not bool, fewer than two, a consensus of another shape.

    >>> found = structure(jnp.array([[[1, 1, 0, 0], [1, 1, 1, 1]], [[0, 0, 0, 0], [0, 0, 0, 0]]], bool))
    >>> found.iou, found.area_variation
    (Array([0.5, 1. ], dtype=float32), Array([0.33333334, 0.        ], dtype=float32))
    >>> found.pairwise_dice, found.consensus_dice
    (Array([0.6666667, 1.       ], dtype=float32), Array([0.8333334, 1.       ], dtype=float32))

    (As measures of uncertainty: Roy et al., 2019, "Bayesian QuickNAT".)
    """
    if masks.dtype != bool or masks.ndim < 3 or masks.shape[1] < 2:
        raise DataError(f"masks are {masks.dtype} {masks.shape}; expected bool [n, T, *spatial] with T of 2 at least")
    count = masks.shape[1]
    votes = masks.sum(1)
    if consensus is None:
        consensus = 2 * votes > count
    if consensus.dtype != bool or consensus.shape != votes.shape:
        raise DataError(f"the consensus is {consensus.dtype} {consensus.shape}; expected bool {votes.shape}")
    pairs = overlap(masks, masks, "dice")
    others = jnp.where(jnp.eye(count, dtype=bool)[None], 0, pairs).sum((1, 2)) / (count * (count - 1))
    pixels = tuple(range(1, votes.ndim))
    everywhere, anywhere = (votes == count).sum(pixels), (votes > 0).sum(pixels)
    areas = masks.reshape(*masks.shape[:2], -1).sum(-1).astype(jnp.float32)
    mean = areas.mean(1)
    return Structure(
        pairwise_dice=others,
        consensus_dice=overlap(masks, consensus[:, None], "dice").mean((1, 2)),
        iou=jnp.where(anywhere > 0, everywhere / jnp.maximum(anywhere, 1), 1.0),
        area_variation=areas.std(1) / jnp.maximum(mean, 1 / count),
    )


def unpack(
    bits: UInt8[Array | np.ndarray, "n T bytes"], spatial: Sequence[int]
) -> Bool[Array | np.ndarray, "n T *spatial"]:
    """Masks from one bit a pixel: bool `[n, T, *spatial]`.

    Args:
      bits: uint8 `[n, T, bytes]`, as `sample` keeps them; an array of NumPy stays one.
      spatial: the size of the images.

    Raises:
      DataError: bytes that do not fit the size.

    >>> unpack(np.array([[[0b01100000]]], np.uint8), (2, 2)).tolist()
    [[[[False, True], [True, False]]]]
    """
    pixels = int(np.prod(spatial))
    size = -(-pixels // 8)
    if bits.dtype != np.uint8 or bits.ndim != 3 or bits.shape[-1] != size:
        raise DataError(f"bits are {bits.dtype} {bits.shape}; expected uint8 [n, T, {size}] of {tuple(spatial)}")
    array = np if isinstance(bits, np.ndarray) else jnp
    return array.unpackbits(bits, axis=-1, count=pixels).reshape(*bits.shape[:2], *spatial).astype(bool)
