"""How a file becomes images of a network, and the network's answer labels of the file: one value, kept with a run.

A reader of a data set records it as it reads, so that whoever predicts later needs no training data and guesses
nothing. Both ways are pure functions of it: `forward` brings a scan to the network, `backward` brings probabilities
back to the scan's own grid.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hyperlab.data.normalisation import KINDS, Normalisation
from hyperlab.data.readers.scan import Scan
from hyperlab.data.resample import pad_or_crop, resample_image, resample_rows
from hyperlab.errors import DataError, nearest

FITS = ("resample", "centre", "tiles")
MATCHES = ("exact", "nearest", "above zero")
_BLOCK = 2**22  # probabilities that are brought to a scan's grid at once


class Placement(NamedTuple):
    """Where a scan's planes came from.

    Attributes:
      shape: of the scan, without channels.
      axis: across which it was cut into planes; None: it is one image.
      plane: the shape of a plane, axes of one voxel left out.
    """

    shape: tuple[int, ...]
    axis: int | None
    plane: tuple[int, ...]

    def put(self, labels: np.ndarray, number: int, start: int, rows: np.ndarray) -> None:
        """Writes rows of a plane into an array of the scan's shape (further axes may follow)."""
        place = np.moveaxis(labels, self.axis, 0)[number] if self.axis is not None else labels
        further = labels.shape[len(self.shape) :]
        whole = place.reshape(*self.plane, *further)
        assert np.shares_memory(whole, labels)
        whole[start : start + len(rows)] = rows


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What was done to the files that a network was trained on, as numbers.

    Attributes:
      size: of the images that the network was given, `(*spatial,)`.
      channels: of them.
      classes: names, the background's first.
      values: what stands for each class in a mask.
      normalisation: of grey values; it comes first, over the whole scan.
      fit: `"resample"`: the whole image, to `size`; `"centre"`: as it is, padded with zeros where it is smaller
        and in overlapping windows of `size` where it is larger; `"tiles"`: the same, after the image was scaled.
      scale: of `"tiles"`: pixels along an axis for each pixel of the file.
      slice_axis: the axis across which volumes are cut into planes; None: images, or whole volumes.
      matches: how masks of files are read: `"exact"`: they hold `values` alone; `"nearest"` of the values; or
        `"above zero"` is class 1.

    >>> how = Preprocessing((4, 4), 1, ("background", "cell"), (0, 255), Normalisation("divide", by=255))
    >>> images, placement = how.forward(Scan(np.full((8, 6, 1), 51, np.uint8)))
    >>> images.shape, round(float(images.max()), 4)
    ((1, 4, 4, 1), 0.2)
    >>> np.unique(how.backward(np.stack([1 - images, images], -1)[..., 0, :], placement)).tolist()
    [0]
    >>> Preprocessing.of(how.record()) == how
    True
    """

    size: tuple[int, ...]
    channels: int
    classes: tuple[str, ...]
    values: tuple[int, ...]
    normalisation: Normalisation = Normalisation()
    fit: str = "resample"
    scale: float = 1.0
    slice_axis: int | None = None
    matches: str = "exact"

    def __post_init__(self) -> None:
        for what, given, valid in (
            ("fit", self.fit, FITS),
            ("matches", self.matches, MATCHES),
            ("normalisation", self.normalisation.kind, KINDS),
        ):
            if given not in valid:
                raise DataError(f"unknown {what} {given!r}; {nearest(str(given), valid)}")
        if len(self.classes) != len(self.values) or min((*self.size, self.channels)) < 1:
            raise DataError(
                f"preprocessing of size {self.size}, {self.channels} channels, classes {self.classes} and values "
                f"{self.values}: expected sizes from 1, and a value for each class"
            )

    # -- as JSON -----------------------------------------------------------------------------------------------

    def record(self) -> dict[str, Any]:
        """All of it as JSON holds it."""
        shown = dataclasses.asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in shown.items()}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Preprocessing":
        """From what `record` gave.

        Raises:
          DataError: it is none.
        """
        try:
            given: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in record.items()
            }
            return cls(**{**given, "normalisation": Normalisation(**given["normalisation"])})
        except (TypeError, KeyError, AttributeError) as error:
            raise DataError(f"this is no preprocessing of this version ({error}); run the study again") from error

    # -- there -------------------------------------------------------------------------------------------------

    def forward(self, scan: Scan, name: str = "the scan") -> tuple[np.ndarray, Placement]:
        """A scan as images for the network.

        Args:
          scan: values `[*spatial, channel]`.
          name: of it, for messages.

        Returns:
          float32 `[planes, *spatial, channel]` in 0..1, and where they belong. With `"resample"` the spatial size is
          `size`; else it is the plane's own (`"tiles"`: scaled), at least `size`.

        Raises:
          DataError: other channels, other dimensions, values that the normalisation does not take.
        """
        *shape, channels = scan.values.shape
        if channels == 1 != self.channels and shape[-1] == self.channels and scan.affine is None:
            scan = dataclasses.replace(scan, values=scan.values[..., 0])  # an array [height, width, channel]
            *shape, channels = scan.values.shape
        if channels != self.channels:
            raise DataError(
                f"{name} has {channels} channel{'s' * (channels > 1)}, the network was trained on {self.channels}"
            )
        axis = self.slice_axis if self.slice_axis is not None and len(shape) == 3 else None
        plane = tuple(n for place, n in enumerate(shape) if n > 1 and place != axis)
        if len(plane) != len(self.size) and len(shape) - (axis is not None) == len(self.size):
            plane = tuple(n for place, n in enumerate(shape) if place != axis)
        if len(plane) != len(self.size):
            raise DataError(
                f"{name} is {'x'.join(map(str, shape))}, {len(plane)} axes; the network was trained on images of "
                f"{len(self.size)} axes ({'x'.join(map(str, self.size))})"
            )
        pixels = self.normalisation.apply(scan, name)
        planes = pixels[None] if axis is None else np.moveaxis(pixels, axis, 0)
        planes = planes.reshape(len(planes), *plane, channels)
        return np.stack([self._fitted(one) for one in planes]), Placement(tuple(shape), axis, plane)

    def _fitted(self, plane: np.ndarray) -> np.ndarray:
        if self.fit == "resample":
            return np.clip(resample_image(plane, self.size), 0, 1)
        if self.fit == "tiles" and self.scale != 1:
            plane = np.clip(resample_image(plane, self._scaled(plane.shape[:-1])), 0, 1)
        return pad_or_crop(plane, [max(pair) for pair in zip(plane.shape[:-1], self.size, strict=True)])

    def _scaled(self, plane: Sequence[int]) -> tuple[int, ...]:
        factor = self.scale if self.fit == "tiles" else 1.0
        return tuple(max(1, round(factor * n)) for n in plane)

    # -- and back ----------------------------------------------------------------------------------------------

    def restore(self, blocks: Iterable[np.ndarray], placement: Placement) -> Iterator[tuple[int, np.ndarray]]:
        """Probabilities of one plane on its own grid, some rows at a time: memory is bounded by those.

        Args:
          blocks: consecutive rows `[rows, *spatial, class]` of the network's answer, whose sizes sum up to its first
            axis.
          placement: of the scan.

        Yields:
          The first row, and `[rows, *spatial, class]`.
        """
        plane = placement.plane
        if self.fit == "resample" or self._scaled(plane) != plane:
            whole = np.concatenate(list(blocks))
            if self.fit == "tiles":
                whole = pad_or_crop(whole, self._scaled(plane))
            rows = max(1, _BLOCK // max(1, math.prod(plane[1:]) * whole.shape[-1]))
            for start in range(0, plane[0], rows):
                yield start, resample_rows(whole, plane, start, min(start + rows, plane[0]))
            return
        row, before = 0, max(0, self.size[0] - plane[0]) // 2  # rows of zeros above the plane
        for block in blocks:
            first, last = max(row - before, 0), min(row - before + len(block), plane[0])
            if last > first:
                cut = block[first + before - row : last + before - row]
                yield first, np.moveaxis(pad_or_crop(np.moveaxis(cut, 0, -2), plane[1:]), -2, 0)
            row += len(block)

    def labels(self, probabilities: np.ndarray) -> np.ndarray:
        """The value of the most probable class, int32 `[...]` of `[..., class]`; of equals the first."""
        return np.array(self.values, np.int32)[probabilities.argmax(-1)]

    def backward(self, probabilities: Iterable[np.ndarray], placement: Placement) -> np.ndarray:
        """Labels on a scan's own grid, in the values of its masks: int32 `[*shape]`.

        Args:
          probabilities: `[planes, *spatial, class]`, or logits: an answer for each of `forward`'s images; or an
            iterable of them, of which one is held at a time.
          placement: as `forward` gave it.
        """
        labels = np.zeros(placement.shape, np.int32)
        for number, answer in enumerate(probabilities):
            for start, rows in self.restore([np.asarray(answer)], placement):
                placement.put(labels, number, start, self.labels(rows))
        return labels

    def indices(self, mask: np.ndarray, name: str = "the mask") -> np.ndarray:
        """The class of every pixel of a mask's values: int32, its shape.

        Raises:
          DataError: a value of no class, or a mask of another shape than its image.

        >>> how = Preprocessing((4,), 1, ("background", "cell"), (0, 255), matches="nearest")
        >>> how.indices(np.array([0, 250, 3])).tolist()
        [0, 1, 0]
        """
        values = np.array(self.values)
        if self.matches == "above zero":
            return (mask > 0).astype(np.int32)
        found, inverse = np.unique(mask, return_inverse=True)
        near = np.abs(found[:, None].astype(np.int64) - values).argmin(1)
        strange = found[values[near] != found]
        if self.matches == "exact" and len(strange):
            raise DataError(
                f"{name} holds the label{'s' * (len(strange) > 1)} {', '.join(map(str, strange[:6]))}; the run was "
                f"trained on {', '.join(map(str, self.values))}"
            )
        return near.astype(np.int32)[inverse].reshape(mask.shape)
