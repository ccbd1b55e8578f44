"""The in-context study's own room: its arms and floors, the tasks that it judges on, and units of training on disk."""

from hyperlab.few_shot.arms import ARMS, Arm
from hyperlab.few_shot.floors import FLOORS
from hyperlab.few_shot.units import FIRST_REPORT_SEED, REPORT, TUNE, Units

__all__ = ["ARMS", "FIRST_REPORT_SEED", "FLOORS", "REPORT", "TUNE", "Arm", "Units"]
