"""Random search for arms whose spaces differ: every arm gets the same number of trials over its own space.

Numbers are drawn from strata: each axis is cut into as many parts of equal length as there are trials, and each part
is drawn from once, so that few trials cover an axis (McKay, Beckman and Conover 1979). What is drawn along an axis is
a function of the seed and of the axis's name: two arms that share an axis try the same numbers along it, in the same
trials, and differ in what they do with them alone.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np

from hyperlab.errors import ConfigError
from hyperlab.seeds import check_seed
from hyperlab.train.rngs import stable_hash

EDGE = 0.1  # share of an axis, from either end, in which a best value is said to be at the edge


class Axis(NamedTuple):
    """The range of one number.

    Attributes:
      low: its lower end.
      high: its upper end, above `low`.
      log: whether equal ratios, not equal differences, are equally likely; then `low` is positive.
    """

    low: float
    high: float
    log: bool = False

    def at(self, share: float) -> float:
        """The number at a share of the way, in 0..1.

        >>> round(Axis(0.01, 1.0, log=True).at(0.5), 6), Axis(0.0, 1.0).at(0.25)
        (0.1, 0.25)
        """
        if self.log:
            return math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        return self.low + share * (self.high - self.low)

    def share(self, value: float) -> float:
        """Where a number is along the axis: the inverse of `at`."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


class Trial(NamedTuple):
    """What was tried, and its mean score over the tuning seeds; minus infinity where a run failed."""

    numbers: dict[str, float]
    score: float


class Choice(NamedTuple):
    """What the search chose for an arm.

    Attributes:
      trial: the index of the best one.
      numbers: its numbers, by axis.
      trials: everything that was tried, in order.
      runs: how many runs that took.
      at_edge: the axes along which the best number is in the outer tenth of its range.
    """

    trial: int
    numbers: dict[str, float]
    trials: list[Trial]
    runs: int
    at_edge: tuple[str, ...]


def draw(space: Mapping[str, Axis], trials: int, seed: int) -> list[dict[str, float]]:
    """The numbers of every trial.

    Args:
      space: the axes by name.
      trials: how many, at least 1.
      seed: another one gives other numbers.

    Raises:
      ConfigError: no trials, a seed that is none, or an axis whose ends are not in order, or not positive where equal
        ratios are meant.

    >>> first = draw({"rate": Axis(0.01, 1.0, log=True)}, 4, seed=0)
    >>> second = draw({"rate": Axis(0.01, 1.0, log=True), "momentum": Axis(0.0, 1.0)}, 4, seed=0)
    >>> [one["rate"] for one in first] == [one["rate"] for one in second]
    True
    """
    check_seed(seed)
    if trials < 1:
        raise ConfigError(f"a random search has at least 1 trial, got {trials}")
    for name, axis in space.items():
        if not (axis.low < axis.high and (axis.low > 0 or not axis.log)):
            raise ConfigError(f"the range of {name!r} is {axis.low:g} to {axis.high:g}: expected two rising numbers" +
                              (" above 0" if axis.log else ""))  # fmt: skip
    columns = {name: _strata(name, trials, seed) for name in space}
    return [{name: axis.at(float(columns[name][trial])) for name, axis in space.items()} for trial in range(trials)]


def _strata(name: str, trials: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng((seed, stable_hash(name)))
    return (rng.permutation(trials) + rng.random(trials)) / trials


def choose(
    space: Mapping[str, Axis],
    drawn: Sequence[Mapping[str, float]],
    seeds: Sequence[int],
    measure: Callable[[int, int], float | None],
) -> Choice | None:
    """The best of the drawn numbers, by the mean score over the tuning seeds.

    Args:
      space: the axes that were drawn from.
      drawn: from `draw`.
      seeds: the tuning seeds.
      measure: `(trial, seed) -> score`, larger is better; NaN is a failed run. None means that a stop was requested.

    Returns:
      The choice, or None after a stop. The first of equal trials wins.

    >>> space = {"rate": Axis(0.01, 1.0, log=True)}
    >>> drawn = [{"rate": 0.011}, {"rate": 0.1}]
    >>> choice = choose(space, drawn, [0, 1], lambda trial, seed: drawn[trial]["rate"])
    >>> choice.trial, choice.numbers, choice.runs, choice.at_edge
    (1, {'rate': 0.1}, 4, ())
    """
    trials = []
    for index, numbers in enumerate(drawn):
        scores = [measure(index, seed) for seed in seeds]
        if None in scores:
            return None
        mean = float(np.mean(cast("list[float]", scores)))
        trials.append(Trial(dict(numbers), mean if np.isfinite(mean) else -math.inf))
    best = max(range(len(trials)), key=lambda index: trials[index].score)
    numbers = trials[best].numbers
    at_edge = tuple(name for name, axis in space.items() if not EDGE <= axis.share(numbers[name]) <= 1 - EDGE)
    return Choice(best, numbers, trials, len(trials) * len(seeds), at_edge)
