"""The collectives of a compiled program, read from its text: what `accounting` says is sent, as XLA has it."""

import dataclasses
import math
import re

import numpy as np

from hyperlab.local_sgd.accounting import all_reduce_bytes


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
        raise ValueError(f"the groups of a collective are written in an unknown way: {rest[:200]}")
    return devices


def _bytes(kind: str, shape: str) -> int:
    width = 1 if kind == "pred" else int(re.sub(r"\D", "", kind) or 8) // 8
    return width * int(np.prod([int(size) for size in shape.split(",") if size], dtype=np.int64))
