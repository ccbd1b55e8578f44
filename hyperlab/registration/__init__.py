"""Registration of images: losses, pairs, data sets, known warps, networks, and what a registration is worth."""

from hyperlab import moved
from hyperlab.registration.datasets import load
from hyperlab.registration.losses import SIMILARITIES, SMOOTHNESS
from hyperlab.registration.measurements import relative_objective
from hyperlab.registration.pairs import PairDataset, PairSplit

__all__ = ["SIMILARITIES", "SMOOTHNESS", "PairDataset", "PairSplit", "load", "relative_objective"]

__getattr__ = moved.names(__name__, {"Study": f"{__name__}.PairDataset", "Part": f"{__name__}.PairSplit"})
