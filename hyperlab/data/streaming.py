"""Rows of arrays that are read when a step needs them, and ahead of it: for examples that a device has no room for.

A step is given the rows of its batch alone, in the order in which it asks for them, and what was drawn for it is
renumbered to fit. So a compiled step that gathers rows of a whole set gathers the same ones of a batch's own. Batches
stay functions of seed and step: grain computes them ahead in threads or processes, from any step on.
"""

import dataclasses
import os
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import numpy as np
from jaxtyping import PyTree

from hyperlab.errors import DataError, HyperlabError

AHEAD = 4  # batches that are held beside the one in use
THREADS = 2  # that read them, where the rows lie in memory
Read = TypeVar("Read")


class Share(NamedTuple):
    """Which part of the rows of a batch a process reads: one of several equal ones.

    Attributes:
      part: which, from 0 on.
      parts: how many there are.

    >>> [Share(process, 3).of(np.arange(6)).tolist() for process in range(3)], Share(1, 4).of(np.arange(6)).tolist()
    ([[0, 1], [2, 3], [4, 5]], [0, 1, 2, 3, 4, 5])
    """

    part: int = 0
    parts: int = 1

    def of(self, rows: np.ndarray, axis: int = 0) -> np.ndarray:
        """The part of an array that has its rows along an axis; all of it where they do not divide."""
        size, rest = divmod(rows.shape[axis], self.parts)
        return rows if rest else rows[(slice(None),) * axis + (slice(self.part * size, (self.part + 1) * size),)]


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Rows of an array that are not read yet; a leaf of a pytree.

    Attributes:
      array: `[examples, ...]`, in memory or a memory map (`numpy.load(file, mmap_mode="r")`): whatever takes an array
        of indices. Of a memory map these rows alone are read.
      indices: int `[rows]`; a row may be there twice.

    >>> Rows(np.array([5.0, 6.0, 7.0]), np.array([2, 0, 2])).read().tolist()
    [7.0, 5.0, 7.0]
    """

    array: Any
    indices: np.ndarray

    def read(self, share: Share = Share()) -> np.ndarray:  # noqa: B008  # a tuple
        """The rows, `[rows, ...]`, or a process's share of them where they divide.

        Args:
          share: of the rows.

        Raises:
          DataError: the file of a memory map is not there any more, or shorter than it was; it is named.
        """
        _check_file(self.array)
        return np.asarray(self.array[share.of(self.indices)])


def select(arrays: PyTree, indices: np.ndarray) -> tuple[PyTree, np.ndarray]:
    """The rows of arrays that some indices name, and the indices within these rows.

    Args:
      arrays: `[examples, ...]`.
      indices: int, of any shape; nothing is read yet.

    Returns:
      The arrays with `Rows` of `indices.size` in their place, and indices of the same shape and dtype, from 0 on.

    >>> images = np.arange(10) * 1.5
    >>> part, renumbered = select((images,), np.array([[3, 1], [3, 9]]))
    >>> renumbered.tolist(), read(part)[0][renumbered].tolist()
    ([[0, 1], [2, 3]], [[4.5, 1.5], [4.5, 13.5]])
    """
    indices = np.asarray(indices)
    flat = indices.ravel()
    return jax.tree.map(lambda array: Rows(array, flat), arrays), numbered(indices)


def numbered(indices: np.ndarray) -> np.ndarray:
    """Numbers from 0 on in the shape and the dtype of indices.

    >>> numbered(np.array([[7, 7], [2, 5]])).tolist()
    [[0, 1], [2, 3]]
    """
    return np.arange(indices.size, dtype=indices.dtype).reshape(indices.shape)


def read(tree: PyTree, share: Share = Share()) -> PyTree:  # noqa: B008  # a tuple
    """Reads a process's share of the rows of a tree.

    Args:
      tree: of `Rows`, as `select` makes it, or of arrays `[rows, ...]` that are there already.
      share: of the rows.

    Raises:
      DataError: see `Rows.read`.

    >>> part, _ = select(np.arange(8), np.array([4, 5, 6, 7]))
    >>> [read(part, Share(process, 2)).tolist() for process in range(2)]
    [[4, 5], [6, 7]]
    """
    return jax.tree.map(lambda leaf: leaf.read(share) if isinstance(leaf, Rows) else share.of(leaf), tree)


def size(tree: PyTree) -> int:
    """Bytes of the arrays of a tree.

    >>> size({"images": np.zeros((2, 3), np.float32), "labels": np.zeros(2, np.int32)})
    32
    """
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree) if hasattr(leaf, "nbytes"))


class ReadAhead(Generic[Read]):
    """A function of the step that is computed ahead, `[step]` by `[step]`, from whichever step is asked for first.

    What it raises of hyperlab's own is raised when its step is asked for, not before. Close it, or use it in a `with`
    statement: threads and processes end with it.

    Args:
      function: `step -> ` what is read for it, on the host; for processes it has to be picklable.
      steps: of the whole training.
      stride: from one step that is asked for to the next.
      ahead: results that are held beside the one in use.
      threads: that compute them; in each process, where there are several.
      processes: that compute them; 0: threads of this one.

    >>> with ReadAhead(lambda step: step**2, steps=5) as squares:
    ...     squares(3), squares(4), squares(0)
    (9, 16, 0)
    """

    def __init__(
        self,
        function: Callable[[int], Read],
        steps: int,
        *,
        stride: int = 1,
        ahead: int = AHEAD,
        threads: int = THREADS,
        processes: int = 0,
    ):
        self._function, self._steps, self._stride = function, steps, stride
        self._ahead, self._threads, self._processes = ahead, threads, processes
        self._iterator: Any = None
        self._next = -1  # the step that the iterator gives next

    def __call__(self, step: int) -> Read:
        """What was computed for a step.

        Raises:
          HyperlabError: what the function raised for it.
        """
        if self._iterator is None or step != self._next:
            self._begin(step)
        value, error = next(self._iterator)
        self._next = step + self._stride
        if error is not None:
            self.close()
            raise error
        return value

    def _begin(self, step: int) -> None:
        import grain  # slow to import, and needed for large sets alone
        from absl import flags

        self.close()
        steps = grain.MapDataset.range(step, self._steps, self._stride)
        options = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=self._ahead)
        dataset = steps.map(_Caught(self._function)).to_iter_dataset(options)
        if self._processes:
            flags.FLAGS.mark_as_parsed()  # grain has flags of its own for its processes, and no one parses them here
            each = -(-self._ahead // self._processes)
            dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(self._processes, per_worker_buffer_size=each))
        self._iterator = iter(dataset)

    def close(self) -> None:
        """Ends the threads and processes; the next step that is asked for begins anew."""
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None

    def __enter__(self) -> "ReadAhead[Read]":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


class _Caught(Generic[Read]):
    """A function of the step as one that returns `(value, error)`: a thread that reads ahead may raise nothing."""

    def __init__(self, function: Callable[[int], Read]):
        self.function = function

    def __call__(self, step: int) -> tuple[Read | None, HyperlabError | None]:
        try:
            return self.function(int(step)), None
        except HyperlabError as error:
            return None, error


def _check_file(array: Any) -> None:
    """Refuses a memory map whose file was cut off: to read it would end the process."""
    name = getattr(array, "filename", None) if isinstance(array, np.memmap) else None
    if name is None:
        return
    try:
        found = os.stat(name).st_size
    except OSError as error:
        raise DataError(f"{name} cannot be read any more ({error.strerror})") from error
    if found < array.offset + array.nbytes:
        raise DataError(f"{name} is cut off: it has {found} bytes, expected {array.offset + array.nbytes}")
