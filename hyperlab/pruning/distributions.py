r"""Distributions: how much is kept where.

A distribution turns one budget of entries into what is compared with what: all leaves together (`global`, `lamp`), or
each leaf by itself at a fraction of its own (`uniform`, `erk`, a mapping of fractions), or each output by itself
(`rows`).

| name | fraction of leaf $l$ | source |
|---|---|---|
| `global` | what its scores win | |
| `uniform` | the same for all | |
| `erk` | $\propto \sum \mathrm{dims}_l / \prod \mathrm{dims}_l$, at most 1 | Evci et al. 2020, arXiv 1911.11134 |
| `lamp` | global, after $s \to s^2 / \sum_{s' \ge s} s'^2$ within a leaf | Lee et al. 2021, arXiv 2010.07611 |
| `rows` | the same for all outputs of all leaves | Sun et al. 2023, arXiv 2306.11695 |
| a mapping or tree | as given: another method's own, for a control | |
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from hyperlab import trees
from hyperlab.errors import ConfigError, nearest

Leaves = dict[str, np.ndarray]
Shapes = Mapping[str, tuple[int, ...]]


class Division(NamedTuple):
    """What is compared with what.

    Attributes:
      scores: by path, perhaps re-scored.
      fractions: to keep, by path; None where all leaves are compared together.
      rows: whether each output of a leaf is compared by itself.
    """

    scores: Leaves
    fractions: dict[str, float] | None = None
    rows: bool = False


class Budget(NamedTuple):
    """Entries to keep, and what there is.

    Attributes:
      entries: to keep over all leaves; None where no compression was asked for.
      shapes: by path.
      sizes: entries that are ruled by each path; with a bias that follows its kernel, more than the shape says.
      available: entries of those that are still there, by path.
    """

    entries: float | None
    shapes: Shapes
    sizes: Mapping[str, int]
    available: Mapping[str, int]

    def needed(self) -> float:
        """The entries to keep, of what cannot do without them.

        Raises:
          ConfigError: no compression was asked for.
        """
        if self.entries is None:
            raise ConfigError("compression=None is for given fractions and N:M patterns; pass a ratio of at least 1")
        return self.entries


Distribution = Callable[[Leaves, Budget], Division]
DISTRIBUTIONS: dict[str, Distribution] = {}


def distribution(name: str) -> Callable[[Distribution], Distribution]:
    """Registers a distribution under a name."""

    def register(function: Distribution) -> Distribution:
        DISTRIBUTIONS[name] = function
        return function

    return register


def divide(option: str | Mapping[str, Any] | Distribution, scores: Leaves, budget: Budget) -> Division:
    """Applies a distribution given by name, as fractions by path, or as a function.

    Raises:
      ConfigError: an unknown name, a leaf without a fraction, a fraction outside [0, 1].
    """
    if isinstance(option, str):
        if option not in DISTRIBUTIONS:
            raise ConfigError(f"unknown distribution {option!r}; {nearest(option, DISTRIBUTIONS)}")
        return DISTRIBUTIONS[option](scores, budget)
    return Division(scores, given(option, scores)) if not callable(option) else option(scores, budget)


def given(fractions: Any, paths: Any) -> dict[str, float]:
    """Fractions by path, from a mapping by path or from a tree; those of other leaves are left out.

    Raises:
      ConfigError: a path has none, or one outside [0, 1].

    >>> given({"a": {"kernel": 0.5}, "b": 1.0}, ["a/kernel"])
    {'a/kernel': 0.5}
    """
    flat = trees.flatten(fractions)  # a mapping by slash path flattens to itself
    for path in paths:
        if path not in flat:
            raise ConfigError(f"no fraction was given for {path!r}; {nearest(path, flat)}")
        if not 0 <= float(flat[path]) <= 1:
            raise ConfigError(f"the fraction of {path!r} is {float(flat[path])}; a kept fraction is in [0, 1]")
    return {path: float(flat[path]) for path in paths}


@distribution("global")
def global_(scores: Leaves, budget: Budget) -> Division:
    """All leaves are ranked together."""
    return Division(scores)


@distribution("uniform")
def uniform(scores: Leaves, budget: Budget) -> Division:
    """The same fraction of every leaf, or what is left of it if that is less."""
    return Division(scores, fill(dict.fromkeys(scores, 1.0), budget))


@distribution("erk")
def erk(scores: Leaves, budget: Budget) -> Division:
    """Erdos-Renyi-kernel: sparser, the larger a kernel is; a leaf that would get more than all becomes dense."""
    weights = {path: sum(budget.shapes[path]) / np.prod(budget.shapes[path], dtype=np.float64) for path in scores}
    return Division(scores, fill(weights, budget))


@distribution("lamp")
def lamp(scores: Leaves, budget: Budget | None) -> Division:
    """Squares over the sum of the squares of all that are at least as large in their leaf, then global.

    Equal scores stay equal. Sums are in float64, since they run over whole leaves; the result is rounded to float32,
    in which a leaf's own order is kept but for ties.

    >>> scores = {"a": np.array([1.0, 2.0], np.float32)}
    >>> lamp(scores, None).scores["a"].tolist()
    [0.20000000298023224, 1.0]
    """

    def rescored(leaf: np.ndarray) -> np.ndarray:
        order = np.argsort(leaf, axis=None)
        ordered = leaf.ravel()[order].astype(np.float64)
        squares = np.square(ordered)
        first = np.arange(leaf.size)
        first[1:][ordered[1:] == ordered[:-1]] = 0
        np.maximum.accumulate(first, out=first)  # where the run of equal scores begins
        sums = np.cumsum(squares[::-1])[::-1][first]
        result = np.empty(leaf.size, np.float32)
        result[order] = np.divide(squares, sums, out=np.zeros_like(squares), where=sums > 0)
        return result.reshape(leaf.shape)

    return Division({path: rescored(leaf) for path, leaf in scores.items()})


@distribution("rows")
def rows(scores: Leaves, budget: Budget) -> Division:
    """The same fraction of every output (a column of a kernel), each ranked by itself."""
    return Division(scores, fill(dict.fromkeys(scores, 1.0), budget), rows=True)


def fill(weights: Mapping[str, float], budget: Budget) -> dict[str, float]:
    """Fractions in proportion to weights that spend a budget, where no leaf gives more than it has.

    What a full leaf cannot take goes to the others, in proportion again, until all fit. (Other libraries round every
    leaf's share to whole entries before they solve, and spend one entry more in this example: 0.692233, 0.854665, 0.)

    >>> shapes = {"a": (3, 3, 16, 32), "b": (3, 3, 32, 64), "c": (64, 10)}
    >>> sizes = {path: int(np.prod(shape)) for path, shape in shapes.items()}
    >>> weights = {path: sum(shape) / sizes[path] for path, shape in shapes.items()}
    >>> budget = Budget(0.2 * sum(sizes.values()), shapes, sizes, sizes)
    >>> [round(1 - fraction, 6) for fraction in fill(weights, budget).values()]
    [0.692308, 0.854701, 0.0]
    """
    most = {path: budget.available[path] / budget.sizes[path] for path in weights}
    full: dict[str, float] = {}
    while len(full) < len(weights):
        free = [path for path in weights if path not in full]
        left = budget.needed() - sum(fraction * budget.sizes[path] for path, fraction in full.items())
        scale = left / sum(weights[path] * budget.sizes[path] for path in free)
        over = {path: most[path] for path in free if weights[path] * scale > most[path]}
        if not over:
            return {path: full[path] if path in full else weights[path] * scale for path in weights}
        full |= over
    return {path: full[path] for path in weights}
