"""The room of the uncertainty study: arms, images, programs, what answers are worth, units of training on disk."""

from hyperlab.studies.uncertainty.arms import ARMS, Arm, Point, find
from hyperlab.studies.uncertainty.programs import Trial
from hyperlab.studies.uncertainty.scoring import Judging
from hyperlab.studies.uncertainty.units import Units

__all__ = ["ARMS", "Arm", "Judging", "Point", "Trial", "Units", "find"]
