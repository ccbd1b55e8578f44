r"""Schedules: when to prune, and how far each time.

A schedule is a tuple of `(step, compression)` events. The masks of an event are computed on the host between two
steps, from the parameters before that step.

| name | compressions | source |
|---|---|---|
| `one_shot` | all at once | |
| `iterative` | $c^{i / n}$, the same factor each time | Han et al. 2015, arXiv 1506.02626 |
| `cubic` | sparsity $s_f + (s_i - s_f)(1 - p)^3$ at progress $p$ | Zhu and Gupta 2017, arXiv 1710.01878 |
| `lottery` | keeps a share $1 - p$ of the prunable that is left | Frankle and Carbin 2019, arXiv 1803.03635 |
| `exponential` | kept fraction $f^{i / n}$ | Tanaka et al. 2020, arXiv 2006.05467 |
"""

from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import PyTree

from hyperlab.errors import ConfigError
from hyperlab.pruning.counting import apply, check
from hyperlab.pruning.masks import Strategy, masks
from hyperlab.pruning.scores import Evidence
from hyperlab.pruning.select import PRUNABLE, Patterns, compression_of, kept_fraction

Events = tuple[tuple[int, float], ...]


def one_shot(compression: float, step: int = 0) -> Events:
    """Everything at one step.

    >>> one_shot(4)
    ((0, 4.0),)
    """
    return ((step, float(_ratio(compression))),)


def iterative(compression: float, rounds: int, every: int = 1, begin: int = 0) -> Events:
    """In rounds, each by the same factor.

    Args:
      compression: at the last round.
      rounds: how many, at least 1.
      every: steps between two rounds.
      begin: the step of the first.

    >>> iterative(8, 3, every=100)
    ((0, 2.0), (100, 4.0), (200, 8.0))
    """
    _at_least_one(rounds=rounds, every=every)
    # the last is the ratio itself: a power of a root is not
    return tuple(
        (
            begin + i * every,
            float(compression) if i + 1 == rounds else round(_ratio(compression) ** ((i + 1) / rounds), 12),
        )
        for i in range(rounds)
    )


def cubic_sparsity(step: int, final: float, begin: int, end: int, initial: float = 0.0) -> float:
    r"""The sparsity $s_f + (s_i - s_f)(1 - (t - t_0) / (t_1 - t_0))^3$, constant outside the interval.

    Args:
      step: $t$.
      final: $s_f$, in [0, 1).
      begin: $t_0$.
      end: $t_1$.
      initial: $s_i$.

    >>> [round(cubic_sparsity(step, 0.8, 0, 100), 3) for step in (0, 50, 100, 200)]
    [0.0, 0.7, 0.8, 0.8]
    """
    if not begin < end:
        raise ConfigError(f"a cubic schedule needs begin < end, got {begin} and {end}")
    if not 0 <= initial <= final < 1:
        raise ConfigError(f"sparsities need 0 <= initial <= final < 1, got {initial} and {final}")
    progress = min(max((step - begin) / (end - begin), 0.0), 1.0)
    return final + (initial - final) * (1 - progress) ** 3


def cubic(compression: float, begin: int, end: int, every: int) -> Events:
    """Gradually: fast at first, when much is redundant, and slower towards the end.

    The sparsity over all parameters, 1 - 1 / c, follows the cubic. Events that prune nothing are left out.

    Args:
      compression: at `end`.
      begin: the step at which it starts from the dense network.
      end: the step of the last event.
      every: steps between two events.

    >>> [(step, round(ratio, 3)) for step, ratio in cubic(5, 0, 100, 50)]
    [(50, 3.333), (100, 5.0)]
    """
    _at_least_one(every=every)
    final = 1 - 1 / _ratio(compression)
    steps = [*range(begin + every, end, every), end]
    return tuple((s, float(compression) if s == end else 1 / (1 - cubic_sparsity(s, final, begin, end))) for s in steps)


def lottery(
    params: PyTree, rounds: int, share: float = 0.2, prunable: Patterns = PRUNABLE, exclude: Patterns = ()
) -> tuple[float, ...]:
    """The compression after each round that prunes a share of what is prunable and left: density (1 - share)^r.

    >>> import numpy as np
    >>> [round(ratio, 4) for ratio in lottery({"kernel": np.ones((10, 10))}, 3)]
    [1.25, 1.5625, 1.9531]
    """
    _at_least_one(rounds=rounds)
    if not 0 < share < 1:
        raise ConfigError(f"the share that a round prunes is in (0, 1), got {share}")
    return tuple(compression_of(params, (1 - share) ** (r + 1), prunable, exclude) for r in range(rounds))


def exponential(
    params: PyTree, compression: float, rounds: int = 100, prunable: Patterns = PRUNABLE, exclude: Patterns = ()
) -> tuple[float, ...]:
    """Compressions whose kept fractions of the prunable are f^(i/n), the schedule of SynFlow.

    >>> import numpy as np
    >>> [round(ratio, 4) for ratio in exponential({"kernel": np.ones((10, 10))}, 4, 2)]
    [2.0, 4.0]
    """
    _at_least_one(rounds=rounds)
    fraction = kept_fraction(params, compression, prunable, exclude)
    ratios = [compression_of(params, fraction ** ((i + 1) / rounds), prunable, exclude) for i in range(rounds)]
    return (*ratios[:-1], float(compression))


def in_rounds(
    strategy: str | Strategy,
    params: PyTree,
    compressions: Sequence[float],
    gather: Callable[[PyTree], Evidence],
    **options: Any,
) -> PyTree:
    """Masks in rounds without training, scored anew each time: how SynFlow escapes layers that collapse.

    Args:
      strategy: as for `masks`.
      params: a tree of arrays.
      compressions: rising; the last is what comes out.
      gather: `gather(params)` gives the evidence at the parameters as they are pruned so far.
      **options: of `masks`.

    >>> import jax.numpy as jnp
    >>> from hyperlab.pruning import evidence
    >>> params = {"kernel": jnp.array([[1.0], [-2.0], [0.1], [3.0]])}
    >>> flow = lambda p: Evidence(flow=evidence.flow(lambda q, x: x @ q["kernel"], p, jnp.ones((1, 4))))
    >>> in_rounds("synflow", params, exponential(params, 2, 5), flow)["kernel"].ravel().tolist()
    [False, True, False, True]
    """
    current = options.pop("masks", None)
    if current is not None:
        check(current, params)
    for compression in compressions:
        seen = gather(params if current is None else apply(params, current))
        current = masks(strategy, params, compression, evidence=seen, masks=current, **options)
    return current


def _ratio(compression: float) -> float:
    if not compression >= 1:
        raise ConfigError(f"compression {compression} is below 1: it is the original size over the new one")
    return float(compression)


def _at_least_one(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ConfigError(f"{name} is at least 1, got {value}")
