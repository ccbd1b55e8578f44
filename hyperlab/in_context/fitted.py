"""A network of one's own from the same few examples: a U-Net that is trained on them.

What a user needs who has examples and no network that was trained for all tasks. What it is worth: `cross_validation`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import PyTree

from hyperlab.data.augmentation import Augmentation
from hyperlab.data.resample import as_size
from hyperlab.errors import ConfigError
from hyperlab.in_context.blocks import NEIGHBOURS, Blocks, with_neighbours
from hyperlab.in_context.inputs import check_channels, check_labels
from hyperlab.in_context.planes import Segmentation, segmentation
from hyperlab.in_context.training import Learner, probabilities
from hyperlab.in_context.working import Working, choose
from hyperlab.inference import tiled
from hyperlab.models import UNet
from hyperlab.seeds import check_seed
from hyperlab.train.protocols import Progress, Stop

STEPS = 300  # of `fit`, which cannot see when to end
PIXELS = 1 << 15  # of a step, about
OVERLAP = 0.25  # of the windows that an image is cut into
WIDTHS = (8, 16, 32, 32)


class Fitted(NamedTuple):
    """Networks that segment one task together, and how images are brought to them.

    Attributes:
      network: whose logits `[batch, height, width, 1 + classes]` have the background first.
      params: its parameters, once for each network; their probabilities are averaged.
      classes: label values.
      working: resolution and windows that they work at.
      slice_axis: of volumes.
      channels: of images.
    """

    network: UNet
    params: tuple[PyTree, ...]
    classes: tuple[int, ...]
    working: Working
    slice_axis: int | None
    channels: int

    def segment(self, images: Any, *, rescale: bool = False) -> Segmentation:
        """Masks and probabilities of images, or volumes; the latter always with an axis of classes.

        What is larger than a window is cut into overlapping ones, whose probabilities are averaged with weights that
        fall towards their borders. Each pixel has the class with the largest probability, the background among them.

        Args:
          images: as `fit` takes them, with as many channels.
          rescale: as for `fit`.

        Raises:
          DataError: images that cannot be used.
        """
        scans = check_channels(images, "images", 2 if self.slice_axis is None else 3, rescale, self.channels)
        found = [self._whole(scan) for scan in scans]
        values = np.array((0, *self.classes), np.int32)
        return segmentation([values[each.argmax(-1)] for each in found], [each[..., 1:] for each in found])

    def _whole(self, scan: np.ndarray) -> np.ndarray:
        """Probabilities `[*spatial, 1 + classes]` of an image or a volume `[*spatial, channel]`."""
        block = as_block(scan, self.slice_axis)
        planes = self.working.images(block)
        if self.slice_axis is not None:
            planes = with_neighbours(planes)
        apply, window = probabilities(self.network), self.working.window

        def mean(windows: np.ndarray) -> np.ndarray:
            each = (np.asarray(apply(params, windows[:, 0])) for params in self.params)
            return (sum(each) / np.float32(len(self.params)))[:, None]  # type: ignore[index]

        fits = planes.shape[1] <= window[0] and planes.shape[2] <= window[1]
        batch = min(_windows(window), len(planes)) if fits else _windows(window)
        found = tiled(mean, planes, (1, *window), overlap=OVERLAP, batch=batch)
        found = self.working.back(found, block.shape[1:3])
        return found[0] if self.slice_axis is None else np.moveaxis(found, 0, self.slice_axis)


class Task(NamedTuple):
    """Examples as they are trained on, and the options that go with them.

    Attributes:
      blocks: of the examples, at the working resolution.
      blank: a `Fitted` without parameters.
      scans: the examples' images, `[*spatial, channel]`.
      maps: their label maps in 0..classes, `[*spatial]`, at the images' own resolution.
      changes: random changes of windows.
      learning_rate: of Adam.
      batch: windows a step.
      seed: of all that is drawn.
    """

    blocks: Blocks
    blank: Fitted
    scans: list[np.ndarray]
    maps: list[np.ndarray]
    changes: Augmentation
    learning_rate: float
    batch: int
    seed: int

    def learner(self, cases: Sequence[int], number: int = 0) -> Learner:
        """A network that sees some of the examples alone."""
        patches = self.blocks.patches(cases, self.blank.working.window, self.batch, self.seed + number)
        return Learner(self.blank.network, patches, self.changes, self.learning_rate, self.seed + number)

    def fitted(self, *learners: Learner) -> Fitted:
        """Networks as they are now, together."""
        return self.blank._replace(params=tuple(learner.params for learner in learners))


def fit(images: Any, labels: Any, *, steps: int = STEPS, progress: Progress | None = None, stop: Stop | None = None,
        **options: Any) -> Fitted:  # fmt: skip
    """Trains a U-Net on all examples of one task; `held_out` trains several, and says what they are worth.

    Args:
      images: `[n, height, width]` in 0..1, with or without channels, or a sequence of images of any sizes; with
        `slice_axis`, volumes.
      labels: label maps of the same sizes: 0 and 1, or any whole numbers with `classes`.
      steps: of training.
      progress: a `train.progress.Progress`.
      stop: an object with `.requested`.
      **options: what else `prepare_task` takes: `classes`, `size`, `slice_axis`, ...

    Returns:
      The network; after a stop as it is then.

    Raises:
      DataError: images or labels that cannot be used; see `hyperlab.segment`.
      ConfigError: an option, or the seed, outside its range.
      NonFiniteError: training failed; a smaller `learning_rate` helps.

    >>> square = np.zeros((4, 16, 16), int)
    >>> square[:, 4:12, 4:12] = 1
    >>> fitted = fit(0.1 + 0.8 * square, square, size=16, widths=(8, 8), steps=100)
    >>> 60 <= int(fitted.segment(0.1 + 0.8 * square[:1]).masks.sum()) <= 68
    True
    """
    if steps < 1:
        raise ConfigError(f"steps is {steps}, expected more than 0")
    task = prepare_task(images, labels, **options)
    learner = task.learner(range(len(task.maps)))
    learner.train(steps, progress, stop)
    return task.fitted(learner)


def prepare_task(
    images: Any,
    labels: Any,
    *,
    classes: Sequence[int] | None = None,
    size: int | Sequence[int] | str | None = "auto",
    aspect: str = "keep",
    rescale: bool = False,
    slice_axis: int | None = None,
    widths: Sequence[int] = WIDTHS,
    batch: int | None = None,
    learning_rate: float = 3e-3,
    augmentation: Augmentation | None = None,
    seed: int = 0,
) -> Task:
    """Examples as networks are trained on them: checked, at the working resolution, with what is trained and how.

    Args:
      images: as for `fit`.
      labels: as for `fit`.
      classes: label values to segment; others are background.
      size: `auto` chooses resolution and windows by the rule of `working.choose`; None keeps the full resolution; a
        number (or two) is what each plane is brought to.
      aspect: with a size, `keep` pads images to its proportions, `stretch` distorts them.
      rescale: map each image's minimum to 0 and maximum to 1.
      slice_axis: of volumes, across which they are cut into planes. All planes are trained on, each with its neighbours
        as further channels.
      widths: channels of each level.
      batch: windows a step; by default so many that a step has about 33 thousand pixels.
      learning_rate: of Adam.
      augmentation: random changes of each window; by default pictures are mirrored along both axes (directions in a
        body have a meaning, so volumes are not), and all are turned by up to 10 degrees, scaled and shifted a little,
        and changed in intensity.
      seed: of the initial parameters, the order and the changes.

    Raises:
      DataError: images or labels that cannot be used; see `hyperlab.segment`.
      ConfigError: an option, or the seed, outside its range.
    """
    if (batch is not None and batch < 1) or not learning_rate > 0:
        raise ConfigError(f"batch {batch}, learning_rate {learning_rate}: expected more than 0")
    check_seed(seed)
    if isinstance(size, str) and size != "auto":
        raise ConfigError(f"size is {size!r}, expected 'auto', None, or a number of pixels")
    if slice_axis not in (None, 0, 1, 2):
        raise ConfigError(f"slice_axis is {slice_axis}, expected 0 to 2, or None for images")
    scans = check_channels(images, "images", 2 if slice_axis is None else 3, rescale)
    values, wanted = check_labels(labels, [scan[..., 0] for scan in scans], classes)
    maps = [numbered(each, wanted) for each in values]
    planes = [as_block(each[..., None], slice_axis)[..., 0] for each in maps]
    given: Any = size if size is None or size == "auto" else as_size(size, 2)  # type: ignore[arg-type]
    working = choose(planes, 1 + len(wanted), given, aspect)
    neighbours = 0 if slice_axis is None else NEIGHBOURS
    blocks = Blocks(
        [working.images(as_block(scan, slice_axis)) for scan in scans],
        [working.labels(each, 1 + len(wanted)) for each in planes],
        neighbours,
    )
    network = UNet(tuple(widths), classes=1 + len(wanted), normalization="group")
    blank = Fitted(network, (), wanted, working, slice_axis, scans[0].shape[-1])
    changes = augmentation or Augmentation(flips=(0, 1) if slice_axis is None else ())
    return Task(blocks, blank, scans, maps, changes, learning_rate, batch or _windows(working.window), seed)


def as_block(scan: np.ndarray, slice_axis: int | None) -> np.ndarray:
    """An image `[height, width, channel]` or a volume, as `[plane, height, width, channel]`."""
    return scan[None] if slice_axis is None else np.moveaxis(scan, slice_axis, 0)


def numbered(label: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """A label map with its classes as 1, 2, ... in their order, and everything else as 0."""
    return sum((1 + place) * (label == value) for place, value in enumerate(classes)).astype(np.int32)


def _windows(window: tuple[int, int]) -> int:
    """So many that they have about as many pixels as a step."""
    return max(1, min(32, PIXELS // (window[0] * window[1])))
