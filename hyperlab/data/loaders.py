"""Batches as a function of seed and step: one order, for sets on the device and for sets in files.

Position `p` of a run's example stream belongs to epoch `p // period` and is that epoch's permutation at
`p % period`. With `last_batch="continue"` the period is the size of the set: batches cross the border
between epochs, every step has a full batch, and any `size` consecutive positions that start at an epoch
hold every example once. With `last_batch="drop"` the period is the largest multiple of the batch size,
so that each epoch leaves out its own random remainder. For evaluation, `evaluation_batches` pads
the last batch and says which rows are padding.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from hyperlab.data.splits import Split, permutation, philox
from hyperlab.errors import DataError, nearest

Batch = dict[str, Any]


def batch_indices(
    seed: int | Sequence[int],
    steps: int | range,
    size: int,
    batch_size: int,
    last_batch: str = "continue",
) -> np.ndarray:
    """Which examples the steps of one or of many runs see; computed on the host, cached by epoch.

    Args:
      seed: one seed, or one for each run; from 0 to 2**64 - 1.
      steps: one step, or a range of consecutive steps.
      size: examples in the set.
      batch_size: examples in a batch; with `"continue"` it may exceed `size`.
      last_batch: `"continue"` over the border of an epoch, or `"drop"` its remainder.

    Returns:
      int32 `[batch]` for one step, `[steps, batch]` for a range, with a leading `[runs]` axis where
      `seed` is a sequence. Resuming needs no state: the rows of a later range equal the rows of a
      longer one.

    Raises:
      DataError: the set is empty, or smaller than a batch whose remainder is dropped.

    >>> batch_indices(0, range(2), size=4, batch_size=2).ravel().tolist()
    [0, 2, 1, 3]
    """
    _check_sizes(size, batch_size, last_batch)
    if not isinstance(steps, range):
        rows = batch_indices(seed, range(int(steps), int(steps) + 1), size, batch_size, last_batch)
        return rows[..., 0, :]
    if steps.step != 1 or steps.start < 0:
        raise DataError(f"steps are {steps}, expected a range of consecutive steps from 0 on")
    if isinstance(seed, (int, np.integer)):
        return _indices_of_run(int(seed), steps, size, batch_size, last_batch)
    # arms and learning rates share seeds, so each order is made once
    orders = {one: _indices_of_run(int(one), steps, size, batch_size, last_batch) for one in set(seed)}
    return np.stack([orders[one] for one in seed])


def evaluation_batches(size: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Every example once and in order, the last batch padded with repeats of the first example.

    Returns:
      `(indices, weights)`: int32 and float32, both `[steps, batch]`; a weight is 0 where the row is
      padding, so that sums over batches stay exact.

    >>> evaluation_batches(3, 2)[1].tolist()
    [[1.0, 1.0], [1.0, 0.0]]
    """
    _check_sizes(size, batch_size, "continue")
    steps = -(-size // batch_size)
    positions = np.arange(steps * batch_size).reshape(steps, batch_size)
    return np.where(positions < size, positions, 0).astype(np.int32), (positions < size).astype(np.float32)


def steps_per_epoch(size: int, batch_size: int, last_batch: str = "continue") -> float:
    """How many steps one epoch lasts; not a whole number where batches cross the border.

    >>> steps_per_epoch(10, 4), steps_per_epoch(10, 4, "drop")
    (2.5, 2.0)
    """
    return _period(size, batch_size, last_batch) / batch_size


def to_device(split: Split, sharding: jax.sharding.Sharding | None = None) -> Batch:
    """Puts a small set on the device once, to be indexed inside the jitted step with `take`.

    Args:
      split: the examples.
      sharding: where they go; by default the first device.

    Returns:
      `{"images": float32 [n, *spatial, channel], "labels": int32 [n] or [n, *spatial]}` on the device.
    """
    return jax.device_put({"images": split.images, "labels": split.labels}, sharding)


def take(examples: Batch, indices: jax.Array) -> Batch:
    """Gathers a batch inside a jitted step.

    Args:
      examples: what `to_device` returned.
      indices: int32 `[batch]`, or `[runs, batch]` for many runs at once; they must be in range.

    Returns:
      The same keys with `indices.shape` in place of the first axis.
    """
    # the indices come from a permutation, so the clamp that jax would add is left out
    return jax.tree.map(lambda array: array.at[indices].get(mode="promise_in_bounds"), examples)


def loader(
    source: Split | Any,
    batch_size: int,
    seed: int,
    *,
    augment: Callable[[Batch, np.random.Generator], Batch] | None = None,
    last_batch: str = "continue",
    process_index: int = 0,
    process_count: int = 1,
):
    """A grain `MapDataset` without end whose element `step` is the batch of that step.

    The order is that of `batch_indices`, so a set read from files sees the examples in the order of
    one that lives on the device. Nothing is carried from step to step: resuming is `dataset[step]`.

    Args:
      source: a `Split`, or any object with `len()` and `[i] -> dict of arrays`.
      batch_size: examples in a global batch, over all processes.
      seed: the run's seed.
      augment: `augment(example, generator) -> example`; the generator depends on the seed and on the
        position in the run's stream, so not on the number of processes.
      last_batch: as for `batch_indices`.
      process_index: which rows of the global batch this process takes.
      process_count: over how many processes a global batch is dealt out.

    Returns:
      The data set; `dataset[step]` is a dict of arrays with a leading axis `batch_size // process_count`.

    Raises:
      DataError: sizes do not fit.
    """
    import grain

    _check_sizes(len(source), batch_size, last_batch)
    if batch_size % process_count:
        raise DataError(f"a batch of {batch_size} does not divide by {process_count} processes")
    local = batch_size // process_count
    if not 0 <= process_index < process_count:
        raise DataError(f"process_index is {process_index}, expected 0 to {process_count - 1}")
    stream = _Stream(source, batch_size, seed, augment, last_batch, local, process_index * local)
    return grain.MapDataset.source(stream).batch(local)


def iterate(dataset, start: int = 0, workers: int = 0) -> Iterator[Batch]:
    """The batches from a step on: in this process by default, else read ahead by worker processes.

    Args:
      dataset: what `loader` returned.
      start: the first step.
      workers: how many processes read ahead; the order is the same for any number. They are
        spawned, so a script needs the usual `if __name__ == "__main__"` guard.

    Raises:
      DataError: a worker failed; the message holds the child's own error.
    """
    if not workers:
        for step in itertools.count(start):
            yield dataset[step]
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():  # grain asks for flags of its own, which nobody parses outside a script
        flags.FLAGS.mark_as_parsed()
    # grain would read 500 elements ahead in each worker, and an element is a whole batch here
    ahead = grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)
    batches = dataset[start:].to_iter_dataset(ahead)
    batches = iter(batches.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers)))
    try:
        yield from batches
    except Exception as error:
        raise DataError(f"a data worker failed with {type(error).__name__}: {error}") from error
    finally:
        batches.close()


@dataclass(frozen=True, eq=False)
class _Stream:
    """The example stream of one run as a source with random access, for one process's rows."""

    source: Split | Any
    batch_size: int
    seed: int
    augment: Callable[[Batch, np.random.Generator], Batch] | None
    last_batch: str
    local: int
    offset: int

    def __len__(self) -> int:
        return 2**62  # without end: grain takes indices modulo the length

    def __getitem__(self, position: int) -> Batch:
        step, row = divmod(int(position), self.local)
        position = step * self.batch_size + self.offset + row
        epoch, place = divmod(position, _period(len(self.source), self.batch_size, self.last_batch))
        index = int(_epoch(self.seed, epoch, len(self.source))[place])
        if isinstance(self.source, Split):
            example = {"images": self.source.images[index], "labels": self.source.labels[index]}
        else:
            example = self.source[index]
        if self.augment is None:
            return example
        # grain's own random maps count the rows of one process: two processes would draw the same numbers
        return self.augment(example, np.random.Generator(philox(self.seed, position, stream=1)))


@lru_cache(maxsize=64)
def _epoch(seed: int, epoch: int, size: int) -> np.ndarray:
    return permutation(size, seed, epoch)


def _indices_of_run(seed: int, steps: range, size: int, batch_size: int, last_batch: str) -> np.ndarray:
    period = _period(size, batch_size, last_batch)
    start, stop = steps.start * batch_size, steps.stop * batch_size
    first, last = start // period, max(start, stop - 1) // period
    stream = np.concatenate([_epoch(seed, epoch, size)[:period] for epoch in range(first, last + 1)])
    return stream[start - first * period : stop - first * period].reshape(len(steps), batch_size)


def _period(size: int, batch_size: int, last_batch: str) -> int:
    return size if last_batch == "continue" else size // batch_size * batch_size


def _check_sizes(size: int, batch_size: int, last_batch: str) -> None:
    if last_batch not in ("continue", "drop"):
        raise DataError(f"unknown last_batch {last_batch!r}; {nearest(last_batch, ('continue', 'drop'))}")
    if size < 1 or batch_size < 1:
        raise DataError(f"a batch of {batch_size} out of {size} examples: both must be at least 1")
    if last_batch == "drop" and size < batch_size:
        raise DataError(f"a batch of {batch_size} is larger than the set of {size} whose remainder is dropped")
