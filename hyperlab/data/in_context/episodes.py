"""Episodes as a function of seed and step: which task, which query, which support set.

A task is drawn uniformly level by level (data set, then modality, axis, label), so that a data set with many labels is
not seen more often than one with few; a query and its support set never show the same subject. Butoi et al. 2023, arXiv
2304.06131, with the sampler of the same laboratory.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hyperlab.data.in_context.store import StoredTask, TaskStore
from hyperlab.data.in_context.tasks import SPLITS
from hyperlab.data.splits import philox
from hyperlab.errors import DataError, nearest

_STREAM = 30  # of the random words
HIERARCHY = ("hierarchical", "task")


class Indices(NamedTuple):
    """Which examples an episode takes, for a batch of episodes.

    Attributes:
      task: int32 `[batch]`, the place in the list of tasks.
      query: int32 `[batch]`, the example's number in its task.
      support: int32 `[batch, support]`.
      query_annotator: int32 `[batch]`.
      support_annotator: int32 `[batch, support]`.
    """

    task: np.ndarray
    query: np.ndarray
    support: np.ndarray
    query_annotator: np.ndarray
    support_annotator: np.ndarray


@dataclass(frozen=True)
class Sampling:
    """How episodes are drawn.

    Attributes:
      batch_size: episodes in a batch.
      support: size of the support sets; of several, each batch draws one (each is a program of its own).
      replace: draw a support set with replacement, as the published sampler does.
      hierarchy: `"hierarchical"`, or `"task"` for all tasks with equal chances.
      weights: chances of data sets that are not 1, by name; they act on the first level.
      query_splits: splits that queries come from.
      support_splits: splits that support sets come from.
      least_share: examples whose label covers no more of the plane are left out; None keeps all.
      annotators: `"random"` draws one for each mask, `"first"` takes the first.
    """

    batch_size: int = 8
    support: int | tuple[int, ...] = 16
    replace: bool = True
    hierarchy: str = "hierarchical"
    weights: Mapping[str, float] | None = None
    query_splits: tuple[str, ...] = ("train",)
    support_splits: tuple[str, ...] = ("train",)
    least_share: float | None = 0.0
    annotators: str = "random"

    def __post_init__(self):
        sizes = self.supports
        if self.batch_size < 1 or not sizes or min(sizes) < 1:
            raise DataError(f"batch_size is {self.batch_size} and support {self.support}, expected at least 1")
        for what, given, valid in (
            ("hierarchy", self.hierarchy, HIERARCHY),
            ("annotators", self.annotators, ("random", "first")),
            *(("split", split, SPLITS) for split in self.query_splits + self.support_splits),
        ):
            if given not in valid:
                raise DataError(f"unknown {what} {given!r}; {nearest(given, valid)}")

    @property
    def supports(self) -> tuple[int, ...]:
        """The sizes of support sets that occur."""
        return (self.support,) if isinstance(self.support, int) else tuple(self.support)


def choose(store: TaskStore, held_out: Iterable[str] = (), only: Iterable[str] | None = None) -> list[StoredTask]:
    """The tasks of a store to draw from, without held-out data sets.

    Args:
      store: the store.
      held_out: names of data sets none of whose images may be seen.
      only: names of data sets that are kept; by default all others.

    Raises:
      DataError: an unknown data set; nothing is left; an image of a held-out set is in another one, too.
    """
    held_out = set(held_out)
    kept = set(store.datasets if only is None else only) - held_out
    for name in sorted(held_out | kept):
        if name not in store.datasets:
            raise DataError(f"{store.path} holds no data set {name!r}; {nearest(name, store.datasets)}")
    tasks = [store[name] for name in store]
    hidden = {digest for task in tasks if task.name.dataset in held_out for digest in task.digests.tolist()}
    chosen = [task for task in tasks if task.name.dataset in kept]
    if not chosen:
        raise DataError(f"no task is left of {store.path}: {', '.join(sorted(held_out))} are held out")
    for task in chosen:
        shared = hidden.intersection(task.digests.tolist())
        if shared:
            case = task.cases[task.digests == min(shared)][0]
            raise DataError(
                f"{len(shared)} images of held-out data sets are in task {task.name}, too, for instance case {case}; "
                f"hold out {task.name.dataset} as well"
            )
    return chosen


class Sampler:
    """Draws episodes from tasks; nothing is carried from step to step.

    Args:
      tasks: of `choose`; or any objects with `name`, `subjects`, `splits`, `shares` and `annotators`.
      sampling: how.
      seed: of the draws.

    Raises:
      DataError: no task; a task has no query, or too few examples of other subjects than some query's (named).
    """

    def __init__(self, tasks: Sequence[StoredTask], sampling: Sampling, seed: int):
        if not tasks:
            raise DataError("no task to draw from")
        self.tasks, self.sampling, self.seed = list(tasks), sampling, int(seed)
        self._queries = [self._eligible(task, sampling.query_splits) for task in tasks]
        self._supports = [self._eligible(task, sampling.support_splits) for task in tasks]
        self._check()
        self._tree = self._levels()

    def indices(self, step: int) -> Indices:
        """The episodes of a step; a function of seed, step and the tasks."""
        sampling = self.sampling
        words = _Words(self.seed, step)
        size = sampling.supports[words.below(len(sampling.supports))]
        rows = [self._episode(words, size) for _ in range(sampling.batch_size)]
        return Indices(*_columns(rows))

    def every_query(self, task: int, draws: int = 1) -> list[Indices]:
        """For evaluation: each query of a task once, with `draws` support sets that all queries share.

        Where queries and support sets come from the same split, a query's own subject is left out of its sets, which
        then differ between queries.

        Returns:
          One `Indices` for each draw and size of support sets, sizes first; its batch is all queries of the task.
        """
        found = []
        for size in self.sampling.supports:
            for draw in range(draws):
                # the same words for every query, apart from those of the steps of training
                sets = [self._support(_Words(self.seed, draw + 2**40), task, query, size, first=True)
                        for query in self._queries[task]]  # fmt: skip
                rows = [(task, query, *rest) for query, rest in zip(self._queries[task], sets, strict=True)]
                found.append(Indices(*_columns(rows)))
        return found

    def _episode(self, words: "_Words", size: int):
        task = self._task(words)
        queries = self._queries[task]
        query = queries[words.below(len(queries))]
        return (task, query, *self._support(words, task, query, size, self.sampling.annotators == "first"))

    def _support(self, words: "_Words", task: int, query: int, size: int, first: bool):
        """Support set, annotator of the query, annotators of the support set: the last three of `Indices`."""
        subjects, candidates = self.tasks[task].subjects, self._supports[task]
        candidates = candidates[subjects[candidates] != subjects[query]]
        if self.sampling.replace:
            support = candidates[words.below(len(candidates), size)]
        else:
            support = candidates[np.argsort(words.raw(len(candidates)), kind="stable")[:size]]
        count = 1 if first else self.tasks[task].annotators
        annotators = words.below(count, size + 1)
        return support, annotators[0], annotators[1:]

    def _task(self, words: "_Words") -> int:
        node = self._tree
        weights = self.sampling.weights or {}
        first = True
        while isinstance(node, dict):
            keys = list(node)
            chances = [float(weights.get(key, 1.0)) if first and isinstance(key, str) else 1.0 for key in keys]
            ends = np.cumsum(chances) / sum(chances)
            node = node[keys[min(int(np.searchsorted(ends, words.uniform(), side="right")), len(keys) - 1)]]
            first = False
        return node

    def _levels(self) -> dict:
        tree: dict = {}
        for place, task in enumerate(self.tasks):
            if self.sampling.hierarchy == "task":
                tree[place] = place
                continue
            node = tree
            for level in task.name[:-1]:
                node = node.setdefault(level, {})
            node[task.name[-1]] = place
        for name in self.sampling.weights or {}:
            if name not in tree:
                raise DataError(f"weights name the unknown data set {name!r}; {nearest(name, map(str, tree))}")
        return tree

    def _eligible(self, task: StoredTask, splits: tuple[str, ...]) -> np.ndarray:
        kept = np.isin(task.splits, splits)
        if self.sampling.least_share is not None:
            kept &= task.shares > self.sampling.least_share
        return np.flatnonzero(kept)

    def _check(self) -> None:
        needed = 1 if self.sampling.replace else max(self.sampling.supports)
        problems = []
        for task, queries, supports in zip(self.tasks, self._queries, self._supports, strict=True):
            if not len(queries):
                problems.append(f"{task.name} has no query in {'/'.join(self.sampling.query_splits)}")
                continue
            subjects, counts = np.unique(task.subjects[supports], return_counts=True)
            own = counts[np.isin(subjects, task.subjects[queries])]
            left = len(supports) - int(own.max(initial=0))
            if left < needed:
                problems.append(f"{task.name} has {left} examples of other subjects than a query's")
        if problems:
            raise DataError(
                f"{len(problems)} tasks are too small for a support set of {max(self.sampling.supports)}"
                f"{'' if self.sampling.replace else ' without replacement'}: {'; '.join(problems[:5])}; "
                "use a smaller support, replace=True, more splits, or leave these tasks out"
            )


def _columns(rows: list[tuple]) -> Iterable[np.ndarray]:
    return (np.array(column, np.int32) for column in zip(*rows, strict=True))


class _Words:
    """Uniform numbers from the words of a bit generator: a generator's own methods may change between versions."""

    def __init__(self, seed: int, step: int):
        self._bits = philox(seed, step, _STREAM)

    def raw(self, count: int) -> np.ndarray:
        return self._bits.random_raw(count)

    def uniform(self) -> float:
        return float(self.raw(1)[0] >> np.uint64(11)) / 2**53

    def below(self, limit: int, count: int | None = None):
        """Whole numbers below a limit: one, or an array."""
        numbers = ((self.raw(count or 1) >> np.uint64(11)).astype(np.float64) / 2**53 * limit).astype(np.int64)
        return int(numbers[0]) if count is None else numbers
