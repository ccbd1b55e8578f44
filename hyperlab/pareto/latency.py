"""Measured seconds a call: warm-up first, then medians with quartiles; two functions are compared turn by turn.

A latency is a number of one machine at one time. What can be claimed elsewhere is a ratio, and a ratio of two functions
measured one after the other also shows how the machine's load changed meanwhile. So they take turns, and the ratio is
that of neighbouring turns.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from hyperlab.errors import ConfigError
from hyperlab.metrics import statistics


class Latency(NamedTuple):
    """Seconds a call.

    Attributes:
      median: of all measured calls.
      lower_quartile: a quarter of the calls were faster.
      upper_quartile: a quarter were slower.
      calls: how many were measured.
    """

    median: float
    lower_quartile: float
    upper_quartile: float
    calls: int


class LatencyRatio(NamedTuple):
    """How long the first function takes relative to the second, from pairs of neighbouring calls.

    Attributes:
      median: of the ratios of pairs; 1 where both take the same time.
      lower_quartile: of these ratios.
      upper_quartile: of these ratios.
      low: lower end of the 95 % bootstrap interval of the median; NaN under 10 pairs.
      high: upper end.
      first: the first function's latency.
      second: the second's.
    """

    median: float
    lower_quartile: float
    upper_quartile: float
    low: float
    high: float
    first: Latency
    second: Latency


def latency(call: Callable, arguments: Sequence[Any], *, repeats: int = 30, warmup: int = 3) -> Latency:
    """Measures calls one by one, each until its result is there.

    Args:
      call: a compiled program or a jitted function; the warm-up takes its compilation.
      arguments: of the call, on the device already: what is copied on each call is measured too.
      repeats: how many calls are measured.
      warmup: how many calls come first and are not.

    Raises:
      ConfigError: no repeats, or a negative warm-up.

    >>> import jax.numpy as jnp
    >>> result = latency(jax.jit(jnp.sin), [jnp.ones(10)], repeats=5)
    >>> result.calls, 0 < result.lower_quartile <= result.median <= result.upper_quartile
    (5, True)
    """
    _check(repeats, warmup)
    for _ in range(warmup):
        _seconds(call, arguments)
    return _summary([_seconds(call, arguments) for _ in range(repeats)])


def latency_ratio(
    first: Callable,
    first_arguments: Sequence[Any],
    second: Callable,
    second_arguments: Sequence[Any],
    *,
    repeats: int = 30,
    warmup: int = 3,
) -> LatencyRatio:
    """Compares two functions that take turns; which of a pair comes first changes from pair to pair.

    Args:
      first: as `call` of `latency`.
      first_arguments: of the first function.
      second: the function that is compared to.
      second_arguments: of the second function.
      repeats: how many pairs are measured.
      warmup: how many pairs come first and are not.

    Raises:
      ConfigError: no repeats, or a negative warm-up.

    >>> import jax.numpy as jnp
    >>> call, arguments = jax.jit(jnp.sin), [jnp.ones(10)]
    >>> result = latency_ratio(call, arguments, call, arguments, repeats=12)
    >>> result.low <= result.median <= result.high
    True
    """
    _check(repeats, warmup)
    sides = ((first, first_arguments), (second, second_arguments))
    for _ in range(warmup):
        for call, arguments in sides:
            _seconds(call, arguments)
    times = np.empty((repeats, 2))
    for pair in range(repeats):
        for side in (0, 1) if pair % 2 == 0 else (1, 0):
            times[pair, side] = _seconds(*sides[side])
    ratios = times[:, 0] / times[:, 1]
    low = high = float("nan")
    if repeats >= statistics.FEWEST_UNITS_OF_A_BOOTSTRAP:
        interval = statistics.bootstrap(ratios)
        low, high = interval.low, interval.high
    middle = _summary(ratios)
    return LatencyRatio(*middle[:3], low, high, _summary(times[:, 0]), _summary(times[:, 1]))


def _check(repeats: int, warmup: int) -> None:
    if repeats < 1 or warmup < 0:
        raise ConfigError(f"repeats is {repeats} and warmup {warmup}, expected 1 or more and 0 or more")


def _seconds(call: Callable, arguments: Sequence[Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call(*arguments))
    return time.perf_counter() - start


def _summary(values: Any) -> Latency:
    lower, median, upper = np.quantile(values, [0.25, 0.5, 0.75])
    return Latency(float(median), float(lower), float(upper), len(values))
