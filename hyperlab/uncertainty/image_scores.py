"""One number an image from an uncertainty map: which images should be looked at?

The mean over all pixels is mostly that of easy background, so other aggregations stand beside it. All of `SCORES` have
the same arguments, and the higher score is the more uncertain image. Where nothing was predicted there is no
foreground and no boundary: the mean over these is then the mean over all pixels, so that the score is a number;
`empty_predictions` says where.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array, Bool, Float, PyTree, Shaped

from hyperlab.errors import ConfigError, DataError
from hyperlab.uncertainty.detection import boundary_band

SCORES: dict[str, Any] = {}


def _score(function: Callable[..., PyTree]) -> Callable[..., Any]:
    SCORES[function.__name__.removesuffix("_score")] = function
    return function


@_score
def image_mean_score(
    uncertainty: Float[np.ndarray, " n *spatial"], predictions: Shaped[np.ndarray, " n *spatial"]
) -> Float[np.ndarray, " n"]:
    """The mean over all pixels.

    Args:
      uncertainty: `[n, *spatial]`.
      predictions: int or bool `[n, *spatial]`, 0 for background.

    Returns:
      `[n]`.

    >>> image_mean_score(np.array([[0.0, 0.5, 1.0]]), np.array([[0, 0, 1]]))
    array([0.5])
    """
    return _mean(uncertainty, np.ones(uncertainty.shape, bool))


@_score
def foreground_score(
    uncertainty: Float[np.ndarray, " n *spatial"], predictions: Shaped[np.ndarray, " n *spatial"]
) -> Float[np.ndarray, " n"]:
    """The mean over the predicted foreground; over all pixels where there is none.

    >>> foreground_score(np.array([[0.0, 0.5, 1.0]]), np.array([[0, 0, 1]]))
    array([1.])
    """
    return _mean(uncertainty, predictions > 0)


@_score
def band_score(
    uncertainty: Float[np.ndarray, " n *spatial"], predictions: Shaped[np.ndarray, " n *spatial"], width: float = 3
) -> Float[np.ndarray, " n"]:
    """The mean over the pixels at most `width` from the predicted boundary; over all pixels where there is none.

    >>> band_score(np.array([[[0.0, 0.5, 1.0]]]), np.array([[[0, 0, 1]]]), width=1)
    array([0.75])
    """
    return _mean(uncertainty, boundary_band(predictions, width))


@_score
def top_share_score(
    uncertainty: Float[np.ndarray, " n *spatial"], predictions: Shaped[np.ndarray, " n *spatial"], share: float = 0.05
) -> Float[np.ndarray, " n"]:
    """The mean over the most uncertain `share` of the pixels, at least one.

    Raises:
      ConfigError: a share outside 0..1.

    >>> top_share_score(np.array([[0.0, 0.5, 1.0, 0.5]]), np.array([[0, 0, 1, 0]]), share=0.5)
    array([0.75])
    """
    if not 0 < share <= 1:
        raise ConfigError(f"share is {share}, expected more than 0 and at most 1, for instance 0.05")
    flat = uncertainty.reshape(len(uncertainty), -1)
    count = max(1, round(share * flat.shape[1]))
    return np.partition(flat, flat.shape[1] - count, axis=1)[:, flat.shape[1] - count :].mean(1, dtype=float)


@_score
def share_above_score(
    uncertainty: Float[np.ndarray, " n *spatial"],
    predictions: Shaped[np.ndarray, " n *spatial"],
    threshold: float = 0.1,
) -> Float[np.ndarray, " n"]:
    """The share of pixels above a threshold, in the unit of the map (0.1 nats are a seventh of one bit's entropy).

    >>> share_above_score(np.array([[0.0, 0.5, 1.0, 0.5]]), np.array([[0, 0, 1, 0]]))
    array([0.75])
    """
    return _mean(uncertainty > threshold, np.ones(uncertainty.shape, bool))


def image_scores(
    uncertainty: Float[Array | np.ndarray, " n *spatial"],
    predictions: Shaped[Array | np.ndarray, " n *spatial"],
    *,
    width: float = 3,
    share: float = 0.05,
    threshold: float = 0.1,
) -> dict[str, Float[np.ndarray, " n"]]:
    """All of `SCORES` of a set of images.

    Args:
      uncertainty: float `[n, *spatial]`, without NaN.
      predictions: int or bool `[n, *spatial]`, 0 for background.
      width: of the band, in pixels.
      share: of the most uncertain pixels.
      threshold: in the unit of the map; fix it on validation data.

    Returns:
      `{name: [n]}` for `image_mean`, `foreground`, `band`, `top_share`, `share_above`.

    Raises:
      DataError: shapes differ.

    >>> list(image_scores(np.zeros((1, 4, 4)), np.eye(4, dtype=int)[None]))
    ['image_mean', 'foreground', 'band', 'top_share', 'share_above']
    """
    uncertainty, predictions = np.asarray(uncertainty), np.asarray(predictions)
    if uncertainty.shape != predictions.shape:
        raise DataError(
            f"uncertainty has shape {uncertainty.shape}, predictions {predictions.shape}, expected the same"
        )
    options = {"band": {"width": width}, "top_share": {"share": share}, "share_above": {"threshold": threshold}}
    return {name: score(uncertainty, predictions, **options.get(name, {})) for name, score in SCORES.items()}


def empty_predictions(predictions: Shaped[Array | np.ndarray, " n *spatial"]) -> Bool[np.ndarray, " n"]:
    """Whether nothing but background was predicted: bool `[n]`.

    >>> empty_predictions(np.array([[0, 0], [0, 1]]))
    array([ True, False])
    """
    predictions = np.asarray(predictions)
    return np.asarray(~(predictions > 0).any(tuple(range(1, predictions.ndim))))


def _mean(values: np.ndarray, region: np.ndarray) -> np.ndarray:
    """The mean over a region of each image, and over the image where the region is empty."""
    axes = tuple(range(1, values.ndim))
    count = region.sum(axes)
    inside = np.where(region, values, 0).sum(axes, dtype=float) / np.maximum(count, 1)
    return np.where(count > 0, inside, values.mean(axes, dtype=float))
