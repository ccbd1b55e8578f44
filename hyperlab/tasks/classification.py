"""Images of one class each, and the classifiers that pruning is usually tried on."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from ml_collections import ConfigDict

from hyperlab import losses, models, prng
from hyperlab.data import batch_indices, evaluation_batches
from hyperlab.data import load as load_splits
from hyperlab.data.splits import Splits
from hyperlab.errors import ConfigError, nearest
from hyperlab.nn.precision import computing_in
from hyperlab.tasks.task import Task
from hyperlab.train import compiler, engine, groups
from hyperlab.train.units import memoize_method

# Adding a network is one line: from the config's group `network` and the number of classes.
NETWORKS: dict[str, Callable[[Any, int], nn.Module]] = {
    "lenet_300_100": lambda network, classes: models.LeNet300100(classes=classes, width=network.width),
    "mnist_net": lambda network, classes: models.MnistNet(classes=classes, width=network.width),
    "cifar_resnet": lambda network, classes: models.CifarResNet(
        network.depth, classes=classes, width=network.width, normalization=network.normalization
    ),
    "cifar_vgg": lambda network, classes: models.CifarVGG(
        classes=classes, width=network.width, normalization=network.normalization
    ),
    "resnet": lambda network, classes: models.ResNet(
        network.depth, classes=classes, width=network.width, normalization=network.normalization
    ),
}
WITH_DEPTH = ("cifar_resnet", "resnet")
TOYS = ("digits", "mnist", "fashion_mnist")
FEWEST_CLASSES_OF_TOP5 = 6
PADDING = 4  # pixels around an image before it is cropped at random


class Classification(Task):
    """A classifier on images; see `Task` for its parts.

    Args:
      config: the study's: `network`, `batch_size`, `evaluation_batch`, `augment`.
      splits: the data.

    Raises:
      ConfigError: an unknown network.
    """

    exclude: Sequence[str] = ("classifier/**",)

    def __init__(self, config: ConfigDict, splits: Splits):
        self.config, self.splits = config, splits
        self.image_shape, self.classes = splits.image_shape, len(splits.classes)
        self.describe_network()
        self.name, self.fingerprint, self.notes = splits.name, splits.fingerprint, splits.notes
        self.sizes = {part: len(split) for part, split in splits.parts().items()}
        self.toy = splits.name in TOYS
        images = splits.train.images
        axes = tuple(range(images.ndim - 1))
        self.mean, self.std = images.mean(axes), images.std(axes) + 1e-6

    def describe_network(self) -> None:
        """Makes `module` and `architecture` from the config and the number of classes.

        Raises:
          ConfigError: an unknown network.
        """
        network = self.config.network
        if network.kind not in NETWORKS:
            raise ConfigError(f"network.kind is {network.kind!r}; {nearest(network.kind, NETWORKS)}")
        self.module = computing_in(NETWORKS[network.kind](network, self.classes), engine.of(self.config).precision)
        depth = f"-{network.depth}" if network.kind in WITH_DEPTH else ""
        width = f" x{network.width:g}" if network.width != 1 else ""
        self.architecture = f"{network.kind}{depth}{width}"

    def init(self, key: jax.Array) -> PyTree:
        """Fresh variables."""
        return self.module.init(key, jnp.zeros((1, *self.image_shape)), train=False)

    @property
    @memoize_method
    def _train(self) -> tuple[np.ndarray, np.ndarray]:
        split = self.splits.train
        return (split.images - self.mean) / self.std, split.labels

    def train(self) -> tuple[np.ndarray, ...]:
        """Images, standardised by channel, and labels."""
        return self._train

    def indices(self, seed: int, step: int) -> Any:
        """int32 `[batch]`."""
        return batch_indices(seed, step, len(self.splits.train), self.config.batch_size)

    def loss(self, params, collections, examples, indices, keys: Mapping[str, jax.Array]):
        """Mean cross-entropy, with dropout, augmentation and batch statistics."""
        images, labels = examples[0][indices], examples[1][indices]
        if self.config.augment:
            images = shifted(keys["augmentation"], images)
        logits, changed = self._apply(
            {"params": params, **collections}, images, train=True, mutable=list(collections), key=keys["dropout"]
        )
        return losses.cross_entropy(logits, labels).mean(), changed

    def deterministic_loss(self, params, collections, examples, indices) -> jax.Array:
        """Mean cross-entropy of the network as it would be used."""
        logits = self._apply({"params": params, **collections}, examples[0][indices], train=False)
        return losses.cross_entropy(logits, examples[1][indices]).mean()

    def _apply(
        self, variables: PyTree, images: jax.Array, *, train: bool, mutable: Any = False, key: Any = None
    ) -> Any:
        rngs = None if key is None else {"dropout": key}
        return self.module.apply(variables, images, train=train, mutable=mutable, rngs=rngs)

    def measure(self, variables: PyTree, part: str) -> dict[str, np.ndarray]:
        """Of every example: `accuracy`, and `top5` where there are six classes or more, 0 or 1."""
        split = self.splits.parts()[part]
        rows, _ = evaluation_batches(len(split), groups.even(self.config.evaluation_batch))
        images = [groups.deal((split.images[chosen] - self.mean) / self.std) for chosen in rows]
        ranks = [
            np.asarray(self._rank(variables, x, split.labels[chosen])) for x, chosen in zip(images, rows, strict=True)
        ]
        rank = np.concatenate(ranks)[: len(split)]
        measured = {"accuracy": rank < 1}
        if len(self.splits.classes) >= FEWEST_CLASSES_OF_TOP5:
            measured["top5"] = rank < 5
        return {name: right.astype(np.float64) for name, right in measured.items()}

    @property
    @memoize_method
    def _rank(self) -> Callable:
        @functools.partial(compiler.Program, compiler_options=compiler.options())
        def rank(variables, images, labels):
            return true_rank(self._apply(variables, images, train=False), labels)

        return rank

    def example(self) -> tuple[Callable, tuple[Any, ...]]:
        """The network in use, on one image."""
        variables = jax.eval_shape(self.init, jax.random.key(0))
        rest = {name: tree for name, tree in variables.items() if name != "params"}

        def function(params, image):
            fixed = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), rest)
            return self._apply({"params": params, **fixed}, image, train=False)

        return function, (jax.ShapeDtypeStruct((1, *self.image_shape), jnp.float32),)


def true_rank(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """How many classes are ranked above the label, int `[n]`; one that ties with it counts as above.

    A row that holds a NaN ranks the label last: a network that diverged is right nowhere.

    >>> true_rank(jnp.array([[3.0, 1.0, 2.0], [0.0, 0.0, 0.0], [jnp.nan, 1.0, 2.0]]), jnp.array([2, 0, 0])).tolist()
    [1, 2, 3]
    """
    own = jnp.take_along_axis(logits, labels[:, None], -1)
    above = (logits >= own).sum(-1) - 1
    return jnp.where(jnp.isnan(logits).any(-1), logits.shape[-1], above)


def shifted(key: jax.Array, images: jax.Array) -> jax.Array:
    """Each image mirrored with probability 1/2, and cropped at random from itself with 4 pixels of zeros around it.

    Args:
      key: what is drawn is a function of it.
      images: `[batch, height, width, channel]`, standardised: zero is the mean colour.
    """
    flip, place = prng.split(key)
    mirrored = prng.bernoulli(flip, shape=(len(images), 1, 1, 1))
    images = jnp.where(mirrored, images[:, :, ::-1], images)
    padded = jnp.pad(images, ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0)))
    corners = jax.random.randint(place, (len(images), 2), 0, 2 * PADDING + 1)
    crop = lambda image, corner: jax.lax.dynamic_slice(image, (*corner, 0), images.shape[1:])  # noqa: E731
    return jax.vmap(crop)(padded, corners)


def load(config: ConfigDict) -> Classification:
    """The task of a config, with the data that it names."""
    return Classification(config, splits_of(config))


def splits_of(config: ConfigDict) -> Splits:
    """The data of a config.

    Raises:
      ConfigError: it has a class a pixel.
    """
    data = config.data
    splits = load_splits(data.name, data.root or None, split_seed=data.split_seed, limit=data.limit or None)
    if splits.train.labels.ndim > 1:
        raise ConfigError(f"data.name is {data.name!r}, which has a class a pixel; the task classifies images")
    return splits
