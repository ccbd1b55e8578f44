"""The pruning study, from a config to its page: methods and controls, masks, training, results, figures."""

from hyperlab.studies.pruning.arms import METHODS, Cell, Method, find, with_controls

__all__ = ["METHODS", "Cell", "Method", "find", "with_controls"]
