"""Fields of a config: of which type a value is, in which range, what it is for, and the words that refuse another.

What may be given to a key is said once, where the study declares its schema; see `train.schema`.
"""

import abc
import dataclasses
from collections.abc import Collection
from typing import Any

import numpy as np

from hyperlab.errors import ConfigError, nearest
from hyperlab.train import durations

LARGEST = 2**31 - 1  # of counts and sizes: positions in arrays are 32-bit integers
_FLOAT = np.finfo(np.float32)


@dataclasses.dataclass(frozen=True)
class Field(abc.ABC):
    """One key of a config.

    Attributes:
      meaning: what it is for, in a line.
    """

    meaning: str

    @property
    @abc.abstractmethod
    def expected(self) -> str:
        """What may be given, in words that follow "expected"."""

    @property
    def several(self) -> str:
        """The same of more than one."""
        return self.expected

    @abc.abstractmethod
    def fits(self, value: Any) -> bool:
        """Whether a value may be given."""

    @property
    def choices(self) -> tuple[str, ...]:
        """What can be chosen from, for the help; empty where that is no list of names."""
        return ()

    def check(self, key: str, value: Any) -> None:
        """Refuses a value that may not be given.

        Raises:
          ConfigError: the key, what was given, and what was expected.
        """
        if not self.fits(value):
            raise self.refusal(key, value)

    def refusal(self, key: str, value: Any, also: str = "") -> ConfigError:
        """The error of a value that may not be given.

        Args:
          key: of the value.
          value: what was given.
          also: what is asked of it beside what is expected.
        """
        meaning = f" ({self.meaning})" if self.meaning else ""
        return ConfigError(f"{key} is {_shown(value)}, expected {self.expected}{also}{meaning}")


@dataclasses.dataclass(frozen=True)
class Number(Field):
    """A finite number that a 32-bit float can hold.

    Attributes:
      low: the least, itself included.
      high: the largest, itself included.
      above: as `low`, itself excluded.
      below: as `high`, itself excluded.

    >>> Number("a share", low=0, below=1).check("dropout", float("nan"))
    Traceback (most recent call last):
    hyperlab.errors.ConfigError: dropout is nan, expected a number from 0 to below 1 (a share)
    """

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None

    _named = ("a number", "numbers")

    @property
    def expected(self) -> str:
        return f"{self._named[0]}{self._range()}"

    @property
    def several(self) -> str:
        return f"{self._named[1]}{self._range()}"

    def fits(self, value: Any) -> bool:
        return self._is_number(value) and self._is_held(value) and self._within(value)

    def _is_number(self, value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)

    def _is_held(self, value: float) -> bool:
        # NaN fails every comparison; below the smallest normal number a float on a device may be zero
        return value == 0 or float(_FLOAT.tiny) <= abs(value) <= float(_FLOAT.max)

    def _within(self, value: float) -> bool:
        return (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def check(self, key: str, value: Any) -> None:
        if self._is_number(value) and self._within(value) and not self._is_held(value):
            raise self.refusal(key, value, also=", of a size that 32 bits can hold")
        super().check(key, value)

    def _range(self) -> str:
        if self.low is not None:
            if self.high is not None:
                return f" from {self.low:g} to {_whole(self.high)}"
            return f" of at least {self.low:g}" if self.below is None else f" from {self.low:g} to below {self.below:g}"
        parts = [] if self.above is None else [f"above {self.above:g}"]
        parts += [] if self.high is None else [f"at most {_whole(self.high)}"]
        parts += [] if self.below is None else [f"below {self.below:g}"]
        return "".join(f" {part}" for part in [" and ".join(parts)] if part)


@dataclasses.dataclass(frozen=True)
class Whole(Number):
    """A whole number that 32 bits can hold; see `Number`.

    >>> Whole("how many", low=1).check("report_seeds", 0)
    Traceback (most recent call last):
    hyperlab.errors.ConfigError: report_seeds is 0, expected a whole number of at least 1 (how many)
    """

    _named = ("a whole number", "whole numbers")

    def _is_number(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    def _is_held(self, value: float) -> bool:
        return abs(value) <= max(LARGEST, self.high or 0)


@dataclasses.dataclass(frozen=True)
class Choice(Field):
    """One of some names.

    Attributes:
      names: the valid ones.
      noun: what they are names of, for messages.

    >>> Choice("where from", ("iid", "shards"), "kind").check("data.kind", "shard")
    Traceback (most recent call last):
    hyperlab.errors.ConfigError: data.kind: unknown kind 'shard'; did you mean 'shards'?
    """

    names: Collection[str]
    noun: str = "choice"

    @property
    def expected(self) -> str:
        return f"one of {', '.join(map(repr, self.names))}"

    @property
    def several(self) -> str:
        return f"of {', '.join(map(repr, self.names))}"

    @property
    def choices(self) -> tuple[str, ...]:
        return tuple(self.names)

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.names

    def check(self, key: str, value: Any) -> None:
        if isinstance(value, str) and value not in self.names:
            raise ConfigError(f"{key}: unknown {self.noun} {value!r}; {nearest(value, self.names)}")
        super().check(key, value)


@dataclasses.dataclass(frozen=True)
class Text(Field):
    """Words, a name or a path; whether it exists is for the study's own check."""

    @property
    def expected(self) -> str:
        return "text without control characters"

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and not any(ord(c) < 32 or ord(c) == 127 for c in value)


@dataclasses.dataclass(frozen=True)
class Flag(Field):
    """True or False.

    Attributes:
      undecided: None is a third answer.
    """

    undecided: bool = False

    @property
    def expected(self) -> str:
        return "True, False or None" if self.undecided else "True or False"

    def fits(self, value: Any) -> bool:
        return isinstance(value, bool) or (self.undecided and value is None)


@dataclasses.dataclass(frozen=True)
class Duration(Field):
    """A duration of at least one step, see `train.durations`.

    Attributes:
      default: what the empty text stands for; without it there has to be a duration.

    >>> Duration("of a run").check("length", "0 steps")
    Traceback (most recent call last):
    hyperlab.errors.ConfigError: length is '0 steps', expected a duration above 0: '500 steps' or '3 epochs' (of a run)
    """

    default: str = ""

    @property
    def expected(self) -> str:
        return "a duration above 0: '500 steps' or '3 epochs'" + (", or '' for the default" if self.default else "")

    def fits(self, value: Any) -> bool:
        if not isinstance(value, str) or not value:
            return value == "" and bool(self.default)
        try:
            return durations.steps(value, batch_size=1, examples=1) >= 1
        except ConfigError:
            return False


@dataclasses.dataclass(frozen=True)
class Contrast(Field):
    """A comparison of two arms, `first - second`.

    Attributes:
      metrics: where the study has several: `metric: first - second`.

    >>> Contrast("named before").check("contrast", "mip - mip")
    Traceback (most recent call last):
    hyperlab.errors.ConfigError: contrast is 'mip - mip', expected 'first - second' of two different arms (named before)
    """

    metrics: Collection[str] = ()

    @property
    def expected(self) -> str:
        form = "'metric: first - second'" if self.metrics else "'first - second'"
        return f"{form} of two different arms" + (f", the metric of {', '.join(self.metrics)}" * bool(self.metrics))

    @property
    def several(self) -> str:
        return f"comparisons {self.expected}"

    def fits(self, value: Any) -> bool:
        if not isinstance(value, str):
            return False
        metric, _, pair = value.rpartition(": ") if self.metrics else ("", "", value)
        sides = pair.split(" - ")
        return len(sides) == 2 and all(sides) and sides[0] != sides[1] and (not self.metrics or metric in self.metrics)


@dataclasses.dataclass(frozen=True)
class Several(Field):
    """A tuple of values that are all of one kind.

    Attributes:
      of: the kind; its own meaning is not shown.
      least: how many there are at least.
      most: how many there are at most; None is no limit.
      different: whether no value may be there twice.
      rising: whether each is above the one before.
      empty: the empty tuple may be given too, whatever `least` is.

    >>> Several("grid", Number("", above=0)).check("rates", (0.1, -0.1))
    Traceback (most recent call last):
    hyperlab.errors.ConfigError: rates is (0.1, -0.1), expected one or more different numbers above 0 (grid)
    """

    of: Field
    least: int = 1
    most: int | None = None
    different: bool = True
    rising: bool = False
    empty: bool = False

    @property
    def expected(self) -> str:
        count = {0: "", 1: "one or more"}.get(self.least) if self.most is None else None
        if count is None:
            count = f"{self.least} or more" if self.most is None else f"{self.least} to {self.most}"
            count = f"at most {self.most}" if not self.least else count
            count = str(self.least) if self.least == self.most else count
        order = "rising" if self.rising else "different" if self.different else ""
        words = " ".join(part for part in (count, order, self.of.several) if part)
        return words + (", or none" if self.empty else "")

    @property
    def choices(self) -> tuple[str, ...]:
        return self.of.choices

    def fits(self, value: Any) -> bool:
        if not isinstance(value, tuple | list):
            return False
        if not value:
            return self.empty or not self.least
        if len(value) < self.least or (self.most is not None and len(value) > self.most):
            return False
        if not all(map(self.of.fits, value)):
            return False
        if self.rising:
            return all(first < second for first, second in zip(value, value[1:], strict=False))
        return not self.different or len(set(value)) == len(value)

    def check(self, key: str, value: Any) -> None:
        if isinstance(self.of, Choice) and isinstance(value, tuple | list):
            for one in value:
                self.of.check(key, one)
        super().check(key, value)


@dataclasses.dataclass(frozen=True)
class Table(Field):
    """A mapping from names to values that are all of one kind; keys may be left out.

    Attributes:
      of: the kind.
      names: the valid keys.
    """

    of: Field
    names: Collection[str]

    @property
    def expected(self) -> str:
        return f"{self.of.several} by {', '.join(map(repr, self.names))}"

    def fits(self, value: Any) -> bool:
        return hasattr(value, "items") and all(name in self.names and self.of.fits(one) for name, one in value.items())


def _whole(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def _shown(value: Any) -> str:
    try:
        shown = repr(value)
    except ValueError:  # Python writes no integer of more than 4300 digits
        shown = "a number of very many digits"
    return shown if len(shown) <= 200 else f"{shown[:200]}..."
