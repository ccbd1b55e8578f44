r"""How many local steps a round has: H as a number, or as a function of the step at which the round begins.

| name | H of a round that begins at step t | source |
|---|---|---|
| a number | H | Stich 2018, arXiv 1805.09767 |
| `quadratic` | $\max(H_b, \lfloor (a / \gamma_t)^2 \rfloor)$ | Gu et al. 2024 (QSR), arXiv 2310.14423 |
| `warm_up` | grows from 1 to H | |

Any other function of the step will do. H is a number on the host: it decides which of two compiled programs runs.
"""

import math
from collections.abc import Callable
from typing import Any

from hyperlab.errors import ConfigError

Period = int | Callable[[int], int]
LONGEST = 2**31 - 1  # a round that only the end of training cuts short


def quadratic(base: int, coefficient: float, learning_rate: Callable[[int], Any], warmup_steps: int = 0) -> Period:
    """The quadratic synchronisation rule: the smaller the learning rate, the longer the rounds.

    Args:
      base: the shortest round, at least 1.
      coefficient: `a` of the rule, positive: H is 1 / rate^2 times its square.
      learning_rate: the inner rate at a step. Where it is 0 the round lasts until the end of training.
      warmup_steps: rounds that begin before this step use the rate at this step: while a rate warms up it is small,
        and the rule would take that for the end of training.

    Returns:
      H as a function of the step at which the round begins.

    Raises:
      ConfigError: a base below 1, a coefficient that is not positive.

    >>> period = quadratic(4, 0.4, lambda step: 0.1 if step < 100 else 0.05)
    >>> period(0), period(100)
    (16, 64)
    """
    checked(base, "the base of the quadratic rule")
    if not coefficient > 0:
        raise ConfigError(f"the coefficient of the quadratic rule is positive, got {coefficient}")

    def period(step: int) -> int:
        rate = float(learning_rate(max(step, warmup_steps)))
        # the share of 1e-9: 0.3 / 0.1 is a hair below 3 in floating point, and its floor would be 8 instead of 9
        steps = LONGEST if rate <= 0 else min((coefficient / rate) ** 2 * (1 + 1e-9), LONGEST)
        return max(base, math.floor(steps))

    return period


def warm_up(period: int, steps: int) -> Period:
    """Rounds that grow from 1 step to `period` steps while training goes through its first `steps` steps.

    >>> grows = warm_up(8, 70)
    >>> [grows(step) for step in (0, 10, 69, 70, 1000)]
    [1, 2, 7, 8, 8]
    """
    checked(period, "the period to warm up to")
    checked(steps, "the steps of the warm-up")
    return lambda step: min(period, 1 + (period - 1) * step // steps)


def length(period: Period, step: int) -> int:
    """H of the round that begins at a step.

    Raises:
      ConfigError: a period below 1, or that is no whole number; the step is named.

    >>> length(4, 0), length(lambda step: 1 + step, 2)
    (4, 3)
    """
    if callable(period):
        return checked(period(step), f"the period of the round that begins at step {step}")
    return checked(period, "the period")


def checked(value: Any, what: str) -> int:
    """The value as an integer of at least 1, or an error that says what it was for."""
    if isinstance(value, bool) or int(value) != value or value < 1:
        raise ConfigError(
            f"{what} is {value!r}: it counts the local steps between two synchronisations, "
            "a whole number from 1 (every step) up"
        )
    return int(value)
