"""Progress with an ETA: a live bar in a terminal, one line now and then in a log."""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:  # only a terminal needs it
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


class Progress:
    """Shows how far a run is; the time until the first update (compilation) and pauses do not count for the rate.

    Args:
      total: what there is to do, in `unit`.
      title: what is being done.
      unit: what is counted.
      file: where it is shown; by default standard error.
      live: a bar that moves, or plain lines; by default, whether `file` is a terminal.
      interval: seconds between two plain lines.
      clock: for tests.

    >>> import io
    >>> shown, times = io.StringIO(), iter([0.0, 5.0, 6.0, 8.0])
    >>> progress = Progress(30, "train", file=shown, live=False, interval=0, clock=lambda: next(times))
    >>> with progress:
    ...     progress.update(10)
    ...     progress.update(20, loss=0.5)
    >>> print(shown.getvalue(), end="")
    train 10/30 steps, first after 5 s
    train 20/30 steps, 10 steps/s, 1 s left, loss 0.5
    train ended at 20/30 steps after 8 s (first after 5 s)
    """

    def __init__(
        self,
        total: int,
        title: str,
        *,
        unit: str = "step",
        file: TextIO | None = None,
        live: bool | None = None,
        interval: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.total, self.title, self.unit = total, title, unit
        self._file = file or sys.stderr
        self._live = self._file.isatty() if live is None else live
        self._interval, self._clock = interval, clock
        self._start = 0.0
        self._first: float | None = None
        self._shown: float | None = None
        self._first_done = self._done = 0
        self._paused: dict[str, float] = {}
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> "Progress":
        self._start = self._clock()
        if self._live:
            self._bar = _bar(self._file)
            self._task = self._bar.add_task(self.title, total=self.total, shown="compiling")
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        seconds = self._clock() - self._start
        if self._bar is not None:
            self._bar.stop()
            return
        pauses = [f"{name} {_time(spent)}" for name, spent in self._paused.items() if spent >= 1]
        if self._first is not None:
            pauses.insert(0, f"first after {_time(self._first - self._start)}")
        detail = f" ({', '.join(pauses)})" if pauses else ""
        self._line(f"{self.title} ended at {self._done}/{self.total} {self.unit}s after {_time(seconds)}{detail}")

    def update(self, done: int, **shown: float) -> None:
        """Says that `done` units are done in all; `shown` are the newest measurements."""
        self._done = done
        now = self._clock()
        if self._first is None:
            self._first, self._first_done, self._paused = now, done, {}
        state = self._state(now, done, self._first)
        state += [f"{name} {value:.4g}" for name, value in shown.items() if isinstance(value, int | float)]
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, shown=", ".join(state))
        elif self._shown is None or now - self._shown >= self._interval:
            self._shown = now
            self._line(f"{self.title} {done}/{self.total} {self.unit}s, {', '.join(state)}")

    def waits(self, text: str) -> None:
        """Says what is waited for, such as a compilation: in a bar at once, as a line at most once an interval."""
        now = self._clock()
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, shown=text)
        elif self._shown is None or now - self._shown >= self._interval:
            self._shown = now
            self._line(f"{self.title} {self._done}/{self.total} {self.unit}s, {text}")

    @contextlib.contextmanager
    def pause(self, name: str) -> Iterator[None]:
        """Time inside the block counts as a pause of this name."""
        before = self._clock()
        try:
            yield
        finally:
            self._paused[name] = self._paused.get(name, 0.0) + self._clock() - before

    def _state(self, now: float, done: int, first: float) -> list[str]:
        active = now - first - sum(self._paused.values())
        if done <= self._first_done or active <= 0:
            return [f"first after {_time(first - self._start)}"]
        rate = (done - self._first_done) / active
        left = f"{_time((self.total - done) / rate)} left" if done <= self.total else "more than planned"
        return [f"{rate:.3g} {self.unit}s/s", left]

    def _line(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a closed pipe must not end a run
            print(text, file=self._file, flush=True)


def _bar(file: TextIO) -> "Bar":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[shown]}"),
    )
    return Bar(*columns, console=Console(file=file, stderr=file is sys.stderr), transient=False)


def _time(seconds: float) -> str:
    """The duration as people read it.

    >>> [_time(s) for s in (0.4, 75, 4000, math.inf)]
    ['0 s', '1:15 min', '1:06 h', '?']
    """
    if not math.isfinite(seconds):
        return "?"
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"
