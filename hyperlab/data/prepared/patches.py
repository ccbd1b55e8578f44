"""Patches of a prepared set, to train on: a batch is a function of seed and step, so there is nothing to save."""

import dataclasses
from typing import Any, Protocol

import numpy as np

from hyperlab.data.loaders import batch_indices
from hyperlab.data.prepared.store import Window
from hyperlab.data.splits import philox
from hyperlab.errors import DataError


class Readable(Protocol):
    """What patches are cut out of: a `Store`, or anything that answers as it does."""

    @property
    def preprocessing(self) -> Any:
        """With `axes`, how many spatial axes a case has."""

    def case(self, which: int) -> Any:
        """With `size`, its voxels along each axis."""

    def places(self, which: int) -> dict[int, np.ndarray]:
        """Voxels of each class but the first that a case has, int `[k, axes]`."""

    def read(self, which: int, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """The image `[*window, channel]` and the labels `[*window]` of a window."""


@dataclasses.dataclass(frozen=True)
class Patches:
    """Batches of patches of a store; calling it with a step reads that step's.

    Cases take turns, each once an epoch. A patch lies anywhere within its case, or, for a share of them, is centred on
    a voxel of foreground, whose class is drawn among those that the case has: rare classes are seen as often as large
    ones. It is moved inwards where it would reach beyond the case; a case that is smaller is padded on both sides.

    Attributes:
      store: from `open_store` or `prepare`, or another `Readable`.
      cases: numbers of the cases, for instance `store.split()["train"]`.
      size: of a patch, voxels along each axis.
      batch_size: patches of a step.
      foreground: the share, in [0, 1], that is centred on foreground, on average.
      seed: of the order of cases and of places.

    Raises:
      DataError: no cases, one that is not there, or a size, a batch or a share that cannot be.
    """

    store: Readable
    cases: tuple[int, ...]
    size: tuple[int, ...]
    batch_size: int
    foreground: float = 1 / 3
    seed: int = 0

    def __post_init__(self) -> None:
        axes = self.store.preprocessing.axes
        if len(self.size) != axes or min(self.size) < 1:
            raise DataError(f"patches of size {tuple(self.size)}: expected {axes} whole numbers of at least 1")
        if not self.cases or self.batch_size < 1 or not 0 <= self.foreground <= 1:
            raise DataError(
                f"{len(self.cases)} cases, batches of {self.batch_size}, a share of {self.foreground:g} on foreground: "
                "expected at least one case, at least one patch, and a share from 0 to 1"
            )
        for number in self.cases:
            self.store.case(number)

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The batch of a step: float32 `[batch, *size, channel]` and int32 `[batch, *size]`.

        Raises:
          DataError: a chunk of a case is damaged.
        """
        read = [self.store.read(number, window) for number, window in self.windows(step)]
        images, labels = zip(*read, strict=True)
        return np.stack(images), np.stack(labels)

    def windows(self, step: int) -> list[tuple[int, list[tuple[int, int]]]]:
        """The case and the window of every patch of a step; nothing is read but where foreground lies."""
        rows = batch_indices(self.seed, step, len(self.cases), self.batch_size)
        shape = (self.batch_size, 3 + len(self.size))
        words = philox(self.seed, step, stream=_STREAM).random_raw(shape[0] * shape[1])
        shares = ((words >> np.uint64(11)) * 2.0**-53).reshape(shape)  # in [0, 1)
        return [self._window(self.cases[row], each) for row, each in zip(rows, shares, strict=True)]

    def _window(self, number: int, shares: np.ndarray) -> tuple[int, list[tuple[int, int]]]:
        """The window of a case that numbers in [0, 1) stand for."""
        kind, label, place, *start = shares
        case = self.store.case(number)
        places = self.store.places(number) if kind < self.foreground else {}
        if places:
            of_class = places[sorted(places)[int(label * len(places))]]
            centre = of_class[int(place * len(of_class))]
            starts = [int(middle) - n // 2 for middle, n in zip(centre, self.size, strict=True)]
        else:
            free = [max(0, there - n) for there, n in zip(case.size, self.size, strict=True)]
            starts = [int(share * (room + 1)) for share, room in zip(start, free, strict=True)]
        inside = [_inside(s, n, there) for s, n, there in zip(starts, self.size, case.size, strict=True)]
        return number, [(s, s + n) for s, n in zip(inside, self.size, strict=True)]


_STREAM = 11  # of the words that are drawn for patches


def _inside(start: int, size: int, there: int) -> int:
    """Where a window of a size starts so that it lies within a case, or about its middle where it is larger."""
    return min(max(start, 0), there - size) if size <= there else (there - size) // 2
