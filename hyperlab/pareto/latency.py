"""Measured seconds a call: warm-up first, then the median with quartiles. A number of one machine at one time."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from hyperlab.errors import ConfigError


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


def latency(call: Callable[..., PyTree], arguments: Sequence[Any], *, repeats: int = 30, warmup: int = 3) -> Latency:
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


def _check(repeats: int, warmup: int) -> None:
    if repeats < 1 or warmup < 0:
        raise ConfigError(f"repeats is {repeats} and warmup {warmup}, expected 1 or more and 0 or more")


def _seconds(call: Callable[..., PyTree], arguments: Sequence[Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call(*arguments))
    return time.perf_counter() - start


def _summary(values: Any) -> Latency:
    lower, median, upper = np.quantile(values, [0.25, 0.5, 0.75])
    return Latency(float(median), float(lower), float(upper), len(values))
