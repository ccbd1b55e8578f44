"""The registration study: arms, units of training, tuning, results, figures and the page."""

from hyperlab.studies.registration.arms import ARMS, INITIALIZERS, Arm
from hyperlab.studies.registration.tuning import tune
from hyperlab.studies.registration.units import Units, total_steps
from hyperlab.train.phases import FIRST_REPORT_SEED, REPORT, TUNE

__all__ = ["ARMS", "FIRST_REPORT_SEED", "INITIALIZERS", "REPORT", "TUNE", "Arm", "Units", "total_steps", "tune"]
