r"""Which size each level of a network has at a rescaling factor, by one law, as one value.

Sizes follow from one factor phi by down-samplings, one below the other, each of which goes by
$\min(1, \phi / s)^{p_a}$ along axis $a$. Between levels, s is 1. Where the images themselves are rescaled, that is the
first down-sampling, and its s is the factor from which on they keep their own size. The cost of a network then falls
with the square of phi, for images, where the levels alone leave the first one as dear as it is.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

from hyperlab.errors import ConfigError
from hyperlab.nn.resize import Factors, Sizes, factors_by_level, level_sizes


@dataclasses.dataclass(frozen=True)
class Pyramid:
    """The sizes of all levels of a network, as a function of the rescaling factor.

    Attributes:
      shape: the spatial shape of the images.
      levels: resolutions that the network's convolutions run at.
      powers: one for each spatial axis, at least 0: a down-sampling by phi goes by phi to this power along the axis. 1
        is phi itself, 0 leaves the axis as it is, as suits the few thick slices of a volume; `()` is 1 for all.
      full_at: the factor from which on images enter the network at their own size, above 0 and at most 1; at smaller
        ones they are first resized by phi / full_at. None: they always enter at their own size.

    Raises:
      ConfigError: another number of powers than axes, a power below 0, all of them 0, or `full_at` outside (0, 1].

    >>> Pyramid((64, 48), levels=3).sizes(0.25)
    ((64, 48), (16, 12), (4, 3))
    >>> Pyramid((64, 48), levels=3, full_at=0.5).sizes(0.25)
    ((64, 48), (32, 24), (8, 6), (2, 2))
    >>> Pyramid((64, 64, 20), levels=2, powers=(1, 1, 0.5)).sizes(0.25)
    ((64, 64, 20), (16, 16, 10))
    """

    shape: tuple[int, ...]
    levels: int
    powers: tuple[float, ...] = ()
    full_at: float | None = None

    def __post_init__(self) -> None:
        level_sizes(self.shape, 1.0, self.levels)  # refuses a shape or a number of levels that are none
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        powers = tuple(float(power) for power in self.powers) or (1.0,) * len(self.shape)
        object.__setattr__(self, "powers", powers)
        if len(powers) != len(self.shape):
            raise ConfigError(f"powers {powers} for {len(self.shape)} spatial axes {self.shape}: one for each")
        if not all(0 <= power < math.inf for power in powers) or not any(powers):
            raise ConfigError(f"powers {powers} of the rescaling factor: none is below 0, and one is above it")
        if self.full_at is not None and not 0 < self.full_at <= 1:
            raise ConfigError(f"images of their own size from the factor {self.full_at} on; it is in (0, 1]")

    @property
    def first(self) -> int:
        """Which of the `sizes` is that of the first convolutions: 0, or 1 where images are rescaled."""
        return int(self.full_at is not None)

    def sizes(self, factors: Factors) -> Sizes:
        """The sizes at a factor, each of them at least 1 and rising with it.

        Args:
          factors: phi, in (0, 1]; or one for each down-sampling, each a number or one number for each axis.

        Returns:
          The images' own size, and where they are rescaled, the size that they enter with; then that of each level
          below the first. So `levels + first` of them.

        Raises:
          ConfigError: a factor outside (0, 1], or another number of factors.
        """
        scales = self._scales
        given = factors_by_level(factors, len(scales), len(self.shape))
        each = [
            tuple(min(1.0, factor / scale) ** power for factor, power in zip(axes, self.powers, strict=True))
            for axes, scale in zip(given, scales, strict=True)
        ]
        return level_sizes(self.shape, each, len(scales) + 1)

    def pieces(self, low: float, high: float) -> tuple[list[float], list[Sizes]]:
        """Where sizes change: the sizes of all factors in (low, high], exactly.

        Args:
          low: the smallest factor, at least 0, which itself is left out.
          high: the largest, at most 1.

        Returns:
          The rising factors at which any size changes, `high` last; and the sizes that hold from the one before (from
          `low`) up to each of them.

        >>> Pyramid((4,), levels=2).pieces(0.3, 0.6)
        ([0.50000025, 0.6], [((4,), (2,)), ((4,), (3,))])
        """
        ends = [float(high)]
        for level, scale in enumerate(self._scales):
            # Within a piece the sizes down to this level stand still, so that the next ones are a single ceiling.
            for start, end in list(itertools.pairwise([float(low), *ends])):
                ends += {step for step in self._steps(self._between(start, end)[level], scale) if start < step < end}
            ends.sort()
        sizes = [self._between(start, end) for start, end in itertools.pairwise([float(low), *ends])]
        return ends, [*sizes[:-1], self.sizes(high)]

    def check(self, factors: Sequence[float], minimum: int = 3) -> None:
        """Refuses factors at which images enter the first convolutions smaller than a window.

        Deeper levels may shrink to one pixel: that is what a small factor means.

        Args:
          factors: that a study uses.
          minimum: the smallest side that is of use, for instance that of the kernel.

        Raises:
          ConfigError: names the factor, the size, and the smallest factor that would do.

        >>> Pyramid((48, 48), levels=4, full_at=0.5).check([0.02])
        Traceback (most recent call last):
        hyperlab.errors.ConfigError: at factor 0.02 images of (48, 48) enter the network as (2, 2), smaller than its ...
        """
        for factor in factors:
            size = self.sizes(factor)[self.first]
            if min(size) >= minimum:
                continue
            fitting = (k / 1000 for k in range(1, 1001) if min(self.sizes(k / 1000)[self.first]) >= minimum)
            smallest = next(fitting, None)  # in thousandths: as exact as one types a factor
            remedy = "no factor will do" if smallest is None else f"the smallest factor that will do is {smallest:g}"
            raise ConfigError(
                f"at factor {factor:g} images of {self.shape} enter the network as {size}, smaller than its window of "
                f"{minimum}; {remedy}"
            )

    @property
    def _scales(self) -> list[float]:
        """The factor at which each down-sampling leaves sizes as they are."""
        rescaling = [] if self.full_at is None else [float(self.full_at)]
        return rescaling + [1.0] * (self.levels - 1)

    def _between(self, start: float, end: float) -> Sizes:
        return self.sizes((start + end) / 2)

    def _steps(self, size: Sequence[int], scale: float) -> set[float]:
        """The factors at which a size changes after a down-sampling from `size`; see `level_sizes` for the rounding."""
        return {
            scale * ((k + 1e-6) / n) ** (1 / power)
            for n, power in zip(size, self.powers, strict=True)
            if power
            for k in range(1, n)
        }
