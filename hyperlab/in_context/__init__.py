"""Segmentation from a few examples, by a network that is shown them or trained on them; several answers for one."""

from hyperlab.in_context.cross_validation import FOLDS, LEAST, LIMIT, HeldOut, held_out, networks
from hyperlab.in_context.fitted import STEPS, Fitted, fit
from hyperlab.in_context.planes import Segmentation, labelled_slices
from hyperlab.in_context.segment import network_of, segment
from hyperlab.in_context.stochastic import (
    IntensityChanges,
    augmented_candidates,
    change_intensity,
    matching_scale,
    noise_candidates,
)
from hyperlab.in_context.support import Context, draws, most_similar

__all__ = [
    "FOLDS",
    "LEAST",
    "LIMIT",
    "STEPS",
    "Context",
    "Fitted",
    "HeldOut",
    "IntensityChanges",
    "Segmentation",
    "augmented_candidates",
    "change_intensity",
    "draws",
    "fit",
    "held_out",
    "labelled_slices",
    "matching_scale",
    "most_similar",
    "network_of",
    "networks",
    "noise_candidates",
    "segment",
]
