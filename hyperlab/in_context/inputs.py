"""What a user hands in, checked and brought to the working size of a network, and what comes out brought back.

The likeliest cause of poor results with a network of this kind is an input on another scale than the one that it was
trained on, so the range of every image is looked at before anything is computed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperlab.data.resample import pad_or_crop, resample_image, resample_labels, unit_range
from hyperlab.errors import ConfigError, DataError, nearest

ASPECTS = ("keep", "stretch")


def check_images(images: Any, what: str, dims: int, rescale: bool = False) -> list[np.ndarray]:
    """Images or volumes as a list of float32 `[*spatial]` in 0..1.

    Args:
      images: `[n, *spatial]` or `[n, *spatial, 1]`, or a sequence of arrays without the first axis, of any sizes.
      what: they are, for messages: `"images"` or `"support_images"`.
      dims: 2, or 3 for volumes.
      rescale: each image's (or whole volume's) minimum becomes 0 and its maximum 1.

    Raises:
      DataError: there is none; another number of axes; several channels; values that are not finite, or outside 0..1
        without `rescale`.

    >>> [image.shape for image in check_images([np.zeros((4, 5)), np.ones((2, 3, 1))], "images", 2)]
    [(4, 5), (2, 3)]
    """
    result = []
    for index, image in enumerate(images):
        values = _without_channel(np.asarray(image), f"{what}[{index}]", dims)
        result.append(_in_range(values[..., None], f"{what}[{index}]", rescale)[..., 0])
    if not result:
        raise DataError(
            f"{what} is empty; " + ("the network needs at least one example" if "support" in what else "give an image")
        )
    return result


def check_channels(
    images: Any, what: str, dims: int, rescale: bool = False, channels: int | None = None
) -> list[np.ndarray]:  # fmt: skip
    """Images or volumes with their channels, such as colours, as a list of float32 `[*spatial, channel]` in 0..1.

    Args:
      images: `[n, *spatial]` or `[n, *spatial, channel]`, or a sequence of arrays without the first axis, of any sizes.
      what: they are, for messages.
      dims: 2, or 3 for volumes.
      rescale: the minimum of each image (all its channels together) becomes 0 and the maximum 1.
      channels: that each must have; by default those of the first.

    Raises:
      DataError: there is none; another number of axes; images with different channels; values that are not finite, or
        outside 0..1 without `rescale`.

    >>> [image.shape for image in check_channels([np.zeros((4, 5)), np.ones((2, 3, 1))], "images", 2)]
    [(4, 5, 1), (2, 3, 1)]
    """
    result: list[np.ndarray] = []
    for index, image in enumerate(images):
        values = np.asarray(image)
        if values.ndim != dims + 1:
            values = _without_channel(values, f"{what}[{index}]", dims)[..., None]
        values = _in_range(values, f"{what}[{index}]", rescale)
        expected = channels or (result or [values])[0].shape[-1]
        if values.shape[-1] != expected:
            raise DataError(
                f"{what}[{index}] has {values.shape[-1]} channels, expected {expected} as the other images have; "
                "bring all to one kind (grey, or colours)"
            )
        result.append(values)
    if not result:
        raise DataError(f"{what} is empty; give an image")
    return result


def _in_range(values: np.ndarray, name: str, rescale: bool) -> np.ndarray:
    """Finite values `[*spatial, channel]` in 0..1, float32."""
    if values.dtype.kind not in "biuf" or not values.size:
        raise DataError(f"{name} is {values.dtype} of shape {values.shape}, expected real numbers")
    if not np.isfinite(values).all():
        wrong = int((~np.isfinite(values)).sum())
        raise DataError(f"{name} holds {wrong} values that are not finite (NaN or infinite)")
    if rescale:
        return unit_range(values, joint=True)
    if values.min() < 0 or values.max() > 1:
        low, high = f"{values.min():g}", f"{values.max():g}"
        raise DataError(
            f"{name} holds values from {low} to {high}, expected 0..1, the range that the network was "
            "trained on; give rescale=True (each image's minimum becomes 0, its maximum 1), or for 8-bit images "
            "divide by 255"
        )
    return values.astype(np.float32)


def check_labels(
    labels: Any, images: list[np.ndarray], classes: Sequence[int] | None
) -> tuple[list[np.ndarray], tuple[int, ...]]:  # fmt: skip
    """Labels as a list of int32 `[*spatial]`, and the classes to segment, `(1,)` for binary ones.

    Args:
      labels: of the same number and sizes as the images; bool, or whole numbers.
      images: from `check_images`.
      classes: label values to segment, one after the other; other values are background. None for labels of 0 and 1.

    Raises:
      DataError: another number or size of labels than of images; values that are no whole numbers, or, without
        `classes`, other than 0 and 1; a class that no label has.
      ConfigError: `classes` is empty, has 0 in it, or a value twice.
    """
    labels = list(labels)
    if len(labels) != len(images):
        raise DataError(f"{len(labels)} support_labels for {len(images)} support_images, expected one for each")
    if classes is not None and (not classes or 0 in classes or len(set(classes)) != len(classes)):
        raise ConfigError(f"classes is {tuple(classes)}, expected different label values, without 0, the background")
    result, found = [], set()
    for index, (label, image) in enumerate(zip(labels, images, strict=True)):
        name = f"support_labels[{index}]"
        values = _without_channel(np.asarray(label), name, image.ndim)
        if values.shape != image.shape:
            raise DataError(f"{name} is {values.shape}, its image {image.shape}; expected the same size")
        if not np.array_equal(values, np.round(values)):
            raise DataError(f"{name} holds values that are no whole numbers, so no labels: threshold it")
        result.append(values.astype(np.int32))
        found |= set(np.unique(result[-1]).tolist())
    wanted = (1,) if classes is None else tuple(int(value) for value in classes)
    if classes is None and not found <= {0, 1}:
        shown = ", ".join(map(str, sorted(found)[:8])) + (", ..." if len(found) > 8 else "")
        raise DataError(
            f"support_labels hold {shown}, expected 0 and 1; name what to segment, for instance "
            f"classes={tuple(sorted(found - {0})[:3])}, which takes one pass of the network for each"
        )
    for value in wanted:
        if value not in found:
            raise DataError(f"no support label has a pixel of class {value}; found {sorted(found)[:8]}")
    return result, wanted


def to_working_size(plane: np.ndarray, size: tuple[int, int] | None, aspect: str = "keep") -> np.ndarray:
    """An image or a label map at the working size: float32 images linearly, int32 labels by the nearest pixel.

    Args:
      plane: `[height, width]`.
      size: working size; None leaves the plane as it is.
      aspect: `"keep"`: zeros are added on both sides until the plane has the proportions of the size, as in the
        preparation of the training images; `"stretch"`: each axis is resized by its own factor.

    Raises:
      ConfigError: an unknown aspect.
    """
    if aspect not in ASPECTS:
        raise ConfigError(f"unknown aspect {aspect!r}; {nearest(aspect, ASPECTS)}")
    if size is None:
        return plane
    if aspect == "keep":
        plane = pad_or_crop(plane, _frame(plane.shape, size))
    if plane.dtype == np.int32:
        return resample_labels(plane, size)
    return resample_image(plane[..., None], size)[..., 0]


def from_working_size(plane: np.ndarray, shape: tuple[int, int], aspect: str = "keep") -> np.ndarray:
    """A float map at the working size, linearly interpolated, back on the plane of `to_working_size`.

    >>> plane = np.linspace(0, 1, 50, dtype=np.float32)[:, None] * np.ones((1, 30), np.float32)
    >>> back = from_working_size(to_working_size(plane, (64, 64)), plane.shape)
    >>> back.shape, bool(np.abs(back - plane)[2:-2, 2:-2].max() < 0.02)
    ((50, 30), True)
    """
    frame = _frame(shape, plane.shape) if aspect == "keep" else shape
    return pad_or_crop(resample_image(plane[..., None], frame)[..., 0], shape)


def _frame(shape: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, ...]:
    """The smallest plane with the proportions of `size` that holds `shape`, to the pixel."""
    factor = max(n / m for n, m in zip(shape, size, strict=True))
    return tuple(max(n, round(m * factor)) for n, m in zip(shape, size, strict=True))


def _without_channel(values: np.ndarray, name: str, dims: int) -> np.ndarray:
    if values.ndim == dims + 1 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim == dims + 1 and values.shape[-1] in (2, 3, 4):
        raise DataError(f"{name} has {values.shape[-1]} channels, expected one; for instance image.mean(-1)")
    if values.ndim != dims or not values.size:
        kind = "[height, width]" if dims == 2 else "[*three axes]"
        hint = "; for volumes give slice_axis, for one image image[None]" if dims == 2 else ""
        raise DataError(f"{name} has shape {values.shape}, expected {kind} with or without a channel of one{hint}")
    if values.dtype.kind not in "biuf":
        raise DataError(f"{name} is {values.dtype}, expected real numbers")
    return values
