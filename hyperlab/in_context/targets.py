"""Tasks to measure on: queries, and the pool that support sets are drawn from, of other subjects."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from hyperlab.data.splits import permutation
from hyperlab.errors import DataError

_SUPPORT = 9  # of permutations, apart from those of the training order


class Target(NamedTuple):
    """One task.

    Attributes:
      name: of data set and label.
      queries: float32 `[n, height, width, 1]` in 0..1.
      truth: float32 `[n, height, width, 1]`, 0 or 1.
      groups: int `[n]`, the subject of each query.
      images: float32 `[m, height, width, 1]`, what support sets are drawn from.
      labels: float32 `[m, height, width, 1]`.
    """

    name: str
    queries: np.ndarray
    truth: np.ndarray
    groups: np.ndarray
    images: np.ndarray
    labels: np.ndarray

    def support(self, size: int, draw: int) -> tuple[np.ndarray, np.ndarray]:
        """A support set, the same for every arm: images and labels `[size, height, width, 1]`.

        Sets of one draw are nested: a larger one holds the smaller ones. A set larger than the pool goes round it.
        """
        chosen = np.resize(self.order(draw), size)
        return self.images[chosen], self.labels[chosen]

    def order(self, draw: int) -> np.ndarray:
        """The order in which a draw takes the examples."""
        return support_order(len(self.images), draw)

    def dice(self, masks: np.ndarray) -> np.ndarray:
        """Dice of each query `[n]`, from bool masks `[n, height, width, 1]`."""
        return dice(masks, self.truth > 0.5)


def support_order(count: int, draw: int) -> np.ndarray:
    """The order in which a draw takes so many examples, the same for every arm.

    >>> sorted(support_order(3, draw=0).tolist())
    [0, 1, 2]
    """
    return permutation(count, draw, _SUPPORT)


def dice(masks: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Dice of each image, `[n]`; NaN where mask and truth are both empty.

    >>> dice(np.array([[1, 1, 0], [0, 0, 0]], bool), np.array([[0, 1, 0], [0, 0, 0]], bool)).round(3)
    array([0.667,   nan])
    """
    axes = tuple(range(1, masks.ndim))
    both, total = (masks & truth).sum(axes), masks.sum(axes) + truth.sum(axes)
    return np.divide(2 * both, total, out=np.full(len(masks), np.nan), where=total > 0)


def check(targets: Sequence[Any], size: int) -> None:
    """Refuses targets that nothing can be measured on.

    Args:
      targets: each with `name`, `queries` and `images`.
      size: of the largest support set.

    Raises:
      DataError: a target without queries, or with fewer examples than the largest support set.
    """
    for target in targets:
        if not len(target.queries):
            raise DataError(f"{target.name} has no query")
        if len(target.images) < size:
            raise DataError(
                f"{target.name} has {len(target.images)} examples for support sets, fewer than the largest of {size}; "
                "give smaller support_sizes"
            )
