r"""How long a step takes, from seconds of compute and the latency and bandwidth of a link.

An all-reduce takes $B / W + \epsilon$: bytes sent by the ring formula over bandwidth, plus latency. A step takes
compute plus the mean communication; with ideal overlap, the longer of gradients' communication and compute.

The published link classes are those of Charles et al. 2025, arXiv 2503.09799. Latency and bandwidth of a real link come
from an all-reduce sweep (`fit_link`), compute from one process alone: never from the runs that are to be predicted.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.optimize

from hyperlab.errors import ConfigError
from hyperlab.local_sgd.accounting import Traffic, all_reduce_bytes


class Link(NamedTuple):
    """A link between machines.

    Attributes:
      bandwidth: bytes a second that one participant sends.
      latency: seconds of one all-reduce of nothing.
    """

    bandwidth: float
    latency: float


def gigabits(bandwidth: float, latency: float) -> Link:
    """A link from gigabits a second and seconds.

    >>> gigabits(10, 1e-2).bandwidth
    1250000000.0
    """
    return Link(bandwidth * 1e9 / 8, latency)


# name -> bandwidth in bit/s and latency as published
ARCHETYPES: Mapping[str, Link] = {
    "high": gigabits(400, 1e-4),
    "medium": gigabits(100, 1e-3),
    "low": gigabits(10, 1e-2),
}
REPLICAS = tuple(2**i for i in range(1, 11))  # 2 ... 1024


def exchange_seconds(link: Link, sent: float, exchanges: float = 1.0) -> float:
    """Seconds of communication.

    Args:
      link: bandwidth and latency.
      sent: bytes that one participant sends in all.
      exchanges: how many collectives carry them.

    >>> round(exchange_seconds(gigabits(10, 0), 198.07e6), 4)
    0.1585
    """
    if not (link.bandwidth > 0 and link.latency >= 0):
        raise ConfigError(f"a link has positive bandwidth and a latency of at least 0, got {link}")
    return sent / link.bandwidth + exchanges * link.latency


def all_reduce_seconds(link: Link, participants: int, payload: float) -> float:
    """Seconds of one ring all-reduce; with one participant there is none."""
    return exchange_seconds(link, all_reduce_bytes(participants, payload)) if participants > 1 else 0.0


def step_seconds(
    compute: float,
    link: Link,
    participants: int,
    payload: float,
    period: float = 1,
    slots: int = 0,
    overlap: bool = False,
) -> float:
    """Mean seconds of a step of local SGD; of a synchronous step with a period of 1.

    Args:
      compute: seconds of a step without communication.
      link: bandwidth and latency.
      participants: replicas, each a machine of its own.
      payload: bytes of the parameters.
      period: H, or its mean over rounds.
      slots: optimizer buffers that are averaged as well: 1 for momentum, 2 for Adam.
      overlap: communication hides behind compute, which only gradients of a synchronous step can do.

    Raises:
      ConfigError: negative compute, a period below 1, or overlap with a period above 1.

    >>> link = gigabits(10, 0.0)
    >>> [round(1e3 * step_seconds(0.1, link, 32, 4 * 25_557_032, period), 1) for period in (1, 8)]
    [258.5, 119.8]
    """
    if compute < 0 or period < 1:
        raise ConfigError(f"compute seconds are at least 0 and the period at least 1, got {compute} and {period}")
    if overlap and period > 1:
        raise ConfigError("overlap=True is for synchronous steps (period 1): averages of parameters wait for the step")
    exchange = all_reduce_seconds(link, participants, payload * (1 + slots)) / period
    return max(compute, exchange) if overlap else compute + exchange


def run_seconds(compute: float, link: Link, sent: Traffic) -> float:
    """Predicted seconds of a run whose communication was counted, so of any plan, with groups, fragments and codes.

    Args:
      compute: seconds of a step without communication.
      link: one link for all of it.
      sent: from `accounting.traffic`, for as many replicas as are to be predicted.
    """
    return sent.steps * (compute + exchange_seconds(link, sent.bytes_per_step, sent.exchanges_per_step))


def fit_link(payloads: Sequence[float], seconds: Sequence[float], participants: int) -> Link:
    """Bandwidth and latency from a sweep of all-reduces; neither comes out negative.

    Errors are relative, so that short all-reduces count as much as long ones: latency is seen in those alone.

    Args:
      payloads: bytes, at least two different ones.
      seconds: of each all-reduce, positive; the median of some repeats.
      participants: how many took part, at least 2.

    Raises:
      ConfigError: too few or unequal numbers, or seconds that do not grow with the payload.

    >>> link = fit_link([1e6, 8e6, 64e6], [0.002, 0.009, 0.065], participants=2)
    >>> round(link.bandwidth), round(link.latency, 6)
    (1000000000, 0.001)
    """
    sizes, times = np.asarray(payloads, float), np.asarray(seconds, float)
    if sizes.shape != times.shape or np.unique(sizes).size < 2 or participants < 2 or (times <= 0).any():
        raise ConfigError(
            "a link is fitted to at least two payloads, as many positive times, and at least 2 participants; "
            f"got {sizes.size} payloads, {times.size} times and {participants} participants"
        )
    sent = all_reduce_bytes(participants, 1.0) * sizes
    unit = sent.max()  # both columns of like size, for the solver
    terms = np.stack([sent / unit, np.ones_like(sent)], axis=1) / times[:, None]
    (slope, latency), _ = scipy.optimize.nnls(terms, np.ones_like(times))
    if slope <= 0:
        raise ConfigError("the all-reduce takes no longer for larger payloads: there is no bandwidth to be seen in it")
    return Link(float(unit / slope), float(latency))


class Prediction(NamedTuple):
    """One row of a table of predictions."""

    replicas: int
    link: str
    period: int
    seconds: float
    speedup: float


def table(
    compute: float,
    payload: float,
    periods: Sequence[int],
    replicas: Sequence[int] = REPLICAS,
    links: Mapping[str, Link] = ARCHETYPES,
    slots: int = 0,
) -> list[Prediction]:
    """Predicted seconds of a step for every number of replicas, link and period.

    Args:
      compute: seconds of a step of one replica without communication; the batch of a replica stays the same.
      payload: bytes of the parameters.
      periods: values of H.
      replicas: numbers of them; accuracy is known only for those that were trained.
      links: by name.
      slots: as for `step_seconds`.

    Returns:
      Rows; the speed-up is over the synchronous step of as many replicas, without overlap.

    >>> rows = table(0.1, 4e8, periods=(1, 8), replicas=(2, 1024), links={"low": ARCHETYPES["low"]})
    >>> [(row.replicas, row.period, round(row.seconds, 3), round(row.speedup, 2)) for row in rows]
    [(2, 1, 0.43, 1.0), (2, 8, 0.141, 3.04), (1024, 1, 0.749, 1.0), (1024, 8, 0.181, 4.14)]
    """
    rows = []
    for count in replicas:
        for name, link in links.items():
            synchronous = step_seconds(compute, link, count, payload)
            for period in periods:
                seconds = step_seconds(compute, link, count, payload, period, slots)
                rows.append(Prediction(count, name, period, seconds, synchronous / seconds))
    return rows
