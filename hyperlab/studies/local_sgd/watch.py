"""Progress that is missed when it stays away: what hangs in a collective cannot look at a clock itself."""

import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

import jax

from hyperlab.train.progress import Progress

FIRST = 300.0  # seconds that the first step may take, compilation included


class Watch:
    """A `progress` of the training loop; where several processes train, a thread sees to it that there is some.

    Args:
      patience: seconds without a step that are too many.
      leave: told why, and ends the process.
    """

    def __init__(self, patience: float, leave: Callable[[str], NoReturn]):
        self.progress: Any = None
        self._patience, self._leave, self._last = patience, leave, time.monotonic()
        self._begun, self._done = False, threading.Event()

    def __enter__(self) -> "Watch":
        self._last = time.monotonic()
        if jax.process_count() > 1:
            threading.Thread(target=self._look, daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self._done.set()

    def update(self, done: int, **shown: float) -> None:
        """A step is done."""
        self._last, self._begun = time.monotonic(), True
        if self.progress is not None:
            self.progress.update(done, **shown)

    def pause(self, name: str) -> Any:
        """Evaluations and checkpoints are watched like steps."""
        self._last = time.monotonic()
        return Progress(1, name).pause(name) if self.progress is None else self.progress.pause(name)

    def _look(self) -> None:
        while not self._done.wait(min(1.0, self._patience / 4)):
            limit = self._patience if self._begun else max(self._patience, FIRST)
            if time.monotonic() - self._last > limit:
                self._leave(f"no step was finished for {limit:g} s")
