"""What the devices of a compiled program send to each other, read from its text."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

NAMES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_LINE = re.compile(rf"^\s*(?:ROOT )?%?[\w.-]+ = (?P<shape>.+?) (?P<name>{'|'.join(NAMES)})(?P<start>-start)?\(")
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+\w*)\[([\d,]*)\]")
# Groups come in three forms: {{0,2},{1,3}}, [2,2]<=[4], and mesh['a'=2,'b'=2], ... {'b'}, the axes that are crossed.
_LISTED, _COUNTED = re.compile(r"replica_groups=\{\{([\d,]+)\}"), re.compile(r"replica_groups=\[\d+,(\d+)\]")
_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\][^{}]*\{([^}]*)\}")
_AXIS, _CROSSED = re.compile(r"'(\w+)'=(\d+)"), re.compile(r"'(\w+)'(?::\(\d+\)(\d+))?")


class Collective(NamedTuple):
    """One operation of several devices.

    Attributes:
      name: of `NAMES`.
      bytes: of what it returns on a device; of a reduce-scatter, of what it is given.
      group: how many devices take part together.
    """

    name: str
    bytes: int
    group: int

    @property
    def sent(self) -> float:
        """Bytes that a device sends at least, by the ring formulas."""
        share = (self.group - 1) / self.group
        return {"all-reduce": 2 * share, "collective-permute": 1.0}.get(self.name, share) * self.bytes


def array_bytes(shape: str) -> list[int]:
    """Bytes of each array that a shape of HLO names.

    >>> array_bytes("(f32[4,2]{1,0:T(8,128)}, bf16[3]{0}, pred[])")
    [32, 6, 1]
    """
    sizes = []
    for kind, dims in _ARRAY.findall(shape):
        bits = 8 if kind == "pred" else int(re.findall(r"\d+", kind)[0])
        sizes.append(math.prod(int(n) for n in dims.split(",") if n) * max(bits, 8) // 8)
    return sizes


def collectives(text: str, devices: int) -> list[Collective]:
    """The operations of a compiled program in which several devices take part; those in a loop once.

    Args:
      text: `compiled.as_text()`.
      devices: of the program: an operation that names no groups is one of all.

    >>> line = "  %r = f32[10]{0} all-reduce(f32[10]{0} %x), replica_groups=[1,8]<=[8], to_apply=%add"
    >>> found = collectives(line, 8)
    >>> found, found[0].sent
    ([Collective(name='all-reduce', bytes=40, group=8)], 70.0)
    """
    return [one for one in _found(text, devices) if one.group > 1]


def _found(text: str, devices: int) -> Iterator[Collective]:
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        sizes, name = array_bytes(match["shape"]), match["name"]
        group = _group(line, devices)
        if match["start"] and name == "all-gather":
            size = sum(sizes[len(sizes) // 2 :])  # what goes in is named before what comes out
        elif match["start"] and name == "collective-permute":
            size = max(sizes)
        else:
            size = sum(sizes)
        yield Collective(name, size * (group if name == "reduce-scatter" else 1), group)


def _group(line: str, devices: int) -> int:
    """How many devices take part together in the operation of a line."""
    if listed := _LISTED.search(line):
        return len(listed[1].split(","))
    if counted := _COUNTED.search(line):
        return int(counted[1])
    if mesh := _MESH.search(line):
        sizes = {name: int(size) for name, size in _AXIS.findall(mesh[1])}
        return math.prod(int(part) if part else sizes[name] for name, part in _CROSSED.findall(mesh[2]))
    return devices
