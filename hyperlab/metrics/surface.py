"""Distances between the surfaces of two masks, on the host, in mm where the spacing is known, else in pixels.

The surface of a mask is what erosion by the face-connected neighbours takes away; outside of the image is background,
so a mask that touches the border has a surface there. The directed distances go from every surface pixel of one mask
to the nearest of the other, pixel centre to pixel centre. Every surface pixel weighs the same (some programs weigh
by area).

"HD95" is not one number, so the names say which: `hd95_pooled` takes the percentile of both directions' distances
together, `hd95_max` the larger of the two directions' percentiles.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Array, Bool, Float, Integer
from numpy.typing import ArrayLike

from hyperlab.errors import ConfigError, DataError, nearest
from hyperlab.metrics.segmentation import check_maps

ROUNDING = 1e-6  # a distance of three times 0.3 mm is within 0.9 mm


class SurfaceMetrics(NamedTuple):
    """Distances of one pair of masks, or arrays `[n, classes - 1]` of them.

    Attributes:
      hd95_pooled: the 95th percentile of the distances of both directions together.
      hd95_max: the larger of the 95th percentiles of the two directions.
      assd: average symmetric surface distance, the mean of the distances of both directions together.
      nsd: normalised surface Dice, the share of both surfaces within the tolerance of the other, in 0..1.
    """

    hd95_pooled: Any
    hd95_max: Any
    assd: Any
    nsd: Any


def surface_metrics(
    prediction: Bool[Array | np.ndarray, "*spatial"],
    label: Bool[Array | np.ndarray, "*spatial"],
    spacing: Sequence[float] | Float[np.ndarray, " dims"] | None = None,
    tolerance: float = 1.0,
    *,
    one_empty: str = "nan",
) -> SurfaceMetrics:
    """Distances between the surfaces of two masks in two or three dimensions (or any number).

    Two empty masks have no surface: all four are NaN. If one of them is empty, its distances are infinite in a sense
    that no mean survives: they are NaN, and whoever averages counts them; or, with `one_empty="diagonal"`, the
    length of the image's diagonal, which no distance exceeds. Its nsd is 0 in either case: no surface pixel
    is within any tolerance.

    Args:
      prediction: bool `[*spatial]`.
      label: bool `[*spatial]`, the truth.
      spacing: mm between pixel centres for each axis; by default 1, so that distances are in pixels.
      tolerance: of the nsd, in the unit of the spacing.
      one_empty: `nan` or `diagonal`.

    Raises:
      DataError: shapes differ, masks are not bool, or the spacing does not fit them.
      ConfigError: a negative tolerance, or an unknown `one_empty`.

    >>> first, second = np.zeros((2, 8, 8), bool)
    >>> first[2, 2] = second[5, 6] = True
    >>> surface_metrics(first, second)
    SurfaceMetrics(hd95_pooled=5.0, hd95_max=5.0, assd=5.0, nsd=0.0)
    >>> surface_metrics(first, second, spacing=(4.0, 3.0), tolerance=20.0).nsd
    1.0

    (Huttenlocher, Klanderman and Rucklidge, 1993; Heimann et al., 2009, doi 10.1109/TMI.2009.2013851; Nikolov et al.,
    2018, arXiv 1809.04430.)
    """
    prediction, label = np.asarray(prediction), np.asarray(label)
    spacing = _check(prediction, label, spacing, tolerance, one_empty)
    if not prediction.any() and not label.any():
        return SurfaceMetrics(*[math.nan] * 4)
    if not prediction.any() or not label.any():
        far = math.nan if one_empty == "nan" else math.dist([0] * label.ndim, np.multiply(label.shape, spacing))
        return SurfaceMetrics(far, far, far, 0.0)
    forth, back = surface_distances(prediction, label, spacing)
    both = np.concatenate([forth, back])
    return SurfaceMetrics(
        float(np.percentile(both, 95)),
        float(max(np.percentile(forth, 95), np.percentile(back, 95))),
        float(both.mean()),
        float((both <= tolerance * (1 + ROUNDING)).mean()),
    )


def surface_distances(
    prediction: Bool[np.ndarray, "*spatial"],
    label: Bool[np.ndarray, "*spatial"],
    spacing: Sequence[float] | Float[np.ndarray, " dims"] | None = None,
) -> tuple[Float[np.ndarray, " pixels_of_prediction"], Float[np.ndarray, " pixels_of_label"]]:
    """The directed distances: from each surface pixel of the one mask to the surface of the other, and back.

    Args:
      prediction: bool `[*spatial]`, not empty.
      label: bool `[*spatial]`, not empty.
      spacing: mm between pixel centres for each axis; by default 1.

    Returns:
      `([surface pixels of the prediction], [surface pixels of the label])`.
    """
    # All surfaces lie within the box of both masks, and the distance transform is the cost of it all.
    (box,) = scipy.ndimage.find_objects((prediction | label).astype(np.int8))
    first, second = surface(prediction[box]), surface(label[box])
    to_first, to_second = (scipy.ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in (first, second))
    return to_second[first], to_first[second]


def surface(mask: Bool[np.ndarray, "*spatial"]) -> Bool[np.ndarray, "*spatial"]:
    """The pixels of a mask with a face-connected neighbour outside of it.

    >>> surface(np.ones((3, 4), bool)).astype(int)
    array([[1, 1, 1, 1],
           [1, 0, 0, 1],
           [1, 1, 1, 1]])
    """
    return mask & ~scipy.ndimage.binary_erosion(mask)


def per_class(
    predictions: Integer[Array | np.ndarray, " n *spatial"],
    labels: Integer[Array | np.ndarray, " n *spatial"],
    classes: int,
    *,
    spacing: ArrayLike | None = None,
    tolerance: float = 1.0,
    one_empty: str = "nan",
) -> SurfaceMetrics:
    """The distances of each case and foreground class.

    Args:
      predictions: int `[n, *spatial]`, label maps; a subject is one volume.
      labels: int `[n, *spatial]`, the truth.
      classes: how many there are, background (0) included.
      spacing: mm for each axis, one for all cases (`[dims]`) or one each (`[n, dims]`); by default pixels.
      tolerance: of the nsd, in the unit of the spacing.
      one_empty: see `surface_metrics`.

    Returns:
      Arrays `[n, classes - 1]`, NaN where undefined.

    Raises:
      DataError: maps or spacing do not fit.
      ConfigError: see `surface_metrics`.

    >>> labels = np.array([[[0, 1, 1, 2]]])
    >>> per_class(labels, labels, 4).assd
    array([[ 0.,  0., nan]])
    """
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    check_maps(predictions, labels, classes)
    n, dims = len(labels), labels.ndim - 1
    spacing = np.ones(dims) if spacing is None else np.asarray(spacing, float)
    if spacing.shape not in ((dims,), (n, dims)):
        raise DataError(f"spacing has shape {spacing.shape}, expected ({dims},) or ({n}, {dims})")
    spacing = np.broadcast_to(spacing, (n, dims))
    table = [
        [
            surface_metrics(predictions[case] == k, labels[case] == k, spacing[case], tolerance, one_empty=one_empty)
            for k in range(1, classes)
        ]
        for case in range(n)
    ]
    return SurfaceMetrics(*np.array(table, float).reshape(n, classes - 1, 4).transpose(2, 0, 1))


def _check(
    prediction: np.ndarray, label: np.ndarray, spacing: Any, tolerance: float, one_empty: str
) -> Sequence[float]:
    if prediction.shape != label.shape:
        raise DataError(f"prediction has shape {prediction.shape}, label {label.shape}, expected the same")
    for what, values in (("prediction", prediction), ("label", label)):
        if values.dtype != bool:
            raise DataError(f"{what} is {values.dtype}, expected a bool mask; per_class takes label maps")
    if not tolerance >= 0:
        raise ConfigError(f"tolerance is {tolerance}, expected 0 or more")
    if one_empty not in ("nan", "diagonal"):
        raise ConfigError(f"one_empty is {one_empty!r}; {nearest(str(one_empty), ('nan', 'diagonal'))}")
    spacing = [1.0] * label.ndim if spacing is None else [float(step) for step in spacing]
    if len(spacing) != label.ndim or not all(0 < step < math.inf for step in spacing):
        raise DataError(f"spacing is {spacing}, expected {label.ndim} positive numbers, mm for each axis")
    return spacing
