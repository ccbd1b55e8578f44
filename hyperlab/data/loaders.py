"""Batches as a function of seed and step: one order, wherever the examples are.

Position `p` of a run's example stream belongs to epoch `p // period` and is that epoch's permutation at
`p % period`. With `last_batch="continue"` the period is the size of the set: batches cross the border
between epochs, every step has a full batch, and any `size` consecutive positions that start at an epoch
hold every example once. With `last_batch="drop"` the period is the largest multiple of the batch size,
so that each epoch leaves out its own random remainder. For evaluation, `evaluation_batches` pads
the last batch and says which rows are padding.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from hyperlab.data.splits import permutation
from hyperlab.errors import DataError, nearest


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
