"""Checkpoints of other libraries in, frozen models out."""

from hyperlab.interop.classifiers import classifier_from_torch
from hyperlab.interop.hyperlight import hyperlight_from_torch
from hyperlab.interop.in_context import tyche_from_torch, universeg_from_torch
from hyperlab.interop.torch_files import read_torch

__all__ = ["classifier_from_torch", "hyperlight_from_torch", "read_torch", "tyche_from_torch", "universeg_from_torch"]
