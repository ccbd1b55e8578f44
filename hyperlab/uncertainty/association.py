"""Does an image score go with quality? Spearman, Pearson, and Spearman with object size held fixed, over images.

Small objects have a low Dice and a high share of boundary, so score and Dice may go together by size alone; the
partial correlation takes the logarithm of the true area out of both. Images without any true foreground have no Dice
that says how well something was found: they are left out and counted.
"""

from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float
from numpy.typing import ArrayLike

from hyperlab.errors import DataError
from hyperlab.metrics.statistics import Interval
from hyperlab.uncertainty.resampling import interval


class Association(NamedTuple):
    """Correlations of a score with quality, with percentile bootstrap intervals over images.

    Attributes:
      spearman: of the ranks.
      pearson: of the values.
      partial_spearman: of the ranks, given the rank of the area.
      images: how many they rest on.
      excluded: images with an empty truth or without a value, which are left out.
    """

    spearman: Interval
    pearson: Interval
    partial_spearman: Interval
    images: int
    excluded: int


def association(scores: ArrayLike, quality: ArrayLike, areas: ArrayLike, *, seed: int = 0) -> Association:
    """Correlations between a score of each image and its quality.

    A correlation is NaN where one of both does not vary; below 10 images there are no intervals.

    Args:
      scores: `[images]`.
      quality: `[images]`, for instance Dice; NaN where undefined.
      areas: `[images]`, true foreground pixels; images with 0 are left out.
      seed: of the resampling.

    Raises:
      DataError: shapes differ.

    >>> result = association([0.1, 0.2, 0.3, 0.4, 0.9], [0.9, 0.8, 0.7, 0.4, 1.0], [5, 50, 10, 20, 0])
    >>> result.spearman.estimate, result.images, result.excluded
    (-1.0, 4, 1)
    """
    scores, quality, areas = (np.asarray(values, float) for values in (scores, quality, areas))
    if not scores.shape == quality.shape == areas.shape or scores.ndim != 1:
        raise DataError(
            f"scores have shape {scores.shape}, quality {quality.shape}, areas {areas.shape}; expected [images] in all"
        )
    known = ~np.isnan(scores) & ~np.isnan(quality) & (areas > 0)
    scores, quality, areas = scores[known], quality[known], areas[known]
    return Association(
        interval(spearman, scores, quality, seed=seed),
        interval(pearson, scores, quality, seed=seed),
        interval(partial_spearman, scores, quality, np.log(areas), seed=seed),
        int(known.sum()),
        int((~known).sum()),
    )


def pearson(
    first: Float[np.ndarray, "*draws n"], second: Float[np.ndarray, "*draws n"]
) -> Float[np.ndarray, "*draws"] | np.float64:
    """Pearson's correlation along the last axis; NaN where one does not vary.

    >>> float(pearson(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])).round(6))
    1.0
    """
    first, second = (values - values.mean(-1, keepdims=True) for values in (first, second))
    spread = np.sqrt(np.square(first).sum(-1) * np.square(second).sum(-1))
    flat = (np.ptp(first, -1) == 0) | (np.ptp(second, -1) == 0)
    return np.where(flat, np.nan, np.clip((first * second).sum(-1) / np.where(flat, 1, spread), -1, 1))[()]


def spearman(
    first: Float[np.ndarray, "*draws n"], second: Float[np.ndarray, "*draws n"]
) -> Float[np.ndarray, "*draws"] | np.float64:
    """Spearman's correlation along the last axis: Pearson's of the ranks, tied values at their mean rank.

    >>> float(spearman(np.array([1.0, 2.0, 30.0]), np.array([2.0, 4.0, 5.0])).round(6))
    1.0
    """
    return pearson(*(scipy.stats.rankdata(values, axis=-1) for values in (first, second)))


def partial_spearman(
    first: Float[np.ndarray, "*draws n"], second: Float[np.ndarray, "*draws n"], given: Float[np.ndarray, "*draws n"]
) -> Float[np.ndarray, "*draws"] | np.float64:
    """Spearman's correlation along the last axis with a third variable held fixed; NaN where that explains one fully.

    (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2) (1 - r_yz^2)) of the ranks.

    >>> score, quality, area = np.array([[1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 4.0, 3.0], [1.0, 2.0, 4.0, 3.0]])
    >>> float(spearman(score, quality).round(3)), float(partial_spearman(score, quality, area).round(3))
    (0.6, -0.111)
    """
    first, second, given = (scipy.stats.rankdata(values, axis=-1) for values in (first, second, given))
    both, one, other = pearson(first, second), pearson(first, given), pearson(second, given)
    left = (1 - one**2) * (1 - other**2)
    flat = ~(left > 1e-12)
    return np.where(flat, np.nan, np.clip((both - one * other) / np.sqrt(np.where(flat, 1, left)), -1, 1))[()]
