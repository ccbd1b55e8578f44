"""The rescaling study's own room: the prior, its arms, their networks, and units of training on disk."""

from hyperlab.data.factors import Prior
from hyperlab.studies.rescaling.arms import ARMS, Arm, Job
from hyperlab.studies.rescaling.units import Units
from hyperlab.train.phases import REPORT, TUNE

__all__ = ["ARMS", "REPORT", "TUNE", "Arm", "Job", "Prior", "Units"]
