"""The uncertainty study, from a config to its page: sources, arms, training, scores, results, figures."""

from hyperlab.studies.uncertainty.arms import ARMS, find
from hyperlab.studies.uncertainty.cells import Cell

__all__ = ["ARMS", "Cell", "find"]
