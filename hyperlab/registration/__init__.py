"""Registration of images: losses, pairs, data sets, known warps, the model of a trial, and what it is worth."""

from hyperlab.registration.datasets import load
from hyperlab.registration.losses import SIMILARITIES, SMOOTHNESS
from hyperlab.registration.measurements import relative_objective
from hyperlab.registration.pairs import Part, Study

__all__ = ["SIMILARITIES", "SMOOTHNESS", "Part", "Study", "load", "relative_objective"]
