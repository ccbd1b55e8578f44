"""Buckets of rescaling factors: a few canvases, hence a few compiled programs, for every size of a continuous factor.

The cost of a program is taken as the pixels of its canvases, each level's weighted by what a pixel costs there, and
summed. Which factors share a canvas is chosen so that the mean cost over the distribution of the factor is the
smallest that the given number of programs allows.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from hyperlab.errors import ConfigError
from hyperlab.nn.pyramid import Pyramid
from hyperlab.nn.resize import Factors, Sizes, factors_by_level

Distribution = Callable[[float], float]


class Bucket(NamedTuple):
    """Rescaling factors that share a program.

    Attributes:
      low: factors of the bucket are above this,
      high: and at most this.
      canvases: one static size for each of the sizes of a factor, as large as the largest factor needs.
      pyramid: the law of these sizes.
    """

    low: float
    high: float
    canvases: Sizes
    pyramid: Pyramid


def plan(
    shape: Sequence[int],
    levels: int,
    low: float,
    high: float,
    programs: int,
    distribution: Distribution | None = None,
    weights: Sequence[float] | None = None,
) -> tuple[Bucket, ...]:
    """The buckets of a network whose levels scale by phi, the images' own resolution first; see `plan_for`.

    Args:
      shape: the spatial shape of the images.
      levels: resolutions, the images' own included.
      low: see `plan_for`, with all that follows.
      high: see there.
      programs: see there.
      distribution: see there.
      weights: see there.

    Raises:
      ConfigError: see there.

    >>> [round(bucket.high, 2) for bucket in plan((128, 128), 4, 0.0, 0.5, programs=4)]
    [0.17, 0.3, 0.41, 0.5]
    """
    return plan_for(Pyramid(tuple(shape), levels), low, high, programs, distribution, weights)


def plan_for(
    pyramid: Pyramid,
    low: float,
    high: float,
    programs: int,
    distribution: Distribution | None = None,
    weights: Sequence[float] | None = None,
) -> tuple[Bucket, ...]:
    """The buckets with the smallest mean cost of canvases, by dynamic programming over all cuts between sizes.

    Args:
      pyramid: which sizes a factor has.
      low: the smallest rescaling factor, at least 0 (which itself is never drawn).
      high: the largest, at most 1.
      programs: how many buckets at most.
      distribution: the cumulative distribution function of the factor; by default uniform. For a factor whose
        square is uniform, `lambda factor: (factor / high) ** 2`.
      weights: the cost of a pixel of each of the sizes, for instance `UNet.pixel_costs`; by default all cost the
        same.

    Returns:
      The buckets from small to large; fewer than `programs` where there are fewer distinct sizes.

    Raises:
      ConfigError: not 0 <= low < high <= 1, no program, or another number of weights than sizes.

    >>> buckets = plan_for(Pyramid((128, 128), 4, full_at=0.5), 0.0, 0.5, programs=2)
    >>> [bucket.canvases[1] for bucket in buckets]
    [(80, 80), (128, 128)]
    """
    if not (0 <= low < high <= 1) or programs < 1:
        raise ConfigError(
            f"{programs} programs for rescaling factors from {low} to {high}; at least 1, and 0 <= low < high <= 1"
        )
    ends, sizes = pyramid.pieces(low, high)
    mass, cost = _mass([low, *ends], distribution), np.array([0.0, *_costs(sizes, weights)])
    # best[j]: the least cost of the first j pieces with the buckets so far; chosen[p][j]: where the last one begins.
    best = np.array([0.0] + [np.inf] * len(sizes))
    chosen = []
    for _ in range(min(programs, len(sizes))):
        totals = best[:, None] + (mass[None, :] - mass[:, None]) * cost[None, :]
        totals[np.tril_indices(len(totals))] = np.inf  # a bucket holds a piece or more
        chosen.append(totals.argmin(0))
        best = totals.min(0)
    buckets, end = [], len(sizes)
    for begin_of in reversed(chosen):
        begin = int(begin_of[end])
        buckets.append(Bucket(ends[begin - 1] if begin else float(low), ends[end - 1], sizes[end - 1], pyramid))
        end = begin
    return tuple(reversed(buckets))


def bucket_of(buckets: Sequence[Bucket], factors: Factors) -> Bucket:
    """The smallest bucket whose canvases hold the sizes of a rescaling factor.

    Args:
      buckets: from `plan`.
      factors: phi, or one for each down-sampling, as in `Pyramid.sizes`.

    Raises:
      ConfigError: a factor outside the range of the plan.

    >>> buckets = plan((64, 64), 4, 0.0, 0.5, programs=2)
    >>> bucket_of(buckets, 0.5).canvases
    ((64, 64), (32, 32), (16, 16), (8, 8))
    """
    first, last = buckets[0], buckets[-1]
    pyramid = first.pyramid
    given = [f for axes in factors_by_level(factors, len(first.canvases) - 1, len(pyramid.shape)) for f in axes]
    if given and not first.low <= min(given) <= max(given) <= last.high:
        raise ConfigError(f"rescaling factor {factors} is outside the plan's range ({first.low:g}, {last.high:g}]")
    # By the sizes, not by the cuts: at a cut itself, a rounding decides which sizes a factor has.
    sizes = pyramid.sizes(factors)
    return next(bucket for bucket in buckets if np.all(np.array(sizes) <= np.array(bucket.canvases)))


def overhead(
    buckets: Sequence[Bucket], distribution: Distribution | None = None, weights: Sequence[float] | None = None
) -> float:
    """Mean cost of the canvases over the mean cost of the exact sizes, at least 1.

    Args:
      buckets: from `plan`.
      distribution: as in `plan`.
      weights: as in `plan`.

    >>> round(overhead(plan((128, 128), 4, 0.0, 0.5, programs=8)), 3)
    1.015
    """
    low = buckets[0].low
    ends, sizes = buckets[0].pyramid.pieces(low, buckets[-1].high)
    mass = np.diff(_mass([low, *ends], distribution))
    held = [next(bucket.canvases for bucket in buckets if end <= bucket.high) for end in ends]
    padded, exact = (np.dot(mass, _costs(several, weights)) for several in (held, sizes))
    return float(padded / exact)


def _mass(ends: Sequence[float], distribution: Distribution | None) -> np.ndarray:
    if distribution is None:
        return (np.array(ends) - ends[0]) / (ends[-1] - ends[0])
    values = np.array([distribution(end) for end in ends], float)
    if values[-1] <= values[0] or np.any(np.diff(values) < 0):
        raise ConfigError(f"the distribution goes from {values[0]:g} to {values[-1]:g}; a cumulative one rises")
    return (values - values[0]) / (values[-1] - values[0])


def _costs(sizes: Sequence[Sizes], weights: Sequence[float] | None) -> list[float]:
    levels = len(sizes[0])
    weights = [1.0] * levels if weights is None else [float(weight) for weight in weights]
    if len(weights) != levels or min(weights) < 0:
        raise ConfigError(f"weights {weights} for {levels} levels: the cost of a pixel of each, none below 0")
    return [sum(w * math.prod(size) for w, size in zip(weights, one, strict=True)) for one in sizes]
