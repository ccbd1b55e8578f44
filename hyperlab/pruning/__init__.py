"""Pruning: which weights to remove (score), how much where (distribution), in which pattern, and when (schedule).

Masks are trees like the parameters, of bool arrays. `masks` makes them, `apply` zeroes with them, `masked` trains
under them. Masks alone make nothing faster: what a processor gains is measured apart from what is counted.
"""

from hyperlab.pruning import evidence, schedules
from hyperlab.pruning.channel_choice import channel_scores, choose_channels
from hyperlab.pruning.channels import channel_groups
from hyperlab.pruning.counting import (
    agree,
    apply,
    available,
    check,
    collapsed,
    compression,
    dense,
    fractions_of,
    pack,
    shuffle,
    unpack,
)
from hyperlab.pruning.distributions import DISTRIBUTIONS
from hyperlab.pruning.dynamic import drop_fraction, move
from hyperlab.pruning.masks import STRATEGIES, Strategy, masks
from hyperlab.pruning.patterns import PATTERNS
from hyperlab.pruning.scores import SCORES, Evidence
from hyperlab.pruning.select import ceiling, compression_of, kept_fraction, prunable_paths
from hyperlab.pruning.slim import channel_masks, slim, slim_apply
from hyperlab.pruning.values import VALUES, values
from hyperlab.pruning.wrapper import MaskedState, masked, masks_of, set_masks

__all__ = [
    "DISTRIBUTIONS",
    "PATTERNS",
    "SCORES",
    "STRATEGIES",
    "VALUES",
    "Evidence",
    "MaskedState",
    "Strategy",
    "agree",
    "apply",
    "available",
    "ceiling",
    "channel_groups",
    "channel_masks",
    "channel_scores",
    "check",
    "choose_channels",
    "collapsed",
    "compression",
    "compression_of",
    "dense",
    "drop_fraction",
    "evidence",
    "fractions_of",
    "kept_fraction",
    "masked",
    "masks",
    "masks_of",
    "move",
    "pack",
    "prunable_paths",
    "schedules",
    "set_masks",
    "shuffle",
    "slim",
    "slim_apply",
    "unpack",
    "values",
]
