"""What a network that is trained on a user's examples works on: at which resolution, and in windows of which size.

An example is a block `[plane, height, width, channel]`: a picture is one plane, a volume has its slices first.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hyperlab.data.resample import resample_image
from hyperlab.in_context.inputs import from_working_size, to_working_size
from hyperlab.inference import multiple_of

LONGEST = 128  # of a window; and pictures are never shrunk below it
SURVIVES = 0.97  # the Dice that shrunken masks must keep
_FACTORS = (1 / 8, 1 / 4, 1 / 2)
_DIVISOR = 8  # of the sides of a window: three levels that halve it
_LOOKED_AT = 8  # planes of each example, those with the most foreground


class Working(NamedTuple):
    """How planes are brought to what a network works on, and back.

    Attributes:
      window: that it is trained and applied on; larger planes are cut into windows, smaller ones padded with zeros.
      factor: by which planes are resized, at most 1; without a `size`.
      size: that each plane is brought to, or None.
      aspect: `keep` or `stretch`, for a `size`; see `hyperlab.segment`.
    """

    window: tuple[int, int]
    factor: float = 1.0
    size: tuple[int, int] | None = None
    aspect: str = "keep"

    def __str__(self) -> str:
        shown = f"windows of {self.window[0]}x{self.window[1]}"
        if self.size is not None:
            return f"{self.size[0]}x{self.size[1]}, in {shown}"
        return (
            f"{'full resolution' if self.factor == 1 else f'1/{round(1 / self.factor)} of the resolution'}, in {shown}"
        )

    def shape(self, plane: Sequence[int]) -> tuple[int, int]:
        """The size at which a plane `(height, width)` is worked on."""
        height, width = self.size or (max(1, round(n * self.factor)) for n in plane)
        return height, width

    def images(self, block: np.ndarray) -> np.ndarray:
        """A block `[plane, height, width, channel]` as the network sees it, float32."""
        if self.size is None:
            return _resized(block, self.shape(block.shape[1:3]))
        rows = [[to_working_size(plane, self.size, self.aspect) for plane in np.moveaxis(one, -1, 0)] for one in block]
        return np.stack([np.stack(channels, -1) for channels in rows])

    def labels(self, block: np.ndarray, classes: int) -> np.ndarray:
        """Labels `[plane, height, width]` in 0..classes-1, at the working resolution those that cover most of a pixel.

        The nearest label alone would break thin structures where planes are shrunk.
        """
        if self.size is not None:
            return np.stack([to_working_size(plane, self.size, self.aspect) for plane in block.astype(np.int32)])
        shape = self.shape(block.shape[1:])
        if shape == block.shape[1:]:
            return block.astype(np.int32)
        covered = _resized((block[..., None] == np.arange(classes)).astype(np.float32), shape)
        return covered.argmax(-1).astype(np.int32)

    def back(self, found: np.ndarray, plane: Sequence[int]) -> np.ndarray:
        """Maps `[plane, height, width, class]` at the working resolution, on planes of the size that they are of."""
        height, width = plane
        if self.size is None:
            return _resized(found, (height, width))
        rows = [
            [from_working_size(each, (height, width), self.aspect) for each in np.moveaxis(one, -1, 0)]
            for one in found
        ]  # fmt: skip
        return np.stack([np.stack(channels, -1) for channels in rows])


def choose(
    labels: Sequence[np.ndarray], classes: int, size: tuple[int, int] | str | None = "auto", aspect: str = "keep"
) -> Working:
    """The resolution and the windows for some examples, by one rule.

    Planes are shrunk to 1/8, 1/4 or 1/2 where the masks survive it: resized there and back, they keep a Dice of .97 in
    each class, and the planes' longer side stays at least 128. Else the full resolution is kept, whatever the size:
    thin structures are what shrinking loses first. A window holds the largest plane, but for at most 128 pixels a side.

    Args:
      labels: of the examples, `[plane, height, width]` each, in 0..classes-1.
      classes: background included.
      size: `auto` for the rule; None for the full resolution; or what each plane is brought to.
      aspect: for a size.

    >>> thin, thick = np.zeros((2, 1, 512, 512), int)
    >>> thin[:, :, ::16], thick[:, 100:300, 100:300] = 1, 1
    >>> [choose([labels], 2) for labels in (thin, thick)] == [Working((128, 128)), Working((128, 128), 1 / 4)]
    True
    """
    if size is not None and size != "auto":
        return Working(_window(size), 1.0, size, aspect)  # type: ignore[arg-type]
    longest = np.median([max(each.shape[1:]) for each in labels])
    factors = [factor for factor in _FACTORS if size == "auto" and longest * factor >= LONGEST]
    factor = next((factor for factor in factors if _survives(labels, classes, Working((1, 1), factor))), 1.0)
    shapes = [Working((1, 1), factor).shape(each.shape[1:]) for each in labels]
    return Working(_window(tuple(np.max(shapes, 0).tolist())), factor)


def _window(size: Sequence[int]) -> tuple[int, int]:
    height, width = (min(LONGEST, n) for n in multiple_of(size, _DIVISOR))
    return height, width


def _survives(labels: Sequence[np.ndarray], classes: int, working: Working) -> bool:
    """Whether masks keep their form at a working resolution: the mean over examples of each class's Dice."""
    kept = np.full((len(labels), classes), np.nan)
    for row, block in enumerate(labels):
        most = np.argsort(-(block > 0).sum((1, 2)), kind="stable")[:_LOOKED_AT]
        block = block[most]
        there = working.labels(block, classes)
        again = working.back(np.eye(classes, dtype=np.float32)[there], block.shape[1:]).argmax(-1)
        for label in range(1, classes):
            ours, truth = again == label, block == label
            if truth.any():
                kept[row, label] = 2 * (ours & truth).sum() / (ours.sum() + truth.sum())
    known = kept[:, [label for label in range(1, classes) if not np.isnan(kept[:, label]).all()]]
    return bool(known.size and np.nanmean(known, 0).min() >= SURVIVES)


def _resized(block: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Each plane of `[plane, height, width, channel]` resized linearly."""
    if tuple(block.shape[1:3]) == shape:
        return np.asarray(block, np.float32)
    return np.moveaxis(resample_image(np.moveaxis(block, 0, 2), shape), 2, 0)
