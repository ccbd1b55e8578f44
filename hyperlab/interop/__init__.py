"""Checkpoints of other libraries in, frozen models out."""

from hyperlab.interop.hyperlight import hyperlight_from_torch

__all__ = ["hyperlight_from_torch"]
