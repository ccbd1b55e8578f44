r"""How many are kept and which: exact counts, ties broken, on the host.

Of $n$ entries at a fraction $f$, $k = 1 + \lfloor f (n - 1) \rfloor$ are kept, within one of $f n$ and equal to
$n - \lceil (1 - f)(n - 1) \rceil$, what a quantile with linear interpolation keeps of distinct scores. So the exact
rule and that of ShrinkBench agree wherever no scores are equal; among equal ones, the exact rule keeps those that come
first (leaves sorted by path, row-major within a leaf).

Selection is numpy's, in the scores' own precision: it gives the same masks on every device, and quantiles of `jax` in
float32 are off by an entry at millions of scores.

Source: the quantile rule is that of the library of Blalock et al. (2020), arXiv 2003.03033.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Real

Arrays = Sequence[np.ndarray]


def count(fraction: float, size: int) -> int:
    """How many of `size` entries a fraction keeps: none at 0, all at 1, and otherwise `1 + floor(f (size - 1))`.

    >>> count(0.3, 10), count(0.25, 100), count(0.1, 1001), count(1.0, 7), count(0.0, 7)
    (3, 25, 101, 7, 0)
    """
    if fraction <= 0 or size == 0:
        return 0
    # one rounding of the product is undone, so that (k / n) gives k back
    return min(size, 1 + math.floor(fraction * (size - 1) * (1 + 4e-16)))


def largest(scores: Arrays, kept: int) -> list[Bool[np.ndarray, "..."]]:
    """Masks of the `kept` largest scores of several arrays taken together; ties go to what comes first.

    >>> largest([np.array([1.0, 2.0]), np.array([[2.0], [2.0]])], 2)
    [array([False,  True]), array([[ True],
           [False]])]
    """
    total = sum(s.size for s in scores)
    if kept <= 0 or kept >= total:
        return [np.full(s.shape, kept > 0) for s in scores]
    flat = np.concatenate([np.ravel(s) for s in scores])
    flat.partition(total - kept)  # in place: at most one copy of the scores
    threshold = flat[total - kept]
    del flat
    masks = [s > threshold for s in scores]
    missing = kept - sum(int(np.count_nonzero(m)) for m in masks)
    for score, mask in zip(scores, masks, strict=True):
        if missing == 0:
            break
        ties = np.flatnonzero(score == threshold)[:missing]
        mask.flat[ties] = True  # row-major also where the array is a transposed one
        missing -= len(ties)
    return masks


def largest_within(scores: Arrays, sizes: Sequence[int], budget: float) -> list[Bool[np.ndarray, "..."]]:
    """Masks of the best units where those of one array have another size than those of the next.

    Units are taken by falling score; the number taken is the one whose entries come closest to the budget, and at
    least one.

    Args:
      scores: an array of unit scores for each leaf.
      sizes: how many entries a unit of each leaf has.
      budget: entries to keep.

    >>> [m.tolist() for m in largest_within([np.array([3.0, 1.0]), np.array([2.0])], [4, 10], 5)]
    [[True, False], [False]]
    """
    flat = np.concatenate([np.ravel(s) for s in scores])
    entries = np.repeat(np.asarray(sizes, np.int64), [s.size for s in scores])
    order = np.argsort(-flat, kind="stable")
    taken = 1 + int(np.argmin(np.abs(np.cumsum(entries[order]) - budget)))
    mask = np.zeros(flat.size, bool)
    mask[order[:taken]] = True
    parts = np.split(mask, np.cumsum([s.size for s in scores])[:-1])
    return [part.reshape(s.shape) for part, s in zip(parts, scores, strict=True)]


def largest_along(scores: Real[np.ndarray, "*shape"], kept: int, axis: int) -> Bool[np.ndarray, "*shape"]:
    """A mask of the `kept` largest scores of every line along an axis; ties go to what comes first.

    >>> largest_along(np.array([[3.0, 1.0], [3.0, 2.0], [0.0, 5.0]]), 1, axis=0).astype(int)
    array([[1, 0],
           [0, 0],
           [0, 1]])
    """
    order = np.argsort(-scores, axis=axis, kind="stable")
    mask = np.zeros(scores.shape, bool)
    np.put_along_axis(mask, np.take(order, np.arange(kept), axis=axis), True, axis=axis)
    return mask


def above_quantile(scores: Arrays, fraction: float) -> list[Bool[np.ndarray, "..."]]:
    r"""Masks by ShrinkBench's rule: dropped is what lies strictly below the (1 - f)-quantile, in float32.

    More is kept than asked for where scores are equal: everything if all are, and all zeros if more than a share of
    1 - f is zero.

    >>> above_quantile([np.array([0.0, 0.0, 0.0, 1.0])], 0.5)
    [array([ True,  True,  True,  True])]
    """
    flat = np.concatenate([np.ravel(s).astype(np.float32, copy=False) for s in scores])
    threshold = np.quantile(flat, 1 - fraction, overwrite_input=len(scores) > 1)  # a concatenation is a copy
    return [~((s > -threshold) & (s < threshold)) for s in (s.astype(np.float32, copy=False) for s in scores)]
