"""The room of the studies over tasks: arms and floors, the tasks that they judge on, and units of training on disk.

Two studies share it: `experiments/in_context.py`, one answer an image (`arms`, `units`), and
`experiments/stochastic.py`, several (`stochastic_arms`, `candidates`, `judging`, `stochastic_units`).
"""

from hyperlab.few_shot.arms import ARMS, Arm
from hyperlab.few_shot.floors import FLOORS
from hyperlab.few_shot.training import Training
from hyperlab.few_shot.units import Units
from hyperlab.studies.base import FIRST_REPORT_SEED, REPORT, TUNE

__all__ = ["ARMS", "FIRST_REPORT_SEED", "FLOORS", "REPORT", "TUNE", "Arm", "Training", "Units"]
