"""What a loop and a study ask of the things that are handed to them: any object that has these will do."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np


class Stop(Protocol):
    """A wish to stop, looked at between two steps: `signals.StopFlag`."""

    @property
    def requested(self) -> bool:
        """Whether to stop at the next step boundary."""

    def request(self, reason: str) -> None:
        """Asks everyone who looks to stop, for a reason in words."""


class Progress(Protocol):
    """Is told how far a run is: `progress.Progress`, `units.Counter`."""

    def update(self, done: int, **shown: float) -> None:
        """So many units are done in all; `shown` are the newest measurements by name."""

    def pause(self, name: str) -> AbstractContextManager[None]:
        """Time inside the block does not count for the rate."""


@runtime_checkable
class Resumed(Protocol):
    """A progress that tells the units of an earlier start from those of this one: `units.Counter`."""

    def resume(self, done: int) -> None:
        """So many units were done before."""


class Writer(Protocol):
    """Takes measurements by step: `writers.JsonLines`, `tensorboard.TensorBoard`; may ignore what it cannot show."""

    def scalars(self, step: int, values: Mapping[str, float], split: str = "train") -> None: ...
    def images(self, step: int, values: Mapping[str, np.ndarray], split: str = "train") -> None: ...
    def histograms(self, step: int, values: Mapping[str, np.ndarray], split: str = "train") -> None: ...
    def hparams(self, values: Mapping[str, Any], metrics: Sequence[str] = ()) -> None: ...
    def truncate_after(self, step: int) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class Folder(Protocol):
    """What units of work and studies use of a run's folder: `run_folder.RunFolder`.

    Attributes:
      path: where it is.
      unchanged: whether all starts on record had the same config and the same data.
    """

    path: Path
    unchanged: bool

    @property
    def metrics_path(self) -> Path:
        """The primary record of scalars."""

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""

    @property
    def figures(self) -> Path:
        """The folder of the figures."""

    def note(self, **entries: Any) -> None:
        """Adds entries to this start in the record of the run."""

    def mark(self, event: str) -> None:
        """Notes when something happened for the first time."""

    def check_fingerprint(self, name: str, value: str) -> None:
        """Refuses data that differ from those of the first start."""


class Rehearsal:
    """A stop that was asked for before anything began: a study that gets it reads its data, and ends."""

    requested, reason = True, "rehearsed"

    def request(self, reason: str) -> None:
        """It is one already."""
