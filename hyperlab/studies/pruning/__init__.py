"""The room of the pruning study: methods and controls, tasks, masks of a method, units of training on disk."""

from hyperlab.studies.pruning.arms import METHODS, Method, find, with_controls
from hyperlab.studies.pruning.units import DENSE, Units
from hyperlab.tasks import TASKS, Task, load, settings
from hyperlab.train.phases import FIRST_REPORT_SEED, REPORT, TUNE

__all__ = [
    "DENSE",
    "FIRST_REPORT_SEED",
    "METHODS",
    "REPORT",
    "TASKS",
    "TUNE",
    "Method",
    "Task",
    "Units",
    "find",
    "load",
    "settings",
    "with_controls",
]
