"""Does a score find the errors? Areas under curves over pixels or images, trivial scores, certain against accurate.

Errors are the positives; a score is the better, the higher it is on them. Pixels are many, so by default their scores
are rounded to 11 significant bits first and counted level by level: relative differences under 1/2048 count as ties,
which moves no area by more than the share of such pairs, and 100 images of 256x256 take less than a second. All
pixels count; none are sampled. `exact=True` takes scores as they are (for images and objects).

Minus the distance to the predicted boundary is a trivial score that finds most pixel errors without any uncertainty.
So every score is to be shown beside it, and also inside a band round that boundary.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Array, Bool, Float, Shaped
from numpy.typing import ArrayLike

from hyperlab.errors import ConfigError, DataError

SIGN, DROPPED = np.uint32(1 << 31), np.uint32(12)  # a float32 has 23 bits after the first, of which 11 are kept


class Detection(NamedTuple):
    """How well a score finds the positives.

    Attributes:
      auroc: area under the ROC curve; 0.5 for a score that knows nothing; NaN if all or none are positive.
      aupr: area under the precision-recall curve as average precision; the share of positives for a score that
        knows nothing; NaN likewise.
      positives: how many there are.
      negatives: how many there are.
    """

    auroc: float
    aupr: float
    positives: int
    negatives: int

    @property
    def defined(self) -> bool:
        """Whether there are positives and negatives; count those that are not."""
        return self.positives > 0 and self.negatives > 0


class CertaintyTable(NamedTuple):
    """Accurate or not, certain or not: how many pixels, where "certain" is an uncertainty of at most the threshold.

    Tables of several images are added field by field.
    """

    accurate_certain: int
    accurate_uncertain: int
    inaccurate_certain: int
    inaccurate_uncertain: int

    @property
    def accurate_given_certain(self) -> float:
        """p(accurate | certain); NaN where nothing is certain."""
        return _ratio(self.accurate_certain, self.accurate_certain + self.inaccurate_certain)

    @property
    def uncertain_given_inaccurate(self) -> float:
        """p(uncertain | inaccurate); NaN where all is accurate."""
        return _ratio(self.inaccurate_uncertain, self.inaccurate_certain + self.inaccurate_uncertain)

    @property
    def pavpu(self) -> float:
        """The share that is accurate and certain, or inaccurate and uncertain."""
        return _ratio(self.accurate_certain + self.inaccurate_uncertain, sum(self))


# -- areas under curves -------------------------------------------------------------------------------------------


def detection(
    scores: ArrayLike, positives: ArrayLike, mask: ArrayLike | None = None, *, exact: bool = False
) -> Detection:
    """Areas under the ROC and precision-recall curves of a score, through scikit-learn; ties count one half.

    Args:
      scores: float, of any shape; higher where a positive is expected.
      positives: bool, of the same shape, for instance `prediction != labels`.
      mask: bool, of the same shape, the values that count (a band round the boundary); by default all.
      exact: whether scores are taken as they are; otherwise they are rounded to 11 significant bits (see above).

    Raises:
      DataError: shapes differ, positives are not bool, or a score that counts is NaN.

    >>> detection([0.1, 0.4, 0.35, 0.8], [False, False, True, True], exact=True)
    Detection(auroc=0.75, aupr=0.8333333333333333, positives=2, negatives=2)
    >>> detection([0.1, 0.4], [False, False])
    Detection(auroc=nan, aupr=nan, positives=0, negatives=2)

    (Hanley and McNeil, 1982, for the area under the ROC curve as the share of pairs in the right order.)
    """
    from sklearn import metrics

    scores, positives = _given(scores, positives, mask)
    found = int(positives.sum())
    others = positives.size - found
    if not found or not others:
        return Detection(math.nan, math.nan, found, others)
    if exact:
        truth, values, weights = positives, scores, None
    else:
        levels, counts = _levels(scores, positives)
        truth, values, weights = np.repeat([False, True], len(levels)), np.tile(levels, 2), counts.ravel()
        truth, values, weights = truth[weights > 0], values[weights > 0], weights[weights > 0]
    return Detection(
        float(metrics.roc_auc_score(truth, values, sample_weight=weights)),
        float(metrics.average_precision_score(truth, values, sample_weight=weights)),
        found,
        others,
    )


def shift_detection(inside: ArrayLike, outside: ArrayLike) -> Detection:
    """How well an image score tells shifted images from those of the training domain.

    Args:
      inside: `[n]`, scores of images of the domain.
      outside: `[m]`, scores of shifted images, which should be higher.

    >>> shift_detection([0.1, 0.2, 0.3], [0.25, 0.9]).auroc
    0.8333333333333334
    """
    inside, outside = np.ravel(inside), np.ravel(outside)
    return detection(
        np.concatenate([inside, outside]), np.arange(inside.size + outside.size) >= inside.size, exact=True
    )


def certainty_table(
    uncertainty: ArrayLike, errors: ArrayLike, threshold: float, mask: ArrayLike | None = None
) -> CertaintyTable:
    """How many pixels are accurate or not and certain or not at a threshold.

    Args:
      uncertainty: float, of any shape.
      errors: bool, of the same shape.
      threshold: up to here a pixel is certain; fix it on validation data.
      mask: bool, of the same shape; by default all count.

    >>> table = certainty_table([0.1, 0.2, 0.8, 0.9], [False, True, False, True], 0.5)
    >>> table, table.pavpu
    (CertaintyTable(accurate_certain=1, accurate_uncertain=1, inaccurate_certain=1, inaccurate_uncertain=1), 0.5)

    (Mukhoti and Gal, 2018, arXiv 1811.12709, who count patches.)
    """
    uncertainty, errors = _given(uncertainty, errors, mask)
    cell = 2 * errors + (uncertainty > threshold)
    return CertaintyTable(*np.bincount(cell, minlength=4).tolist())


# -- distance to the boundary -------------------------------------------------------------------------------------


def distance_to_boundary(predictions: Shaped[Array | np.ndarray, " n *spatial"]) -> Float[np.ndarray, " n *spatial"]:
    """The distance of each pixel to the nearest pixel with another label, in pixels, centre to centre.

    It is 1 on both sides of a boundary. An image of one label has no boundary: its pixels have the length of the
    image's diagonal, which no distance exceeds, so that minus the distance is a score there too.

    Args:
      predictions: bool or int `[n, *spatial]`, predicted masks or label maps.

    Returns:
      float32 `[n, *spatial]`.

    >>> distance_to_boundary(np.array([[[0, 0, 0, 1, 1]]])).tolist()
    [[[3.0, 2.0, 1.0, 1.0, 2.0]]]
    """
    predictions = np.asarray(predictions)
    result = np.empty(predictions.shape, np.float32)
    for image, distance in zip(predictions, result, strict=True):
        present = np.unique(image)
        if len(present) == 1:
            distance[...] = math.hypot(*image.shape)
            continue
        for label in present:
            inside = image == label
            distance[inside] = scipy.ndimage.distance_transform_edt(inside)[inside]
    return result


def boundary_band(
    predictions: Shaped[Array | np.ndarray, " n *spatial"], width: float = 3
) -> Bool[np.ndarray, " n *spatial"]:
    """The pixels at most `width` from the predicted boundary, on both sides of it; none where there is no boundary.

    Args:
      predictions: bool or int `[n, *spatial]`.
      width: in pixels, at least 1.

    Returns:
      bool `[n, *spatial]`.

    >>> boundary_band(np.array([[[0, 0, 0, 1, 1, 1]]]), 2).astype(int).tolist()
    [[[0, 1, 1, 1, 1, 0]]]
    """
    if not width >= 1:
        raise ConfigError(f"a band of width {width}, expected at least 1 pixel")
    predictions = np.asarray(predictions)
    diagonal = math.hypot(*predictions.shape[1:])
    distance = distance_to_boundary(predictions)
    return (distance <= width) & (distance < np.float32(diagonal))


# -- parts --------------------------------------------------------------------------------------------------------


def _given(scores: Any, positives: Any, mask: Any) -> tuple[np.ndarray, np.ndarray]:
    scores, positives = np.asarray(scores), np.asarray(positives)
    if scores.shape != positives.shape:
        raise DataError(f"scores have shape {scores.shape}, positives {positives.shape}, expected the same")
    if positives.dtype != bool:
        raise DataError(f"positives are {positives.dtype}, expected bool, for instance prediction != labels")
    if mask is not None:
        scores, positives = scores[np.asarray(mask)], positives[np.asarray(mask)]
    if np.isnan(scores).any():
        raise DataError(f"{int(np.isnan(scores).sum())} of {scores.size} scores are NaN, which have no rank")
    return scores.ravel(), positives.ravel()


def _levels(scores: np.ndarray, positives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rounded scores as ordered integers, and `[2, levels]` counts of negatives and positives."""
    # Patterns of floats are ordered like their values once negative ones are inverted and the others moved above.
    bits = (scores.astype(np.float32) + np.float32(0)).view(np.uint32)  # -0 becomes 0
    ordered = np.where(bits & SIGN, ~bits, bits | SIGN) >> DROPPED
    size = 1 << (32 - int(DROPPED))
    counts = np.bincount(ordered + positives.astype(np.uint32) * np.uint32(size), minlength=2 * size).reshape(2, size)
    levels = np.flatnonzero(counts.any(0))
    return levels, counts[:, levels]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
