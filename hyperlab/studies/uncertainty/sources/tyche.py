"""Tyche on one task: candidates of an image from labelled examples and from noise."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from hyperlab import losses, models, prng, uncertainty
from hyperlab.data.splits import permutation
from hyperlab.errors import ConfigError
from hyperlab.studies.uncertainty.cells import Cell, Setting
from hyperlab.studies.uncertainty.sources.base import Problem, Source, Take, check_one_foreground
from hyperlab.uncertainty.samplers import Sampler

SMOOTH = 1.0  # of the soft Dice: an image without any object still has a gradient


class Tyche(Source):
    """Its aux_inputs are, in training, the rows that examples are drawn from; afterwards examples, `(images, labels)`.

    In training each image of a step has examples of its own, which it is none of. The loss is that of the best
    candidate. It has the U-Net's normalisation, without which some seeds find nothing.
    """

    how = (
        "an image, noise and labelled training images of its task; loss of the best candidate; a draw is one "
        "candidate of a pass"
    )
    citation = "Rakic et al., 2024, arXiv 2401.13650"
    feature_maps = False

    def remark(self, config: Any) -> str:
        """What a draw is, and what it is given."""
        return (
            f"A draw of Tyche is one of {config.tyche.candidates} candidates of a pass with {config.tyche.support} "
            "examples, at the cost of all of it; in training it sees as many images to segment a step as the others, "
            "and these examples beside each."
        )

    def check(self, problem: Problem) -> None:
        """One foreground, one channel, and examples that an image is none of."""
        check_one_foreground("Tyche", problem)
        if problem.shape[-1] != 1:
            raise ConfigError(f"Tyche takes images of one channel, these have {problem.shape[-1]}")
        support = problem.config.tyche.support
        if problem.examples <= support:
            raise ConfigError(
                f"tyche.support is {support}; expected fewer than the {problem.examples} training images, since an "
                "image is none of its own examples"
            )

    @functools.cached_property
    def network(self) -> models.Tyche:
        """Of widths of its own."""
        config = self.problem.config
        network = models.Tyche(tuple(config.tyche.widths), normalization=config.network.get("normalization"))
        return self.computing(network)

    def init(self, key: jax.Array, images: jax.Array) -> Any:
        """Fresh parameters."""
        one = images[:, None]
        return self.network.init(key, one, one, one, one)["params"]

    def rows(self, key: jax.Array, rows: jax.Array, aux_inputs: Any) -> jax.Array:
        """Each image and its examples, `[batch, 1 + support]`."""
        support_key, _ = prng.split(key)
        return jnp.concatenate([rows[:, None], self.examples(support_key, rows, aux_inputs)], 1)

    def loss(self, params: Any, key: jax.Array, take: Take, rows: jax.Array, aux_inputs: Any) -> jax.Array:
        """That of the best candidate of each image."""
        options = self.problem.config.tyche
        _, noise_key = prng.split(key)
        images, labels = take(rows.ravel())
        images = images.reshape(*rows.shape, *images.shape[1:])
        labels = labels.reshape(images.shape).astype(images.dtype)
        target = jnp.repeat(images[:, :1], options.candidates, 1)
        noise = prng.normal(noise_key, target.shape)
        logits: Any = self.network.apply({"params": params}, target, noise, images[:, 1:], labels[:, 1:])
        return losses.best_candidate_dice(logits, labels[:, 0], smooth=SMOOTH)

    def examples(self, key: jax.Array, rows: jax.Array, pool: jax.Array) -> jax.Array:
        """Rows of examples for each image of a step, all different and none the image itself: `[batch, support]`."""
        drawn = prng.uniform(key, (len(rows), len(pool)))
        drawn = jnp.where(pool[None] == rows[:, None], -1.0, drawn)
        return pool[jax.lax.top_k(drawn, self.problem.config.tyche.support)[1]]

    def one_pass(self, params: Any, key: jax.Array, images: jax.Array, aux_inputs: Any) -> jax.Array:
        """One candidate."""
        return self.sampler(params, aux_inputs)(key, images)

    def sampler(self, params: Any, aux_inputs: Any) -> Sampler:
        """A draw is one candidate of a pass."""
        candidates = self.problem.config.tyche.candidates
        return uncertainty.noise(self.network.apply, {"params": params}, *aux_inputs, company=candidates)

    def train_inputs(self, study: Any, cell: Cell) -> Any:
        """All rows of the share."""
        return study.rows(cell.share)

    def aux_inputs(self, study: Any, cell: Cell, setting: Setting, params: Any, seed: int) -> Any:
        """Some training images of the share, with their labels."""
        rows = study.rows(cell.share)
        examples = rows[permutation(len(rows), seed)[: study.config.tyche.support]]
        return study.images[examples], study.labels[examples][..., None].astype(study.images.dtype)

    def unet(self, params: Any, key: jax.Array) -> None:
        """Its feature maps are not those of a U-Net."""
