"""A flag that SIGTERM, SIGUSR1 and the first Ctrl-C set: every host loop looks at it, saves, ends with code 0."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from hyperlab.train import distributed
from hyperlab.train.protocols import Stop


class AgreedStop:
    """A stop of processes that train together: requested for all of them or for none.

    Args:
      stop: of this process.
    """

    def __init__(self, stop: Stop):
        self.own, self.requested = stop, False

    @property
    def reason(self) -> str | None:
        return getattr(self.own, "reason", None)

    def request(self, reason: str) -> None:
        """Sets the flag of this process; the others come to know when they agree."""
        self.own.request(reason)

    def agree(self) -> None:
        """All processes call this at the same place: from then on it is requested where any of them was asked."""
        self.requested = self.requested or distributed.any_process(self.own.requested)


class StopFlag:
    """Listens for the signals of a cluster or of a user for as long as its `with` block lasts.

    A second Ctrl-C raises KeyboardInterrupt at once. Outside the main thread no signal can be listened
    to, and the flag is set by `request` alone.

    Attributes:
      requested: whether to stop at the next step boundary.
      reason: the signal's name, or what `request` was given.

    >>> with StopFlag() as stop:
    ...     signal.raise_signal(signal.SIGTERM)
    >>> stop.requested, stop.reason
    (True, 'SIGTERM')
    """

    def __init__(self, signals: tuple[str, ...] = ("SIGTERM", "SIGUSR1", "SIGINT")):
        self.reason: str | None = None
        self._signals = [getattr(signal, name) for name in signals if hasattr(signal, name)]
        self._previous: dict[int, Callable[[int, FrameType | None], object] | int | signal.Handlers | None] = {}

    @property
    def requested(self) -> bool:
        return self.reason is not None

    def request(self, reason: str) -> None:
        """Sets the flag from the program itself, for instance at a time limit."""
        self.reason = self.reason or reason

    def __enter__(self) -> "StopFlag":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in self._signals}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.request(name)
        again = "; once more to end at once" if number == signal.SIGINT else ""
        with contextlib.suppress(Exception):  # a closed terminal must not turn a clean stop into a crash
            print(f"\n{name}: saving and stopping{again}", file=sys.stderr, flush=True)
