"""The rescaling study's own room: the prior, its arms, their networks, and units of training on disk."""

from hyperlab.data.factors import Prior
from hyperlab.studies.base import REPORT, TUNE
from hyperlab.studies.rescaling.arms import ARMS, Arm, Job
from hyperlab.studies.rescaling.units import Units

__all__ = ["ARMS", "REPORT", "TUNE", "Arm", "Job", "Prior", "Units"]
