"""Uncertainty of segmentations: samples of a network, what they say of what it does not know, and whether it is so.

`sample` draws from any network that draws and keeps moments, `maps` makes maps of uncertainty of them, `structure`
compares the masks of the draws as wholes.
"""

from hyperlab.uncertainty.maps import Maps, maps
from hyperlab.uncertainty.moments import Moments, entropy, from_stacked, init, merge, probabilities, update
from hyperlab.uncertainty.samplers import (
    Ensemble,
    Stochastic,
    check_draws,
    dropout,
    latent,
    members,
    noise,
    stochastic_layers,
)
from hyperlab.uncertainty.sampling import Masks, sample
from hyperlab.uncertainty.sets import Structure, structure, unpack

__all__ = [
    "Ensemble",
    "Maps",
    "Masks",
    "Moments",
    "Stochastic",
    "Structure",
    "check_draws",
    "dropout",
    "entropy",
    "from_stacked",
    "init",
    "latent",
    "maps",
    "members",
    "merge",
    "noise",
    "probabilities",
    "sample",
    "stochastic_layers",
    "structure",
    "unpack",
    "update",
]
