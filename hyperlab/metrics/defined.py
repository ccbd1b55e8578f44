"""Means of what is defined: a Dice without foreground in mask and truth is NaN, and counts for nothing."""

import numpy as np
from jaxtyping import Float, Shaped


def mean_defined(values: Float[np.ndarray, "..."], axis: int | tuple[int, ...] | None = -1) -> Float[np.ndarray, "..."]:
    """The mean over an axis of what is not NaN; NaN where nothing is left, without a warning.

    Args:
      values: of any shape.
      axis: or several; None is all of them.

    >>> mean_defined(np.array([[1.0, np.nan, 2.0], [np.nan, np.nan, np.nan]])).tolist()
    [1.5, nan]
    """
    counts = np.sum(~np.isnan(values), axis)
    return np.where(counts > 0, np.nansum(values, axis) / np.maximum(counts, 1), np.nan)


def mean_of_groups(
    values: Float[np.ndarray, "*rest images"], groups: Shaped[np.ndarray, " images"]
) -> Float[np.ndarray, "*rest subjects"]:
    """Means over the images of each subject: from `[..., images]` to `[..., subjects]`, in the order of `np.unique`.

    Args:
      values: `[..., images]`, NaN where undefined.
      groups: `[images]`, the subject of each.

    >>> mean_of_groups(np.array([1.0, np.nan, 3.0, 5.0]), np.array(["a", "a", "b", "b"])).tolist()
    [1.0, 4.0]
    """
    return np.stack([mean_defined(values[..., groups == group]) for group in np.unique(groups)], -1)


def mean_dice(dice: Float[np.ndarray, "*rest subjects classes"]) -> float:
    """Mean over subjects, then over classes, then over what else there is; a class that is nowhere is left out.

    Args:
      dice: `[..., subjects, classes - 1]`, NaN where undefined.

    >>> mean_dice(np.array([[1.0, np.nan], [0.5, np.nan]]))
    0.75
    """
    classes = mean_defined(dice, -2)
    present = ~np.isnan(classes)
    return float(classes[present].mean()) if present.any() else float("nan")
