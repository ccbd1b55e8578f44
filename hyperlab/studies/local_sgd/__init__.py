"""The room of the local SGD study: arms, programs that advance replicas, units of training on disk."""

from hyperlab.studies.local_sgd.arms import ARMS, Arm, find
from hyperlab.studies.local_sgd.programs import Trial
from hyperlab.studies.local_sgd.units import Cell, Units
from hyperlab.train.phases import FIRST_REPORT_SEED, REPORT, TUNE

__all__ = ["ARMS", "FIRST_REPORT_SEED", "REPORT", "TUNE", "Arm", "Cell", "Trial", "Units", "find"]
