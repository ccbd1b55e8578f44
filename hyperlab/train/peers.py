"""The processes of one run that share its folder and its trainings: who does what, who waits, and who is gone.

They talk through files in the run folder, so that what they do needs no collective operation: one process may compile
for an hour while another trains. Each has a beat that its own thread keeps; one that stops, fails or dies is noticed by
the others within seconds (on another host, where a file server may show things late, within minutes).
"""

import contextlib
import fcntl
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax

from hyperlab import files
from hyperlab.errors import DistributedError, WorkdirError
from hyperlab.train import distributed
from hyperlab.train.heartbeat import Heartbeat, is_alive
from hyperlab.train.protocols import Stop

FOLDER = ".processes"
BEAT = 5.0  # seconds between two beats
POLL = 0.1  # seconds between two looks
PATIENCE = 30.0  # seconds that a process which trains with one that is gone may take to notice it itself
LEFT = 3  # exit code of a process that others left in the middle
FAREWELL = 60.0  # seconds that process 0 waits for what the others did, after a stop
Item = TypeVar("Item")


class Peers:
    """All processes of a run, seen from one of them.

    Attributes:
      index: of this process.
      count: how many there are.
      lost: what is known of another one that is gone, in words; None while all are there.

    >>> alone = Peers()
    >>> alone.share([1, 2, 3]), alone.meet(), alone.is_main
    ([1, 2, 3], True, True)
    """

    def __init__(
        self,
        index: int = 0,
        count: int = 1,
        folder: Path | None = None,
        stop: Stop | None = None,
        *,
        together: bool = False,
    ):
        self.index, self.count, self._together = index, count, together
        self.lost: str | None = None
        self._folder, self._stop, self._meetings = folder, stop, 0
        self._ended = threading.Event()
        self._heart: Heartbeat | None = None

    @classmethod
    def of(cls, folder: Path, stop: Stop, *, together: bool = False) -> "Peers":
        """The processes that `distributed.initialize` joined, each of which calls this once.

        Args:
          folder: of the run.
          stop: of this process.
          together: they train one training, so that one that is gone may leave the others in a collective operation.
        """
        count = jax.process_count()
        if count == 1:
            return cls()
        token = distributed.from_main(int.from_bytes(os.urandom(4), "big") >> 1)
        peers = cls(jax.process_index(), count, folder / FOLDER / f"{token:08x}", stop, together=together)
        peers.begin()
        distributed.any_process(False)  # returns when all have begun
        return peers

    @property
    def is_main(self) -> bool:
        """Whether this process writes the record and the page."""
        return self.index == 0

    def share(self, items: Sequence[Item]) -> list[Item]:
        """Those of some items that this process does: every so many."""
        return list(items[self.index :: self.count])

    # -- waiting -----------------------------------------------------------------------------------------------

    def meet(self) -> bool:
        """Waits until all have come to this call; False where a stop came in between.

        Raises:
          DistributedError: another process is gone.
        """
        if self._folder is None:
            return True
        self._meetings += 1
        self._say("met", self._meetings)
        return self._wait(lambda: all(self._said(other, "met", 0) >= self._meetings for other in self._others()))

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """Process 0 does what is in the block before the others do."""
        if self.is_main:
            yield
            self.meet()
        else:
            self.meet()
            yield

    @contextlib.contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        """One process at a time has a name; False where a stop came first.

        Raises:
          DistributedError: another process is gone.
        """
        if self._folder is None:
            yield True
            return
        with (self._folder / f"{name}.claim").open("a") as claim:
            yield self._wait(lambda: _locked(claim))

    def gathered(self, notes: dict[str, Any]) -> list[dict[str, Any]]:
        """What each process has to say in the end, on process 0; of one that is gone, nothing."""
        if self._folder is None:
            return [notes]
        self._say("notes", notes)
        if self.is_main:
            self._until_said("notes")
        found = [self._said(other, "notes") for other in range(self.count)]
        return [one for one in found if one is not None]

    def leave(self, failure: str = "") -> None:
        """This process has no more to do; with a failure, the others end too."""
        if self._folder is None:
            return
        with contextlib.suppress(OSError, WorkdirError):
            self._say(*("failed", failure) if failure else ("left", True))
        if self.is_main and not failure:
            self._until_said("left")
            shutil.rmtree(self._folder.parent, ignore_errors=True)
        self._ended.set()
        if self._heart is not None:
            self._heart.stop()

    def check(self) -> None:
        """Raises what is known of a process that is gone (DistributedError)."""
        if self.lost:
            raise DistributedError(
                f"{self.lost}; what was trained is kept, and trainings in work were saved: the same command and "
                "--workdir go on from there"
            )

    # -- files -------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Others can see this process from now on, and it looks at them; all of them begin before any goes on."""
        assert self._folder is not None
        own = self._place(self.index)
        own.mkdir(parents=True, exist_ok=True)
        self._heart = Heartbeat(own, interval=BEAT)
        threading.Thread(target=self._watch, name="peers", daemon=True).start()

    def _others(self) -> list[int]:
        return [other for other in range(self.count) if other != self.index]

    def _place(self, index: int) -> Path:
        assert self._folder is not None
        return self._folder / str(index)

    def _say(self, what: str, value: Any) -> None:
        files.write_atomically(self._place(self.index) / f"{what}.json", json.dumps(value))

    def _said(self, other: int, what: str, default: Any = None) -> Any:
        try:
            return json.loads((self._place(other) / f"{what}.json").read_text())
        except (OSError, ValueError):
            return default

    def _until_said(self, what: str) -> None:
        """Waits, not for ever, until all others have said something."""
        end = time.monotonic() + FAREWELL
        while time.monotonic() < end and not self.lost:
            if all(self._said(other, what) is not None for other in self._others()):
                return
            time.sleep(POLL)

    def _wait(self, done: Any) -> bool:
        while not done():
            self.check()
            if self._stop is not None and self._stop.requested:
                return False
            time.sleep(POLL)
        return True

    def _watch(self) -> None:
        """Notices what becomes of the others: a stop of one is a stop of all."""
        assert self._stop is not None
        while not self._ended.wait(2 * POLL):
            if self._stop.requested and self._said(self.index, "stop") is None:
                with contextlib.suppress(Exception):
                    self._say("stop", getattr(self._stop, "reason", None) or "a stop")
            for other in self._others():
                reason = self._said(other, "stop")
                if reason is not None and not self._stop.requested:
                    self._stop.request(reason)
                if lost := self._loss(other):
                    self.lost = lost
                    self._stop.request("another process is gone")
                    if self._together and not self._ended.wait(PATIENCE):
                        print(f"error: {lost}; the same command goes on", file=sys.stderr, flush=True)
                        os._exit(LEFT)
                    return

    def _loss(self, other: int) -> str | None:
        who = f"process {other} of {self.count}"
        if failure := self._said(other, "failed"):
            return f"{who} failed: {failure}"
        if self._said(other, "left") is None and self._place(other).exists() and not is_alive(self._place(other)):
            return f"{who} ended without a word"
        return None


def _locked(file: Any) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
