"""What a value can be at least and at most: a t interval of few seeds knows nothing of it, and is cut there."""

import numpy as np
from numpy.typing import ArrayLike

from hyperlab.errors import DataError

ROUNDING = 1e-6  # relative: metrics are computed in float32

Bounds = tuple[float, float]  # the least and the most


def check_inside(what: str, values: ArrayLike, bounds: Bounds | None) -> None:
    """Refuses values beyond what they can be, to rounding: bounds that are another metric's.

    Args:
      what: names the values.
      values: of any shape; NaN is left out.
      bounds: the least and the most; None refuses nothing.

    Raises:
      DataError: a value, and the bounds.

    >>> check_inside("Dice", [0.2, 1.3], (0.0, 1.0))
    Traceback (most recent call last):
    hyperlab.errors.DataError: Dice hold 1.3, beyond what they can be: (0.0, 1.0)
    """
    if bounds is None:
        return
    values, rounding = np.ravel(values), ROUNDING * max(map(abs, bounds))
    beyond = values[(values < bounds[0] - rounding) | (values > bounds[1] + rounding)]
    if len(beyond):
        raise DataError(f"{what} hold {beyond[0]:.6g}, beyond what they can be: {bounds}")


def clip_interval(low: float, high: float, bounds: Bounds | None) -> Bounds:
    """An interval within what is possible.

    Args:
      low: its lower end, NaN where there is none.
      high: its upper end.
      bounds: the least and the most that is possible; None leaves it as it is.

    >>> clip_interval(-1.65, 0.8, (-1.0, 1.0))
    (-1.0, 0.8)
    """
    if bounds is None:
        return low, high
    least, most = bounds
    return float(np.clip(low, least, most)), float(np.clip(high, least, most))
