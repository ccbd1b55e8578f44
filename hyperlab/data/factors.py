r"""The distribution of the rescaling factor in training: one factor a step, drawn on the host, where sizes are made."""

import dataclasses

import numpy as np

from hyperlab.data.splits import philox
from hyperlab.errors import ConfigError, nearest

KINDS = ("uniform", "area")


@dataclasses.dataclass(frozen=True)
class Prior:
    r"""$\phi \sim U(low, high]$, or $\phi^2 \sim U(low^2, high^2]$ for `area`.

    U(0, 0.5) is the published prior of scale-space hypernetworks; the area-uniform one was tried there too
    (arXiv 2304.05448).

    Attributes:
      kind: `uniform`, or `area`: the pixels of the second level are uniform.
      low: at least 0, which itself is never drawn.
      high: at most 1.

    >>> Prior().draw(seed=0, step=3) == Prior().draw(seed=0, step=3)
    True
    >>> Prior("area", 0.0, 0.5).cumulative(0.25)
    0.25
    """

    kind: str = "uniform"
    low: float = 0.0
    high: float = 0.5

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ConfigError(f"prior.kind is {self.kind!r}; {nearest(self.kind, KINDS)}")
        if not 0 <= self.low < self.high <= 1:
            raise ConfigError(f"prior from {self.low} to {self.high}; rescaling factors are in (0, 1], low below high")

    def draw(self, seed: int, step: int) -> float:
        """The factor of a step: a function of seed and step alone."""
        word = int(philox(seed, step, stream=2).random_raw(1)[0])
        share = (word + 1) / 2.0**64  # in (0, 1]
        if self.kind == "area":
            return float(np.sqrt(self.low**2 + share * (self.high**2 - self.low**2)))
        return self.low + share * (self.high - self.low)

    def cumulative(self, factor: float) -> float:
        """The share of draws up to a factor."""
        power = 2 if self.kind == "area" else 1
        share = (factor**power - self.low**power) / (self.high**power - self.low**power)
        return float(np.clip(share, 0.0, 1.0))
