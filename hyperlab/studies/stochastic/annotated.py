"""Tasks to measure on with all their annotators, and where it is known with the distribution of their masks."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np

from hyperlab.data.in_context import TaskStore
from hyperlab.data.splits import philox
from hyperlab.in_context.benchmark import queries_and_pool, title
from hyperlab.in_context.targets import support_order
from hyperlab.studies.stochastic import families

_ANNOTATORS = 10  # of random words, apart from those of orders


class AnnotatedTarget(NamedTuple):
    """One task.

    Attributes:
      name: of data set and label.
      queries: float32 `[n, height, width, 1]` in 0..1.
      annotations: bool `[n, annotators, height, width]`.
      modes: bool `[n, modes, height, width]`, all masks that are possible; no mode where that is not known.
      probabilities: float32 `[n, modes]`, of each mode.
      groups: int `[n]`, the subject of each query.
      images: float32 `[m, height, width, 1]`, what support sets are drawn from.
      labels: float32 `[m, annotators, height, width, 1]`.
    """

    name: str
    queries: np.ndarray
    annotations: np.ndarray
    modes: np.ndarray
    probabilities: np.ndarray
    groups: np.ndarray
    images: np.ndarray
    labels: np.ndarray

    @property
    def known(self) -> bool:
        """Whether the distribution of the masks is."""
        return self.modes.shape[1] > 0

    def support(self, size: int, draw: int) -> tuple[np.ndarray, np.ndarray]:
        """A support set, the same for every arm: images and labels `[size, height, width, 1]`.

        Each image comes with the label of one annotator, who is drawn too. A set larger than the pool goes round it.
        """
        chosen = np.resize(support_order(len(self.images), draw), size)
        words = philox(draw, len(self.images), _ANNOTATORS).random_raw(size)
        return self.images[chosen], self.labels[chosen, (words % np.uint64(self.labels.shape[1])).astype(int)]

    def few(self, count: int) -> "AnnotatedTarget":
        """The same task with the first queries alone."""
        parts = ("queries", "annotations", "modes", "probabilities", "groups")
        return self._replace(**{part: getattr(self, part)[:count] for part in parts})


def targets_of(store: TaskStore, datasets: Sequence[str], split: str, queries: int) -> list[AnnotatedTarget]:
    """The tasks of some data sets: queries from a split, support from the training split.

    Soft labels count as foreground above 1/2; examples that no annotator marked are left out.
    """
    result = []
    for name in store:
        if name.dataset not in datasets:
            continue
        task = store[name]
        labels = task.labels[:] > 0.5
        labels = labels if labels.ndim == 5 else labels[:, None]
        marked = cast("np.ndarray", labels.any((1, 2, 3, 4)))
        asked, pool = queries_and_pool(task, marked, split, queries)
        images, truth = task.images[:], families.truth(task.recipe)
        modes = np.zeros((len(labels), 0, *images.shape[1:3]), bool) if truth is None else truth.modes
        probabilities = np.zeros((len(labels), 0), np.float32) if truth is None else truth.probabilities
        parts = images[asked], labels[asked][..., 0], modes[asked], probabilities[asked], task.subjects[asked]
        result.append(AnnotatedTarget(title(name), *parts, images[pool], labels[pool].astype(np.float32)))
    return result
