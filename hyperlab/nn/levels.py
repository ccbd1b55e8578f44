"""The levels of a network whose images are resized: exact sizes, or traced sizes on canvases."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Real, Shaped

from hyperlab.errors import ConfigError
from hyperlab.nn.resize import Sizes, mask_canvas, resize, resize_canvas, valid_region


@dataclasses.dataclass(frozen=True)
class Exact:
    """Levels of static sizes: everything is valid.

    Attributes:
      sizes: one for each level, the images' own first.
    """

    sizes: Sizes

    @classmethod
    def of(cls, sizes: Any, spatial: Sequence[int], count: int) -> "Exact":
        """The levels of images of a spatial shape.

        Raises:
          ConfigError: sizes are traced, or fit neither the images nor the number of levels.
        """
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(sizes)):
            raise ConfigError("sizes are traced: give canvases= (see plan), or make them static in jax.jit")
        return cls(_checked(sizes, "sizes", spatial, count))

    def resize(
        self, images: Real[Array, "batch *spatial channel"], source: int, target: int
    ) -> Real[Array, "batch *size channel"]:
        """Features of level `source` at the size of level `target`."""
        return resize(images, self.sizes[target])

    def masked(
        self, images: Shaped[Array, "batch *spatial channel"], level: int
    ) -> Shaped[Array, "batch *spatial channel"]:
        """Features as they are."""
        return images

    def mask(self, level: int) -> None:
        """No mask."""
        return None


@dataclasses.dataclass(frozen=True)
class Canvas:
    """Levels of traced sizes inside zero-masked canvases; the first is the images' own size, which is always full.

    Attributes:
      sizes: int32 `[levels, dims]`.
      canvases: static, one for each level.
    """

    sizes: jax.Array
    canvases: Sizes

    @classmethod
    def of(cls, sizes: Any, canvases: Any, spatial: Sequence[int], count: int) -> "Canvas":
        """The levels of images of a spatial shape.

        Raises:
          ConfigError: canvases fit neither the images nor the number of levels, or are smaller than a size (which
            is seen only where sizes are not traced; `bucket_of` always sees it).
        """
        canvases = _checked(canvases, "canvases", spatial, count)
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(sizes)):
            for level, size in enumerate(_checked(sizes, "sizes", spatial, count)):
                if any(n > limit for n, limit in zip(size, canvases[level], strict=True)):
                    raise ConfigError(f"the canvas {canvases[level]} of level {level} is smaller than the size {size}")
        sizes = jnp.asarray(sizes, jnp.int32)
        if sizes.shape != (count, len(spatial)):
            raise ConfigError(f"sizes of shape {sizes.shape} for {count} levels and {len(spatial)} spatial axes")
        return cls(sizes, canvases)

    def resize(
        self, images: Real[Array, "batch *canvas channel"], source: int, target: int
    ) -> Real[Array, "batch *other channel"]:
        """Features of level `source` at the size of level `target`, on its canvas."""
        return resize_canvas(images, self.sizes[source], self.sizes[target], self.canvases[target])

    def masked(
        self, images: Shaped[Array, "batch *canvas channel"], level: int
    ) -> Shaped[Array, "batch *canvas channel"]:
        """Features with zeros outside of the level's size."""
        return mask_canvas(images, self.sizes[level]) if level else images

    def mask(self, level: int) -> Bool[Array, "1 *canvas 1"] | None:
        """The valid region of a level, bool `[1, *canvas, 1]`; None where it is everything."""
        return valid_region(self.canvases[level], self.sizes[level]) if level else None


Levels = Exact | Canvas


def _checked(sizes: Any, what: str, spatial: Sequence[int], count: int) -> Sizes:
    spatial = tuple(spatial)
    try:
        array = np.array(sizes)
    except ValueError:  # ragged
        array = np.zeros(0, int)
    if array.shape != (count, len(spatial)) or not np.issubdtype(array.dtype, np.integer) or array.min() < 1:
        raise ConfigError(
            f"{what} {sizes}: expected {count} of them, each {len(spatial)} ints of at least 1; see Pyramid and plan"
        )
    if tuple(array[0]) != spatial:
        raise ConfigError(f"{what} of the first level are {tuple(map(int, array[0]))}; the images have {spatial}")
    return tuple(tuple(int(n) for n in size) for size in array)
