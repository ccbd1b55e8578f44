"""Baselines that need no network: copies of the support set's masks, and a threshold.

Each is a function of queries and a support set: bool masks `[n, height, width, 1]`.
"""

from collections.abc import Callable

import numpy as np

from hyperlab.data.threshold import otsu_threshold


def nearest(queries: np.ndarray, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mask of the support image with the smallest mean squared difference from the query.

    >>> images = np.array([0.1, 0.9])[:, None, None, None] * np.ones((1, 2, 2, 1))
    >>> nearest(images[1:] - 0.1, images, images)[..., 0].tolist()
    [[[True, True], [True, True]]]
    """
    flat, other = queries.reshape(len(queries), -1), images.reshape(len(images), -1)
    # |q - s|^2 without the part that all supports share
    distance = np.square(other).sum(1) - 2 * flat @ other.T
    return labels[distance.argmin(1)] > 0.5


def mean_mask(queries: np.ndarray, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Where more than half of the support masks are, for every query.

    >>> labels = np.array([1.0, 1, 0])[:, None, None, None]
    >>> mean_mask(np.zeros((2, 1, 1, 1)), labels, labels).ravel().tolist()
    [True, True]
    """
    return np.broadcast_to(labels.mean(0) > 0.5, queries.shape)


def otsu(queries: np.ndarray, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each query's pixels above its Otsu threshold, or below: whichever side has the better Dice on the support set.

    (Otsu, 1979, "A threshold selection method from gray-level histograms".)
    """
    bright = np.stack([image > otsu_threshold(image) for image in images])
    truth = labels > 0.5
    scores = [2 * (side & truth).sum() / max(side.sum() + truth.sum(), 1) for side in (bright, ~bright)]
    masks = np.stack([query > otsu_threshold(query) for query in queries])
    return masks if scores[0] >= scores[1] else ~masks


NEAREST = "nearest support"
BASELINES: dict[str, Callable] = {NEAREST: nearest, "mean mask": mean_mask, "Otsu": otsu}
