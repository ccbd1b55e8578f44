"""One network of several that are trained on parts of the same examples: its steps, and its average over steps."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Integer, PyTree

from hyperlab import losses
from hyperlab.data.augmentation import Augmentation, augment_batch
from hyperlab.data.prepared import Patches
from hyperlab.models import UNet
from hyperlab.train import compiler, state
from hyperlab.train.loop import fit as train
from hyperlab.train.protocols import Progress, Stop
from hyperlab.train.step import Aux, make_train_step, means

AVERAGED = 0.98  # of the mean of parameters, what stays of it a step: that of about the last 50


class Average(NamedTuple):
    """The state of `averaged`: how many steps there were, and the mean of the parameters."""

    steps: Int[Array, ""]
    mean: PyTree


def averaged(decay: float = AVERAGED) -> optax.GradientTransformation:
    """Changes no update, and keeps an exponential mean of the parameters after it, in its state.

    With a constant learning rate, the mean is as good at any step as a rate that has fallen to 0 by then, so training
    can end whenever it is found to have settled. (Polyak and Juditsky, 1992, doi 10.1137/0330046.)

    >>> mean, params = averaged(), {"w": jnp.ones(1)}
    >>> _, after = mean.update({"w": jnp.ones(1)}, mean.init({"w": jnp.zeros(1)}), params)
    >>> round(float(after.mean["w"][0]), 3)  # the first steps count more, since the initial parameters mean nothing
    1.8
    """

    def init(params):
        return Average(jnp.zeros((), jnp.int32), params)

    def update(updates, average, params):
        kept = jnp.minimum(decay, (1 + average.steps) / (10 + average.steps))
        after = optax.apply_updates(params, updates)
        mean = jax.tree.map(lambda old, new: kept * old + (1 - kept) * new, average.mean, after)
        return updates, Average(average.steps + 1, mean)

    return optax.GradientTransformation(init, update)


def balanced(
    logits: Float[Array, "batch *spatial classes"], labels: Integer[Array, " batch *spatial"]
) -> Float[Array, ""]:
    """Cross-entropy plus soft Dice over all windows of the batch together, in which each class counts alike.

    A class weighs the same in the Dice term whatever its size, and one that few windows hold is judged on those. The
    cross-entropy has no weights of classes: they would move the border between classes outwards, and lower the Dice.

    (Isensee et al., 2021, "nnU-Net", doi 10.1038/s41592-020-01008-z: its "batch Dice".)
    """
    together = losses.soft_dice(logits.reshape(1, -1, logits.shape[-1]), labels.reshape(1, -1))
    return losses.dice_cross_entropy(logits, labels, dice_weight=0.0).mean() + together[0]


class Learner:
    """A network that is trained on windows of some examples, some steps at a time.

    Args:
      network: that is trained.
      patches: batches to train on, a function of the step.
      changes: random changes of each window.
      learning_rate: of Adam, the same in all steps.
      seed: of initial parameters and changes.
    """

    def __init__(self, network: UNet, patches: Patches, changes: Augmentation, learning_rate: float, seed: int):
        start, self._step = programs(network, changes, learning_rate)
        self._key, self._patches = jax.random.key(seed), patches
        self._state = start(self._key, patches(0)[0][:1, 0])

    def train(self, steps: int, progress: Progress | None = None, stop: Stop | None = None) -> None:
        """So many steps more, or until a stop is requested."""

        before = self.steps

        def batch(at: int):
            images, labels = self._patches(before + at)
            return images[:, 0], labels[:, 0]

        self._state = train(
            self._state,
            self._step,
            batch,
            total_steps=steps,
            root_key=jax.random.clone(self._key),
            summarize=lambda metrics: {"loss": means(metrics)["loss"]},
            progress=progress,
            stop=stop,
        )

    @property
    def steps(self) -> int:
        """How many there were."""
        return int(self._state.step)

    @property
    def params(self) -> PyTree:
        """The mean of the parameters over the last steps."""
        return jax.tree.map(np.asarray, self._state.opt_state[-1].mean)


@lru_cache(maxsize=4)
def programs(network: UNet, changes: Augmentation, learning_rate: float) -> tuple[Callable, Callable]:
    """The state before the first step, and the step: one program for all networks of a task."""
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(learning_rate), averaged())

    def loss(params, collections, batch, keys):
        images, labels = batch
        images, labels = augment_batch(keys["augmentation"], images, labels, changes)
        logits: Any = network.apply({"params": params}, images)
        return balanced(logits, labels), Aux()

    def start(key, images):
        return state.create(network.init(key, images), optimizer)

    return jax.jit(start, compiler_options=compiler.options_once()), make_train_step(
        loss, optimizer, streams=("augmentation",)
    )


@lru_cache(maxsize=4)
def probabilities(network: UNet) -> Callable[[PyTree, Any], jax.Array]:
    """The network's probabilities `[batch, height, width, class]` of windows `[batch, height, width, channel]`."""

    def apply(params, windows):
        logits: Any = network.apply({"params": params}, windows)
        return jax.nn.softmax(logits)

    return jax.jit(apply, compiler_options=compiler.options())


def watched(network: UNet, params: PyTree, patches: Patches, batches: int, classes: int) -> np.ndarray:
    """Twice the overlap, and the sizes, of each class in some windows: int64 `[2, classes - 1]`, to be added up."""
    apply, found = probabilities(network), np.zeros((2, classes - 1), np.int64)
    for number in range(batches):
        images, labels = patches(number)
        ours = np.asarray(apply(params, images[:, 0]).argmax(-1))
        for label in range(1, classes):
            mask, truth = ours == label, labels[:, 0] == label
            found[:, label - 1] += 2 * (mask & truth).sum(), mask.sum() + truth.sum()
    return found


def settled(course: Sequence[float], patience: int, gain: float) -> bool:
    """Whether the last few of some numbers rose above none before by a gain.

    >>> settled([0.1, 0.5, 0.8, 0.801, 0.802], patience=2, gain=0.005), settled([0.5, 0.8], patience=2, gain=0.005)
    (True, False)
    """
    return len(course) > patience and max(course[-patience:]) < max(course[:-patience]) + gain
