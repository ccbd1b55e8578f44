"""The rescaling study's own room: its prior, its arms, their networks, and units of training on disk."""

from hyperlab.rescaling.arms import ARMS, Arm, Job
from hyperlab.rescaling.prior import Prior
from hyperlab.rescaling.units import REPORT, TUNE, Units

__all__ = ["ARMS", "REPORT", "TUNE", "Arm", "Job", "Prior", "Units"]
