"""The tasks of the study: some to train on, some to choose on, and those of held-out data sets to report.

All of them lie in a task store. Whole data sets are held out: no image of them is in a task to train on. Without a
store of the user's, one is made in the run folder, of synthetic tasks and of the procedural shapes, which are held out.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.data import load
from hyperlab.data.in_context import (
    SPLITS,
    Settings,
    StoredTask,
    TaskData,
    TaskName,
    TaskStore,
    choose,
    synthetic_task,
    write_task,
)
from hyperlab.data.splits import Splits, fingerprint
from hyperlab.errors import ConfigError, nearest
from hyperlab.few_shot.targets import Target
from hyperlab.train.units import Measurements, UnitFiles

CASES = "cases"
SYNTHETIC, FURTHER, SHAPES = "synthetic", "further-synthetic", "shapes"  # data sets of the embedded store
_TEMPLATES, _FURTHER, _SUBJECTS = 24, 3, 24
_SHOWN, _STRIP = 3, 3  # queries and support images of each task that are kept for the gallery


@dataclasses.dataclass(frozen=True, eq=False)
class Material:
    """What a study works on.

    Attributes:
      name: of the data.
      tasks: to train on.
      development: tasks that choices are made on.
      test: tasks that are reported.
      fingerprint: of all of it; a resumed run refuses another one.
    """

    name: str
    tasks: list[StoredTask]
    development: list[Target]
    test: list[Target]
    fingerprint: str

    def training(self, *, synthetic: bool) -> list[StoredTask]:
        """The tasks to train on, with or without the synthetic ones.

        Raises:
          ConfigError: nothing but synthetic tasks is there.
        """
        kept = [task for task in self.tasks if synthetic or task.name.dataset != SYNTHETIC]
        if not kept:
            raise ConfigError("an arm without synthetic tasks has nothing to train on; give data.store=STORE")
        return kept


def build(config: Any, folder: Path) -> Material:
    """The tasks of a config.

    Args:
      config: the study's config.
      folder: the run folder, where the embedded store is made.

    Raises:
      ConfigError: a data set is unknown, or both for development and held out.
      DataError: the store is not one, or damaged; an image of a held-out data set is in another one, too.
    """
    data = config.data
    both = set(data.development) & set(data.held_out)
    if both:
        raise ConfigError(f"{sorted(both)} are in data.development and data.held_out; a choice must not see the test")
    path = Path(data.store) if data.store else embedded(folder / "tasks", tuple(data.size), data.split_seed)
    store = TaskStore(path, data.size[0])
    for name in (*data.development, *data.held_out):
        if name not in store.datasets:
            raise ConfigError(f"{path} holds no data set {name!r}; {nearest(name, store.datasets)}")
    tasks = choose(store, held_out=(*data.development, *data.held_out))
    development = targets(store, data.development, "validation", data.queries)
    test = targets(store, data.held_out, "test", data.queries)
    digests = np.array(sorted(str(digest) for task in tasks for digest in task.digests))
    judged = [np.asarray(array) for target in (*development, *test) for array in target[1:]]
    digest = fingerprint(np.frombuffer("".join(digests.tolist()).encode(), np.uint8), *judged)
    return Material(str(data.store) or "embedded tasks", tasks, development, test, digest)


def targets(store: TaskStore, datasets: Sequence[str], split: str, queries: int) -> list[Target]:
    """The tasks of some data sets: queries from a split, support from the training split.

    Of examples with several annotators the first one's labels are the truth. Soft labels count as foreground above
    1/2; examples without any are left out.
    """
    result = []
    for name in store:
        if name.dataset in datasets:
            task = store[name]
            labels = task.labels[:]
            labels = ((labels if labels.ndim == 4 else labels[:, 0]) > 0.5).astype(np.float32)
            shown = labels.any((1, 2, 3))
            asked, pool = (np.flatnonzero((task.splits == part) & shown) for part in (split, "train"))
            asked, images = asked[:queries], task.images[:]
            label = " ".join(dict.fromkeys((name.dataset, name.modality, name.label)))
            parts = images[asked], labels[asked], task.subjects[asked], images[pool], labels[pool]
            result.append(Target(label, *parts))
    return result


def keep(files: UnitFiles, material: Material, size: int) -> None:
    """Writes down what the report needs of the held-out tasks: subjects, and some pictures for the gallery."""

    def cases() -> Measurements:
        result = {}
        for target in material.test:
            images, labels = target.support(size, 0)
            result[f"groups/{target.name}"] = target.groups
            result[f"query/{target.name}"] = target.queries[:_SHOWN]
            result[f"truth/{target.name}"] = target.truth[:_SHOWN]
            result[f"support/{target.name}"] = images[:_STRIP]
            result[f"support_labels/{target.name}"] = labels[:_STRIP]
        return result

    files.measure(CASES, cases)


# -- the embedded store -------------------------------------------------------------------------------------------


def embedded(path: Path, size: tuple[int, int], seed: int) -> Path:
    """A store of synthetic tasks, of further ones for development, and of the procedural shapes; made once."""
    done = path / ".finished"
    if not done.exists():
        for number in range(_TEMPLATES + _FURTHER):
            for task in _synthetic(number, size[0], seed):
                write_task(path, task)
        for task in _shapes(load("shapes", split_seed=seed, size=size, count=240, difficulty=0.0)):
            write_task(path, task)
        done.touch()
    return path


def _synthetic(number: int, size: int, seed: int) -> list[TaskData]:
    """The larger labels of one synthetic template."""
    made = synthetic_task(seed, number, _SUBJECTS, size, Settings.of(0.5))
    dataset, count = SYNTHETIC if number < _TEMPLATES else FURTHER, len(made.images)
    cut = count // 3  # development tasks: a third of the subjects are queries
    splits = ("train",) * count if dataset == SYNTHETIC else ("validation",) * cut + ("train",) * (count - cut)
    return [
        TaskData(
            TaskName.of(dataset, f"template-{number}", "2d", f"label-{label}"),
            np.round(255 * made.images).astype(np.uint8),
            (255 * (made.labels == label)).astype(np.uint8)[:, None],
            np.arange(count),
            splits,
            tuple(map(str, range(count))),
            binary=True,
        )
        for label in made.kept[:2]
    ]


def _shapes(splits: Splits) -> list[TaskData]:
    parts = [splits.parts()[name] for name in SPLITS]
    images = np.concatenate([np.round(255 * part.images[..., 0]).astype(np.uint8) for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    subjects = np.concatenate([part.groups for part in parts])
    names = sum(((name,) * len(part) for name, part in zip(SPLITS, parts, strict=True)), ())
    return [
        TaskData(
            TaskName.of(SHAPES, "grey", "2d", label),
            images,
            (255 * (labels == value)).astype(np.uint8)[:, None],
            subjects,
            names,
            tuple(map(str, range(len(images)))),
            binary=True,
        )
        for value, label in enumerate(splits.classes[1:], start=1)
    ]
