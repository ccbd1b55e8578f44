"""The stability study, from a config to its page: arms, tasks, networks, training, results, figures."""

from hyperlab.studies.stability.arms import ARMS, Arm, Cell

__all__ = ["ARMS", "Arm", "Cell"]
