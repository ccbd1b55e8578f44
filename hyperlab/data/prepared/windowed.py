"""From a scan to what a network that was trained on patches is given, and back: a preprocessing with a patch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperlab.data.prepared.geometry import Placement, resample_score_rows, resampled
from hyperlab.data.prepared.preprocessing import Preprocessing, backward, forward, placed
from hyperlab.data.readers.scan import Scan
from hyperlab.data.resample import cropped_rows, pad_or_crop
from hyperlab.errors import DataError

FORM = "patches of a prepared set"


@dataclass(frozen=True)
class Windowed:
    """A preprocessing, and the patches that a network sees of its images.

    Attributes:
      how: of the set that the network was trained on.
      size: of a patch; larger images are cut into overlapping windows of it, smaller ones are padded.
      axis: across which images are cut into planes, where `size` has one number less than they have axes.

    >>> from hyperlab.data.prepared.normalisation import Channel
    >>> made = Windowed(Preprocessing((Channel("T1", "none"),), 2, None, ("no", "yes"), (0, 7)), (4, 4))
    >>> images, placement = made.forward(Scan(np.ones((3, 5, 1))))
    >>> images.shape, made.backward([np.array([0.2, 0.8]) * np.ones((4, 5, 1))], placement).tolist()[0]
    ((1, 3, 5, 1), [7, 7, 7, 7, 7])
    >>> Windowed.of(made.record()) == made
    True
    """

    how: Preprocessing
    size: tuple[int, ...]
    axis: int | None = None

    @property
    def channels(self) -> int:
        """Of a scan."""
        return len(self.how.channels)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, the background's first."""
        return self.how.classes

    @property
    def values(self) -> tuple[int, ...]:
        """What stands for each class in a mask."""
        return self.how.values

    def forward(self, scan: Scan, name: str = "the scan") -> tuple[np.ndarray, Placement]:
        """A scan as images for the network.

        Args:
          scan: values `[*spatial, channel]`.
          name: of it, for messages.

        Returns:
          float32 `[planes, *spatial, channel]`, and where they belong; without planes one whole image.

        Raises:
          DataError: as `preprocessing.forward`; `name` goes before.
        """
        try:
            image, placement = forward(scan, self.how)
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
        return image[None] if self.axis is None else np.moveaxis(image, self.axis, 0), placement

    def joined(self, probabilities: Iterable[np.ndarray], placement: Placement) -> np.ndarray:
        """The answers for `forward`'s images, perhaps padded to a patch, as one for the whole image."""
        size = list(placement.size)
        if self.axis is None:
            (whole,) = probabilities
            return pad_or_crop(np.asarray(whole), size)
        plane = [n for axis, n in enumerate(size) if axis != self.axis]
        return np.stack([pad_or_crop(np.asarray(one), plane) for one in probabilities], self.axis)

    def backward(self, probabilities: Iterable[np.ndarray], placement: Placement) -> np.ndarray:
        """Labels on a scan's own grid, in the values of its masks: int32 `[*shape]`.

        Args:
          probabilities: an answer `[*spatial, class]` for each of `forward`'s images, or the classes `[*spatial]`.
          placement: as `forward` gave it.
        """
        return backward(self.joined(probabilities, placement), placement, self.how)

    def backward_rows(self, images: Iterable[Iterable[np.ndarray]], placement: Placement) -> np.ndarray:
        """What `backward` gives, of answers that come in rows; only rows that are still needed are held.

        Planes that have to be resampled are the exception: all of them are held.

        Args:
          images: for each of `forward`'s images its probabilities as consecutive rows `[rows, *spatial, class]`.
          placement: as `forward` gave it.
        """
        if placement.size == placement.box:  # a class is chosen where it was found
            small = np.uint8 if len(self.classes) <= 256 else np.uint16
            chosen = (np.concatenate([rows.argmax(-1).astype(small) for rows in image]) for image in images)
            return self.backward(chosen, placement)
        if self.axis is not None:
            return self.backward((np.concatenate(list(rows)) for rows in images), placement)
        (rows,) = images
        padded = [max(pair) for pair in zip(placement.size, self.size, strict=True)]
        found = resample_score_rows(cropped_rows(rows, padded, placement.size), placement.size, placement.box)
        return placed(found, placement, self.how)

    def restored(self, probabilities: Iterable[np.ndarray], placement: Placement) -> np.ndarray:
        """Probabilities on a scan's own grid, float32 `[*shape, class]`; outside the box it is background."""
        found = self.joined(probabilities, placement)
        whole = np.zeros([*(placement.shape[axis] for axis in placement.axes), found.shape[-1]], np.float32)
        whole[..., 0] = 1
        for number in range(found.shape[-1]):
            whole[..., number][placement.window] = resampled(found[..., number], placement.box)
        return whole.reshape(*placement.shape, found.shape[-1])

    def indices(self, mask: np.ndarray, name: str = "the mask") -> np.ndarray:
        """The class of every voxel of a mask's values: int32, its shape.

        Raises:
          DataError: a value of no class.
        """
        found, inverse = np.unique(mask, return_inverse=True)
        if strange := sorted(set(found.tolist()) - set(self.values)):
            raise DataError(
                f"{name} holds the label{'s' * (len(strange) > 1)} {', '.join(map(str, strange[:6]))}; the run was "
                f"trained on {', '.join(map(str, self.values))}"
            )
        return np.searchsorted(self.values, found).astype(np.int32)[inverse].reshape(mask.shape)

    def record(self) -> dict[str, Any]:
        """All of it as JSON holds it."""
        return {"form": FORM, "size": list(self.size), "axis": self.axis, "set": self.how.to_json()}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Windowed":
        """From what `record` gave.

        Raises:
          DataError: it is none, or of another version.
        """
        try:
            return cls(Preprocessing.from_json(record["set"]), tuple(record["size"]), record["axis"])
        except (TypeError, KeyError) as error:
            raise DataError(f"this is no preprocessing of this version ({error}); run the study again") from error
