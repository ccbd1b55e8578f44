"""What the steps of a training are given: examples that are whole on the device, or the rows of each batch alone.

Which of the two, the bytes of the examples decide. The numbers are the same: batches are functions of seed and step,
and a step gathers the same rows.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from hyperlab.data import streaming
from hyperlab.train.groups import Group

Select = Callable[[Any, Any], tuple[PyTree, Any]]


class Supply:
    """Takes what was drawn for a step to what the step is given, in two turns: on the host, then on the devices.

    Args:
      examples: what all steps gather rows from, a pytree of arrays on the host; None where what was drawn is all.
      select: `(examples, drawn) -> (examples, drawn)`: which rows of the examples a step needs, as
        `data.streaming.Rows`, and what was drawn with the numbers of these rows; None: examples are never streamed.
      read: reads what was drawn, where a step is to be given more than indices.
      group: the devices.
      rows: of a batch, which are dealt over them.
      leading: axes of what was drawn before that of the rows.
      limit: examples of more bytes are streamed; 0: half of a device's memory.
      processes: that read files ahead; 0: threads. Rows of arrays are read in threads, since processes would copy them.
      share: of a batch's rows, that this process reads; by default those of its devices in the group.

    Attributes:
      bytes: of the examples.
      limit: in bytes.
      streamed: whether the rows of a batch travel with it.

    >>> import numpy as np
    >>> examples, drawn = np.array([5.0, 6.0, 7.0]), np.array([2, 1])
    >>> for limit in (100, 1):
    ...     given, indices = Supply(examples, streaming.select, group=Group(0), rows=2, limit=limit)(drawn)
    ...     given.shape, given[indices].tolist()
    ((3,), [7.0, 6.0])
    ((2,), [7.0, 6.0])
    """

    def __init__(
        self,
        examples: PyTree,
        select: Select | None = None,
        read: Callable[[Any], Any] | None = None,
        *,
        group: Group,
        rows: int,
        leading: int = 0,
        limit: int = 0,
        processes: int = 0,
        share: streaming.Share | None = None,
    ):
        self._examples, self._select, self._read = examples, select, read
        self._group, self._dealt_out, self._processes = group, (rows, leading), processes
        self._share = group.share if share is None else share
        self._cut = False  # whether each process reads its own rows of what was drawn
        if read is not None and self._share.parts > 1 and rows % self._share.parts == 0:
            self._cut = True
            self._read = functools.partial(_read_share, read, self._share, rows, leading)
        self.bytes, self.limit = streaming.size(examples), limit or group.room
        self.streamed = select is not None and self.bytes > self.limit
        self._resident = group.whole(examples) if examples is not None and not self.streamed else None

    def ahead(
        self, batches: Callable[[int], Any], steps: int, stride: int = 1
    ) -> contextlib.AbstractContextManager[Callable[[int], Any]]:
        """The turn on the host of every step, done ahead in the block where it is worth it: `step -> found`.

        Args:
          batches: `step -> ` what is drawn for it.
          steps: of the whole training.
          stride: steps of one call.
        """
        if not self.streamed and self._read is None:
            return contextlib.nullcontext(batches)
        if self._read is not None and not self.streamed:
            function = functools.partial(_then, self._read, batches)  # without the examples: it goes to processes
            return streaming.ReadAhead(function, steps, stride=stride, processes=self._processes)
        return streaming.ReadAhead(functools.partial(_then, self.read, batches), steps, stride=stride)

    def read(self, drawn: Any) -> Any:
        """The turn on the host.

        Raises:
          DataError: rows or files that cannot be read.
        """
        drawn = drawn if self._read is None else self._read(drawn)
        if not self.streamed:
            return drawn
        assert self._select is not None
        part, drawn = self._select(self._examples, drawn)
        return streaming.read(part, self._share), drawn

    def place(self, found: Any) -> Any:
        """The turn on the devices, of what `read` found: `(examples, drawn)`, or `drawn` alone without examples."""
        if self.streamed:
            part, drawn = found
            return self._group.travelled(part, self._share), self._group.rows(drawn, *self._dealt_out)
        if self._cut:
            dealt = self._group.joined(found, *self._dealt_out, self._share)
        else:
            dealt = self._group.rows(found, *self._dealt_out)
        return dealt if self._examples is None else (self._resident, dealt)

    def __call__(self, drawn: Any) -> Any:
        """Both turns."""
        return self.place(self.read(drawn))

    def __str__(self) -> str:
        """Where the examples are, in a sentence."""
        if not self.streamed:
            return f"{self.bytes:,} bytes of examples stay on the device"
        return (
            f"{self.bytes:,} bytes of examples are more than the {self.limit:,} of data.device_bytes: they stay on the "
            "host, and the rows of each batch are read ahead"
        )


def _read_share(read: Callable[[Any], Any], share: streaming.Share, rows: int, leading: int, drawn: Any) -> Any:
    """Reads what was drawn for a process's share of the rows, which lie along axis `leading`."""

    def own(leaf: Any) -> Any:
        shape = np.shape(leaf)
        return share.of(leaf, leading) if len(shape) > leading and shape[leading] == rows else leaf

    return read(jax.tree.map(own, drawn))


def _then(read: Callable[[Any], Any], batches: Callable[[int], Any], step: int) -> Any:
    return read(batches(step))
