"""The stability study's own room: arms, tasks, one trial of an arm as pure functions, and units of runs on disk."""

from hyperlab.studies.stability.arms import ARMS, Arm
from hyperlab.studies.stability.programs import Data, State, Trial
from hyperlab.studies.stability.tasks import TASKS, Gammas, Task
from hyperlab.studies.stability.units import Run, Units, total_steps
from hyperlab.train.phases import REPORT, TUNE

__all__ = [
    "ARMS", "REPORT", "TASKS", "TUNE",
    "Arm", "Data", "Gammas", "Run", "State", "Task", "Trial", "Units", "total_steps",
]  # fmt: skip
