"""Families of ambiguous shapes as tasks with several annotators, in a store; the truth behind each, from its recipe.

All families show a bright or dark body with a halo and a lobe (`hyperlab.data.ambiguous`). They differ in images, in
polarity, in difficulty, and in what annotators disagree about: the halo, the lobe, or both. Development and held-out
families are stretched besides, along different axes, and no training family is. So what is held out is a geometry under
a known kind of ambiguity, not a new kind of ambiguity.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.data.ambiguous import Ambiguous, ambiguous_shapes
from hyperlab.data.in_context import TaskData, TaskName, TaskStore
from hyperlab.data.resample import resample_image, resample_labels
from hyperlab.errors import ConfigError, nearest
from hyperlab.in_context.embedded import made_once, template_tasks

TRAINING, DEVELOPMENT, HELD_OUT = "ambiguous", "ambiguous-flat", "ambiguous-tall"
HALO, LOBE = 1, 2  # bits of the parts that some annotators count to the body
STRETCHES = {"": (1.0, 1.0), "flat": (1.5, 1.0), "tall": (1.0, 1.5)}  # the rendered plane, which is made square again
_COUNT, _TEMPLATES = 60, 12  # images of a family (twice as many held out); synthetic templates


@dataclasses.dataclass(frozen=True)
class Family:
    """Images of one kind with the distribution of their masks: a function of these numbers alone.

    Attributes:
      seed: another seed gives other images.
      count: how many.
      size: height and width.
      annotators: annotations of each.
      difficulty: 0 to 1, see `ambiguous_shapes`.
      dark: a dark body on a bright ground.
      stretch: one of `STRETCHES`: `flat` makes bodies half as wide again as high, `tall` half as high again.
      counted: the parts that annotators disagree about: `HALO`, `LOBE`, or `HALO | LOBE`; others never count.
    """

    seed: int
    count: int
    size: int
    annotators: int = 4
    difficulty: float = 0.3
    dark: bool = False
    stretch: str = ""
    counted: int = HALO | LOBE

    def make(self) -> Ambiguous:
        """The images with all that is known of them; modes that mean the same mask are one.

        Raises:
          ConfigError: an unknown stretch.
          DataError: see `ambiguous_shapes`.

        >>> made = Family(0, 2, 32, counted=HALO).make()
        >>> made.images.shape, made.modes.shape, made.annotations.shape
        ((2, 32, 32, 1), (2, 2, 32, 32), (2, 4, 32, 32))
        """
        if self.stretch not in STRETCHES:
            raise ConfigError(f"unknown stretch {self.stretch!r}; {nearest(self.stretch, STRETCHES)}")
        height, width = (round(factor * self.size) for factor in STRETCHES[self.stretch])
        made = ambiguous_shapes(self.count, (height, width), self.annotators, self.difficulty, self.seed)
        square = (self.size, self.size)
        images = np.stack([resample_image(image, square) for image in made.images])
        modes = np.moveaxis(np.stack([resample_labels(np.moveaxis(m, 0, -1), square) for m in made.modes]), -1, 1)
        # the bits of a mode's number are its parts
        kept, new = np.unique(np.arange(4) & self.counted, return_inverse=True)
        probabilities = np.stack([made.probabilities[:, new == mode].sum(1) for mode in range(len(kept))], 1)
        chosen, modes = new[made.chosen].astype(np.int32), modes[:, kept]
        annotations = np.take_along_axis(modes, chosen[..., None, None], 1)
        return Ambiguous(1 - images if self.dark else images, annotations, chosen, modes, probabilities)

    def task(self, dataset: str, splits: Sequence[str]) -> TaskData:
        """The family as a task to be stored, with itself as the recipe; every image is a subject."""
        made = self.make()
        counted = {HALO: "halo", LOBE: "lobe", HALO | LOBE: "halo-or-lobe"}[self.counted]
        return TaskData(
            TaskName.of(dataset, "dark" if self.dark else "bright", "2d", counted),
            np.round(255 * made.images[..., 0]).astype(np.uint8),
            255 * made.annotations.astype(np.uint8),
            np.arange(self.count),
            tuple(splits),
            tuple(map(str, range(self.count))),
            binary=True,
            recipe={"family": dataclasses.asdict(self)},
        )


def truth(recipe: dict[str, Any]) -> Ambiguous | None:
    """What is known of a stored task's images, made again from its recipe; None for other tasks."""
    return Family(**recipe["family"]).make() if "family" in recipe else None


def stores(data: Any, folder: Path) -> list[TaskStore]:
    """The user's store, if there is one, and that of families and synthetic tasks, which is made in the run folder."""
    made = TaskStore(embedded(folder / "tasks", data.size[0], data.split_seed), data.size[0])
    return [*([TaskStore(data.store, data.size[0])] if data.store else []), made]


def embedded(path: Path, size: int, seed: int) -> Path:
    """A store of training families, of one for development and one held out, and of synthetic tasks; made once.

    Args:
      path: the store.
      size: height and width, at least 32.
      seed: of everything in it.
    """

    def tasks() -> Iterator[TaskData]:
        for number in range(_TEMPLATES):
            yield from template_tasks(number, size, seed)
        for number, (dataset, family) in enumerate(_families(size)):
            yield dataclasses.replace(family, seed=1000 * seed + number).task(dataset, _splits(dataset))

    return made_once(path, ["families", size, seed], tasks)


def _families(size: int) -> list[tuple[str, Family]]:
    """Data set and family; seeds are given later."""
    found = [
        (TRAINING, Family(0, _COUNT, size, difficulty=difficulty, dark=dark, counted=counted))
        for dark in (False, True)
        for counted, difficulty in ((HALO, 0.0), (LOBE, 0.2), (HALO | LOBE, 0.4))
    ]
    found.append((DEVELOPMENT, Family(0, _COUNT, size, dark=True, stretch="flat")))
    return [*found, (HELD_OUT, Family(0, 2 * _COUNT, size, stretch="tall"))]


def _splits(dataset: str) -> tuple[str, ...]:
    """Training families are for training as a whole; of the others half is for support sets, half for queries."""
    if dataset == TRAINING:
        return ("train",) * _COUNT
    if dataset == DEVELOPMENT:
        return ("train",) * (_COUNT // 2) + ("validation",) * (_COUNT - _COUNT // 2)
    return ("train",) * _COUNT + ("test",) * _COUNT
