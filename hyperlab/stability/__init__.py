"""The stability study's own room: its arms, one trial of an arm as pure functions, and units of runs on disk."""

from hyperlab.stability.arms import ARMS, Arm
from hyperlab.stability.trial import Data, Settings, State, Trial
from hyperlab.stability.units import PRIMARIES, REPORT, TUNE, Run, Units, total_steps

__all__ = [
    "ARMS", "PRIMARIES", "REPORT", "TUNE",
    "Arm", "Data", "Run", "Settings", "State", "Trial", "Units", "total_steps",
]  # fmt: skip
