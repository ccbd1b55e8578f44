"""A bounded random sample of voxels, drawn without a list of all of them."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from hyperlab.data.splits import philox

MOST = 1000  # voxels of a class that are kept of a case, to centre patches on


def draw(chosen: np.ndarray, count: int, number: int, stream: int = 0) -> np.ndarray:
    """Positions of voxels that are true, drawn with replacement: a function of the arguments alone.

    A few planes at a time, since the positions of all voxels of an organ are larger than its scan.

    Args:
      chosen: bool `[*spatial]`.
      count: how many.
      number, stream: of the case, and of what is drawn there.

    Returns:
      int32 `[count, axes]`, sorted; `[0, axes]` where nothing is true.

    >>> draw(np.array([[False, True], [False, False]]), 2, number=0).tolist()
    [[0, 1], [0, 1]]
    """
    total = int(np.count_nonzero(chosen))
    if not total:
        return np.zeros((0, chosen.ndim), np.int32)
    ranks = np.sort((philox(0, number, stream).random_raw(count) % np.uint64(total)).astype(np.int64))
    rows, before = [], 0
    for start, block in _blocks(chosen):
        inside = np.flatnonzero(block)
        here = ranks[np.searchsorted(ranks, before) : np.searchsorted(ranks, before + len(inside))]
        places = np.stack(np.unravel_index(inside[here - before], block.shape), -1)
        places[:, 0] += start
        rows.append(places)
        before += len(inside)
    return np.concatenate(rows).astype(np.int32)


def sample_classes(labels: np.ndarray, number: int, most: int = MOST) -> np.ndarray:
    """At most so many voxels of each class but the first, all of them where there are no more.

    Args:
      labels: places of classes `[*spatial]`; 0 is the background.
      number: of the case.
      most: of a class.

    Returns:
      int32 `[k, 1 + axes]`: class and position, sorted, none twice.

    >>> sample_classes(np.array([[0, 2], [1, 1]]), number=0).tolist()
    [[1, 1, 0], [1, 1, 1], [2, 0, 1]]
    """
    rows = [np.zeros((0, 1 + labels.ndim), np.int32)]
    for label, count in sorted(counts(labels).items()):
        if label:
            chosen = labels == label
            places = np.argwhere(chosen) if count <= most else np.unique(draw(chosen, most, number, label), axis=0)
            rows.append(np.insert(places, 0, label, axis=1).astype(np.int32))
    return np.concatenate(rows)


def counts(labels: np.ndarray) -> dict[int, int]:
    """How many voxels have each label.

    >>> counts(np.array([[0, 2], [2, 2]]))
    {0: 1, 2: 3}
    """
    found: Counter[int] = Counter()
    for _, block in _blocks(labels):
        values, times = np.unique(block, return_counts=True)
        found.update(dict(zip(values.tolist(), times.tolist(), strict=True)))
    return dict(sorted(found.items()))


def _blocks(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Planes across the first axis, together about a million voxels, and where they start."""
    step = max(1, (1 << 20) * len(array) // array.size)
    return ((start, array[start : start + step]) for start in range(0, len(array), step))
