"""The local SGD study, from a config to its page: arms, replicas, training, results, figures."""

from hyperlab.studies.local_sgd.arms import ARMS, Arm, Cell, find

__all__ = ["ARMS", "Arm", "Cell", "find"]
