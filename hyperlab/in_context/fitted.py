"""A network of one's own from the same few examples: a U-Net that is trained on them, and what it is worth.

What a user needs who has examples and no network that was trained for all tasks.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from hyperlab import losses
from hyperlab.data import batch_indices, evaluation_batches
from hyperlab.data.augmentation import Augmentation, augment_batch
from hyperlab.data.resample import as_size
from hyperlab.data.splits import permutation
from hyperlab.errors import ConfigError, DataError
from hyperlab.in_context.inputs import check_images, check_labels
from hyperlab.in_context.planes import Segmentation, restored, segmentation, slices, stacks
from hyperlab.in_context.support import most_similar
from hyperlab.metrics.segmentation import dice
from hyperlab.models import UNet
from hyperlab.seeds import check_seed
from hyperlab.train import compiler, state
from hyperlab.train.loop import fit as train
from hyperlab.train.protocols import Progress, Stop
from hyperlab.train.step import Aux, make_train_step, means

STEPS = 300  # of training, by default
LEAST = 4  # examples, of which a quarter can be kept aside


class Fitted(NamedTuple):
    """A network that segments one task, and how images are brought to it.

    Attributes:
      network: whose logits `[batch, height, width, 1 + classes]` have the background first.
      params: its parameters.
      classes: label values.
      size: that it works at; None for the images' own.
      aspect: `keep` or `stretch`, see `segment`.
      slice_axis: of volumes.
    """

    network: UNet
    params: PyTree
    classes: tuple[int, ...]
    size: tuple[int, int] | None
    aspect: str
    slice_axis: int | None

    def segment(self, images: Any, *, batch: int = 8, rescale: bool = False) -> Segmentation:
        """Masks and probabilities of images, or volumes; the latter always with an axis of classes.

        Each pixel has the class with the largest probability, the background among them. See `hyperlab.segment`.
        """
        scans = check_images(images, "images", 2 if self.slice_axis is None else 3, rescale)
        (targets,) = stacks(slices(scans, self.slice_axis), size=self.size, aspect=self.aspect)
        rows, _ = evaluation_batches(len(targets), min(batch, len(targets)))
        apply = _probabilities(self.network)
        found = np.concatenate([np.asarray(apply(self.params, targets[chosen])) for chosen in rows])[: len(targets)]
        return self.merged(found, scans)

    def merged(self, found: Iterable[np.ndarray], scans: Sequence[np.ndarray]) -> Segmentation:
        """What was found on planes at the working size, as masks and probabilities of images or volumes.

        Args:
          found: float `[height, width, 1 + classes]` for each plane.
          scans: that the planes are of.
        """
        whole = restored(list(found), scans, size=self.size, aspect=self.aspect, slice_axis=self.slice_axis)
        values = np.array((0, *self.classes), np.int32)
        return segmentation([values[each.argmax(-1)] for each in whole], [each[..., 1:] for each in whole])


class HeldOut(NamedTuple):
    """What a network from some of the examples makes of the others.

    Attributes:
      dice: float `[examples, classes]` of those that were kept aside; NaN where a class is in neither mask.
      copied: the same of the mask of the most similar example that was not: what needs no network.
      aside: their numbers.
    """

    dice: np.ndarray
    copied: np.ndarray
    aside: np.ndarray


def fit(
    images: Any,
    labels: Any,
    *,
    classes: Sequence[int] | None = None,
    size: int | Sequence[int] | None = 128,
    aspect: str = "keep",
    rescale: bool = False,
    slice_axis: int | None = None,
    widths: Sequence[int] = (8, 16, 32, 32),
    steps: int = STEPS,
    batch: int = 8,
    learning_rate: float = 3e-3,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Fitted:
    """Trains a U-Net on examples of one task.

    Args:
      images: `[n, height, width]` in 0..1, or a sequence of images of any sizes; with `slice_axis`, volumes.
      labels: label maps of the same sizes: 0 and 1, or any whole numbers with `classes`.
      classes: label values to segment; others are background.
      size: that the network works at; None for the images' own, which all must share.
      aspect: `keep` pads images to the proportions of the size, `stretch` distorts them.
      rescale: map each image's minimum to 0 and maximum to 1.
      slice_axis: of volumes, whose slices are the examples, those without a label too.
      widths: channels of each level.
      steps: of training; the rate falls to 0 along a cosine.
      batch: examples a step.
      learning_rate: the first one, of Adam.
      augmentation: random changes of each example; by default mirrored along both axes, turned by up to 10 degrees,
        scaled and shifted a little, and changed in intensity. Leave out `flips` where left and right differ.
      seed: of the initial parameters, the order and the changes.
      progress: a `train.progress.Progress`.
      stop: an object with `.requested`.

    Returns:
      The network; after a stop as it is then.

    Raises:
      DataError: images or labels that cannot be used; see `segment`.
      ConfigError: an option, or the seed, outside its range.
      NonFiniteError: training failed; a smaller `learning_rate` helps.

    >>> square = np.zeros((4, 16, 16), int)
    >>> square[:, 4:12, 4:12] = 1
    >>> fitted = fit(0.1 + 0.8 * square, square, size=16, widths=(8, 8), steps=100)
    >>> 60 <= int(fitted.segment(0.1 + 0.8 * square[:1]).masks.sum()) <= 68
    True
    """
    if steps < 1 or batch < 1 or not learning_rate > 0:
        raise ConfigError(f"steps {steps}, batch {batch}, learning_rate {learning_rate}: expected more than 0")
    check_seed(seed)
    scans = check_images(images, "images", 2 if slice_axis is None else 3, rescale)
    maps, wanted = check_labels(labels, scans, classes)
    working = None if size is None else as_size(size, 2)
    pool, targets = stacks(slices(scans, slice_axis), slices(maps, slice_axis), size=working, aspect=aspect)
    network = UNet(tuple(widths), classes=1 + len(wanted))
    pool, numbered = pool[..., None], _numbered(targets, wanted)
    order = batch_indices(seed, range(steps), len(pool), min(batch, len(pool)))
    start, step = _programs(network, augmentation or Augmentation(flips=(0, 1)), learning_rate, steps)
    key = jax.random.key(seed)
    end = train(
        start(key, pool[:1]),
        step,
        lambda at: (pool[order[at]], numbered[order[at]]),
        total_steps=steps,
        root_key=jax.random.clone(key),
        summarize=lambda metrics: {"loss": means(metrics)["loss"]},
        progress=progress,
        stop=stop,
    )
    return Fitted(network, end.params, wanted, working, aspect, slice_axis)


@lru_cache(maxsize=4)
def _programs(network: UNet, changes: Augmentation, learning_rate: float, steps: int):
    """The state before the first step, and the step: one program for all networks of a task."""
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    )

    def loss(params, collections, batch, keys):
        images, labels = batch
        images, labels = augment_batch(keys["augmentation"], images, labels, changes)
        logits: Any = network.apply({"params": params}, images)
        return losses.dice_cross_entropy(logits, labels).mean(), Aux()

    def start(key, images):
        return state.create(network.init(key, images), optimizer)

    return jax.jit(start, compiler_options=compiler.options_once()), make_train_step(
        loss, optimizer, streams=("augmentation",)
    )


@lru_cache(maxsize=4)
def _probabilities(network: UNet):
    def probabilities(params, planes):
        logits: Any = network.apply({"params": params}, planes[..., None])
        return jax.nn.softmax(logits)

    return jax.jit(probabilities, compiler_options=compiler.options())


def held_out(images: Sequence[Any], labels: Sequence[Any], *, share: float = 0.25, seed: int = 0, **options) -> HeldOut:
    """Trains on some of the examples and measures on the others: what to expect of images without a mask.

    The network that is measured is not the one that `fit` makes of all examples, which has seen more; where examples
    are slices or tiles of one subject, both numbers are too high.

    Args:
      images: as `fit` takes them, 4 or more.
      labels: as `fit` takes them.
      share: of the examples that are kept aside, more than 0 and less than 1.
      seed: of the choice and the training.
      **options: of `fit`.

    Raises:
      DataError: fewer than 4 examples; a class that is in none of those to train on.
    """
    count, axis = len(images), options.get("slice_axis")
    if count < LEAST or len(labels) != count:
        raise DataError(f"{count} images and {len(labels)} labels, expected {LEAST} or more pairs to keep some aside")
    order = permutation(count, seed)
    cut = max(1, min(count - 1, round(share * count)))
    aside, others = np.sort(order[:cut]), np.sort(order[cut:])
    fitted = fit([images[i] for i in others], [labels[i] for i in others], seed=seed, **options)
    scans = check_images(images, "images", 2 if axis is None else 3, options.get("rescale", False))
    maps = [_numbered(np.reshape(label, scan.shape), fitted.classes) for label, scan in zip(labels, scans, strict=True)]
    queries, truth = ([each[i] for i in aside] for each in (scans, maps))
    examples, known = (slices([each[i] for i in others], axis) for each in (scans, maps))
    planes, pool, pool_maps = stacks(slices(queries, axis), examples, known, size=fitted.size, aspect=fitted.aspect)
    nearest = pool_maps[most_similar(planes, pool, 1)[:, 0]]
    copied = fitted.merged(np.eye(1 + len(fitted.classes), dtype=np.float32)[nearest], queries)
    ours, of_nearest = (_dice(each.masks, truth, fitted.classes) for each in (fitted.segment(queries), copied))
    return HeldOut(ours, of_nearest, aside)


def _numbered(label: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """A label map with its classes as 1, 2, ... in their order, and everything else as 0."""
    return sum((1 + place) * (label == value) for place, value in enumerate(classes)).astype(np.int32)


def _dice(masks: PyTree, truth: Sequence[np.ndarray], classes: Sequence[int]) -> np.ndarray:
    pairs = zip((_numbered(mask, classes) for mask in masks), truth, strict=True)
    arrays = (map(jnp.asarray, (mask[None], label[None])) for mask, label in pairs)
    return np.concatenate([np.asarray(dice(mask, label, 1 + len(classes))) for mask, label in arrays])
