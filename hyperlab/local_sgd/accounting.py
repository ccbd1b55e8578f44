r"""What is sent: bytes and rounds by the ring formula, and the same read from a compiled program.

A ring all-reduce of a payload of B bytes among n participants sends $2 (n - 1) / n \cdot B$ bytes from each of them, an
all-gather of B bytes from each $(n - 1) B$. Participants are replicas, each taken as a machine of its own, however many
of them a simulation packs on one device.
"""

import collections
import dataclasses
import math
import re
from typing import Any, NamedTuple

import jax
import numpy as np

from hyperlab import trees
from hyperlab.errors import ConfigError, HyperlabError
from hyperlab.local_sgd.compression import message_bytes
from hyperlab.local_sgd.config import Config
from hyperlab.local_sgd.low_rank import RANKS, numbers_sent
from hyperlab.local_sgd.plan import Plan
from hyperlab.local_sgd.policies import buffers
from hyperlab.local_sgd.state import LocalState, fragment_of, part

PyTree = Any
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


def _event_bytes(event, n, sizes):
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


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective operation of a compiled program.

    Attributes:
      kind: `all-reduce`, `all-gather`, `reduce-scatter`, `collective-permute` or `all-to-all`.
      result_bytes: bytes of its result on one device.
      participants: devices that take part in one group.
    """

    kind: str
    result_bytes: int
    participants: int

    @property
    def sent(self) -> float:
        """Bytes that each participant sends, by the ring formula."""
        n, size = self.participants, self.result_bytes
        if self.kind == "all-reduce":
            return all_reduce_bytes(n, size)
        if self.kind == "reduce-scatter":
            return (n - 1) * size
        return size if self.kind == "collective-permute" else (n - 1) / n * size


_KINDS = "all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all"
_LINE = re.compile(rf"=\s*(?P<shape>\([^=]*?\)|\S+)\s+(?P<kind>{_KINDS})(?P<start>-start)?\((?P<rest>.*)")
_ARRAY = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")
# the three ways in which XLA writes groups: all of them, their number and size, or axes of a mesh
_LISTED = re.compile(r"replica_groups=\{\{([\d,]*)\}")
_COUNTED = re.compile(r"replica_groups=\[(\d+),(\d+)\]")
_MESH = re.compile(r"replica_groups=mesh\[(.*?)\].*?\{(.*?)\}")


def program_collectives(text: str, devices: int) -> list[Collective]:
    """The collectives of a compiled program.

    Args:
      text: of `jax.jit(f).lower(...).compile().as_text()`.
      devices: those of the program, which take part where a collective names no groups.

    Returns:
      In the order of the text; each once, also where it stands in a loop. Collectives within one device are none.

    >>> program_collectives("%r = f32[100]{0} all-reduce(%x), replica_groups={{0,1},{2,3}}, to_apply=%add", 4)
    [Collective(kind='all-reduce', result_bytes=400, participants=2)]
    """
    found = []
    for line in text.splitlines():
        match = _LINE.search(line)
        if match is None:
            continue
        arrays = [_bytes(*pair) for pair in _ARRAY.findall(match["shape"])]
        # an asynchronous gather or permute holds its operand before its result
        size = arrays[-1] if match["start"] and match["kind"] != "all-reduce" else sum(arrays)
        participants = _participants(match["rest"], devices)
        if participants > 1:
            found.append(Collective(match["kind"], size, participants))
    return found


def _participants(rest: str, devices: int) -> int:
    if listed := _LISTED.search(rest):
        return listed[1].count(",") + 1
    if counted := _COUNTED.search(rest):
        return int(counted[2])
    if mesh := _MESH.search(rest):
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", mesh[1])}
        # a part of an axis says its own size: 'axis':(2)4
        axes = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", mesh[2])
        return math.prod(int(size) if size else sizes[name] for name, size in axes)
    if re.search(r"replica_groups=(?!\{\})", rest):
        raise HyperlabError(f"the groups of a collective are written in an unknown way: {rest[:200]}")
    return devices


def _bytes(kind: str, shape: str) -> int:
    width = 1 if kind == "pred" else int(re.sub(r"\D", "", kind) or 8) // 8
    return width * int(np.prod([int(size) for size in shape.split(",") if size], dtype=np.int64))


def _at_least_one(participants: int) -> None:
    if participants < 1:
        raise ConfigError(f"a collective has at least 1 participant, got {participants}")
