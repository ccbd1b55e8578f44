"""The tasks of the study: some to train on, some to choose on, and those of held-out data sets to report.

All of them lie in a task store. Whole data sets are held out: no image of them is in a task to train on. Without a
store of the user's, one is made in the run folder: synthetic templates and bright bodies to train on, further templates
to choose on, and, held out, templates of the same generator and the procedural shapes of another one. Templates show
their labels always about the same place; bodies and shapes do not.
"""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab import files
from hyperlab.data import load
from hyperlab.data.ambiguous import ambiguous_shapes
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
from hyperlab.in_context.targets import Target
from hyperlab.train.units import Measurements, UnitFiles

CASES = "cases"
PATCHES = "_patches"  # what the name of a set ends with that shows another's images in parts
# Data sets of the embedded store, and how many templates the three synthetic ones have.
SYNTHETIC, BODIES, SHAPES = "synthetic", "bodies", "shapes"
FURTHER, HELD_OUT = "further-synthetic", "held-out-synthetic"
_TEMPLATES, _FURTHER, _HELD_OUT = 24, 3, 2
_SUBJECTS, _BODIES = 24, 60
_SHOWN, _STRIP = 3, 3  # queries and support images of each task that are kept for the gallery


@dataclasses.dataclass(frozen=True, eq=False)
class Material:
    """What a study works on.

    Attributes:
      name: of the data.
      tasks: to train on.
      development: targets that choices are made on: what `build` was given a function for.
      test: targets that are reported.
      fingerprint: of all of it; a resumed run refuses another one.
    """

    name: str
    tasks: list[StoredTask]
    development: list[Any]
    test: list[Any]
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


def build(
    config: Any, folder: Path, stores: Callable | None = None, targets: Callable | None = None
) -> Material:  # fmt: skip
    """The tasks of a config.

    Args:
      config: the study's config.
      folder: the run folder, where stores are made that are not given.
      stores: `(config, folder) -> [TaskStore]`; by default the user's, or the embedded one.
      targets: as `targets_of`, which is the default.

    Raises:
      ConfigError: a data set is unknown, or both for development and held out.
      DataError: a store is not one, or damaged; an image of a held-out data set is in another one, too.
    """
    data, targets = config.data, targets or targets_of
    check_held_out(data, "data")
    opened = (stores or _stores)(config, folder)
    known = sorted({name for store in opened for name in store.datasets})
    for name in (*data.development, *data.held_out):
        if name not in known:
            raise ConfigError(f"{opened[0].path} holds no data set {name!r}; {nearest(name, known)}")
    hidden = {*data.development, *data.held_out}
    for name in hidden:
        same = {name.removesuffix(PATCHES), name + PATCHES} & set(known) - hidden
        if same:
            raise ConfigError(
                f"{name} is not to be trained on, but {min(same)} shows the same images; hold it out too, or leave it "
                "out of the store"
            )
    trained = [store for store in opened if set(store.datasets) - hidden] or opened
    tasks = [task for store in trained for task in choose(store, held_out=hidden & set(store.datasets))]
    development, test = (
        [target for store in opened for target in targets(store, datasets, split, data.queries)]
        for datasets, split in ((data.development, "validation"), (data.held_out, "test"))
    )
    digests = np.array(sorted(str(digest) for task in tasks for digest in task.digests))
    judged = [np.asarray(array) for target in (*development, *test) for array in target[1:]]
    digest = fingerprint(np.frombuffer("".join(digests.tolist()).encode(), np.uint8), *judged)
    return Material(str(data.store) or "embedded tasks", tasks, development, test, digest)


def check_held_out(data: Any, group: str) -> None:
    """Refuses data sets that are both for choices and for reports.

    Args:
      data: with `development` and `held_out`.
      group: what the config calls them.

    Raises:
      ConfigError: the sets.
    """
    both = set(data.development) & set(data.held_out)
    if both:
        raise ConfigError(
            f"{sorted(both)} are in {group}.development and {group}.held_out; a choice must not see the test"
        )


def _stores(config: Any, folder: Path) -> list[TaskStore]:
    data = config.data
    if not data.store:
        return [TaskStore(embedded(folder / "tasks", tuple(data.size), data.split_seed), data.size[0])]
    stores = [TaskStore(Path(data.store), data.size[0])]
    if data.generated:
        path = generated(folder / "generated", tuple(data.generated), tuple(data.size), data.split_seed)
        stores.append(TaskStore(path, data.size[0]))
    return stores


def targets_of(store: TaskStore, datasets: Sequence[str], split: str, queries: int) -> list[Target]:
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
            parts = images[asked], labels[asked], task.subjects[asked], images[pool], labels[pool]
            result.append(Target(title(name), *parts))
    return result


def title(name: TaskName) -> str:
    """What reports call a task.

    >>> title(TaskName("wbc", "grey", "2d", "nucleus"))
    'wbc grey nucleus'
    """
    return " ".join(dict.fromkeys((name.dataset, name.modality, name.label)))


def keep(units: UnitFiles, material: Material, size: int) -> None:
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

    units.measure(CASES, cases)


# -- the embedded store -------------------------------------------------------------------------------------------


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
    if files.read_bytes(done) != wanted.encode() or not _readable(path):
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
    """A store of generated sets whose labels can be anywhere, to train on beside a store of the user's; made once.

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
