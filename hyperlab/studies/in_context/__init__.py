"""The room of the studies over tasks: arms and floors, the tasks that they judge on, and units of training on disk.

Two studies share it: `experiments/in_context.py`, one answer an image (`arms`, `units`), and
`experiments/stochastic.py`, several (`stochastic_arms`, `candidates`, `judging`, `stochastic_units`).
"""

from hyperlab.in_context.baselines import FLOORS
from hyperlab.studies.episodic import Training
from hyperlab.studies.in_context.arms import ARMS, Arm
from hyperlab.studies.in_context.units import Units
from hyperlab.train.phases import FIRST_REPORT_SEED, REPORT, TUNE

__all__ = ["ARMS", "FIRST_REPORT_SEED", "FLOORS", "REPORT", "TUNE", "Arm", "Training", "Units"]
