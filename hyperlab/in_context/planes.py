"""Images and volumes as planes of one size, as networks take them, and what was found put together again."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from hyperlab.errors import DataError
from hyperlab.in_context.inputs import from_working_size, to_working_size


class Segmentation(NamedTuple):
    """Masks and what they rest on; arrays where all images have one size, else lists with an entry an image.

    Attributes:
      masks: int32 `[n, *spatial]`, class values, 0 for background.
      probabilities: float32 `[n, *spatial]` of the foreground; with `classes`, `[n, *spatial, classes]` in their
        order, each from a pass of its own, so they need not sum to 1.
    """

    masks: Any
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


def stacks(planes, examples, labels, working, aspect: str):
    """Targets `[n, h, w]`, examples and label maps `[pool, h, w]`, all of one size."""
    if working is None:
        shapes = sorted({plane.shape for plane in [*planes, *examples]})
        if len(shapes) > 1:
            raise DataError(
                f"images and examples have {len(shapes)} sizes, from {shapes[0]} to {shapes[-1]}, and size=None keeps "
                "them; give the size that the network works at, for instance size=128"
            )
    groups = (planes, examples, labels)
    return [np.stack([to_working_size(each, working, aspect) for each in group]) if group else None for group in groups]


def restored(per_plane: Sequence[np.ndarray], planes: Sequence[np.ndarray], aspect: str) -> list[np.ndarray]:
    """Maps `[height, width, class]` at the working size, each back on its own plane."""
    return [
        np.stack([from_working_size(each, plane.shape, aspect) for each in np.moveaxis(found, -1, 0)], -1)
        for found, plane in zip(per_plane, planes, strict=True)
    ]


def assembled(per_plane, scans, wanted, slice_axis, multiple: bool, threshold: float) -> Segmentation:
    """Planes put together to what was given, and merged into label maps."""
    if slice_axis is not None:
        ends = np.cumsum([scan.shape[slice_axis] for scan in scans])[:-1]
        parts = np.split(np.arange(len(per_plane)), ends)
        per_plane = [np.stack([per_plane[i] for i in part], slice_axis) for part in parts]
    values = np.array(wanted, np.int32)
    masks = [np.where(each.max(-1) > threshold, values[each.argmax(-1)], 0).astype(np.int32) for each in per_plane]
    probabilities = per_plane if multiple else [each[..., 0] for each in per_plane]
    if len({mask.shape for mask in masks}) == 1:
        return Segmentation(np.stack(masks), np.stack(probabilities))
    return Segmentation(masks, probabilities)
