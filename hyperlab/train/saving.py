"""What is saved of a unit's trainings while it is in work, so that a stop loses none of it, and a kill little.

A unit (`train.units`) is one training or many, one after the other. Each has a folder of checkpoints, by its place in
that order, which is the same at every start. A training that has ended is held in memory until a save is due, or the
unit is stopped; when the unit is done, all of it is removed.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from hyperlab.train import distributed
from hyperlab.train.checkpoints import Checkpoints
from hyperlab.train.durations import Interval

AGREE_EVERY = 10  # steps between two questions to the other processes whether a save is due
KEPT = 2  # checkpoints of a training: where the newest is damaged, the one before it serves


class Saved(NamedTuple):
    """How far a training was when it was saved last."""

    unit: str
    step: int
    steps: int


class Saves:
    """The saves of one unit.

    Args:
      unit: its name.
      folder: where they are; it is made with the first of them.
      interval: from one save to the next.
      alone: they are those of this process alone, see `Checkpoints`.
      clock: in seconds.
    """

    def __init__(
        self,
        unit: str,
        folder: Path,
        interval: Interval,
        *,
        alone: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.unit, self.folder, self.interval, self.alone = unit, folder, interval, alone
        self._clock, self._last, self._trainings = clock, clock(), 0
        self._ended: list[tuple[Training, Any]] = []  # that are not on disk yet, and their last states

    def training(self, steps: int) -> "Training":
        """The saves of the unit's next training, of so many steps."""
        if self._ended:  # another one takes its room on the device
            training, tree = self._ended[-1]
            self._ended[-1] = training, jax.device_get(tree)
        self._trainings += 1
        return Training(self, self.folder / str(self._trainings - 1), steps)

    def is_late(self) -> bool:
        """Whether the last save of any of its trainings is longer ago than the interval; never by steps.

        Processes that train together answer alike, and ask at the same steps.
        """
        if not self.interval.seconds:
            return False
        late = self._clock() - self._last >= self.interval.seconds
        return late if self.alone else distributed.any_process(late)

    def saved(self) -> None:
        """One of its trainings is being saved: what has ended before it is saved too."""
        self.flush()
        self._last = self._clock()

    def flush(self) -> None:
        """Saves the trainings that have ended."""
        while self._ended:
            training, tree = self._ended[0]
            with training.checkpoints as checkpoints:
                checkpoints.save(training.steps, tree, training.meta, wait=True)
            training.step = training.steps
            del self._ended[0]

    def done(self, *, remove: bool = True) -> None:
        """The unit is done: there is nothing more to save of it, and what was saved is removed."""
        self._ended.clear()
        if remove and self.folder.exists():
            shutil.rmtree(self.folder, ignore_errors=True)


class Training:
    """The saves of one training.

    Attributes:
      checkpoints: where they are.
      steps: of the whole training.
      meta: what a checkpoint has to say to be one of it.
      step: of the last save; 0 where there is none.
    """

    def __init__(self, saves: Saves, folder: Path, steps: int):
        self._saves, self.steps, self.step = saves, steps, 0
        self.checkpoints = Checkpoints(folder, keep=KEPT, anew=True, alone=saves.alone)
        self.meta = {"unit": saves.unit, "steps": steps}

    def due(self, step: int) -> bool:
        """Whether to save before a step."""
        every = self._saves.interval.steps
        if every:
            return step // every > self.step // every
        return (self._saves.alone or step % AGREE_EVERY == 0) and self._saves.is_late()

    def saved(self, step: int) -> None:
        """A save of the state before a step has begun."""
        self.step = step
        self._saves.saved()

    def ended(self, tree: Any) -> None:
        """The training is over; what would be saved of it."""
        self.checkpoints.close()
        if self.step < self.steps:
            self._saves._ended.append((self, tree))
        if self._saves.is_late():
            self._saves.saved()

    @property
    def report(self) -> Saved:
        """How far it was when it was saved last."""
        return Saved(self._saves.unit, self.step, self.steps)
