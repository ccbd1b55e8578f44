"""The room of the uncertainty study: arms, images, programs, what answers are worth, units of training on disk."""

from hyperlab.reliability.arms import ARMS, Arm, Point, find
from hyperlab.reliability.judging import Judging
from hyperlab.reliability.trial import Trial
from hyperlab.reliability.units import Units

__all__ = ["ARMS", "Arm", "Judging", "Point", "Trial", "Units", "find"]
