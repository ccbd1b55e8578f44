"""The least that a step can take, the batch that fits, and the hours of a study: arithmetic on what a compiler says."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from hyperlab.planning.machines import Chip


class Bound(NamedTuple):
    """The least seconds of a program, for each reason that is known of the machine; 0: none is known.

    Attributes:
      operations: its products at the peak of all devices.
      memory: what it is given and returns, once through the memory of a device.
      links: what a device sends to the others.
    """

    operations: float = 0.0
    memory: float = 0.0
    links: float = 0.0

    @property
    def seconds(self) -> float:
        """The largest: they may overlap."""
        return max(self)

    @property
    def by(self) -> str:
        """Which of them it is."""
        return self._fields[self.index(self.seconds)] if self.seconds else "-"


def bound(chip: Chip, devices: int, precision: str, flops: float | None, found: Mapping[str, Any]) -> Bound:
    """The least seconds of one call of a program.

    Args:
      chip: of the machine.
      devices: how many share the operations.
      precision: that networks compute in.
      flops: of all devices together; None: not known.
      found: what `compiled.compiled` says of the program, or nothing.

    >>> chip = Chip("tpu", {"bfloat16": 100.0}, bandwidth=10.0, link=2.0)
    >>> bound(chip, 2, "bfloat16", 1000, {"arguments": 20, "outputs": 30, "sent": 8})
    Bound(operations=5.0, memory=5.0, links=4.0)
    """
    peak = chip.peak.get(precision, 0.0)
    moved = found.get("arguments", 0) + found.get("outputs", 0)
    return Bound(
        flops / peak / devices if peak and flops else 0.0,
        moved / chip.bandwidth if chip.bandwidth else 0.0,
        found.get("sent", 0.0) / chip.link if chip.link else 0.0,
    )


def largest_batch(sizes: Mapping[int, int], memory: int, parts: int = 1) -> int:
    """The largest batch whose program fits, on the line through what two batches need.

    Args:
      sizes: bytes that a device needs, by batch: two of them.
      memory: of a device.
      parts: devices over which the rows are dealt; batches are multiples of it.

    Returns:
      The batch; 0 where not even one row a device fits.

    >>> largest_batch({4: 500, 8: 900}, 1600, parts=2)
    14
    """
    (small, low), (large, high) = sorted(sizes.items())
    slope = (high - low) / (large - small)
    if slope <= 0:
        return large if high <= memory else 0
    return max(0, int((memory - low + slope * small) / slope) // parts * parts)


def hours(planned: int, planned_of: Mapping[str, int], seconds_of: Mapping[str, float]) -> float:
    """The least hours of all training steps of a study.

    Args:
      planned: steps of the whole study.
      planned_of: of them, those of its cells.
      seconds_of: the least seconds of a step of some cells; what is of none of them is counted as of the quickest.

    >>> hours(5000, {"a": 1000, "b": 3000}, {"a": 3.6, "b": 1.2})
    2.3333333333333335
    """
    least = min(seconds_of.values(), default=0.0)
    known = {cell: steps for cell, steps in planned_of.items() if cell in seconds_of}
    rest = max(0, planned - sum(known.values()))
    return (sum(steps * seconds_of[cell] for cell, steps in known.items()) + rest * least) / 3600
