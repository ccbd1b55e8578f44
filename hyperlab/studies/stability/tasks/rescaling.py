"""Segmentation at any rescaling factor: gamma is the factor phi by which a U-Net's down-samplings scale.

One factor is drawn at every step, on the host, where it becomes the integer sizes of the levels. They go with the batch
as numbers, inside the canvases of one bucket, so that all factors share one program.

Source: Gonzalez Ortiz, Guttag and Dalca, Scale-Space Hypernetworks (2023), arXiv 2304.05448. It is one of the tasks of
Magnitude Invariant Parametrizations (2023), arXiv 2304.07645.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab import losses
from hyperlab.data.datasets import check_source
from hyperlab.data.factors import Prior
from hyperlab.data.labelled_pixels import load_segmented
from hyperlab.data.splits import Splits, stratified_subset
from hyperlab.errors import ConfigError
from hyperlab.metrics import segmentation
from hyperlab.models import UNet
from hyperlab.nn import plan, size_table
from hyperlab.nn.precision import computing_in
from hyperlab.studies.stability.tasks.dice import at_each, mean_dice
from hyperlab.studies.stability.tasks.task import Examples, Gammas, Task, Wording
from hyperlab.train import engine

GROUP = "rescaling.data"  # of the config, where the data are described


class Rescaling(Task):
    """Images with a class for every pixel; see `Task` for its parts.

    Args:
      config: the study's: `rescaling`, `gamma`, `samples`.
      splits: the data.

    Raises:
      ConfigError: gamma is not one uniform number, or its range is not within 0..1.
    """

    gamma_range: tuple[float, float]
    standardized = True
    per_sample = False  # the sizes of a batch are those of one factor
    probe_examples = 16

    def __init__(self, config: Any, splits: Splits):
        self.config, self.splits = config, splits
        check(config)
        settings, gamma = config.rescaling, config.gamma
        self.name, self.fingerprint = splits.name, splits.fingerprint
        self.sizes = {name: len(split) for name, split in splits.parts().items()}
        self.classes, self.shape = len(splits.classes), splits.image_shape[:-1]
        widths = tuple(settings.widths)
        primary = UNet(widths, self.classes, convs_per_block=settings.convs_per_block)
        self.primary = computing_in(primary, engine.of(config).precision)
        self.example = (jnp.zeros((1, *splits.image_shape)),)
        self.gamma_range, self.prior = (gamma.low, gamma.high), _prior(config)
        (bucket,) = plan(self.shape, len(widths), gamma.low, gamma.high, programs=1)
        self.options = {"canvases": bucket.canvases}
        self.wording = Wording(
            score="Dice",
            setting=f"{splits.name}, images of {' x '.join(map(str, self.shape))}, a U-Net with widths {widths} whose "
            f"down-samplings scale by phi, all parameters generated from phi in ({gamma.low:g}, {gamma.high:g}]",
            gamma="the rescaling factor phi, brought to 0..1",
            limits=(
                f"Dice is the mean over foreground classes, subjects and {config.samples} fixed factors.",
                "The arm without a hypernetwork has one set of weights for all factors, and does not see phi: what it "
                "scores says how much phi is needed for at all.",
            ),
        )

    def train(self) -> Examples:
        """All training images."""
        return Examples.of(self.splits.train)

    def held_out(self, split: str, count: int) -> Examples:
        """Images of a split."""
        held_out = self.splits.parts()[split]
        if count < len(held_out):
            held_out = held_out.take(stratified_subset(held_out.strata, count, self.config.rescaling.data.split_seed))
        return Examples.of(held_out)

    def draw(self, seeds: np.ndarray, steps: range, per_sample: bool) -> Gammas:
        """Factors from the prior, with the sizes of the levels."""
        return self._at(np.array([[self.prior.draw(int(seed), step) for step in steps] for seed in seeds]))

    def fixed(self) -> Gammas:
        """Evenly spaced factors up to the largest."""
        return self._at(np.linspace(*self.gamma_range, self.config.samples + 1)[1:])

    def grid(self, points: int) -> Gammas:
        """As `fixed`: a factor of 0 is none."""
        return self._at(np.linspace(*self.gamma_range, points + 1)[1:])

    def _at(self, factors: np.ndarray) -> Gammas:
        sizes = size_table(self.shape, factors, len(self.primary.widths))
        return Gammas(factors[..., None].astype(np.float32), sizes)

    def inputs(self, batch: Examples, aux_inputs: jax.Array) -> tuple:
        """The images, and the sizes of the levels."""
        return (batch.images, aux_inputs)

    def loss(self, outputs: jax.Array, batch: Examples, gamma: jax.Array) -> jax.Array:
        """Mean cross-entropy plus soft Dice."""
        return losses.dice_cross_entropy(outputs, batch.labels).mean()

    def predict(self, outputs: jax.Array, held_out: Examples) -> segmentation.Counts:
        """Right and wrong pixels of every image."""
        return segmentation.counts(segmentation.predicted_labels(outputs), held_out.labels, self.classes)

    def score(self, predictions: segmentation.Counts, held_out: Examples) -> jax.Array:
        """Mean Dice over the fixed factors."""
        return mean_dice(predictions, held_out.subjects).mean()

    def final(self, predictions: segmentation.Counts, held_out: Examples) -> dict[str, jax.Array]:
        """Dice at each factor."""
        return at_each(self.fixed().values, mean_dice(predictions, held_out.subjects))


def check(config: Any) -> None:
    """Refuses settings that the task cannot use.

    Raises:
      ConfigError: gamma is not one uniform number, or its range is not within 0..1.
    """
    gamma = config.gamma
    if gamma.dim != 1 or gamma.prior != "uniform":
        raise ConfigError(
            f"gamma has dimension {gamma.dim} and prior {gamma.prior!r}; a rescaling factor is one uniform number"
        )
    _prior(config)


def _prior(config: Any) -> Prior:
    return Prior("uniform", config.gamma.low, config.gamma.high)


def check_files(config: Any) -> None:
    """See `data.datasets.check_source`."""
    check_source(config.rescaling.data, GROUP, classified=False)


def load(config: Any) -> Rescaling:
    """The task of a config, with the data that it names.

    Raises:
      ConfigError: settings that it cannot use.
      DataError: data that it cannot use.
    """
    return Rescaling(config, load_segmented(config.rescaling.data, GROUP))
