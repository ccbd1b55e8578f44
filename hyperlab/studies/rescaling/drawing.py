"""What is drawn for a step, on the host: a function of the seed and the step, for processes that read ahead.

Nothing here holds a network or a lock, so that all of it can be pickled.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from hyperlab.data.factors import Prior
from hyperlab.data.splits import philox
from hyperlab.nn import Pyramid
from hyperlab.studies.rescaling import slimmable


class Batch(NamedTuple):
    """One step: which examples, at which factors; the loss is the mean over the factors.

    Attributes:
      indices: int32 `[batch]`.
      factors: float32 `[factors, 1]`.
      sizes: int32 `[factors, levels, dims]`, with one level more where images are rescaled.
      zoom: float32 `[batch]`, how much each image is magnified.
      width: int32 `[1]`, which of the widths of a slimmable network.
    """

    indices: np.ndarray
    factors: np.ndarray
    sizes: np.ndarray
    zoom: np.ndarray
    width: np.ndarray

    @classmethod
    def at(
        cls,
        pyramid: Pyramid,
        factors: Sequence[float],
        indices: np.ndarray,
        zoom: np.ndarray | None = None,
        width: int = 0,
    ) -> "Batch":
        """A batch for one or more factors, whose sizes are made here."""
        zoom = np.ones(len(indices), np.float32) if zoom is None else zoom.astype(np.float32)
        sizes = np.array([pyramid.sizes(factor) for factor in factors], np.int32)
        return cls(indices, np.array(factors, np.float32)[:, None], sizes, zoom, np.array([width], np.int32))


class Drawn(NamedTuple):
    """The factors of a step: those that never change, and one from a prior after them."""

    prior: Prior | None
    fixed: tuple[float, ...] = ()

    def beside(self, factor: float) -> tuple[float, ...]:
        """All of a step for which this one was drawn."""
        return (*self.fixed, factor)

    def of(self, draws: int, step: int) -> tuple[float, ...]:
        """All of a step."""
        return self.fixed if self.prior is None else self.beside(self.prior.draw(draws, step))


@dataclasses.dataclass(frozen=True)
class Drawing:
    """`step -> Batch`.

    Attributes:
      draws: the seed.
      numbers: `step -> ` numbers of examples, `[batch]`.
      pyramid: of sizes.
      factors: of a step.
      zoom: images are magnified by a factor between its inverse and it; 1: they are not.
      widths: how many a slimmable network has.
    """

    draws: int
    numbers: Callable[[int], np.ndarray]
    pyramid: Pyramid
    factors: Drawn
    zoom: float = 1.0
    widths: int = 1

    def __call__(self, step: int) -> Batch:
        """What is drawn for a step."""
        indices, zoom = self.numbers(step), None
        if self.zoom != 1:
            words = np.random.Generator(philox(self.draws, step, stream=3))
            zoom = self.zoom ** words.uniform(-1, 1, len(indices))
        width = slimmable.drawn(self.widths, self.draws, step) if self.widths > 1 else 0
        return Batch.at(self.pyramid, self.factors.of(self.draws, step), indices, zoom, width)
