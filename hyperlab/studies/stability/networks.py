"""The network of a variant of an arm: the primary as it is, or generated."""

from typing import Any

from hyperlab.hypernet import HyperModel, hypernetize
from hyperlab.hypernet.encodings import ENCODINGS, GaussianCdf, Rescaled
from hyperlab.studies.stability.arms import Arm


def build(
    variant: Arm,
    primary: Any,
    *example: Any,
    gamma_range: tuple[float, float] | None,
    standardized: bool = False,
    **options: Any,
) -> HyperModel | None:
    """The model of a variant; None without a hypernetwork.

    Args:
      variant: an arm with one initialiser.
      primary: the network whose parameters are generated.
      *example: its inputs.
      gamma_range: `(low, high)` of gamma; None for values from N(0, 1).
      standardized: bring gamma to 0..1 for every encoding, not for those alone that are made for it.
      **options: of `hypernetize`.
    """
    if not variant.hypernetwork:
        return None
    encoding = ENCODINGS.get(variant.encoding)
    if gamma_range is None and encoding.domain is not None:
        encoding = GaussianCdf(encoding)
    elif gamma_range is not None and (standardized or encoding.domain is not None):
        encoding = Rescaled(*gamma_range, encoding)
    return hypernetize(
        primary,
        *example,
        encoding=encoding,
        parametrization=variant.parametrization,
        initializer=variant.initializer,
        head_bias=variant.head_bias,
        normalization=variant.normalization,
        **options,
    )
