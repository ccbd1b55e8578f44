"""What a network is given for a scan, and what its answer is on the scan's own grid: one value, two pure functions.

`forward` crops, normalises and resamples, in this order; `backward` resamples, takes the class and puts it in its
place. All of it is repeatable with numpy alone: along one axis after the other, a voxel `i` of `m` new ones lies at
`c = (i + 1/2) * n / m - 1/2` of `n` old ones, and is the sum over `j` of old ones with the weights
`max(0, 1 - |c - j| / w)`, divided by their sum, where `w = max(1, n / m)`.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hyperlab.data.prepared.geometry import (
    Placement,
    filled,
    kept_axes,
    occupied_box,
    resample_classes,
    resample_scores,
    resampled,
    size_at,
)
from hyperlab.data.prepared.normalisation import Channel, normalised
from hyperlab.data.prepared.places import counts
from hyperlab.data.readers.scan import Scan
from hyperlab.errors import DataError

VERSION = 1  # of what `to_json` writes; another meaning of any field is another version


@dataclass(frozen=True)
class Preprocessing:
    """Everything that lies between files and a network; frozen, hashable, and JSON can hold it.

    Attributes:
      channels: in the order of the images' last axis, with the numbers of their normalisation.
      axes: how many spatial axes an image has, 2 or 3.
      spacing: mm between neighbours along each axis of an image, or None: scans keep their own.
      classes: their names; the first one is the background, which also lies outside the box.
      values: the label value of each class in the files.
      masked: whether z-scores are of what is not empty (nor enclosed by it), and 0 elsewhere; nnU-Net does so where
        cropping takes a quarter of the median case.
      interpolation: `"linear"`, of images, of classes and of probabilities.
    """

    channels: tuple[Channel, ...]
    axes: int
    spacing: tuple[float, ...] | None
    classes: tuple[str, ...]
    values: tuple[int, ...]
    masked: bool = False
    interpolation: str = "linear"

    def __post_init__(self):
        if self.interpolation != "linear":
            raise DataError(f"interpolation is {self.interpolation!r}, expected 'linear'")
        if self.spacing is not None and (len(self.spacing) != self.axes or not _positive(self.spacing)):
            raise DataError(f"spacing is {self.spacing}, expected {self.axes} positive numbers (mm), one an axis")
        if len(self.classes) != len(self.values) or list(self.values) != sorted(set(self.values)):
            raise DataError(f"{len(self.classes)} classes for the label values {self.values}, which have to ascend")

    def to_json(self) -> dict[str, Any]:
        """As what JSON can hold; numbers come back to the last bit."""
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Preprocessing":
        """The opposite of `to_json`.

        Raises:
          DataError: it is of another version, or lacks a field.

        >>> made = Preprocessing((Channel("T1", "z_score"),), 2, None, ("background", "cell"), (0, 255))
        >>> Preprocessing.from_json(made.to_json()) == made
        True
        """
        fields = dict(content)
        version = fields.pop("version", None)
        if version != VERSION:
            raise DataError(f"the preprocessing is of version {version}, this hyperlab reads version {VERSION}")
        try:
            fields["channels"] = tuple(Channel(**channel) for channel in fields["channels"])
            for key in ("spacing", "classes", "values"):
                fields[key] = None if fields[key] is None else tuple(fields[key])
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise DataError(f"the preprocessing is incomplete or has other fields ({error})") from error


def forward(scan: Scan, preprocessing: Preprocessing) -> tuple[np.ndarray, Placement]:
    """What a network is given for a scan.

    The scan is cut to the smallest box outside which all channels are 0, each channel is normalised, and the box is
    brought to the spacing of the preprocessing.

    Args:
      scan: values `[*spatial, channel]`, with the spacing where that of the preprocessing is set.
      preprocessing: as it was when the network was trained.

    Returns:
      float32 `[*size, channel]`, and its place in the scan.

    Raises:
      DataError: channels or axes are others than those of the preprocessing; the spacing is missing, 0 or not finite;
        a value is not finite, or outside 0..255 where that is expected.

    >>> made = Preprocessing((Channel("T1", "none"),), 1, (2.0,), ("no", "yes"), (0, 7))
    >>> image, placement = forward(Scan(np.array([[0], [4], [8], [0]]), (1.0,)), made)
    >>> image.tolist(), placement.start, placement.stop
    ([[6.0]], (1,), (3,))
    >>> backward(np.array([1]), placement, made).tolist()
    [0, 7, 7, 0]
    """
    values, axes, spacing = _checked(scan, preprocessing)
    occupied = np.zeros(values.shape[:-1], bool)
    for number in range(values.shape[-1]):
        occupied |= values[..., number] != 0
    start, stop = occupied_box(occupied)
    box = tuple(b - a for a, b in zip(start, stop, strict=True))
    size = box
    if preprocessing.spacing is not None and spacing is not None:
        size = size_at(box, spacing, preprocessing.spacing)
    placement = Placement(scan.values.shape[:-1], axes, start, stop, size, spacing)
    inside = filled(occupied[placement.window]) if preprocessing.masked else None
    del occupied

    def made(number: int) -> np.ndarray:
        return normalised(values[(*placement.window, number)], preprocessing.channels[number], inside)

    if len(preprocessing.channels) == 1:
        return resampled(made(0), size)[..., None], placement
    image = np.empty((*size, len(preprocessing.channels)), np.float32)
    for number in range(image.shape[-1]):  # one in float32 at a time
        resampled(made(number), size, image[..., number])
    return image, placement


def forward_labels(labels: np.ndarray, placement: Placement, preprocessing: Preprocessing) -> np.ndarray:
    """The mask of a scan on the grid of its image.

    Args:
      labels: int `[*spatial]`, values as in the files.
      placement: of the image.
      preprocessing: which values there are.

    Returns:
      Places in `preprocessing.classes`, uint8 (uint16 of more than 256) `[*size]`.

    Raises:
      DataError: another shape than the scan's, or a value that is no class.
    """
    if labels.shape != placement.shape:
        raise DataError(f"the mask has the shape {labels.shape}, its scan {placement.shape}")
    places = {value: place for place, value in enumerate(preprocessing.values)}
    box = labels.reshape([placement.shape[axis] for axis in placement.axes])[placement.window]
    found = list(counts(box))
    if unknown := [value for value in found if value not in places]:
        raise DataError(f"the mask holds {unknown[:6]}, which are none of the classes' values {list(places)}")
    classes = np.zeros(box.shape, np.uint8 if len(places) <= 256 else np.uint16)
    for value in found:
        classes[box == value] = places[value]
    return resample_classes(classes, placement.size)


def backward(answer: np.ndarray, placement: Placement, preprocessing: Preprocessing) -> np.ndarray:
    """What was found in an image, on the grid of its scan.

    Args:
      answer: floating point `[*size, class]`, a score of each class (probabilities are interpolated linearly, then the
        largest wins, the first of equals), or whole numbers `[*size]`, places in `preprocessing.classes`
        (`resample_classes`).
      placement: of the image.
      preprocessing: that the image was made with.

    Returns:
      int32 `[*spatial]`: label values as in the files; outside the box that of the first class.

    Raises:
      DataError: the shape is not that of the image, or a number is no class.
    """
    answer = np.asarray(answer)
    scores, classes = answer.dtype.kind == "f", len(preprocessing.classes)
    expected = (*placement.size, classes) if scores else placement.size
    if answer.shape != expected:
        kind = "scores" if scores else "labels"
        raise DataError(f"{kind} of the shape {answer.shape}, expected {expected}")
    if scores:
        return placed(resample_scores(answer, placement.box), placement, preprocessing)
    if answer.size and not 0 <= int(answer.min()) <= int(answer.max()) < classes:
        raise DataError(f"labels span {answer.min()} to {answer.max()}, expected places among {classes} classes")
    return placed(resample_classes(answer, placement.box), placement, preprocessing)


def placed(classes: np.ndarray, placement: Placement, preprocessing: Preprocessing) -> np.ndarray:
    """Classes of the box of a scan, as label values on the grid of the whole scan.

    Args:
      classes: int `[*box]`, places in `preprocessing.classes`.
      placement: of the box.
      preprocessing: which values there are.

    Returns:
      int32 `[*spatial]`: label values as in the files; outside the box that of the first class.
    """
    values = np.array(preprocessing.values, np.int32)
    whole = np.full([placement.shape[axis] for axis in placement.axes], values[0], np.int32)
    window = whole[placement.window]
    for row, found in enumerate(classes):  # of a large scan no further copy is made
        window[row] = values[found]
    return whole.reshape(placement.shape)


def _checked(scan: Scan, preprocessing: Preprocessing):
    """The values without axes of one voxel too many, which axes they have, and their spacing."""
    values, names = scan.values, [channel.name for channel in preprocessing.channels]
    if values.shape[-1] != len(names):
        raise DataError(
            f"the scan has {values.shape[-1]} channel{'s' * (values.shape[-1] != 1)}, expected {len(names)}: "
            f"{', '.join(names)}"
        )
    shape = values.shape[:-1]
    axes = kept_axes(shape, preprocessing.axes)
    spacing = None if scan.spacing is None else tuple(float(scan.spacing[axis]) for axis in axes)
    if spacing is not None and not _positive(spacing):
        raise DataError(f"the scan has the spacing {spacing} mm, expected positive numbers; repair its header")
    if spacing is None and preprocessing.spacing is not None:
        raise DataError(
            f"the scan's file has no spacing, and images are brought to {preprocessing.spacing} mm; say what it is"
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError("the scan holds values that are not finite; find the step that made them, or set them to 0")
    return values.reshape(*(shape[axis] for axis in axes), len(names)), axes, spacing


def _positive(numbers) -> bool:
    return all(np.isfinite(number) and number > 0 for number in numbers)
