"""Near-copies: images of one scene that were stored, cut or annotated twice, found by their fine structure."""

from collections.abc import Sequence

import numpy as np

from hyperlab.data.splits import duplicate_groups
from hyperlab.errors import DataError

_SIDE = 32  # pixels of a thumbnail's side
_LEAST = 0.8  # no pair below this correlation is a near-copy
_CLOSER = 0.25  # a near-copy is so much closer than the third-nearest image of an ordinary image
_ROWS = 512  # of the matrix of correlations at a time


def thumbnail(image: np.ndarray) -> np.ndarray:
    """The fine structure of a small grey version of an image, as a unit vector.

    Subtracting a blurred version leaves what differs between two cells or two brains of one kind; without
    it, all images with a dark object in their middle correlate.

    Args:
      image: `[height, width, channel]`; of a volume `[depth, height, width, channel]` its three middle
        planes are taken.

    Returns:
      float32 `[1024]` or `[3072]`; zeros where the image is constant.
    """
    from PIL import Image
    from scipy.ndimage import gaussian_filter

    planes = [image] if image.ndim == 3 else [image.take(n // 2, axis) for axis, n in enumerate(image.shape[:-1])]
    parts = []
    for plane in planes:
        grey = np.asarray(plane, np.float32).mean(-1)
        resized = Image.fromarray(grey).resize((_SIDE, _SIDE), Image.Resampling.BOX)
        small = np.asarray(resized, np.float32)
        parts.append((small - gaussian_filter(small, 1)).ravel())
    vector = np.concatenate(parts)
    vector -= vector.mean()
    norm = np.linalg.norm(vector)
    brightest = max(float(np.abs(np.asarray(rows, np.float32).mean(-1)).max()) for rows in image)  # spares memory
    # rounding leaves a trace in a constant image, which must not be blown up to a unit vector
    return vector / norm if norm > 1e-5 * max(1, brightest) else np.zeros_like(vector)


def near_copies(thumbnails: np.ndarray, threshold: float | None = None) -> list[tuple[int, int, float]]:
    """Pairs of images that are far closer to each other than images of the set usually are.

    How alike two different images look depends on the set: different cells correlate at .4, different
    brains that were aligned to one template at .95. So the measure is the set's own: with `d` = 1 minus
    the correlation of two thumbnails, a pair is a near-copy where `d` is below 0.25 times the median
    distance from an image to its third-nearest (the second of three images), and the correlation at
    least .8. Of two images alone nothing can be said.

    Args:
      thumbnails: float32 `[n, length]`, unit vectors of `thumbnail`.
      threshold: the correlation above which a pair is a near-copy, where it is known for a set.

    Returns:
      `(i, j, correlation)` with `i < j`, the closest pair first.
    """
    n = len(thumbnails)
    starts = range(0, n, _ROWS)
    if threshold is None:
        if n < 3:
            return []
        place = n - min(3, n - 1)
        third = [np.partition(_correlations(thumbnails, start), place, axis=1)[:, place] for start in starts]
        threshold = max(_LEAST, 1 - _CLOSER * (1 - float(np.median(np.concatenate(third)))))
    pairs = []
    for start in starts:
        block = _correlations(thumbnails, start)
        rows, columns = np.nonzero(block > threshold)
        kept = rows + start < columns
        found = zip(rows[kept] + start, columns[kept], block[rows[kept], columns[kept]], strict=True)
        pairs += [(int(i), int(j), float(value)) for i, j, value in found]
    return sorted(pairs, key=lambda pair: (-pair[2], pair[:2]))


def joined(*groupings: np.ndarray, pairs: Sequence[tuple[int, int]] = ()) -> np.ndarray:
    """The finest groups that none of several groupings and no pair cuts.

    Args:
      groupings: int `[n]` each, for instance subjects and identical images.
      pairs: positions that belong together.

    Returns:
      int32 `[n]`: the first position of each example's group.

    >>> joined(np.array([7, 7, 8, 9, 9]), pairs=[(1, 2)])
    array([0, 0, 0, 3, 3], dtype=int32)
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(groupings[0])
    if any(len(one) != n for one in groupings):
        raise DataError(f"groupings differ in length: {[len(one) for one in groupings]}")
    ends = [np.asarray(pairs, np.int64).reshape(-1, 2)]
    for one in groupings:
        _, first, inverse = np.unique(one, return_index=True, return_inverse=True)
        ends.append(np.stack([np.arange(n), first[inverse]], axis=1))
    left, right = np.concatenate(ends).T
    _, component = connected_components(coo_array((np.ones(len(left)), (left, right)), shape=(n, n)), directed=False)
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int32)


def copy_groups(images: Sequence[np.ndarray]) -> np.ndarray:
    """Groups in which identical images and near-copies of each other are together: int32 `[n]`.

    Args:
      images: `[height, width, channel]` each, of any sizes.
    """
    pairs = near_copies(np.stack([thumbnail(image) for image in images]))
    shapes = {image.shape for image in images}
    groups = duplicate_groups(np.stack(images)) if len(shapes) == 1 else np.arange(len(images))
    return joined(groups, pairs=[pair[:2] for pair in pairs])


def _correlations(thumbnails: np.ndarray, start: int) -> np.ndarray:
    """A block of rows of the matrix of correlations; an image does not count as its own neighbour."""
    block = thumbnails[start : start + _ROWS] @ thumbnails.T
    rows = np.arange(len(block))
    block[rows, rows + start] = -np.inf
    return block
