"""Durations as people say them, in steps, epochs or examples, turned into steps in one place; and intervals."""

import re
from typing import NamedTuple

from hyperlab.errors import ConfigError

_MOST = 2**31 - 1  # steps are counted in 32 bits on the device
_SECONDS = {"s": 1, "min": 60, "h": 3600}
_CLOCK = re.compile(r"\s*(\d+(?:\.\d*)?)\s*(s|min|h)\s*", re.IGNORECASE)
_FORM = re.compile(r"\s*(\d+(?:\.\d*)?(?:e\d+)?)\s*(step|epoch|example)?s?\s*", re.IGNORECASE)


def steps(duration: int | str, *, batch_size: int = 0, examples: int = 0) -> int:
    """The number of steps that a duration lasts, rounded up.

    Args:
      duration: steps as an integer, or `"500"`, `"500 steps"`, `"2.5 epochs"`, `"60000 examples"`.
      batch_size: examples that one step sees, over all devices; needed for epochs and examples.
      examples: examples of an epoch; needed for epochs.

    Returns:
      Steps, at least 0; a duration above 0 lasts at least 1.

    Raises:
      ConfigError: another form, a negative number, more steps than 32 bits can count, or a size that is needed and
        was not given.

    >>> steps(100), steps("2 epochs", batch_size=64, examples=1000), steps("1 example", batch_size=64)
    (100, 32, 1)
    """
    if isinstance(duration, int) and not isinstance(duration, bool) and 0 <= duration <= _MOST:
        return duration
    found = _FORM.fullmatch(duration) if isinstance(duration, str) else None
    if not found:
        raise ConfigError(f"a duration is {duration!r}, expected an integer or '3 epochs', '500 steps', '1e5 examples'")
    number, unit = float(found[1]), (found[2] or "step").lower()
    positive = number > 0
    if unit == "epoch":
        if examples < 1:
            raise ConfigError(f"{duration!r} needs the number of examples of an epoch")
        number *= examples
    if unit in ("epoch", "example"):
        if batch_size < 1:
            raise ConfigError(f"{duration!r} needs the batch size")
        number /= batch_size
    if not number <= _MOST:
        raise ConfigError(f"a duration is {duration!r}, expected at most {_MOST} steps")
    # 0.1 epochs of 30 examples are 3.0000000000000004: not a reason for a fourth step
    return max(int(-((-number + 1e-9) // 1)), int(positive))


def known(duration: str, batch_size: int) -> int | None:
    """The steps of a duration, or None where they depend on the number of examples of an epoch.

    >>> known("96 examples", 32), known("2 epochs", 32)
    (3, None)
    """
    return None if "epoch" in duration.lower() else steps(duration, batch_size=batch_size)


class Interval(NamedTuple):
    """How long it is from one save to the next: steps, or seconds; both 0: there is no next one."""

    steps: int = 0
    seconds: float = 0.0


def interval(text: int | str) -> Interval:
    """An interval as people say it, by the clock or in steps.

    Args:
      text: `"5 min"`, `"90 s"`, `"2 h"`, `"500 steps"`, or a whole number of steps; 0 for never.

    Raises:
      ConfigError: another form, or a negative number.

    >>> interval("5 min"), interval("500 steps"), interval(0)
    (Interval(steps=0, seconds=300.0), Interval(steps=500, seconds=0.0), Interval(steps=0, seconds=0.0))
    """
    found = _CLOCK.fullmatch(text) if isinstance(text, str) else None
    if found:
        return Interval(seconds=float(found[1]) * _SECONDS[found[2].lower()])
    try:
        return Interval(steps(text))
    except ConfigError:
        raise ConfigError(f"an interval is {text!r}, expected '5 min', '90 s', '2 h', '500 steps', or 0") from None
