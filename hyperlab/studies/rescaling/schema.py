"""What the settings of the rescaling study mean and may be, and what they ask of each other."""

from typing import Any

from hyperlab.data.datasets import check_source
from hyperlab.data.factors import KINDS, Prior
from hyperlab.errors import ConfigError
from hyperlab.hypernet.network import ACTIVATIONS
from hyperlab.models import unet
from hyperlab.nn import check_sizes, level_sizes
from hyperlab.studies.rescaling.arms import ARMS
from hyperlab.train import settings
from hyperlab.train.fields import Choice, Duration, Number, Several, Whole
from hyperlab.train.schema import Schema, under

_FACTOR = Number("", above=0, high=1)
_NORMALIZATIONS = tuple(name or "" for name in unet.NORMALIZATIONS)

SCHEMA: Schema = {
    "the question": {
        **settings.run("rescaling"),
        **settings.compared(ARMS, "test Dice, mean over the compared factors"),
        "margin": Number("of non-inferiority, in Dice", low=0, high=1),
        "factors": Several("compared: Fixed has a network for each", _FACTOR),
        "front": Several("networks of the prior are measured at all of them", _FACTOR, least=0),
        "outside": Several("beyond the prior: networks of the prior are tried there too", _FACTOR, least=0),
        "widths": Several("multiples of the channels, of the arm 'width'", Number("", above=0)),
        "tolerance": Number("Dice that the choice of one factor may give away", low=0, high=1),
        "surface_tolerance": Number("of the surface Dice, mm where spacing is known, else pixels", low=0),
    },
    "the factor": under(
        "prior",
        {
            "kind": Choice("of the factor, or of the pixels that it leaves", KINDS, "prior"),
            "low": Number("drawn factors are above it", low=0, high=1),
            "high": Number("drawn factors are at most it", low=0, high=1),
        },
    ),
    "data": settings.segmented("data"),
    "networks": {
        **under(
            "primary",
            {
                "widths": settings.widths("of the U-Net's levels"),
                "convs_per_block": settings.CONVS_PER_BLOCK,
                "normalization": Choice("of the U-Net", _NORMALIZATIONS, "normalization"),
                "activation": Choice("of the U-Net", tuple(unet.ACTIVATIONS), "activation"),
                "skip": Choice("how decoder and encoder are joined", unet.SKIPS, "skip"),
            },
        ),
        **settings.hypernet(ACTIVATIONS),
    },
    "training": {
        **settings.recipe(),
        "rates": settings.rates(),
        **settings.trials(),
        "train_length": Duration("of a network"),
        "batch_size": settings.batch("images of a step"),
        "programs": Whole("compiled for the prior, one for each bucket of factors", low=1),
    },
    "measuring": {
        "curve_points": settings.CURVE_POINTS,
        "curve_examples": Whole("validation images of learning curves; 0: all", low=0),
        "evaluation_batch": settings.EVALUATION_BATCH,
        "keep_networks": settings.KEEP_NETWORKS,
    },
    "the machine": {"workers": settings.WORKERS},
}


def check(config: Any) -> None:
    """What keys ask of each other, known before anything is read.

    Raises:
      ConfigError: contrasts of arms that are not run; a warm-up without a schedule; a prior that is none; factors
        outside it; images that a factor makes smaller than a convolution.
    """
    settings.check_contrasts("contrasts", config.contrasts, config.arms)
    settings.check_recipe(config.optimizer)
    prior = Prior(config.prior.kind, config.prior.low, config.prior.high)
    for factor in (*config.factors, *config.front):
        if not prior.low < factor <= prior.high:
            raise ConfigError(
                f"factor {factor} is outside the prior ({prior.low}, {prior.high}]; widen the prior, or list it in "
                "outside"
            )
    if config.data.size:
        check_levels(config, tuple(config.data.size))


def check_levels(config: Any, shape: tuple[int, ...]) -> None:
    """Refuses images that are too small for the first level's convolutions.

    Raises:
      ConfigError: the size.
    """
    for factor in (*config.factors, *config.front, *config.outside):
        # deeper levels may shrink to one pixel: that is what a small factor means
        check_sizes(level_sizes(shape, factor, len(config.primary.widths))[:1])


def check_files(config: Any) -> None:
    """What is asked of the data set and its folder, known before any is read."""
    check_source(config.data, "data", classified=False)
