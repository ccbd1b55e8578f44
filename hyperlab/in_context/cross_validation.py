"""What networks from some of the examples make of the others; and those networks, which are what is delivered."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from hyperlab.data.resample import pad_or_crop
from hyperlab.data.splits import permutation
from hyperlab.errors import ConfigError, DataError
from hyperlab.in_context.fitted import Fitted, Task, as_block, numbered, prepare_task
from hyperlab.in_context.inputs import to_working_size
from hyperlab.in_context.support import most_similar
from hyperlab.in_context.training import Learner, settled, watched
from hyperlab.metrics.segmentation import dice
from hyperlab.train.protocols import Progress, Stop

LEAST = 2  # examples: one to train on, one to keep aside
FOLDS = 4
LIMIT = 600  # steps of each network
EVERY = 50  # steps between two looks at the Dice on what is kept aside
PATIENCE, GAIN = 3, 0.005  # it has settled when so many looks in a row found no more than this above those before
_WATCHED = 1 << 18  # pixels of windows of each fold that are looked at, about
_SEEN = (64, 64)  # the size at which the most similar plane is looked for


class HeldOut(NamedTuple):
    """What is measured on examples by networks that did not see them, and these networks.

    Attributes:
      dice: float `[examples, classes]`, each over a whole image or volume; NaN where a class is in neither mask.
      copied: the same of masks copied plane by plane from the most similar plane of the examples that were not kept
        aside: what needs no network.
      aside: the number of the fold in which an example was kept aside.
      fitted: the networks of all folds, which segment together.
      steps: of training of each network.
      settled: whether the Dice on what was kept aside no longer rose; if not, training ended at its limit.
    """

    dice: np.ndarray
    copied: np.ndarray
    aside: np.ndarray
    fitted: Fitted
    steps: int
    settled: bool

    @property
    def better(self) -> np.ndarray:
        """Whether the mean Dice of each class is above that of the copies: bool `[classes]`."""
        ours, copied = (_means(each) for each in (self.dice, self.copied))
        return np.nan_to_num(ours, nan=0) > np.nan_to_num(copied, nan=0)


def held_out(
    images: Sequence[Any],
    labels: Sequence[Any],
    *,
    groups: Sequence[Any] | None = None,
    folds: int = FOLDS,
    steps: int = LIMIT,
    seed: int = 0,
    progress: Progress | None = None,
    stop: Stop | None = None,
    **options: Any,
) -> HeldOut:
    """Cross-validation: each example is segmented by a network that was trained without it.

    The networks of all folds train side by side. Every 50 steps they are looked at on windows of what each of them does
    not see, all folds together; they end when that Dice has settled. Together they are what is delivered, so it is not
    another network than those that were measured.

    Args:
      images: as `fit` takes them, 2 or more.
      labels: as `fit` takes them.
      groups: whom each example shows: those of one group are kept aside together, so that no network is measured on
        the other side, or the next slice, of what it has seen. By default each is its own.
      folds: networks, at most as many as there are groups.
      steps: at most, of each network.
      seed: of the folds and the training.
      progress: a `train.progress.Progress` of `folds * steps` steps (see `networks`).
      stop: an object with `.requested`; what it cuts short is measured as it is then.
      **options: of `prepare_task`.

    Raises:
      DataError: fewer than 2 examples, or examples of one group; a class that is in one fold alone.
      ConfigError: fewer than 2 folds, or less than 1 step.

    >>> square = np.zeros((4, 16, 16), int)
    >>> square[:, 4:12, 4:12] = 1
    >>> found = held_out(0.1 + 0.8 * square, square, size=16, widths=(8, 8), steps=60)
    >>> found.dice.shape, len(found.fitted.params), found.aside.tolist()
    ((4, 1), 4, [0, 2, 1, 3])
    """
    if folds < 2 or steps < 1:
        raise ConfigError(f"folds {folds}, steps {steps}: expected 2 folds or more and at least 1 step")
    if len(images) < LEAST or len(labels) != len(images):
        raise DataError(
            f"{len(images)} images and {len(labels)} labels, expected {LEAST} or more pairs: a network is measured on "
            "an example that it was not trained on"
        )
    aside = fold_of(range(len(images)) if groups is None else groups, folds, seed)
    return cross_validate(prepare_task(images, labels, seed=seed, **options), aside, steps, progress, stop)


def cross_validate(
    task: Task, aside: np.ndarray, steps: int, progress: Progress | None = None, stop: Stop | None = None
) -> HeldOut:
    """`held_out`, of examples that are prepared already, and with the fold of each."""
    check_classes(task, aside)
    learners = [task.learner(_where(aside != fold), fold) for fold in range(aside.max() + 1)]
    has_settled = _train(task, learners, aside, steps, progress, stop)
    ours, copied = (np.full((len(aside), len(task.blank.classes)), np.nan) for _ in range(2))
    for fold, learner in enumerate(learners):
        alone = task.fitted(learner)
        for number in _where(aside == fold):
            found = alone.segment([task.scans[number]]).masks[0]
            ours[number] = _dice(numbered(found, task.blank.classes), task.maps[number], ours.shape[1])
            copied[number] = _dice(_copy(task, number, _where(aside != fold)), task.maps[number], ours.shape[1])
    return HeldOut(ours, copied, aside, task.fitted(*learners), learners[0].steps, has_settled)


def networks(groups: Sequence[Any], folds: int = FOLDS) -> int:
    """How many networks `held_out` trains: one a fold, and no more folds than groups."""
    return min(folds, len(set(groups)))


def fold_of(groups: Sequence[Any], folds: int, seed: int) -> np.ndarray:
    """The fold in which each example is kept aside: whole groups, dealt so that folds are of about one size.

    Raises:
      DataError: all are of one group.

    >>> fold_of("aabbcd", 2, 0).tolist()
    [0, 0, 1, 1, 0, 1]
    """
    names = list(dict.fromkeys(groups))
    if len(names) < 2:
        raise DataError(f"all {len(groups)} examples are of one group ({names[0]}); none can be kept aside")
    members = {name: [number for number, group in enumerate(groups) if group == name] for name in names}
    order = sorted((names[place] for place in permutation(len(names), seed)), key=lambda name: -len(members[name]))
    result, sizes = np.zeros(len(groups), int), [0] * networks(names, folds)
    for name in order:
        fold = int(np.argmin(sizes))
        result[members[name]] = fold
        sizes[fold] += len(members[name])
    return result


def check_classes(task: Task, aside: np.ndarray) -> None:
    """Refuses a class that no network could both learn and be measured on.

    Raises:
      DataError: a class is in one fold alone.
    """
    for place, value in enumerate(task.blank.classes, 1):
        folds = {int(fold) for fold, label in zip(aside, task.maps, strict=True) if (label == place).any()}
        if len(folds) < 2:
            raise DataError(
                f"class {value} is in one example (or examples of one subject) alone, so that no network can be "
                "measured on it: give further examples with it, or leave it out of the classes"
            )


def _train(
    task: Task, learners: list[Learner], aside: np.ndarray, steps: int, progress: Progress | None, stop: Stop | None
) -> bool:
    """All networks side by side, until they have settled; whether they have."""
    network, window, classes = task.blank.network, task.blank.working.window, 1 + len(task.blank.classes)
    batches = max(1, _WATCHED // (task.batch * window[0] * window[1]))
    seen = [task.blocks.patches(_where(aside == fold), window, task.batch, task.seed) for fold in range(len(learners))]
    course: list[float] = []
    while learners[0].steps < steps:
        more = min(EVERY, steps - learners[0].steps)
        for learner in learners:
            done = sum(each.steps for each in learners)
            learner.train(more, None if progress is None else _Part(progress, done, course), stop)
            if stop is not None and stop.requested:
                return False
        counts = sum(
            watched(network, learner.params, patches, batches, classes)
            for learner, patches in zip(learners, seen, strict=True)
        )
        overlap, size = np.asarray(counts, float)
        course.append(float(np.mean(overlap[size > 0] / size[size > 0])) if size.any() else 0.0)
        if settled(course, PATIENCE, GAIN):
            return True
    return False


class _Part:
    """The progress of one network for some steps, as part of that of all."""

    def __init__(self, whole: Progress, before: int, course: list[float]):
        self.whole, self.before, self.course = whole, before, course

    def update(self, done: int, **shown: float) -> None:
        dice = {"held-out Dice": self.course[-1]} if self.course else {}
        self.whole.update(self.before + done, **shown, **dice)

    def pause(self, name: str):
        return self.whole.pause(name)


def _copy(task: Task, number: int, others: list[int]) -> np.ndarray:
    """Labels of an example, each plane a copy of the most similar plane of others."""
    axis = task.blank.slice_axis
    block = as_block(task.scans[number], axis)
    pool = [(other, plane) for other in others for plane in range(task.blocks.case(other).size[0])]
    similar = most_similar(
        np.stack([_thumbnail(plane) for plane in block]),
        np.concatenate([[_thumbnail(plane) for plane in as_block(task.scans[other], axis)] for other in others]),
        1,
    )[:, 0]
    planes = []
    for place in similar:
        other, plane = pool[place]
        labels = as_block(task.maps[other][..., None], axis)[plane, ..., 0]
        square = (max(block.shape[1:3]),) * 2
        planes.append(pad_or_crop(to_working_size(labels, square), block.shape[1:3]))
    copied = np.stack(planes)
    return copied[0] if axis is None else np.moveaxis(copied, 0, axis)


def _where(chosen: np.ndarray) -> list[int]:
    return np.flatnonzero(chosen).tolist()


def _thumbnail(plane: np.ndarray) -> np.ndarray:
    return to_working_size(plane.mean(-1), _SEEN)


def _dice(mask: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    return np.asarray(dice(jnp.asarray(mask[None]), jnp.asarray(truth[None]), 1 + classes))[0]


def _means(values: np.ndarray) -> np.ndarray:
    """The mean of each column over what is known; NaN where nothing is."""
    known = ~np.isnan(values)
    return np.where(known.any(0), np.where(known, values, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan)
