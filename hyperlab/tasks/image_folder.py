"""Classifiers on image files that fit no memory: ImageNet and whatever lies in folders as it does.

    ROOT/train/<class>/<file>        ROOT/val/<class>/<file>

`val` is the test split; the validation split is a fixed share of `train`. A step is given its images themselves, read
and augmented in threads; what is read, and what is drawn for its augmentation, are functions of seed and step.
"""

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from ml_collections import ConfigDict

from hyperlab import losses
from hyperlab.data import batch_indices, evaluation_batches
from hyperlab.data.readers.image_folder import Listing, centre_view, list_images, random_view, read_images
from hyperlab.data.splits import philox, split_by_group, stratified_subset
from hyperlab.errors import ConfigError
from hyperlab.tasks.classification import FEWEST_CLASSES_OF_TOP5, Classification
from hyperlab.train import groups
from hyperlab.train.units import memoize_method

# Of the training images of ImageNet, by channel, in 0..1: what published networks were trained with.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DRAWS = 2  # the stream of words that augmentation draws from: the orders of epochs have others


class ImageFolder(Classification):
    """A classifier on image files; see `Task` for its parts.

    Args:
      config: the study's: `network`, `batch_size`, `evaluation_batch`, `augment`, `folder` (`size`, `threads`).
      parts: files of `train`, `validation` and `test`.
    """

    def __init__(self, config: ConfigDict, parts: Mapping[str, Listing]):
        self.config, self.parts = config, parts
        self.side = config.folder.size
        self.image_shape, self.classes = (self.side, self.side, 3), len(parts["train"].classes)
        self.describe_network()
        self.name, self.fingerprint = "image_folder", _fingerprint(parts)
        self.sizes = {part: len(files.paths) for part, files in parts.items()}
        self.notes = (f"Images of {self.side}x{self.side} pixels from files; 'val' is the test split.",)

    def train(self) -> tuple[np.ndarray, ...]:
        """Nothing: steps are given what they see."""
        return ()

    def indices(self, seed: int, step: int) -> dict[str, np.ndarray]:
        """`rows` int32 `[batch]`, and `draws` uint64 `[batch]`, on which the augmentation of each image depends."""
        batch = self.config.batch_size
        rows = batch_indices(seed, step, self.sizes["train"], batch)
        return {"rows": rows, "draws": philox(seed, step, DRAWS).random_raw(batch)}

    def select(self, examples: PyTree, indices: PyTree) -> tuple[PyTree, PyTree]:
        """What was read is all."""
        return examples, indices

    def read(self, indices: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 `[..., batch, side, side, 3]` and labels int32 `[..., batch]`.

        Raises:
          DataError: a file that cannot be decoded, named.
        """
        files, rows = self.parts["train"], indices["rows"]
        draws = indices["draws"].ravel() if self.config.augment else None
        views = [centre_view(self.side)] * rows.size if draws is None else [random_view(self.side, d) for d in draws]
        images = read_images([files.paths[row] for row in rows.ravel()], views, self._pool)
        return images.reshape(*rows.shape, *images.shape[1:]), files.labels[rows]

    def loss(self, params, collections, examples, indices, keys: Mapping[str, jax.Array]):
        """Mean cross-entropy, with dropout and batch statistics."""
        images, labels = indices
        logits, changed = self._apply(
            {"params": params, **collections}, images, train=True, mutable=list(collections), key=keys["dropout"]
        )
        return losses.cross_entropy(logits, labels).mean(), changed

    def deterministic_loss(self, params, collections, examples, indices) -> jax.Array:
        """Mean cross-entropy of the network as it would be used."""
        images, labels = indices
        return losses.cross_entropy(self._apply({"params": params, **collections}, images, train=False), labels).mean()

    def measure(self, variables: PyTree, part: str) -> dict[str, np.ndarray]:
        """Of every example: `accuracy`, and `top5` where there are six classes or more, 0 or 1."""
        files, waiting = self.parts[part], None
        found: list[np.ndarray] = []
        rows, _ = evaluation_batches(len(files.paths), groups.even(self.config.evaluation_batch))
        for chosen in rows:
            views = [centre_view(self.side)] * len(chosen)
            images = read_images([files.paths[row] for row in chosen], views, self._pool)
            # the device works on the last batch while this one was read
            found += [] if waiting is None else [np.asarray(waiting)]
            waiting = self._rank(variables, groups.deal(images), files.labels[chosen])
        rank = np.concatenate([*found, np.asarray(waiting)])[: len(files.paths)]
        measured = {"accuracy": rank < 1} | ({"top5": rank < 5} if self.classes >= FEWEST_CLASSES_OF_TOP5 else {})
        return {name: right.astype(np.float64) for name, right in measured.items()}

    def _apply(self, variables: PyTree, images: jax.Array, **options: Any) -> Any:
        mean, std = (jnp.array(values).reshape(1, 1, 1, 3) for values in (MEAN, STD))
        images = (images.astype(jnp.float32) / 255 - mean) / std
        return super()._apply(variables, images, **options)

    @property
    @memoize_method
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.config.folder.threads or os.cpu_count())


def load(config: ConfigDict) -> ImageFolder:
    """The task of a config, whose files are listed.

    Raises:
      ConfigError: a study without settings for it, or a share that is none.
      DataError: folders that are not as they should be.
    """
    given = config.get("folder")
    if given is None:
        raise ConfigError("this study has no settings `folder` for the task 'image_folder'; the study local_sgd has")
    if not 0 < given.validation < 1 or given.size < 1:
        raise ConfigError(
            f"folder.validation is {given.validation} and folder.size {given.size}, expected a share between 0 and 1, "
            "and a number of pixels"
        )
    if not config.data.root:
        raise ConfigError("the task 'image_folder' needs data.root, a folder with `train` and `val`")
    root, seed = Path(config.data.root), config.data.split_seed
    whole = list_images(root / "train")
    shares = (1 - given.validation, given.validation)
    train, validation = split_by_group(whole.labels, np.arange(len(whole.labels)), shares, seed)
    parts = {"train": whole.take(train), "validation": whole.take(validation)}
    parts["test"] = list_images(root / "val", whole.classes)
    if config.data.limit:
        parts = {
            part: files.take(stratified_subset(files.labels, config.data.limit, seed)) for part, files in parts.items()
        }
    return ImageFolder(config, parts)


def _fingerprint(parts: Mapping[str, Listing]) -> str:
    """Of names alone: a damaged file may be replaced, and reading all of them would take hours."""
    digest = hashlib.blake2b(digest_size=16)
    for part, files in parts.items():
        digest.update(f"{part}:{len(files.paths)};".encode())
        for path in files.paths:
            digest.update("/".join(Path(path).parts[-2:]).encode() + b"\n")
    return digest.hexdigest()
