"""The registration study, from a config to its page: arms, networks, tuning, training, results, figures."""

from hyperlab.studies.registration.arms import ARMS, INITIALIZERS, Arm, Cell

__all__ = ["ARMS", "INITIALIZERS", "Arm", "Cell"]
