"""The network of a variant of an arm: a VoxelMorph as it is, or generated from the regularisation weight."""

from typing import Any

from hyperlab.hypernet import HyperModel, hypernetize
from hyperlab.registration.model import WITHOUT_FLOW
from hyperlab.studies.registration.arms import Arm


def build(variant: Arm, primary: Any, *example: Any, **options: Any) -> HyperModel | None:
    """The model of a variant; None without a hypernetwork.

    Args:
      variant: an arm with one initialiser.
      primary: the VoxelMorph.
      *example: its inputs, a moving and a fixed image.
      **options: of `hypernetize`.
    """
    if not variant.hypernetwork:
        return None
    return hypernetize(
        primary,
        *example,
        gamma_dim=1,
        gamma_range=(0.0, 1.0),
        select=("**",) if variant.generates_flow else WITHOUT_FLOW,
        encoding=variant.encoding,
        parametrization=variant.parametrization,
        initializer=variant.initializer,
        **options,
    )
