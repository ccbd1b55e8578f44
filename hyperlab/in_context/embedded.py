"""Stores of generated tasks: that of the embedded default, and sets to train on together with a user's store.

Synthetic templates and bright bodies are for training, further templates for choices; held out are templates of the
same generator and the procedural shapes of another one. Templates show their labels always about the same place; bodies
and shapes do not.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab import files
from hyperlab.data import load
from hyperlab.data.ambiguous import ambiguous_shapes
from hyperlab.data.in_context import SPLITS, Settings, TaskData, TaskName, TaskStore, synthetic_task, write_task
from hyperlab.data.splits import Splits
from hyperlab.errors import ConfigError, nearest

# Data sets of the embedded store, and how many templates the three synthetic ones have.
SYNTHETIC, BODIES, SHAPES = "synthetic", "bodies", "shapes"
FURTHER, HELD_OUT = "further-synthetic", "held-out-synthetic"
_TEMPLATES, _FURTHER, _HELD_OUT = 24, 3, 2
_SUBJECTS, _BODIES = 24, 60


def embedded(path: Path, size: tuple[int, int], seed: int) -> Path:
    """The store of the embedded default; made once."""

    def tasks() -> Iterator[TaskData]:
        for number in range(_TEMPLATES + _FURTHER + _HELD_OUT):
            yield from template_tasks(number, size[0], seed)
        yield from _bodies(size[0], seed)
        yield from _shapes(_drawn(size, seed))

    return made_once(path, ["embedded", list(size), seed], tasks)


def made_once(path: Path, made_of: Any, tasks: Callable[[], Iterable[TaskData]]) -> Path:
    """A store that a study makes for itself, in its run folder; one that was made of something else is made anew.

    Args:
      path: of the store.
      made_of: what decides its tasks, as JSON.
      tasks: makes them.
    """
    done = path / ".finished"
    wanted = json.dumps(made_of)
    whole = (wanted.encode(), b"")  # older versions noted of some stores only that they are finished
    if files.read_bytes(done) not in whole or not _readable(path):
        shutil.rmtree(path, ignore_errors=True)
        for task in tasks():
            write_task(path, task)
        files.write_atomically(done, wanted)
    return path


def _readable(path: Path) -> bool:
    """Whether all tasks of a store are what was written there."""
    try:
        for size in (int(one.name) for one in path.iterdir() if one.name.isdigit()):
            store = TaskStore(path, size)
            for name in store:
                store[name].images[:], store[name].labels[:]
    except Exception:  # whatever damage leads to: it is made again
        return False
    return True


def generated(path: Path, names: Sequence[str], size: tuple[int, int], seed: int) -> Path:
    """A store of generated sets whose labels can be anywhere, to train on together with a user's store; made once.

    Templates, and many anatomies, show their labels always about the same place. A network that trains on nothing else
    learns to average the masks of the support set.

    Raises:
      ConfigError: an unknown set.
    """
    make = {BODIES: lambda: _bodies(size[0], seed), SHAPES: lambda: _shapes(_drawn(size, seed))}
    for name in names:
        if name not in make:
            raise ConfigError(f"data.generated names {name!r}; {nearest(name, make)}")
    return made_once(
        path, ["generated", list(names), list(size), seed], lambda: (task for name in names for task in make[name]())
    )


def _drawn(size: tuple[int, int], seed: int) -> Splits:
    return load("shapes", split_seed=seed, size=size, count=240, difficulty=0.0)


def template_tasks(number: int, size: int, seed: int) -> list[TaskData]:
    """Two labels of a synthetic template to train on; one of a later template, for development, then held out."""
    made = synthetic_task(seed, number, _SUBJECTS, size, Settings.of(0.5))
    count = len(made.images)
    cut = count // 3  # of tasks that are not trained on, a third of the subjects are queries
    dataset, queries = SYNTHETIC, None
    if number >= _TEMPLATES:
        later = number >= _TEMPLATES + _FURTHER
        dataset, queries = (HELD_OUT, "test") if later else (FURTHER, "validation")
    splits = ("train",) * count if queries is None else (queries,) * cut + ("train",) * (count - cut)
    return [
        _binary(TaskName.of(dataset, f"template-{number}", "2d", f"label-{label}"), made.images,
                made.labels == label, np.arange(count), splits)
        for label in made.kept[: 2 if queries is None else 1]
    ]  # fmt: skip


def _bodies(size: int, seed: int) -> list[TaskData]:
    """Bright bodies anywhere in the image: the body alone, and the body with what surrounds it."""
    made = ambiguous_shapes(_BODIES, size, annotators=1, seed=seed)
    return [
        _binary(TaskName.of(BODIES, "grey", "2d", label), made.images[..., 0], made.modes[:, mode],
                np.arange(len(made)), ("train",) * len(made))
        for label, mode in (("body", 0), ("whole", 3))
    ]  # fmt: skip


def _shapes(splits: Splits) -> list[TaskData]:
    parts = [splits.parts()[name] for name in SPLITS]
    images, labels, groups = (
        np.concatenate([getattr(part, what) for part in parts]) for what in ("images", "labels", "groups")
    )
    names = sum(((name,) * len(part) for name, part in zip(SPLITS, parts, strict=True)), ())
    return [
        _binary(TaskName.of(SHAPES, "grey", "2d", label), images[..., 0], labels == value, groups, names)
        for value, label in enumerate(splits.classes[1:], start=1)
    ]


def _binary(name: TaskName, images: np.ndarray, masks: np.ndarray, subjects: np.ndarray, splits: tuple) -> TaskData:
    """A task of images in 0..1 and one mask each."""
    images, labels = np.round(255 * images).astype(np.uint8), (255 * masks).astype(np.uint8)[:, None]
    return TaskData(name, images, labels, subjects, splits, tuple(map(str, range(len(images)))), binary=True)
