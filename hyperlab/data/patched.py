"""A prepared set for a study: patches to train on, read as they are needed, and whole cases to measure on.

The three parts are those of `Store.split`. A network sees patches of one size, and a whole case through windows of it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperlab.data.datasets import STORE
from hyperlab.data.prepared import Patches, Store, Windowed, open_store
from hyperlab.data.prepared.preprocessing import Preprocessing
from hyperlab.data.splits import Split, Splits, stratified_subset
from hyperlab.errors import ConfigError

FOREGROUND = 1 / 3  # share of the patches that are centred on foreground


class Cases:
    """Cases of a store, read one at a time: what `Split` is of images of one size.

    Attributes:
      store: that holds them.
      numbers: of the cases in it, int32 `[n]`; the same as `index`.
      axis: across which a case is cut into planes, which then come first; None for networks of as many axes.
    """

    def __init__(self, store: Store, numbers: Any, axis: int | None = None):
        self.store, self.numbers, self.axis = store, np.asarray(numbers, np.int32), axis

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def index(self) -> np.ndarray:
        """Their places in the set."""
        return self.numbers

    @property
    def groups(self) -> np.ndarray:
        """int32 `[n]`: those of one group show the same subject, or are near-copies."""
        return np.array([self.store.case(number).group for number in self.numbers], np.int32)

    @property
    def names(self) -> np.ndarray:
        """Of the cases."""
        return np.array([self.store.case(number).name for number in self.numbers])

    @property
    def strata(self) -> np.ndarray:
        """All of one kind."""
        return np.zeros(len(self), np.int32)

    @property
    def foreground(self) -> np.ndarray:
        """bool `[n]`: whether the truth of a case shows any class but the background."""
        return np.array([sum(self.store.case(number).voxels[1:]) > 0 for number in self.numbers], bool)

    def take(self, chosen: np.ndarray) -> "Cases":
        """Those at some positions."""
        return Cases(self.store, self.numbers[chosen], self.axis)

    def read(self, place: int) -> Split:
        """One case as a split of one example, whole: images `[1, *size, channel]`, planes first.

        Raises:
          DataError: it is damaged.
        """
        number = self.numbers[place]
        image, labels = self.store.read(int(number))
        spacing = self.store.case(number).placement.image_spacing
        if self.axis is not None:
            image, labels = np.moveaxis(image, self.axis, 0), np.moveaxis(labels, self.axis, 0)
            spacing = spacing and (spacing[self.axis], *np.delete(spacing, self.axis).tolist())
        known = None if spacing is None else np.array([spacing], np.float32)
        where = slice(place, place + 1)
        return Split(image[None], labels[None], self.groups[where], self.index[where], known, self.names[where])


@dataclass(frozen=True, eq=False)
class Patched(Splits):
    """A prepared set; `train`, `validation` and `test` are `Cases`.

    Attributes:
      patch: what a network sees, voxels along each of its axes.
      store: the set.
      foreground: share of the patches that are centred on foreground.
    """

    patch: tuple[int, ...] = ()
    store: Any = None
    foreground: float = FOREGROUND

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(*patch, channel)`."""
        return (*self.patch, len(self.store.preprocessing.channels))

    @property
    def axis(self) -> int | None:
        """See `Cases`."""
        return self.train.axis  # type: ignore[attr-defined]  # of Cases

    @property
    def window(self) -> tuple[int, ...]:
        """A patch as a window of a case, planes first."""
        return self.patch if self.axis is None else (1, *self.patch)

    @property
    def limits(self) -> tuple[float, float] | None:
        """That the values of all channels keep to, if they do."""
        schemes = {channel.scheme for channel in self.store.preprocessing.channels}
        return (0.0, 1.0) if schemes <= {"rescale_to_0_1", "rgb_to_0_1"} else None

    def reader(self, batch_size: int, seed: int) -> "Reader":
        """What reads the patches of a training."""
        size = list(self.patch)
        if self.axis is not None:
            size.insert(self.axis, 1)
        cases = tuple(map(int, self.train.index))
        return Reader(Patches(self.store, cases, tuple(size), batch_size, self.foreground, seed), self.axis)


@dataclass(frozen=True)
class Reader:
    """Reads patches by their numbers: `batch_size` of step 0, those of step 1, ..."""

    patches: Patches
    axis: int | None

    def numbers(self, step: int) -> np.ndarray:
        """Of the patches of a step, int64 `[batch]`."""
        size = self.patches.batch_size
        return np.arange(step * size, (step + 1) * size)

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """The places of patches within the batch of their step, int32."""
        return (numbers % self.patches.batch_size).astype(np.int32)

    def __call__(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """float32 `[n, *patch, channel]` and int32 `[n, *patch]`, of one step.

        Raises:
          DataError: a case is damaged.
        """
        windows = self.patches.windows(int(numbers[0]) // self.patches.batch_size)
        found = [self.patches.store.read(*windows[row]) for row in self.rows(numbers)]
        images, labels = (np.stack(each) for each in zip(*found, strict=True))
        if self.axis is not None:
            images, labels = images.squeeze(1 + self.axis), labels.squeeze(1 + self.axis)
        return images, labels


def load(
    root: str,
    size: tuple[int, ...],
    *,
    split_seed: int = 0,
    limit: int | None = None,
    foreground: float = FOREGROUND,
) -> Patched:
    """The splits of a store.

    Args:
      root: of `hyperlab prepare`.
      size: of the patches. Two numbers for a set of volumes take planes, across the axis along which voxels are
        longest (the last of equals).
      split_seed: of the partition.
      limit: at most so many cases of each part.
      foreground: share of the patches that are centred on foreground.

    Raises:
      ConfigError: no size, or one of another number of axes.
      DataError: no store, an unfinished one, one of another version, or a part without cases.
    """
    store = open_store(root)
    how = store.preprocessing
    if not size:
        raise ConfigError(
            f"data.size is (): {root} is a prepared set, of which patches are cut; say how large, for instance "
            f'--config.data.size="{(64,) * how.axes}"'
        )
    if len(size) not in (how.axes, how.axes - 1) or len(size) < 2:
        raise ConfigError(f"data.size is {size}, but the cases of {root} have {how.axes} axes")
    axis = None if len(size) == how.axes else longest(how)
    parts = {name: Cases(store, numbers, axis) for name, numbers in store.split(seed=split_seed).items()}
    if limit:
        parts = {name: part.take(stratified_subset(part.strata, limit, split_seed)) for name, part in parts.items()}
    across = "" if axis is None else f" of planes across axis {axis}"
    note = (
        f"Patches of {'x'.join(map(str, size))}{across}, {foreground:.0%} of them centred on foreground; validation "
        "and test are of whole cases, by sliding windows with Gaussian weights, at the spacing of the set."
    )
    shown = "-".join(map(str, (*parts["train"].index[:1], len(parts["train"]))))
    mark = f"{store.fingerprint}-{split_seed}-{limit or 0}-{'x'.join(map(str, size))}-{shown}"
    return Patched(
        STORE,
        parts["train"],  # type: ignore[arg-type]  # Cases are read like a Split, as those of
        parts["validation"],  # type: ignore[arg-type]
        parts["test"],  # type: ignore[arg-type]
        classes=how.classes,
        fingerprint=mark,
        notes=(note,),
        preprocessing=Windowed(how, tuple(size), axis),
        patch=tuple(size),
        store=store,
        foreground=foreground,
    )


def longest(how: Preprocessing) -> int:
    """The axis along which voxels are longest, the last of equals; the last one where nobody knows."""
    if how.spacing is None:
        return how.axes - 1
    return max(range(how.axes), key=lambda axis: (round(how.spacing[axis], 3), axis))  # type: ignore[index]
