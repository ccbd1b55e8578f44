"""A benchmark of tasks: some to train on, some to choose on, and those of held-out data sets to report.

All of them lie in a store of tasks. Whole data sets are held out: no image of them is in a task to train on. Without a
store of the user's, one is made in the run folder (`hyperlab.in_context.embedded`).
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.data.in_context import Indices, Pool, Sampler, Sampling, StoredTask, TaskName, TaskStore, choose
from hyperlab.data.splits import fingerprint
from hyperlab.errors import ConfigError, nearest
from hyperlab.in_context.embedded import SYNTHETIC, embedded, generated
from hyperlab.in_context.targets import Target, check
from hyperlab.train.units import memoize_method

PATCHES = "_patches"  # what the name of a set ends with that shows another's images in parts


@dataclasses.dataclass(frozen=True, eq=False)
class Benchmark:
    """What a study works on.

    Attributes:
      name: of the data.
      tasks: to train on.
      development: targets that choices are made on, as the `read` of `build` gives them.
      test: targets that are reported.
      fingerprint: of all of it; a resumed run refuses another one.
    """

    name: str
    tasks: list[StoredTask]
    development: list[Any]
    test: list[Any]
    fingerprint: str

    def training(self, *, synthetic: bool = True) -> list[StoredTask]:
        """The tasks to train on, with or without the synthetic ones.

        Raises:
          ConfigError: nothing but synthetic tasks is there.
        """
        kept = [task for task in self.tasks if synthetic or task.name.dataset != SYNTHETIC]
        if not kept:
            raise ConfigError("an arm without synthetic tasks has nothing to train on; give data.store=STORE")
        return kept


class Episodes:
    """Batches of episodes of some tasks: all examples on the host, and which of them a step takes.

    Args:
      tasks: to draw from.
      batch_size: episodes in a batch.
      support: size of the support sets.
    """

    def __init__(self, tasks: Sequence[StoredTask], batch_size: int, support: int):
        self.tasks, self.sampling = list(tasks), Sampling(batch_size, support)

    def __len__(self) -> int:
        """Examples of all tasks."""
        return sum(map(len, self.tasks))

    @functools.cached_property
    def pool(self) -> Pool:
        """All examples, on the host; it gathers what `indices` name."""
        return Pool.of(self.tasks)

    def indices(self, seed: int, step: int) -> Indices:
        """Task, query and support set of each episode of a step: a function of seed and step alone."""
        return self._sampler(seed).indices(step)

    @memoize_method
    def _sampler(self, seed: int) -> Sampler:
        return Sampler(self.tasks, self.sampling, seed)


def build(
    data: Any,
    folder: Path,
    *,
    support: int = 1,
    stores: Callable[[Any, Path], list[TaskStore]] | None = None,
    read: Callable[[TaskStore, Sequence[str], str, int], list[Any]] | None = None,
) -> Benchmark:
    """The benchmark of a config.

    Args:
      data: the config's group: `store`, `size`, `split_seed`, `queries`, `development`, `held_out`; with a store of the
        user's also `generated`.
      folder: the run folder, where stores are made that are not given.
      support: examples of the largest support set that every target has to give.
      stores: `(data, folder) -> ` the stores; by default the user's, or the embedded one.
      read: as `targets_of`, which is the default.

    Raises:
      ConfigError: a data set is unknown, or both for development and held out.
      DataError: a store is not one, or damaged; an image of a held-out data set is in another one, too; a target has no
        query, or too few examples.
    """
    check_held_out(data, "data")
    read, opened = read or targets_of, (stores or _stores)(data, folder)
    hidden = {*data.development, *data.held_out}
    _check_hidden(hidden, opened)
    trained = [store for store in opened if set(store.datasets) - hidden] or opened
    tasks = [task for store in trained for task in choose(store, held_out=hidden & set(store.datasets))]
    development, test = (
        [target for store in opened for target in read(store, datasets, split, data.queries)]
        for datasets, split in ((data.development, "validation"), (data.held_out, "test"))
    )
    check([*development, *test], support)
    digests = np.array(sorted(str(digest) for task in tasks for digest in task.digests))
    arrays = [np.asarray(array) for target in (*development, *test) for array in target[1:]]
    digest = fingerprint(np.frombuffer("".join(digests.tolist()).encode(), np.uint8), *arrays)
    return Benchmark(str(data.store) or "embedded tasks", tasks, development, test, digest)


def _check_hidden(hidden: set[str], opened: Sequence[TaskStore]) -> None:
    """Refuses data sets that no store holds, and those that another set shows too."""
    known = sorted({name for store in opened for name in store.datasets})
    for name in sorted(hidden):
        if name not in known:
            raise ConfigError(f"{opened[0].path} holds no data set {name!r}; {nearest(name, known)}")
        same = {name.removesuffix(PATCHES), name + PATCHES} & set(known) - hidden
        if same:
            raise ConfigError(
                f"{name} is not to be trained on, but {min(same)} shows the same images; hold it out too, or leave it "
                "out of the store"
            )


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


def _stores(data: Any, folder: Path) -> list[TaskStore]:
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
            asked, pool = queries_and_pool(task, np.asarray(labels.any((1, 2, 3))), split, queries)
            images = task.images[:]
            parts = images[asked], labels[asked], task.subjects[asked], images[pool], labels[pool]
            result.append(Target(title(name), *parts))
    return result


def queries_and_pool(
    task: StoredTask, labelled: np.ndarray, split: str, queries: int
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The rows of a task that are asked about, and those that support sets are drawn from.

    Args:
      task: of a store.
      labelled: bool `[rows]`; examples without any foreground are left out of both.
      split: that queries are taken from; support sets are of the training split.
      queries: at most so many.
    """
    asked, pool = (np.flatnonzero((task.splits == part) & labelled) for part in (split, "train"))
    return asked[:queries], pool


def title(name: TaskName) -> str:
    """What reports call a task.

    >>> title(TaskName("wbc", "grey", "2d", "nucleus"))
    'wbc grey nucleus'
    """
    return " ".join(dict.fromkeys((name.dataset, name.modality, name.label)))
