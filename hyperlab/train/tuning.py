"""Equal tuning for all arms: rates are chosen on tuning seeds and the validation split, never on what is reported.

An arm has one or more variants (for instance initialisers); the best pair of variant and rate stands for it. A
best rate at the edge of the grid widens the grid, and the number of trials is part of the result.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Score(NamedTuple):
    """The mean score of one pair of variant and rate over the tuning seeds."""

    variant: int
    rate: float
    score: float
    failed: int


class Choice(NamedTuple):
    """What tuning chose for an arm.

    Attributes:
      variant: index of the variant.
      rate: the learning rate.
      scores: every pair that was tried.
      trials: runs that were spent.
      at_edge: whether the best rate is still at the edge of what was tried.
    """

    variant: int
    rate: float
    scores: list[Score]
    trials: int
    at_edge: bool


def choose(
    variants: int,
    rates: Sequence[float],
    seeds: Sequence[int],
    measure: Callable[[int, list[tuple[float, int]]], np.ndarray | None],
    *,
    widenings: int = 2,
    factor: float = 10**0.5,
) -> Choice | None:
    """Tries every variant at every rate on every tuning seed, and widens the grid where the best is at its edge.

    Args:
      variants: how many variants the arm has.
      rates: the grid, increasing.
      seeds: the tuning seeds.
      measure: `(variant, [(rate, seed), ...]) -> scores`, larger is better; NaN is a failed run and
        counts as minus infinity. None means that a stop was requested.
      widenings: how often the grid may grow, for the best variant.
      factor: ratio of a new rate to the edge.

    Returns:
      The choice, or None after a stop.

    >>> scores = lambda variant, runs: np.array([-abs(np.log10(rate) + 3) for rate, _ in runs])
    >>> choice = choose(1, [0.01, 0.1], [0], scores, factor=10)
    >>> choice.rate, choice.trials, choice.at_edge
    (0.001, 4, False)
    """
    scores: list[Score] = []

    def measured(variant: int, new_rates: Sequence[float]) -> bool:
        values = measure(variant, [(rate, seed) for rate in new_rates for seed in seeds])
        if values is None:
            return False
        table = np.asarray(values, float).reshape(len(new_rates), len(seeds))
        failed = ~np.isfinite(table)
        means = np.where(failed, -np.inf, table).mean(1)
        scores.extend(
            Score(variant, float(rate), float(mean), int(count))
            for rate, mean, count in zip(new_rates, means, failed.sum(1), strict=True)
        )
        return True

    for variant in range(variants):
        if not measured(variant, rates):
            return None
    best, edge = _best(scores)
    for _ in range(widenings):
        if not edge:
            break
        tried = [score.rate for score in scores if score.variant == best.variant]
        rate = best.rate / factor if best.rate == min(tried) else best.rate * factor
        if not measured(best.variant, [rate]):
            return None
        best, edge = _best(scores)
    return Choice(best.variant, best.rate, scores, len(scores) * len(seeds), edge)


def _best(scores: list[Score]) -> tuple[Score, bool]:
    # The lower rate wins a tie, so that the choice does not depend on the order of trials.
    best = max(scores, key=lambda score: (score.score, -score.rate))
    tried = [score.rate for score in scores if score.variant == best.variant]
    return best, best.rate in (min(tried), max(tried))
