"""Equal tuning for all arms: rates are chosen on tuning seeds and the validation split, never on what is reported.

An arm has one or more variants (for instance initialisers); the best pair of variant and rate stands for it. A
best rate at the edge of the grid widens the grid, and the number of trials is part of the result.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

Key = TypeVar("Key", bound=Hashable)


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

    def record(self, initializers: Sequence[str] = ()) -> dict[str, Any]:
        """The choice as studies keep it in `choices.json`.

        Args:
          initializers: what the variants differ in, where there are several.
        """
        result: dict[str, Any] = {"learning_rate": self.rate, "trials": self.trials, "at_edge": self.at_edge}
        if initializers:
            result |= {"variant": self.variant, "initializer": initializers[self.variant]}
        named = [{"initializer": initializers[one.variant]} if initializers else {} for one in self.scores]
        tried = [{"learning_rate": one.rate, "score": one.score} for one in self.scores]
        return result | {"tuning": [name | one for name, one in zip(named, tried, strict=True)]}


def choose_rates(
    grids: Mapping[Key, Sequence[float]],
    seeds: Sequence[int],
    score: Callable[[Key, float, int], float | None],
    in_parallel: Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]],
    *,
    widenings: int = 0,
) -> dict[Key, Choice] | None:
    """The learning rate of everything that is tuned: the trials of all grids side by side, then those of widened ones.

    Args:
      grids: the rates of each, increasing.
      seeds: the tuning seeds.
      score: `(key, rate, seed) -> ` larger is better; NaN is a failed run. None means that a stop was requested.
      in_parallel: `(function, items) -> results`, several at a time, such as `Study.in_parallel`.
      widenings: how often a grid may grow.

    Returns:
      The choice of each, or None after a stop.

    >>> one_by_one = lambda function, items: list(map(function, items))
    >>> score = lambda key, rate, seed: -abs(rate - {"a": 0.1, "b": 0.3}[key])
    >>> chosen = choose_rates({"a": (0.1, 0.3), "b": (0.1, 0.3)}, [0], score, one_by_one)
    >>> {key: choice.rate for key, choice in chosen.items()}
    {'a': 0.1, 'b': 0.3}
    """
    tasks = [(key, rate, seed) for key, rates in grids.items() for rate in rates for seed in seeds]
    known = dict(zip(tasks, in_parallel(lambda task: score(*task), tasks), strict=True))
    if None in known.values():
        return None

    def chosen(key: Key) -> Choice | None:
        def measure(_: int, runs: list[tuple[float, int]]) -> np.ndarray | None:
            values = [known[key, *run] if (key, *run) in known else score(key, *run) for run in runs]
            return None if None in values else np.array(values)

        return choose(1, grids[key], seeds, measure, widenings=widenings)

    choices = in_parallel(chosen, list(grids))
    return None if None in choices else dict(zip(grids, choices, strict=True))


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
