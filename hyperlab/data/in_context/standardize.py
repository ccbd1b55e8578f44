"""Raw images and label maps become small square planes in 0..1 with one soft mask a label, in MegaMedical's order.

Resample to isotropic, clip by modality, min-max of the whole volume, pad to a cube, blur and resize, slice. Butoi et
al. 2023, arXiv 2304.06131, with the processing code of MegaMedical.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyperlab.errors import DataError, nearest

KINDS = ("ct", "mr", "other")
SLICINGS = ("maxslice", "midslice")
LABELS = ("soft", "binary")


@dataclass(frozen=True, eq=False)
class RawCase:
    """One case as its files have it.

    Attributes:
      image: `[*spatial, channel]`, two or three spatial axes; each channel is a modality of its own.
      labels: int `[annotators, *spatial]`.
      spacing: mm between neighbours along each axis, or None.
      stack: the first of three axes counts planes that are examples each; they are normalised together.
    """

    image: np.ndarray
    labels: np.ndarray
    spacing: tuple[float, ...] | None = None
    stack: bool = False


@dataclass(frozen=True, eq=False)
class Plane:
    """One example of one task.

    Attributes:
      modality: number of the channel.
      axis: the plane is across this axis of a volume; None of an image.
      label: the value in the label map.
      image: float32 `[size, size]` in 0..1.
      mask: float32 `[annotators, size, size]` in 0..1.
      number: the place in a stack.
    """

    modality: int
    axis: int | None
    label: int
    image: np.ndarray
    mask: np.ndarray
    number: int = 0


@dataclass(frozen=True)
class Standardization:
    """What is done to raw data before it is stored.

    Attributes:
      sizes: sides of the stored planes, one set of tasks each.
      slicing: of volumes take, for every label, the plane with most of it (`"maxslice"`), or the middle.
      planes: the axes of volumes across which planes are cut.
      spacing: mm to which volumes with another spacing are resampled; None leaves them.
      ct_window: Hounsfield units to which CT is clipped.
      mr_percentiles: of the voxels above 0, to which MR is clipped.
      labels: `"soft"` masks, as blurring leaves them, or `"binary"` ones (at least 1/2).
    """

    sizes: tuple[int, ...] = (128,)
    slicing: str = "maxslice"
    planes: tuple[int, ...] = (0, 1, 2)
    spacing: float | None = 1.0
    ct_window: tuple[float, float] = (-500.0, 1000.0)
    mr_percentiles: tuple[float, float] = (0.5, 99.5)
    labels: str = "soft"

    def __post_init__(self):
        for what, valid in (("slicing", SLICINGS), ("labels", LABELS)):
            given = getattr(self, what)
            if given not in valid:
                raise DataError(f"unknown {what} {given!r}; {nearest(given, valid)}")
        if not self.sizes or min(self.sizes) < 8:
            raise DataError(f"sizes are {self.sizes}, expected at least one, each of at least 8 pixels")
        if not self.planes or not set(self.planes) <= {0, 1, 2}:
            raise DataError(f"planes are {self.planes}, expected axes of a volume: some of 0, 1, 2")
        for what in ("ct_window", "mr_percentiles"):
            if not getattr(self, what)[0] < getattr(self, what)[1]:
                raise DataError(f"{what} is {getattr(self, what)}, expected (low, high)")


def grey(image: np.ndarray) -> np.ndarray:
    """A colour picture as 8-bit grey, by the weights of ITU-R 601: uint8 `[height, width, 3]` to `[height, width, 1]`.

    >>> grey(np.array([[[255, 0, 0]]], np.uint8)).tolist()
    [[[76]]]
    """
    weights = np.array([0.299, 0.587, 0.114])
    return np.floor(image[..., :3] @ weights + 0.5).astype(np.uint8)[..., None]


def standardize(
    case: RawCase, labels: Sequence[int], kinds: Sequence[str], settings: Standardization
) -> dict[int, list[Plane]]:
    """All examples of a case, by size.

    Args:
      case: the raw data.
      labels: values of the label map that are tasks.
      kinds: `"ct"`, `"mr"` or `"other"` for each channel.
      settings: what is done.

    Returns:
      For each size the planes: every channel, axis, label (and place of a stack) once, labels that are absent too.

    Raises:
      DataError: shapes do not fit, an unknown kind, or a value that is not finite.
    """
    _check(case, kinds)
    image, masks = case.image.astype(np.float32), case.labels
    dims = masks.ndim - 1
    if dims == 3 and not case.stack and settings.spacing and case.spacing:
        image, masks = isotropic(image, masks, case.spacing, settings.spacing)
    channels = [
        unit(clipped(image[..., channel], kind, settings.ct_window, settings.mr_percentiles))
        for channel, kind in enumerate(kinds)
    ]
    parts = [(channels, masks, 0)]
    if case.stack:
        parts = [([one[i] for one in channels], masks[:, i], i) for i in range(masks.shape[1])]
    made: dict[int, list[Plane]] = {size: [] for size in settings.sizes}
    for part, part_masks, number in parts:
        part = [padded(channel) for channel in part]
        part_masks = np.stack([padded(one) for one in part_masks])
        for size in settings.sizes:
            made[size] += _planes(part, part_masks, labels, size, settings, number)
    return made


def isotropic(
    image: np.ndarray, masks: np.ndarray, spacing: Sequence[float], target: float
) -> tuple[np.ndarray, np.ndarray]:
    """Volumes at one spacing: cubic splines for `image` `[*spatial, channel]`, nearest for `masks` `[a, *spatial]`."""
    from scipy.ndimage import zoom

    factors = np.array(spacing[:3]) / target
    if np.allclose(factors, 1, atol=1e-3):
        return image, masks
    channels = [zoom(channel, factors, order=3, mode="nearest") for channel in np.moveaxis(image, -1, 0)]
    return np.stack(channels, -1), np.stack([zoom(mask, factors, order=0, mode="nearest") for mask in masks])


def clipped(
    image: np.ndarray, kind: str, ct_window: tuple[float, float], mr_percentiles: tuple[float, float]
) -> np.ndarray:
    """Intensities clipped as their modality asks: CT to a window, MR to percentiles of the voxels above 0.

    >>> clipped(np.array([-2000.0, 40.0]), "ct", (-500.0, 1000.0), (0.5, 99.5)).tolist()
    [-500.0, 40.0]
    """
    if kind == "ct":
        return np.clip(image, *ct_window)
    if kind == "mr" and (image > 0).any():
        return np.clip(image, *np.percentile(image[image > 0], mr_percentiles))
    return image


def unit(image: np.ndarray) -> np.ndarray:
    """Min-max normalisation of a whole image or volume; zeros where it is constant."""
    low, high = float(image.min()), float(image.max())
    return ((image - low) / (high - low if high > low else 1)).astype(np.float32)


def padded(image: np.ndarray) -> np.ndarray:
    """Zeros around an image until all its axes are as long as the longest; the smaller half comes first.

    >>> padded(np.ones((1, 4)))[:, 0].tolist()
    [0.0, 1.0, 0.0, 0.0]
    """
    side = max(image.shape)
    return np.pad(image, [((side - n) // 2, -(-(side - n) // 2)) for n in image.shape])


def blurred(image: np.ndarray, size: int) -> np.ndarray:
    """The Gaussian blur before a resize to `size`: a standard deviation of a quarter of the shrinking factor."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image, _sigma(image.shape[0], size))


def _sigma(old: int, new: int) -> float:
    return 0.25 * old / new


def resized(image: np.ndarray, size: int, order: int) -> np.ndarray:
    """All axes to `size`, the outermost points staying outermost: `scipy.ndimage.zoom` of order 0 or 1, by axes."""
    for axis in range(image.ndim):
        image = _along(image, axis, _places(image.shape[axis], size), order)
    return image


def _planes(channels, masks, labels, size, settings: Standardization, number: int) -> list[Plane]:
    side, dims = channels[0].shape[0], channels[0].ndim
    channels = [blurred(channel, size) for channel in channels]
    made = []
    for label in labels:  # one at a time: the masks of all labels of a large volume would not fit in memory
        soft = np.stack([_soft(one == label, size) for one in masks])
        for axis in settings.planes if dims == 3 else (None,):
            image_parts, mask = channels, soft
            if axis is not None:
                # resizing is separable: only the plane that is kept is resized
                place = _places(side, size)[[_chosen(mask, axis, size, settings.slicing)]]
                mask = _along(mask, axis + 1, place, 0).squeeze(axis + 1)
                image_parts = [_along(channel, axis, place, 1).squeeze(axis) for channel in channels]
            small = np.stack([resized(one, size, 0) for one in mask])
            if settings.labels == "binary":
                small = (small >= 0.5).astype(np.float32)
            made += [
                Plane(modality, axis, label, resized(image, size, 1).clip(0, 1), small.clip(0, 1), number)
                for modality, image in enumerate(image_parts)
            ]
    return made


def _soft(mask: np.ndarray, size: int) -> np.ndarray:
    """`blurred` of a mask, worked out where the mask is and as far as the blur reaches."""
    from scipy.ndimage import find_objects, gaussian_filter

    soft = np.zeros(mask.shape, np.float32)
    boxes = find_objects(mask.astype(np.uint8))
    if boxes:
        sigma = _sigma(mask.shape[0], size)
        reach = int(4 * sigma + 0.5)  # where the filter is cut
        box = tuple(slice(max(0, one.start - reach), one.stop + reach) for one in boxes[0])
        soft[box] = gaussian_filter(mask[box].astype(np.float32), sigma)
    return soft


def _chosen(mask: np.ndarray, axis: int, size: int, slicing: str) -> int:
    """The number of the plane in the resized volume."""
    if slicing == "midslice":
        return size // 2
    near = np.floor(_places(mask.shape[1], size) + 0.5).astype(int)
    sampled = mask[0] > 0
    for other in {0, 1, 2} - {axis}:
        sampled = sampled.take(near, other)
    counts = sampled.sum(tuple({0, 1, 2} - {axis}))
    return int(counts[near].argmax())


def _places(old: int, new: int) -> np.ndarray:
    return np.arange(new) * ((old - 1) / (new - 1))


def _along(image: np.ndarray, axis: int, places: np.ndarray, order: int) -> np.ndarray:
    if order == 0:
        return image.take(np.floor(places + 0.5).astype(int), axis)
    below = np.minimum(places.astype(int), max(image.shape[axis] - 2, 0))
    above = np.minimum(below + 1, image.shape[axis] - 1)
    share = (places - below).astype(np.float32).reshape([-1 if one == axis else 1 for one in range(image.ndim)])
    return image.take(below, axis) * (1 - share) + image.take(above, axis) * share


def _check(case: RawCase, kinds: Sequence[str]) -> None:
    spatial, channels = case.image.shape[:-1], case.image.shape[-1]
    if case.labels.shape[1:] != spatial or len(spatial) not in (2, 3) or (case.stack and len(spatial) != 3):
        raise DataError(
            f"image {case.image.shape} and labels {case.labels.shape}; expected [*spatial, channel] and "
            "[annotators, *spatial] of two or three spatial axes"
        )
    if len(kinds) != channels:
        raise DataError(f"{len(kinds)} kinds {tuple(kinds)} for {channels} channels")
    for kind in kinds:
        if kind not in KINDS:
            raise DataError(f"unknown kind of modality {kind!r}; {nearest(kind, KINDS)}")
    if not np.isfinite(case.image).all():
        raise DataError("the image holds values that are not finite; find the step that made them, or set them to 0")
