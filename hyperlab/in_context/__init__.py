"""Segmentation from a few examples with networks that are trained already, and several answers instead of one."""

from hyperlab.in_context.segment import Segmentation, network_of, segment
from hyperlab.in_context.stochastic import (
    IntensityChanges,
    augmented_candidates,
    change_intensity,
    matching_scale,
    noise_candidates,
)
from hyperlab.in_context.support import Context, draws, most_similar

__all__ = [
    "Context",
    "IntensityChanges",
    "Segmentation",
    "augmented_candidates",
    "change_intensity",
    "draws",
    "matching_scale",
    "most_similar",
    "network_of",
    "noise_candidates",
    "segment",
]
