"""Numbers of the uncertainty study as text."""

import numpy as np

from hyperlab.metrics.defined import mean_defined
from hyperlab.report import sections

number = sections.number


def mean(values: np.ndarray) -> float:
    """Over all that is defined.

    >>> mean(np.array([0.5, np.nan]))
    0.5
    """
    return float(mean_defined(np.ravel(values)))


def spread(values: np.ndarray, digits: int | None = None) -> str:
    """The mean over seeds and the sample standard deviation, of what is defined.

    >>> spread(np.array([0.5, 0.7])), spread(np.array([0.5]), 1), spread(np.array([np.nan]))
    ('0.6 +- 0.141', '0.5', '-')
    """
    known = values[~np.isnan(values)]
    if not known.size:
        return "-"
    shown = number if digits is None else lambda value: f"{value:.{digits}f}"
    return shown(known.mean()) + (f" +- {shown(known.std(ddof=1))}" if known.size > 1 else "")


def formatted(value: float | None, form: str, factor: float = 1.0) -> str:
    """A number in a form, or a dash where there is none."""
    return "-" if value is None or not np.isfinite(value) else f"{value * factor:{form}}"


def interval(mean: float, low: float, high: float, form: str = "+.3f") -> str:
    """A difference with its interval.

    >>> interval(0.1, -0.2, 0.4)
    '+0.100 [-0.200, +0.400]'
    """
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]"
