"""The arms of the uncertainty study: a source of uncertainty, and how an arm uses it.

Arms are trained alike on the same images, and tuned with as many trials. Networks that drop something, an ensemble and
the uninformative baseline have the same layers, parameters and initialisation; at one rate, dropout of channels and of
activations are different noises, so a whole curve over rates is measured for every arm that drops.

Adding an arm is one line in `ARMS`; a new source of uncertainty is one class and that line.
"""

from collections.abc import Sequence
from typing import Any

from hyperlab.errors import ConfigError, nearest
from hyperlab.metrics.statistics import names_of
from hyperlab.studies.uncertainty.cells import Cell
from hyperlab.studies.uncertainty.sources import bayesian, smooth_noise, tyche, unet
from hyperlab.studies.uncertainty.sources.base import Source

ARMS: dict[str, Source] = {
    # the comparison
    "none": unet.OnePass("no dropout"),
    "spatial": unet.SpatialDropout("spatial dropout"),
    "element": unet.ElementDropout("element-wise dropout"),
    "ensemble": unet.Ensemble("deep ensemble", learner="none"),
    "bayesian": bayesian.Bayesian("Bayesian hypernetwork"),
    "tyche": tyche.Tyche("Tyche"),
    "noise": smooth_noise.SmoothNoise("smooth noise (control)", learner="none", like="tyche"),
    # places of dropout
    "spatial_encoder": unet.SpatialDropout("spatial, encoder", places=("encoder",)),
    "spatial_bottleneck": unet.SpatialDropout("spatial, bottleneck", places=("bottleneck",)),
    "spatial_decoder": unet.SpatialDropout("spatial, decoder", places=("decoder",)),
    "element_encoder": unet.ElementDropout("element-wise, encoder", places=("encoder",)),
    "element_bottleneck": unet.ElementDropout("element-wise, bottleneck", places=("bottleneck",)),
    "element_decoder": unet.ElementDropout("element-wise, decoder", places=("decoder",)),
    # A/A and sensitivity checks
    "spatial_again": unet.SpatialDropout("spatial dropout, again", stream=1),
    "spatial_handicapped": unet.SpatialDropout("spatial dropout, a hundredth of the rate", rate_factor=0.01),
}
SUBJECT = "spatial"  # the arm that the study asks about


def find(name: str) -> Source:
    """The arm of a name.

    Raises:
      ConfigError: there is none.

    >>> find("spatail")
    Traceback (most recent call last):
    hyperlab.errors.ConfigError: unknown arm 'spatail'; did you mean 'spatial'?
    """
    if name not in ARMS:
        raise ConfigError(f"unknown arm {name!r}; {nearest(name, ARMS)}")
    return ARMS[name]


def leading(arms: Sequence[str]) -> str:
    """The arm that is shown where one stands for all: the study's subject, or the first.

    >>> leading(("none", "spatial")), leading(("none", "tyche"))
    ('spatial', 'none')
    """
    return SUBJECT if SUBJECT in arms else arms[0]


def cells_of(arm: str, config: Any) -> list[Cell]:
    """An arm at all its dropout rates, on all training images."""
    return [Cell(arm, rate) for rate in (config.dropout_rates if find(arm).drops else (0.0,))]


def on_fewer(arm: str, dropout_rate: float, config: Any) -> list[Cell]:
    """An arm at one dropout rate, on the smaller shares of the training images."""
    return [Cell(arm, dropout_rate, share) for share in config.train_shares if share != 1]


def compared(contrast: str) -> tuple[str, str, str]:
    """The metric and the two arms of a contrast.

    >>> compared("dice: spatial - none")
    ('dice', 'spatial', 'none')
    """
    metric, _, pair = contrast.partition(": ")
    return metric, *names_of(pair)
