"""Durations as people say them, in steps, epochs or examples, turned into steps in one place."""

import re

from hyperlab.errors import ConfigError

_FORM = re.compile(r"\s*(\d+(?:\.\d*)?(?:e\d+)?)\s*(step|epoch|example)?s?\s*", re.IGNORECASE)


def steps(duration: int | str, *, batch_size: int = 0, examples: int = 0) -> int:
    """The number of steps that a duration lasts, rounded up.

    Args:
      duration: steps as an integer, or `"500"`, `"500 steps"`, `"2.5 epochs"`, `"60000 examples"`.
      batch_size: examples that one step sees, over all devices; needed for epochs and examples.
      examples: examples of an epoch; needed for epochs.

    Returns:
      Steps, at least 0.

    Raises:
      ConfigError: another form, a negative number, or a size that is needed and was not given.

    >>> steps(100), steps("2 epochs", batch_size=64, examples=1000), steps("1 example", batch_size=64)
    (100, 32, 1)
    """
    if isinstance(duration, int) and not isinstance(duration, bool) and duration >= 0:
        return duration
    found = _FORM.fullmatch(duration) if isinstance(duration, str) else None
    if not found:
        raise ConfigError(f"a duration is {duration!r}, expected an integer or '3 epochs', '500 steps', '1e5 examples'")
    number, unit = float(found[1]), (found[2] or "step").lower()
    if unit == "epoch":
        if examples < 1:
            raise ConfigError(f"{duration!r} needs the number of examples of an epoch")
        number *= examples
    if unit in ("epoch", "example"):
        if batch_size < 1:
            raise ConfigError(f"{duration!r} needs the batch size")
        number /= batch_size
    # 0.1 epochs of 30 examples are 3.0000000000000004: not a reason for a fourth step
    return int(-((-number + 1e-9) // 1))
