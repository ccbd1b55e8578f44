r"""What is sent: bytes and rounds by the ring formula.

A ring all-reduce of a payload of B bytes among n participants sends $2 (n - 1) / n \cdot B$ bytes from each of them, an
all-gather of B bytes from each $(n - 1) B$. Participants are replicas, each taken as a machine of its own, however many
of them a simulation packs on one device.
"""

import collections
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from hyperlab import trees
from hyperlab.errors import ConfigError
from hyperlab.local_sgd.compression import message_bytes
from hyperlab.local_sgd.config import Config
from hyperlab.local_sgd.low_rank import RANKS, numbers_sent
from hyperlab.local_sgd.plan import Plan
from hyperlab.local_sgd.policies import buffers
from hyperlab.local_sgd.state import LocalState, fragment_of, part

WIDTH = 4  # bytes of a number that is averaged: sums are float32


def all_reduce_bytes(participants: int, payload: float) -> float:
    """Bytes that each participant of a ring all-reduce sends.

    Args:
      participants: n, at least 1.
      payload: bytes of what is summed.

    >>> round(all_reduce_bytes(32, 4 * 25_557_032) / 1e6, 2)
    198.07
    """
    _at_least_one(participants)
    return 2 * (participants - 1) / participants * payload


def all_gather_bytes(participants: int, message: float) -> float:
    """Bytes that each participant of a ring all-gather sends, of a message of its own that all are to have.

    >>> all_gather_bytes(4, 100)
    300
    """
    _at_least_one(participants)
    return (participants - 1) * message


class Payload(NamedTuple):
    """Bytes of what one replica has to share, by event.

    Attributes:
      gradients: of a synchronous step, batch statistics included: what is summed.
      gradient_messages: of a synchronous step, what is gathered as codes.
      fragments: of a synchronisation, one entry a fragment: what is summed.
      messages: the same for what is gathered as codes; 0 without compression.
      group: of an average within groups.
    """

    gradients: int
    gradient_messages: int
    fragments: tuple[int, ...]
    messages: tuple[int, ...]
    group: int


def payload(state: LocalState, config: Config) -> Payload:
    """What one replica has to share.

    Args:
      state: a state, or its `jax.eval_shape`.
      config: the method.
    """
    owner = fragment_of(state.anchor, config)
    parts = [part(state.anchor, owner, index) for index in range(config.groups)]
    sizes = [WIDTH * _numbers(leaves) for leaves in parts]
    shared = WIDTH * _numbers(state.shared)
    averaged = WIDTH * _buffer_count(state.inner) if config.inner_state == "average" else 0
    sent = [_compressed(config.compression, leaves) for leaves in parts]
    summed, messages = [one[0] for one in sent], tuple(one[1] for one in sent)
    gradients, gradient_messages = (summed[0], messages[0]) if config.kind == "synchronous" else (sum(sizes), 0)
    summed[0] += shared + averaged
    return Payload(gradients + shared, gradient_messages, tuple(summed), messages, sum(sizes) + averaged)


def _compressed(name: str | None, leaves: PyTree) -> tuple[int, int]:
    """Bytes of a tree that are summed, and those that are gathered."""
    if name is None or name in RANKS:
        return WIDTH * (numbers_sent(leaves, RANKS[name]) if name else _numbers(leaves)), 0
    return 0, message_bytes(name, leaves)


class Traffic(NamedTuple):
    """The communication of a run, from each of its replicas.

    Attributes:
      steps: of the run.
      synchronous_steps: those in which gradients were averaged.
      rounds: how often there was a synchronisation of any fragment.
      group_rounds: averages within groups.
      bytes_sent: over the run.
      peak_bytes: at the step that sends most.
      synchronous_bytes: what synchronous training sends in as many steps.
      collectives: how many of them, one after the other, a synchronisation is.
    """

    steps: int
    synchronous_steps: int
    rounds: int
    group_rounds: int
    bytes_sent: float
    peak_bytes: float
    synchronous_bytes: float
    collectives: int = 1

    @property
    def bytes_per_step(self) -> float:
        """The mean over all steps."""
        return self.bytes_sent / self.steps

    @property
    def exchanges_per_step(self) -> float:
        """How often a replica waits for others in a step, on average."""
        return (self.collectives * (self.synchronous_steps + self.rounds) + self.group_rounds) / self.steps

    @property
    def share(self) -> float:
        """Bytes over those of synchronous training; NaN where that sends none (one replica)."""
        return self.bytes_sent / self.synchronous_bytes if self.synchronous_bytes else float("nan")


def traffic(state: LocalState, config: Config, total_steps: int, replicas: int | None = None) -> Traffic:
    """The communication of a run of `total_steps` steps.

    Args:
      state: a state, or its `jax.eval_shape`.
      config: the method.
      total_steps: at least 1; the last step ends its round.
      replicas: another number of them than the state's, for a prediction.

    >>> from hyperlab.train.state import create as inner
    >>> import optax; from hyperlab.local_sgd.state import create
    >>> config = Config(replicas=2, period=4)
    >>> start = create(inner({"params": {"w": np.ones(100, np.float32)}}, optax.sgd(0.1)), config)
    >>> sent = traffic(start, config, 8)
    >>> sent.rounds, sent.bytes_sent, sent.share
    (2, 800.0, 0.25)
    """
    if total_steps < 1:
        raise ConfigError(f"total_steps is at least 1, got {total_steps}")
    n, sizes, plan = replicas or config.replicas, payload(state, config), Plan(config, total_steps)
    events = collections.Counter(plan.at(step) for step in range(total_steps))
    sent = {event: _event_bytes(event, n, sizes) for event in events}
    return Traffic(
        steps=total_steps,
        synchronous_steps=sum(count for event, count in events.items() if event.synchronous),
        rounds=sum(count for event, count in events.items() if event.fragments),
        group_rounds=sum(count for event, count in events.items() if event.group),
        bytes_sent=sum(count * sent[event] for event, count in events.items()),
        peak_bytes=max(sent.values()),
        synchronous_bytes=total_steps * all_reduce_bytes(n, WIDTH * trees.count((state.anchor, state.shared))),
        collectives=2 if config.compression in RANKS else 1,
    )


def _event_bytes(event: Any, n: int, sizes: Payload) -> float:
    if event.synchronous:
        return all_reduce_bytes(n, sizes.gradients) + all_gather_bytes(n, sizes.gradient_messages)
    if event.group:
        return all_reduce_bytes(event.group, sizes.group)
    summed = sum(sizes.fragments[index] for index in event.fragments)
    gathered = sum(sizes.messages[index] for index in event.fragments)
    return all_reduce_bytes(n, summed) + all_gather_bytes(n, gathered)


def _numbers(tree: PyTree) -> int:
    """How many real numbers a tree is; a complex one is two."""
    return trees.count(tree) + sum(leaf.size for leaf in jax.tree.leaves(tree) if np.iscomplexobj(leaf))


def _buffer_count(inner: PyTree) -> int:
    """Numbers in the optimizer's buffers of one replica."""
    marks, leaves = buffers(inner.opt_state, inner.params), jax.tree.leaves(inner.opt_state)
    own = [leaf for mine, leaf in zip(jax.tree.leaves(marks), leaves, strict=True) if mine]
    return sum(_numbers(leaf) // leaf.shape[0] for leaf in own)


def _at_least_one(participants: int) -> None:
    if participants < 1:
        raise ConfigError(f"a collective has at least 1 participant, got {participants}")
