"""The room of the local SGD study: arms, programs that advance replicas, units of training on disk."""

from hyperlab.replicas.arms import ARMS, Arm, find
from hyperlab.replicas.trial import Trial
from hyperlab.replicas.units import Cell, Units
from hyperlab.studies.base import FIRST_REPORT_SEED, REPORT, TUNE

__all__ = ["ARMS", "FIRST_REPORT_SEED", "REPORT", "TUNE", "Arm", "Cell", "Trial", "Units", "find"]
