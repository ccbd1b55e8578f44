"""Patterns: which entries live and die together.

A pattern sees a kernel `[..., in, out]` as a matrix whose rows are the reduction (all axes but the last, row-major) and
whose columns are the outputs. It gives the scores of units, which are ranked, and spreads what is kept of them.

- `unstructured`: every entry on its own, in kernels and biases.
- `n_m:2,4`: of each 4 consecutive entries along the input axis of one output, the best 2. Along axis -2 of a dense
  kernel; of a convolution, along its flattened (height, width, input channel) order, the order in which a matrix
  product over patches reduces. (The last axis, which other libraries take by default, is not the one that hardware
  skips.) The fraction is 2/4 and no other; biases stay dense.
- `block:4,4`: tiles of 4 reduction entries by 4 outputs, ranked by the sum of their scores; biases stay dense.
- `channel`: whole output channels with their bias entries, ranked by the sum over the kernel. Masked, not removed.

Source of N:M: Mishra et al. (2021), arXiv 2104.08378; of channels: Li et al. (2017), arXiv 1608.08710.
"""

import dataclasses
import math
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Real

from hyperlab.errors import ConfigError, nearest
from hyperlab.pruning.keep import largest_along

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Unstructured:
    """Every entry on its own."""

    matrices_only: ClassVar[bool] = False
    takes_bias: ClassVar[bool] = False

    def units(self, scores: Real[np.ndarray, "*shape"], path: str) -> Real[np.ndarray, "*shape"]:
        """Scores of units."""
        return scores

    def size(self, shape: Shape) -> int:
        """Entries in a unit."""
        return 1

    def spread(self, kept: Bool[np.ndarray, "..."], shape: Shape) -> Bool[np.ndarray, "..."]:
        """The mask of a leaf from that of its units."""
        return kept


@dataclasses.dataclass(frozen=True)
class Block:
    """Tiles of `height` reduction entries by `width` outputs.

    >>> Block(2, 1).units(np.arange(8.0).reshape(4, 2), "a").tolist()
    [[2.0, 4.0], [10.0, 12.0]]
    """

    height: int
    width: int
    matrices_only: ClassVar[bool] = True
    takes_bias: ClassVar[bool] = False

    def units(self, scores: Real[np.ndarray, "rows columns"], path: str) -> Real[np.ndarray, "tile_rows tile_columns"]:
        """Sums over tiles, `[rows / height, columns / width]`.

        Raises:
          ConfigError: an axis does not divide; it is named with the sizes.
        """
        matrix = _matrix(scores)
        rows, columns = matrix.shape
        _divides(rows, self.height, path, scores.shape, "reduction axis", "block height")
        _divides(columns, self.width, path, scores.shape, "output axis", "block width")
        return matrix.reshape(rows // self.height, self.height, columns // self.width, self.width).sum((1, 3))

    def size(self, shape: Shape) -> int:
        """Entries in a tile."""
        return self.height * self.width

    def spread(
        self, kept: Bool[np.ndarray, "tile_rows tile_columns"], shape: Shape
    ) -> Bool[np.ndarray, "rows columns"]:
        """Every tile's flag at all its entries."""
        return kept.repeat(self.height, 0).repeat(self.width, 1).reshape(shape)


@dataclasses.dataclass(frozen=True)
class Channel:
    """Output channels with their bias entries.

    >>> Channel().spread(np.array([True, False]), (1, 2)).tolist()
    [[True, False]]
    """

    matrices_only: ClassVar[bool] = True
    takes_bias: ClassVar[bool] = True

    def units(self, scores: Real[np.ndarray, "*inputs out"], path: str) -> Real[np.ndarray, " out"]:
        """Sums over the entries of each output channel, `[out]`."""
        return _matrix(scores).sum(0)

    def size(self, shape: Shape) -> int:
        """Kernel entries of a channel, without the bias."""
        return math.prod(shape[:-1])

    def spread(self, kept: Bool[np.ndarray, " out"], shape: Shape) -> Bool[np.ndarray, "*inputs out"]:
        """Every channel's flag at all its entries."""
        return np.broadcast_to(kept, shape).copy()


@dataclasses.dataclass(frozen=True)
class NM:
    """The best `n` of each `m` consecutive entries along the reduction axis.

    >>> NM(1, 2).choose(np.array([[1.0], [3.0], [5.0], [2.0]]), "a").ravel().tolist()
    [False, True, True, False]
    """

    n: int
    m: int
    matrices_only: ClassVar[bool] = True
    takes_bias: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.n <= self.m:
            raise ConfigError(f"N:M keeps N of M with 0 < N <= M, got {self.n}:{self.m}")

    def choose(self, scores: Real[np.ndarray, "*shape"], path: str) -> Bool[np.ndarray, "*shape"]:
        """The mask of a leaf.

        Raises:
          ConfigError: the reduction axis does not divide by M; axis and sizes are named.
        """
        matrix = _matrix(scores)
        _divides(len(matrix), self.m, path, scores.shape, "reduction axis", "M")
        groups = matrix.reshape(len(matrix) // self.m, self.m, -1)
        return largest_along(groups, self.n, axis=1).reshape(scores.shape)


PATTERNS = {"unstructured": Unstructured, "n_m": NM, "block": Block, "channel": Channel}
Pattern = Unstructured | NM | Block | Channel


def pattern(option: str | Pattern) -> Pattern:
    """A pattern from its name, with integers after a colon where it has sizes: `"n_m:2,4"`, `"block:4,4"`.

    Raises:
      ConfigError: an unknown name, or sizes that do not fit.

    >>> pattern("n_m:2,4")
    NM(n=2, m=4)
    """
    if not isinstance(option, str):
        return option
    name, _, sizes = option.partition(":")
    if name not in PATTERNS:
        raise ConfigError(f"unknown pattern {name!r}; {nearest(name, PATTERNS)}")
    try:
        return PATTERNS[name](*(int(size) for size in sizes.split(",") if sizes))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"pattern {option!r}: {error}") from error


def _matrix(scores: np.ndarray) -> np.ndarray:
    return scores.reshape(-1, scores.shape[-1])


def _divides(size: int, part: int, path: str, shape: Shape, axis: str, what: str) -> None:
    if part < 1 or size % part:
        where = "last axis" if axis == "output axis" else "axis -2" if len(shape) == 2 else "all axes but the last"
        raise ConfigError(
            f"{path!r} of shape {tuple(shape)}: its {axis} ({where}) has {size} entries, which do not divide by "
            f"{what} {part}; exclude this leaf or choose a divisor of {size}"
        )
