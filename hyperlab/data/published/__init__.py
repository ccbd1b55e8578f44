"""Other people's pruning results: the survey's sheets, simple CSV tables, and curves to draw behind one's own."""

from hyperlab.data.published.curves import Curve, at, curves
from hyperlab.data.published.survey import Survey, operating_points, read_survey
from hyperlab.data.published.table import COLUMNS, packaged, read_table

__all__ = [
    "COLUMNS",
    "Curve",
    "Survey",
    "at",
    "curves",
    "operating_points",
    "packaged",
    "read_survey",
    "read_table",
]
