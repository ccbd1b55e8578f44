"""Images and volumes as planes of one size, as networks take them, and what was found put together again."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import PyTree

from hyperlab.errors import DataError
from hyperlab.in_context.inputs import from_working_size, to_working_size


class Segmentation(NamedTuple):
    """Masks and what they rest on; arrays where all images have one size, else lists with an entry an image.

    Attributes:
      masks: int32 `[n, *spatial]`, class values, 0 for background.
      probabilities: float32 `[n, *spatial]` of the foreground; with `classes`, `[n, *spatial, classes]` in their
        order; of an in-context network each from a pass of its own, so they need not sum to 1.
    """

    masks: PyTree
    probabilities: Any


def slices(scans: Sequence[np.ndarray], axis: int | None) -> list[np.ndarray]:
    """The planes of volumes across an axis, one volume after the other; images, where there is no axis.

    >>> [plane.shape for plane in slices([np.zeros((4, 2, 5))], 1)]
    [(4, 5), (4, 5)]
    """
    return list(scans) if axis is None else [plane for scan in scans for plane in np.moveaxis(scan, axis, 0)]


def labelled_slices(volumes: Sequence[np.ndarray], labels: Sequence[np.ndarray], wanted: Sequence[int], axis: int):
    """The slices of volumes that hold a wanted class, with their labels."""
    pairs = [
        (image, label)
        for volume, mask in zip(volumes, labels, strict=True)
        for image, label in zip(np.moveaxis(volume, axis, 0), np.moveaxis(mask, axis, 0), strict=True)
        if np.isin(label, wanted).any()
    ]
    return tuple(map(list, zip(*pairs, strict=True)))


def stacks(*groups: Sequence[np.ndarray], size: tuple[int, int] | None, aspect: str) -> list[np.ndarray]:
    """Groups of images, or of label maps, each as one array `[n, height, width]` at the working size.

    Raises:
      DataError: no size is given, and the planes have several.
    """
    if size is None:
        shapes = sorted({plane.shape for group in groups for plane in group})
        if len(shapes) > 1:
            raise DataError(
                f"images and examples have {len(shapes)} sizes, from {shapes[0]} to {shapes[-1]}, and size=None keeps "
                "them; give the size that the network works at, for instance size=128"
            )
    return [np.stack([to_working_size(each, size, aspect) for each in group]) for group in groups]


def restored(
    found: Sequence[np.ndarray],
    scans: Sequence[np.ndarray],
    *,
    size: tuple[int, int] | None,
    aspect: str,
    slice_axis: int | None,
) -> list[np.ndarray]:
    """Maps `[height, width, channel]` of planes at the working size, put together on the scans that they are of."""
    planes = slices(scans, slice_axis)
    if size is not None:
        found = [
            np.stack([from_working_size(each, plane.shape, aspect) for each in np.moveaxis(maps, -1, 0)], -1)
            for maps, plane in zip(found, planes, strict=True)
        ]
    if slice_axis is None:
        return list(found)
    ends = np.cumsum([scan.shape[slice_axis] for scan in scans])[:-1]
    parts = np.split(np.arange(len(found)), ends)
    return [np.stack([found[i] for i in part], slice_axis) for part in parts]


def segmentation(masks: Sequence[np.ndarray], probabilities: Sequence[np.ndarray]) -> Segmentation:
    """Masks and probabilities, as arrays where all images have one size."""
    if len({mask.shape for mask in masks}) == 1:
        return Segmentation(np.stack(masks), np.stack(probabilities))
    return Segmentation(list(masks), list(probabilities))
