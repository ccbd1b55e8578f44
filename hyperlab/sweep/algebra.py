"""What a config file's `sweep()` is written with: rows of a table, each a dict of dotted overrides."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hyperlab.errors import ConfigError
from hyperlab.studies.search import Axis, draw

Overrides = dict[str, Any]
Axes = Mapping[str, Sequence[Any]]
DIGITS = 4  # significant digits of a drawn number: what the table and the folder's name show is the value itself


class Integers(NamedTuple):
    """Whole numbers from `low` to `high`, both included."""

    low: int
    high: int


def uniform(low: float, high: float) -> Axis:
    """A range for `sample`, in which equal differences are equally likely."""
    return Axis(low, high)


def log_uniform(low: float, high: float) -> Axis:
    """A range for `sample`, in which equal ratios are equally likely."""
    return Axis(low, high, log=True)


def product(*parts: Axes | Iterable[Overrides]) -> Iterator[Overrides]:
    """Every combination of the values of several keys, or of the rows of several tables.

    Args:
      *parts: axes `{key: values}`, or rows from another function of this module; the last one varies fastest.

    Raises:
      ConfigError: two parts set the same key.

    >>> list(product({"gamma.dim": (1, 4), "seed": (0,)}))
    [{'gamma.dim': 1, 'seed': 0}, {'gamma.dim': 4, 'seed': 0}]
    >>> [len(row) for row in product({"seed": (0, 1)}, zip_({"gamma.low": (0.0, 1.0), "gamma.high": (1.0, 2.0)}))]
    [3, 3, 3, 3]
    """
    tables = [list(_combined(part) if isinstance(part, Mapping) else part) for part in parts]
    for rows in itertools.product(*tables):
        keys = [key for row in rows for key in row]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise ConfigError(f"two parts of a product set {', '.join(twice)}; expected each key in one of them")
        yield {key: value for row in rows for key, value in row.items()}


def zip_(axes: Axes) -> Iterator[Overrides]:
    """The first values of all keys, the second values, and so on.

    Raises:
      ConfigError: the numbers of values differ.

    >>> list(zip_({"gamma.low": (0.0, 1.0), "gamma.high": (1.0, 2.0)}))
    [{'gamma.low': 0.0, 'gamma.high': 1.0}, {'gamma.low': 1.0, 'gamma.high': 2.0}]
    """
    if len({len(values) for values in axes.values()}) > 1:
        counts = ", ".join(f"{key} has {len(values)}" for key, values in axes.items())
        raise ConfigError(f"zip_ takes equally many values of every key: {counts}")
    for values in zip(*axes.values(), strict=True):
        yield dict(zip(axes, values, strict=True))


def chain(*tables: Iterable[Overrides]) -> Iterator[Overrides]:
    """The rows of several tables, one after the other; a row that was there already is left out.

    >>> list(chain(product({"gamma.dim": (1, 4)}), [{"gamma.dim": 4}, {}]))
    [{'gamma.dim': 1}, {'gamma.dim': 4}, {}]
    """
    seen: list[Overrides] = []
    for row in itertools.chain(*tables):
        if row not in seen:
            seen.append(row)
            yield row


def one_at_a_time(axes: Axes) -> Iterator[Overrides]:
    """The unchanged config first, then every value of every key with all others unchanged.

    >>> list(one_at_a_time({"gamma.dim": (4, 16), "seed": (1,)}))
    [{}, {'gamma.dim': 4}, {'gamma.dim': 16}, {'seed': 1}]
    """
    yield {}
    for key, values in axes.items():
        for value in values:
            yield {key: value}


def sample(axes: Mapping[str, Axis | Integers | Sequence[Any]], count: int, seed: int) -> Iterator[Overrides]:
    """Random search: rows drawn from ranges, spread evenly along each key (see `studies.search`).

    What is drawn for a key depends on the seed, the count and the key alone, so another key changes nothing for it.

    Args:
      axes: for every key `uniform(low, high)`, `log_uniform(low, high)`, `Integers(low, high)`, or the values to
        choose from, each equally likely.
      count: how many rows to draw; an equal row is given once, so few choices give fewer rows.
      seed: another one gives other rows.

    Raises:
      ConfigError: a count below 1, ends of a range that do not rise, an empty choice.

    >>> axes = {"learning_rate": log_uniform(0.001, 0.1), "gamma.dim": [1, 4], "width": Integers(8, 9)}
    >>> for row in sample(axes, 4, seed=0):
    ...     print(row)
    {'learning_rate': 0.001918, 'gamma.dim': 4, 'width': 8}
    {'learning_rate': 0.04184, 'gamma.dim': 1, 'width': 9}
    {'learning_rate': 0.008274, 'gamma.dim': 4, 'width': 9}
    {'learning_rate': 0.01008, 'gamma.dim': 1, 'width': 8}
    """
    for key, axis in axes.items():
        check(key, axis)
    shares = draw({key: Axis(0.0, 1.0) for key in axes}, count, seed)
    yield from chain({key: _at(axis, row[key]) for key, axis in axes.items()} for row in shares)


def _combined(axes: Axes) -> Iterator[Overrides]:
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def check(key: str, axis: Axis | Integers | Sequence[Any]) -> None:
    """Refuses what is no range to draw from.

    Raises:
      ConfigError: ends of a range that do not rise, an empty choice, something else.
    """
    if isinstance(axis, Axis) and not (axis.low < axis.high and (axis.low > 0 or not axis.log)):
        positive = " above 0" if axis.log else ""
        raise ConfigError(
            f"the range of {key!r} is {axis.low:g} to {axis.high:g}: expected two rising numbers{positive}"
        )
    if isinstance(axis, Integers) and axis.low > axis.high:
        raise ConfigError(f"the range of {key!r} is {axis.low} to {axis.high}: expected low <= high")
    if isinstance(axis, str) or not isinstance(axis, Sequence):
        raise ConfigError(f"{key!r} has {axis!r}: expected a range or a list of values to choose from")
    if not len(axis):
        raise ConfigError(f"{key!r} has no values to choose from")


def _at(axis: Axis | Integers | Sequence[Any], share: float) -> Any:
    """The value at a share of the way along an axis, in 0..1 without its end."""
    if isinstance(axis, Axis):
        return rounded(axis, axis.at(share))
    values = range(axis.low, axis.high + 1) if isinstance(axis, Integers) else axis
    return values[int(share * len(values))]


def rounded(axis: Axis, number: float) -> float:
    """A number of a range with as many digits as are shown, still in the range.

    >>> rounded(uniform(0.0, 1.23456), 0.123456), rounded(uniform(0.0, 1.23456), 1.23456)
    (0.1235, 1.23456)
    """
    return min(max(float(f"{number:.{DIGITS}g}"), axis.low), axis.high)
