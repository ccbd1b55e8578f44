"""The rescaling study, from a config to its page: arms, networks, training, costs, results, figures."""

from hyperlab.studies.rescaling.arms import ARMS, Arm, Cell

__all__ = ["ARMS", "Arm", "Cell"]
