"""A U-Net for any rescaling factor phi, whose parameters theta are generated from phi, or one theta for all of them.

One factor is drawn for every batch, on the host, where it becomes the integer sizes of the levels: numbers inside the
canvases of the largest factor, so that all factors share one program. The score is the mean Dice over fixed factors.

Source: Gonzalez Ortiz, Guttag and Dalca, Scale-Space Hypernetworks (2023), arXiv 2304.05448.
"""

import functools
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from ml_collections import ConfigDict

from hyperlab import losses
from hyperlab.data import batch_indices, evaluation_batches
from hyperlab.data.augmentation import Augmentation, augment_batch
from hyperlab.data.factors import Prior
from hyperlab.data.labelled_pixels import load_segmented
from hyperlab.data.patched import Cases, Patched
from hyperlab.data.splits import Split, Splits
from hyperlab.errors import ConfigError
from hyperlab.inference.tiles import tiled_case
from hyperlab.metrics import segmentation
from hyperlab.models import UNet
from hyperlab.nn import level_sizes, plan, size_table
from hyperlab.nn.precision import computing_in
from hyperlab.tasks.generated import Generated, root_mean_square
from hyperlab.train import compiler, engine, groups
from hyperlab.train.units import memoize_method


class Drawn(NamedTuple):
    """What a step sees: batches, each at a factor of its own.

    Attributes:
      rows: int32 `[batches, batch]`; of a prepared set numbers of patches, until these are read.
      factor: float32 `[batches, 1]`.
      sizes: int32 `[batches, levels, dims]`.
      seed: int64 `[batches]`, of the patches of a prepared set; else None.
    """

    rows: Any
    factor: Any
    sizes: Any
    seed: Any = None


def prior_of(given: Any) -> Prior:
    """The distribution of phi.

    Args:
      given: the config's group `scale_space`.

    Raises:
      ConfigError: a range that is none, or fixed factors outside it.
    """
    factors = tuple(map(float, given.factors))
    if not factors or not all(given.low < factor <= given.high for factor in factors):
        raise ConfigError(f"scale_space.factors are {factors}, expected some in ({given.low}, {given.high}]")
    return Prior(given.prior, given.low, given.high)


class ScaleSpace(Generated):
    """Images with a class for every pixel; see `Task` for its parts.

    Args:
      config: the study's: `scale_space`, `hypernet.hidden`, `batch_size`, `evaluation_batch`.
      splits: the data.

    Raises:
      ConfigError: an unknown network, or factors outside the prior.
    """

    score = "dice"
    exclude = ("classifier/**",)

    def __init__(self, config: ConfigDict, splits: Splits):
        self.config, self._splits, self._patched = config, splits, isinstance(splits, Patched)
        given = config.scale_space
        self.prior, self.factors = prior_of(given), tuple(map(float, given.factors))
        self.shape, widths = splits.image_shape[:-1], tuple(given.widths)
        unet = UNet(widths, len(splits.classes), convs_per_block=given.convs_per_block)
        self.unet = computing_in(unet, engine.of(config).precision)
        (bucket,) = plan(self.shape, len(widths), given.low, given.high, programs=1)
        self.canvases = bucket.canvases
        self.image = jax.ShapeDtypeStruct((1, *splits.image_shape), jnp.float32)
        self.generate(
            given.network, self.unet, (self.image,), low=given.low, high=given.high, hidden=config.hypernet.hidden
        )
        self.architecture = f"U-Net {'-'.join(map(str, widths))}, {self.conditioning}"
        self.name, self.fingerprint = splits.name, splits.fingerprint
        self.toy = splits.name == "shapes"
        self.sizes = {"train": len(splits.train)}
        self.sizes |= {part: len(_subjects(getattr(splits, part))) for part in ("validation", "test")}
        self.notes = (
            f"phi is the factor by which the U-Net's down-samplings scale, drawn at every step from ({given.low:g}, "
            f"{given.high:g}]. Dice is the mean over foreground classes and over phi = "
            f"{', '.join(f'{factor:g}' for factor in self.factors)}; images of one subject are pooled, and one whose "
            "truth shows no foreground is left out.",
            self.counted,
        )

    # -- network -------------------------------------------------------------------------------------------------

    def init(self, key: jax.Array) -> PyTree:
        """Fresh parameters: those of the U-Net, or of the hypernetwork with theta0."""
        if self.model is None:
            return self.unet.init(key, jnp.zeros(self.image.shape))
        return self.model.init(key)

    def _loss_at(self, theta: PyTree, examples: tuple, rows: jax.Array, sizes: jax.Array) -> jax.Array:
        images, labels = examples[0][rows], examples[1][rows]
        logits: Any = self.unet.apply({"params": theta}, images, sizes, canvases=self.canvases)
        return losses.dice_cross_entropy(logits, labels).mean()

    def _grid(self) -> tuple[np.ndarray, np.ndarray]:
        """The fixed factors, float32 `[factors, 1]`, and their sizes, int32 `[factors, levels, dims]`."""
        return self.fixed(), size_table(self.shape, np.array(self.factors), len(self.canvases))

    # -- training ------------------------------------------------------------------------------------------------

    def train(self) -> tuple[np.ndarray, ...]:
        """Images and labels; nothing of a prepared set, whose patches are read."""
        return () if self._patched else (self._splits.train.images, self._splits.train.labels)

    def select(self, examples: PyTree, indices: Any) -> tuple[PyTree, Any]:
        """By the rows of the batches; of a prepared set what was read is all."""
        if self._patched:
            return examples, indices
        part, rows = super().select(examples, indices.rows)
        return part, indices._replace(rows=rows)

    def read(self, indices: Drawn) -> Any:
        """Patches of a prepared set with what was drawn: `(images, labels, drawn)`; else what was drawn."""
        if not isinstance(self._splits, Patched):
            return indices
        found = []
        for seed, rows in zip(indices.seed, indices.rows, strict=True):
            reader = self._splits.reader(self.config.batch_size, int(seed))
            found.append((*reader(rows), reader.rows(rows)))
        images, labels, rows = (np.stack(each) for each in zip(*found, strict=True))
        return images, labels, indices._replace(rows=rows, seed=None)

    def indices(self, seed: int, step: int) -> Drawn:
        """One batch, at the factor of the step."""
        own = None
        if isinstance(self._splits, Patched):
            rows = self._splits.reader(self.config.batch_size, seed).numbers(step)
            own = np.array([seed])
        else:
            rows = batch_indices(seed, step, self.sizes["train"], self.config.batch_size)
        factor = np.array([self.prior.draw(seed, step) if self.always is None else self.always])
        sizes = size_table(self.shape, factor, len(self.canvases))
        return Drawn(rows[None], factor[:, None].astype(np.float32), sizes, own)

    @property
    def reads(self) -> bool:
        """Patches of a prepared set."""
        return self._patched

    def loss(self, params, collections, examples, indices: Any, keys: Mapping[str, jax.Array]):
        """Mean cross-entropy plus soft Dice; of several batches the mean."""

        def one(drawn: Drawn, images: Any = None, labels: Any = None) -> jax.Array:
            own = examples if images is None else self._augmented(keys["augmentation"], images, labels)
            return self._loss_at(self.theta(params, drawn.factor), own, drawn.rows, drawn.sizes)

        if self._patched:
            images, labels, drawn = indices
            return jax.lax.map(lambda each: one(*each), (drawn, images, labels)).mean(), None
        return jax.lax.map(one, indices).mean(), None

    def _augmented(self, key: jax.Array, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Patches as a step sees them, changed at random where the config has `augment`."""
        if not self.config.augment:
            return images, labels
        return augment_batch(key, images, labels, Augmentation(limits=self._splits.limits))

    def _first(self, examples: tuple, indices: Any) -> tuple[tuple, jax.Array]:
        """The examples of the first batch of a step, and its rows."""
        if not self._patched:
            return examples, indices.rows[0]
        images, labels, drawn = indices
        return (images[0], labels[0]), drawn.rows[0]

    def deterministic_loss(self, params, collections, examples, indices: Any) -> jax.Array:
        """The same loss, mean over the fixed factors."""
        examples, rows = self._first(examples, indices)

        def one(at) -> jax.Array:
            return self._loss_at(self.theta(params, at[0]), examples, rows, at[1])

        return jax.lax.map(one, self._grid()).mean()

    # -- evaluation ----------------------------------------------------------------------------------------------

    def measure(self, variables: PyTree, part: str) -> dict[str, np.ndarray]:
        """Of every subject (of every image, where subjects have one): `dice`, and `dice_at_<phi>`."""
        split = getattr(self._splits, part)
        subjects = _subjects(split)
        if isinstance(split, Cases):
            of_cases = functools.partial(self._counts_of_cases, split=split)
            return self._scores(variables, split, subjects, of_cases)
        rows, _ = evaluation_batches(len(split), groups.even(self.config.evaluation_batch))

        def counts_of(theta: Any, sizes: np.ndarray) -> list[np.ndarray]:
            parts = [
                self._count(theta, sizes, groups.deal(split.images[chosen]), split.labels[chosen]) for chosen in rows
            ]
            return [np.concatenate(column)[: len(split)] for column in zip(*map(jax.device_get, parts), strict=True)]

        return self._scores(variables, split, subjects, counts_of)

    def _scores(
        self, variables: PyTree, split: Split | Cases, subjects: np.ndarray, counts_of: Callable
    ) -> dict[str, np.ndarray]:
        measured = {}
        for factor, sizes in zip(*self._grid(), strict=True):
            counts = counts_of(self._prepare(variables["params"], factor), sizes)
            pooled = [np.stack([column[split.groups == one].sum(0) for one in subjects]) for column in counts]
            dice = np.asarray(segmentation.dice_of(segmentation.Counts(*map(jnp.asarray, pooled))))
            measured[f"dice_at_{factor[0]:.3g}"] = np.nanmean(dice, axis=1).astype(np.float64)
        return {"dice": np.mean(list(measured.values()), axis=0), **measured}

    def _counts_of_cases(self, theta: PyTree, sizes: np.ndarray, split: Cases) -> list[np.ndarray]:
        """Right and wrong voxels of whole cases, through windows that overlap by half."""
        batch, found = groups.even(self.config.evaluation_batch), []
        for place in range(len(split)):
            one = split.read(place)
            whole = tiled_case(
                lambda patches: self._probabilities(theta, sizes, groups.deal(patches)),
                one.images[0], self.shape, batch=batch,
            )  # fmt: skip
            labels = segmentation.labels_on_host(whole)[None]
            found.append(segmentation.counts_on_host(labels, one.labels, self.unet.classes))
        return [np.concatenate(column) for column in zip(*found, strict=True)]

    @property
    @memoize_method
    def _probabilities(self) -> Callable:
        @functools.partial(compiler.Program, compiler_options=compiler.options())
        def probabilities(theta, sizes, images):
            logits: Any = self.unet.apply({"params": theta}, images, sizes, canvases=self.canvases)
            return jax.nn.softmax(logits)

        return probabilities

    @property
    @memoize_method
    def _prepare(self) -> Callable:
        return compiler.Program(self.theta, "prepare")

    @property
    @memoize_method
    def _count(self) -> Callable:
        @functools.partial(compiler.Program, compiler_options=compiler.options())
        def count(theta, sizes, images, labels):
            logits: Any = self.unet.apply({"params": theta}, images, sizes, canvases=self.canvases)
            return segmentation.counts(segmentation.predicted_labels(logits), labels, self.unet.classes)

        return count

    def example_at(self, factor: float) -> tuple[Callable, tuple[Any, ...]]:
        """The U-Net at a factor, on one image."""
        sizes = level_sizes(self.shape, factor, len(self.canvases))
        return lambda theta, image: self.unet.apply({"params": theta}, image, sizes), (self.image,)

    def gradients(self, params: PyTree, collections: PyTree, examples: PyTree, indices: Any) -> PyTree:
        """Root mean squares over the fixed factors, of the loss's gradient by theta; or the gradient by the parameters.

        Their product with what is pruned bounds the mean of |theta_j gradient_j| from above.
        """
        if self.model is None:
            return super().gradients(params, collections, examples, indices)
        examples, rows = self._first(examples, indices)

        def one(at) -> Any:
            return jax.grad(self._loss_at)(self.theta(params, at[0]), examples, rows, at[1])

        return jax.tree.map(root_mean_square, jax.lax.map(one, self._grid()))


def _subjects(split: Split | Cases) -> np.ndarray:
    """The numbers of those whose truth shows any foreground: the same for all networks."""
    if isinstance(split, Cases):
        return np.unique(split.groups[split.foreground])
    shown = (split.labels > 0).any(axis=tuple(range(1, split.labels.ndim)))
    return np.unique(split.groups[shown])


def load(config: ConfigDict) -> ScaleSpace:
    """The task of a config, with the data that it names."""
    data, given = config.data, config.scale_space
    settings = SimpleNamespace(
        name=data.name, root=data.root, split_seed=data.split_seed, limit=data.limit,
        size=given.size, count=given.count, difficulty=given.difficulty,
    )  # fmt: skip
    return ScaleSpace(config, load_segmented(settings))
