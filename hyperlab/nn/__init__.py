"""Layers: Flax Linen modules and functions on channel-last arrays."""

from hyperlab.nn.conv import Conv
from hyperlab.nn.pool import max_pool

__all__ = ["Conv", "max_pool"]
