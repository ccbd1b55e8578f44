"""Kept, removed, how many times smaller: three types that convert into each other and cannot be confused.

"Ratio" and "fraction pruned" mean opposite things in different papers, so each meaning is a type; numbers of two types
cannot be added or compared. A type does not say of what: whoever holds it does, for instance `Compression.ratio`, of
all parameters, and `Compression.prunable_sparsity`.

Source: Blalock, Gonzalez Ortiz, Frankle and Guttag, "What is the State of Neural Network Pruning?" (2020),
arXiv 2003.03033.
"""

import dataclasses
import math
from typing import Any

from hyperlab.errors import ConfigError


@dataclasses.dataclass(frozen=True, order=True)
class KeptFraction:
    """The share that is kept, 0 to 1.

    >>> KeptFraction(0.25).compression(), KeptFraction(0.25).sparsity()
    (CompressionRatio(value=4.0), Sparsity(value=0.75))
    """

    value: float

    def __post_init__(self) -> None:
        _check_share(self, "kept / all")

    def sparsity(self) -> "Sparsity":
        return Sparsity(1 - self.value)

    def compression(self) -> "CompressionRatio":
        return CompressionRatio(1 / self.value if self.value else math.inf)


@dataclasses.dataclass(frozen=True, order=True)
class Sparsity:
    """The share that is removed, 0 to 1.

    >>> Sparsity(0.75).compression()
    CompressionRatio(value=4.0)
    """

    value: float

    def __post_init__(self) -> None:
        _check_share(self, "removed / all")

    def kept(self) -> KeptFraction:
        return KeptFraction(1 - self.value)

    def compression(self) -> "CompressionRatio":
        return self.kept().compression()


@dataclasses.dataclass(frozen=True, order=True)
class CompressionRatio:
    """How many times smaller: old size / new size, at least 1.

    >>> CompressionRatio(4).sparsity()
    Sparsity(value=0.75)
    >>> CompressionRatio(4).kept_of_prunable(parameters=269722, prunable=267696)
    KeptFraction(value=0.24432...)
    """

    value: float

    def __post_init__(self) -> None:
        if not self.value >= 1:
            raise ConfigError(f"a compression ratio of {self.value!r}; expected old size / new size, at least 1")

    def kept(self) -> KeptFraction:
        return KeptFraction(1 / self.value)

    def sparsity(self) -> Sparsity:
        return self.kept().sparsity()

    def kept_of_prunable(self, parameters: int, prunable: int) -> KeptFraction:
        """The share of prunable parameters to keep, so that all parameters together are this much smaller.

        Args:
          parameters: how many there are, N.
          prunable: how many of them may be pruned, N_P.

        Returns:
          f = (N / c - (N - N_P)) / N_P.

        Raises:
          ConfigError: what may not be pruned alone is too much for this compression; the ceiling is given.
        """
        ceiling = highest_compression(parameters, prunable)
        kept = (parameters / self.value - (parameters - prunable)) / prunable
        if kept <= 0:
            raise ConfigError(
                f"a compression of {self.value:g} cannot be reached: {parameters - prunable:,} of {parameters:,} "
                f"parameters are not prunable, so it stays below {ceiling.value:.4g}"
            )
        return KeptFraction(min(kept, 1.0))


def highest_compression(parameters: int, prunable: int) -> CompressionRatio:
    """The compression that would be reached with every prunable parameter removed: N / (N - N_P).

    Raises:
      ConfigError: nothing is prunable, or more than there is.

    >>> highest_compression(parameters=11689512, prunable=11689512 - 522600)
    CompressionRatio(value=22.367...)
    """
    if not 0 < prunable <= parameters:
        raise ConfigError(f"{prunable} prunable of {parameters} parameters; expected at least one, and not more")
    return CompressionRatio(parameters / (parameters - prunable) if prunable < parameters else math.inf)


def layerwise_speedup(kept: KeptFraction, macs: int, unpruned_macs: int = 0) -> float:
    """Theoretical speedup if every prunable kernel keeps the same share: S = T / (f (T - T_u) + T_u).

    Args:
      kept: f, the share that each of them keeps.
      macs: T, of the whole network.
      unpruned_macs: T_u, of what is not pruned, for instance the classifier.

    >>> layerwise_speedup(CompressionRatio(4).kept_of_prunable(269722, 267696), macs=40551040, unpruned_macs=640)
    4.092...
    """
    return macs / (kept.value * (macs - unpruned_macs) + unpruned_macs)


def _check_share(share: Any, meaning: str) -> None:
    if not 0 <= share.value <= 1:
        raise ConfigError(f"{type(share).__name__} of {share.value!r}; expected {meaning}, between 0 and 1")
