"""Registration of images: losses, pairs, data sets, known warps, networks, and what a registration is worth."""

from typing import Any

from hyperlab.registration import pairs
from hyperlab.registration.datasets import load
from hyperlab.registration.losses import SIMILARITIES, SMOOTHNESS
from hyperlab.registration.measurements import relative_objective
from hyperlab.registration.pairs import PairDataset, PairSplit

__all__ = ["SIMILARITIES", "SMOOTHNESS", "PairDataset", "PairSplit", "load", "relative_objective"]


def __getattr__(name: str) -> Any:
    if name in ("Part", "Study"):  # names of before
        return getattr(pairs, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
