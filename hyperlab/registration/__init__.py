"""The registration study's own room: losses, pairs, arms, one trial as pure functions, and units of runs on disk."""

from hyperlab.registration.datasets import load
from hyperlab.registration.losses import SIMILARITIES, SMOOTHNESS
from hyperlab.registration.measurements import relative_objective
from hyperlab.registration.pairs import Part, Study
from hyperlab.studies.registration.arms import ARMS, INITIALIZERS, Arm
from hyperlab.studies.registration.tuning import tune
from hyperlab.studies.registration.units import FIRST_REPORT_SEED, REPORT, TUNE, Units, total_steps

__all__ = [
    "ARMS", "FIRST_REPORT_SEED", "INITIALIZERS", "REPORT", "SIMILARITIES", "SMOOTHNESS", "TUNE",
    "Arm", "Part", "Study", "Units", "load", "relative_objective", "total_steps", "tune",
]  # fmt: skip
