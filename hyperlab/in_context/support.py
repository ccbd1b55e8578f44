"""Which examples a network is shown: random draws of a pool, the most similar ones, and a pool that grows."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from hyperlab.data.splits import permutation
from hyperlab.errors import ConfigError, DataError


class Context(NamedTuple):
    """Examples that grow while one works: `segment(images, *context, params)`.

    Attributes:
      images: of one size or several, `[height, width]` each.
      labels: their label maps.

    >>> context = Context((np.zeros((4, 4)),), (np.ones((4, 4), int),))
    >>> len(context.accept([np.ones((4, 4))], [np.zeros((4, 4), int)]).images)
    2

    (Wong et al., 2024, "MultiverSeg", arXiv 2412.15058.)
    """

    images: Sequence[np.ndarray]
    labels: Sequence[np.ndarray]

    def accept(self, images: Sequence[Any], masks: Sequence[Any]) -> "Context":
        """The context with images and the masks that the user accepted for them, corrected or not.

        With a `support_size`, `segment` keeps one program however many there are.

        Raises:
          DataError: another number of masks than of images.
        """
        if len(images) != len(masks):
            raise DataError(f"{len(masks)} accepted masks for {len(images)} images, expected one for each")
        return Context((*self.images, *images), (*self.labels, *masks))


def draws(pool: int, size: int, count: int, seed: int) -> np.ndarray:
    """Independent random draws of examples, each without replacement: int `[count, size]`, the same for one seed.

    Args:
      pool: examples to draw from.
      size: examples a draw.
      count: draws.
      seed: another seed gives other draws; more draws begin with the fewer.

    Raises:
      ConfigError: a size outside 1..pool, or less than one draw.

    >>> draws(5, 2, 3, seed=0).shape
    (3, 2)
    """
    if not 1 <= size <= pool:
        raise ConfigError(f"support_size is {size}, expected 1 to {pool}, the examples that there are")
    if count < 1:
        raise ConfigError(f"ensemble is {count}, expected at least 1 draw of examples")
    return np.stack([permutation(pool, seed, number)[:size] for number in range(count)])


def most_similar(images: np.ndarray, support: np.ndarray, size: int) -> np.ndarray:
    """The examples with the smallest mean squared difference from each image, the nearest first: int `[n, size]`.

    Args:
      images: float `[n, height, width]`, at the size that the network works at.
      support: float `[pool, height, width]`.
      size: examples for each image; of equally near ones, the first.

    Raises:
      ConfigError: a size outside 1..pool.

    >>> most_similar(np.full((1, 2, 2), 0.9), np.array([0.0, 1.0, 0.5])[:, None, None] * np.ones((3, 2, 2)), 2)
    array([[1, 2]])
    """
    if not 1 <= size <= len(support):
        raise ConfigError(f"support_size is {size}, expected 1 to {len(support)}, the examples that there are")
    a, b = (each.reshape(len(each), -1).astype(np.float64) for each in (images, support))
    # |a - b|^2 without |a|^2, which is the same for all examples
    distance = (b * b).sum(1)[None] - 2 * a @ b.T
    return np.argsort(distance, axis=1, kind="stable")[:, :size]
