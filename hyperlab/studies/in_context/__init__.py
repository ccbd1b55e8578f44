"""The in-context study, from a config to its page: arms, training across tasks or for one, results, figures."""

from hyperlab.studies.in_context.arms import ARMS, Arm, Cell

__all__ = ["ARMS", "Arm", "Cell"]
