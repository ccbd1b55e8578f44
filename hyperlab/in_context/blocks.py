"""Examples in memory as blocks, in the form in which patches of a prepared set are drawn."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from hyperlab.data.prepared import Patches
from hyperlab.data.prepared.places import sample_classes

NEIGHBOURS = 1  # planes on either side of a volume's slice that the network sees with it, as channels


def with_neighbours(block: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """Each plane with those beside it as channels; the first and the last are their own neighbours.

    Args:
      block: `[plane, height, width, channel]`; a picture, of one plane, stays as it is.
      neighbours: on either side.

    Returns:
      `[plane, height, width, (1 + 2 neighbours) channel]`.

    >>> with_neighbours(np.arange(3.0).reshape(3, 1, 1, 1)).squeeze().tolist()
    [[0.0, 0.0, 1.0], [0.0, 1.0, 2.0], [1.0, 2.0, 2.0]]
    """
    last = len(block) - 1
    places = [np.clip(np.arange(len(block)) + shift, 0, last) for shift in range(-neighbours, neighbours + 1)]
    return np.concatenate([block[place] for place in places], -1)


class Blocks:
    """Images and labels in memory, which `data.prepared.Patches` reads as it reads a store.

    Args:
      images: float32 `[plane, height, width, channel]` each, neighbours not included.
      labels: int32 `[plane, height, width]` each.
      neighbours: planes on either side that a plane is read with.
    """

    def __init__(self, images: Sequence[np.ndarray], labels: Sequence[np.ndarray], neighbours: int):
        self.images, self.labels, self.neighbours = list(images), list(labels), neighbours
        self.preprocessing = SimpleNamespace(axes=3)
        self._places = [_by_class(each, number) for number, each in enumerate(labels)]

    def case(self, number: int) -> SimpleNamespace:
        """What is known of an example: its size."""
        return SimpleNamespace(size=self.labels[number].shape)

    def places(self, number: int) -> dict[int, np.ndarray]:
        """Voxels of each class of an example, some of them: int32 `[k, 3]`."""
        return self._places[number]

    def read(self, number: int, window: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
        """A window, of one plane: image `[1, height, width, channel]` and labels; what lies beyond is 0."""
        (plane, _), *sides = window
        image, labels = self.images[number], self.labels[number]
        around = np.clip(np.arange(plane - self.neighbours, plane + self.neighbours + 1), 0, len(image) - 1)
        inside = tuple(slice(max(a, 0), min(b, n)) for (a, b), n in zip(sides, labels.shape[1:], strict=True))
        place = tuple(slice(each.start - a, each.stop - a) for each, (a, _) in zip(inside, sides, strict=True))
        size = [b - a for a, b in sides]
        seen = np.zeros((1, *size, image.shape[-1] * len(around)), np.float32)
        truth = np.zeros((1, *size), np.int32)
        seen[0][place] = np.concatenate([image[at][inside] for at in around], -1)
        truth[0][place] = labels[plane][inside]
        return seen, truth

    def patches(self, cases: Sequence[int], window: tuple[int, int], batch: int, seed: int) -> Patches:
        """Batches of windows of some examples, a third of them centred on foreground."""
        store: Any = self  # of the store, patches use what is above
        return Patches(store, tuple(cases), (1, *window), batch, seed=seed)


def _by_class(labels: np.ndarray, number: int) -> dict[int, np.ndarray]:
    rows = sample_classes(labels, number)
    return {int(label): rows[rows[:, 0] == label, 1:] for label in np.unique(rows[:, 0])}
