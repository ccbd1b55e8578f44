"""Tasks held in memory, from which episodes are gathered inside a jitted step; or read from the store as they come."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from hyperlab.data.in_context.episodes import Indices, Sampler
from hyperlab.data.in_context.store import UNIT, StoredTask
from hyperlab.data.in_context.tasks import check_binary
from hyperlab.data.streaming import Rows, numbered
from hyperlab.errors import DataError


class Episode(NamedTuple):
    """A batch of episodes: segment the query as the support set shows.

    Attributes:
      query_images: float32 `[batch, height, width, 1]` in 0..1.
      query_labels: float32 `[batch, height, width, 1]` in 0..1.
      support_images: float32 `[batch, support, height, width, 1]`.
      support_labels: float32 `[batch, support, height, width, 1]`.
    """

    query_images: jax.Array
    query_labels: jax.Array
    support_images: jax.Array
    support_labels: jax.Array


@flax.struct.dataclass
class Pool:
    """All images and masks of some tasks, an image that several tasks share once; a pytree.

    Attributes:
      images: uint8 or float32 `[images, height, width]`.
      labels: the same dtype, `[masks, height, width]`.
      image_of: int32 `[examples]`: where the image of each example is; the examples of a task follow each other.
      first_example: int32 `[tasks]`: where the examples of each task start.
      first_label: int32 `[tasks]`: where its masks start.
      annotators: int32 `[tasks]`: masks of one example, which follow each other.
    """

    images: jax.Array | np.ndarray | Rows
    labels: jax.Array | np.ndarray | Rows
    image_of: jax.Array | np.ndarray
    first_example: jax.Array | np.ndarray
    first_label: jax.Array | np.ndarray
    annotators: jax.Array | np.ndarray

    @classmethod
    def of(cls, tasks: Sequence[StoredTask], *, binary: bool = False) -> "Pool":
        """Reads tasks into the host's memory; `jax.device_put` takes them to a device.

        Args:
          tasks: in the order of the sampler's.
          binary: refuse soft labels.

        Raises:
          DataError: a chunk is damaged; labels are soft and `binary` is asked for; sizes or dtypes differ.
        """
        place_of: dict[str, int] = {}
        images, labels, image_of, annotators = [], [], [], []
        for task in tasks:
            masks = task.labels.raw(slice(None))[..., 0]
            if binary:
                check_binary(f"task {task.name}", masks)
            labels.append(masks.reshape(-1, *masks.shape[-2:]))
            annotators.append(task.annotators)
            new = [row for row, digest in enumerate(task.digests.tolist()) if digest not in place_of]
            for row in new:
                place_of.setdefault(task.digests[row], len(place_of))
            image_of += [place_of[digest] for digest in task.digests.tolist()]
            if new:
                fresh = sorted({place_of[task.digests[row]]: row for row in reversed(new)}.items())
                images.append(task.images.raw([row for _, row in fresh])[..., 0])
        if len({(one.shape[1:], one.dtype) for one in images + labels}) != 1:
            shapes = {f"{one.shape[1:]} {one.dtype}" for one in images + labels}
            raise DataError(f"tasks differ in size or dtype: {', '.join(sorted(shapes))}; build them alike")
        counts = np.array([len(task) for task in tasks])
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        label_starts = np.concatenate([[0], np.cumsum(counts * annotators)[:-1]])
        tables = (np.array(table, np.int32) for table in (image_of, starts, label_starts, annotators))
        return cls(np.concatenate(images), np.concatenate(labels), *tables)

    def gather(self, indices: Indices) -> Episode:
        """The episodes of indices; inside a jitted step, or on the host where the pool is there.

        Args:
          indices: of a sampler over the same tasks in the same order.
        """
        task = indices.task
        support_task = task[:, None]
        return Episode(
            self._images(task, indices.query),
            self._labels(task, indices.query, indices.query_annotator),
            self._images(support_task, indices.support),
            self._labels(support_task, indices.support, indices.support_annotator),
        )

    def select(self, indices: Indices) -> "tuple[Pool, Indices]":
        """A pool of the rows that these episodes take alone, and the episodes in it; see `data.streaming`.

        Each episode is a task of its own there, whose first example is the query.

        Args:
          indices: of a sampler over the same tasks in the same order, on the host; with any leading axes.
        """
        task = np.asarray(indices.task)[..., None]
        example = np.concatenate([np.asarray(indices.query)[..., None], indices.support], -1)
        annotator = np.concatenate([np.asarray(indices.query_annotator)[..., None], indices.support_annotator], -1)
        images = _at(self.image_of, _at(self.first_example, task) + example)
        labels = _at(self.first_label, task) + example * _at(self.annotators, task) + annotator
        episodes, each = task.size, example.shape[-1]
        starts = np.arange(0, episodes * each, each, dtype=np.int32)
        pool = Pool(
            Rows(self.images, images.ravel()),
            Rows(self.labels, labels.ravel()),
            np.arange(episodes * each, dtype=np.int32),
            starts,
            starts,
            np.ones(episodes, np.int32),
        )
        support = np.broadcast_to(np.arange(1, each, dtype=np.int32), indices.support.shape)
        first = np.zeros_like(indices.query)
        return pool, Indices(numbered(indices.task), first, support, first, np.zeros_like(support))

    def _images(self, task, example):
        return _rows(self.images, _at(self.image_of, _at(self.first_example, task) + example))

    def _labels(self, task, example, annotator):
        return _rows(self.labels, _at(self.first_label, task) + example * _at(self.annotators, task) + annotator)


class StoreEpisodes:
    """Episodes read from the store, for tasks that do not fit in memory: `[step]` is the batch of that step.

    Nothing is carried from step to step, so any reader ahead, in threads or processes, keeps the order.

    Args:
      sampler: which examples.
    """

    def __init__(self, sampler: Sampler):
        self.sampler = sampler

    def __len__(self) -> int:
        return 2**62  # without end

    def __getitem__(self, step: int) -> Episode:
        indices = self.sampler.indices(int(step))
        rows = [self._one(*row) for row in zip(*indices, strict=True)]
        columns: Iterable[Any] = map(np.stack, zip(*rows, strict=True))  # of the host, where a pool has its own
        return Episode(*columns)

    def _one(self, task, query, support, query_annotator, support_annotator):
        stored = self.sampler.tasks[task]
        # a row that is drawn twice is read once
        rows, back = np.unique(np.append(support, query), return_inverse=True)
        images, labels = stored.images[rows][back], stored.labels[rows][back]
        if stored.annotators > 1:
            labels = labels[np.arange(len(labels)), np.append(support_annotator, query_annotator)]
        return images[-1], labels[-1], images[:-1], labels[:-1]


def _at(table, places):
    if isinstance(table, np.ndarray) and isinstance(places, np.ndarray):
        return table[places]
    # a sampler's indices are in range, so the clamp that jax would add is left out
    return jnp.asarray(table).at[places].get(mode="promise_in_bounds")


def _rows(planes, places):
    """Planes as float32 in 0..1 with a channel."""
    chosen = _at(planes, places)[..., None]
    return chosen.astype(np.float32) * UNIT if chosen.dtype == np.uint8 else chosen
