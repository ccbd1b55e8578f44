"""Sources of uncertainty of a U-Net: none, dropout of channels or activations, and an ensemble."""

import dataclasses
import functools
from typing import Any

import jax

from hyperlab import losses, uncertainty
from hyperlab.models import DropoutUNet
from hyperlab.models.dropout_unet import PLACES
from hyperlab.nn.dropout import RATES
from hyperlab.studies.uncertainty.cells import Cell, Setting
from hyperlab.studies.uncertainty.sources.base import Source, Take
from hyperlab.uncertainty.samplers import Sampler


class OnePass(Source):
    """A U-Net that answers with one pass, and drops nothing: its aux_inputs are dropout rates of 0.

    So one program trains it and all that drop channels.
    """

    how = "nothing is dropped; one pass"
    draws, plain_unet = False, True

    @functools.cached_property
    def network(self) -> DropoutUNet:
        """Of one class a pixel."""
        network = DropoutUNet(classes=self.problem.classes, dropout="spatial", **self.problem.config.network)
        return self.computing(network)

    def loss(self, params: Any, key: jax.Array, take: Take, rows: jax.Array, aux_inputs: Any) -> jax.Array:
        """Dice and cross-entropy, at the dropout rates that are given."""
        images, labels = take(rows)
        logits: Any = self.network.apply({"params": params, RATES: aux_inputs}, images, rngs={"dropout": key})
        return losses.dice_cross_entropy(logits, labels)

    def one_pass(self, params: Any, key: jax.Array, images: jax.Array, aux_inputs: Any) -> jax.Array:
        """Nothing is dropped."""
        logits: Any = self.network.apply({"params": params}, images)
        return logits

    def rates(self, cell: Cell) -> Any:
        """What is dropped, as values."""
        return self.network.rates(0.0)

    def train_inputs(self, study: Any, cell: Cell) -> Any:
        """Dropout rates."""
        return self.rates(cell)

    def aux_inputs(self, study: Any, cell: Cell, setting: Setting, params: Any, seed: int) -> Any:
        """Dropout rates."""
        return self.rates(cell)


class Ensemble(OnePass):
    """Networks without dropout, trained from different initial parameters."""

    how = "nothing is dropped; several networks, each from its own initial parameters"
    citation = "Lakshminarayanan et al., 2017, arXiv 1612.01474"
    ensemble = True


@dataclasses.dataclass(frozen=True)
class SpatialDropout(OnePass):
    """A U-Net that drops whole channels; one pass drops nothing.

    Attributes:
      places: blocks that drop.
    """

    places: tuple[str, ...] = PLACES

    how = "whole channels are dropped in {places}; several draws"
    citation = "Tompson et al., 2015, arXiv 1411.4280; for segmentation Soleimany et al., 2019, arXiv 1912.00262"
    draws, drops = True, True

    @property
    def definition(self) -> str:
        """What is dropped, and where."""
        return super().definition.format(places=", ".join(self.places))

    def rates(self, cell: Cell) -> Any:
        """The cell's rate in the places of the arm, 0 in others."""
        return self.network.rates(cell.dropout_rate, self.places)

    def sampler(self, params: Any, aux_inputs: Any) -> Sampler:
        """A draw drops by chance."""
        return uncertainty.dropout(self.network.apply, {"params": params, RATES: aux_inputs})

    def exported(self, cell: Cell) -> DropoutUNet:
        """The U-Net, with the cell's rate as its own."""
        return self.network.clone(rate=cell.dropout_rate, places=self.places)


class ElementDropout(SpatialDropout):
    """A U-Net that drops single activations."""

    how = "single activations are dropped in {places}; several draws"
    citation = "Gal and Ghahramani, 2016, arXiv 1506.02142"

    @functools.cached_property
    def network(self) -> DropoutUNet:
        """The same parameters."""
        network = DropoutUNet(classes=self.problem.classes, dropout="element", **self.problem.config.network)
        return self.computing(network)
