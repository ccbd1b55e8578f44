"""What predictions and labels must be: checked where their values are known, which they are not under `jax.jit`."""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from hyperlab.errors import ConfigError, DataError

_ROUNDING = 0.02  # of a sum of probabilities: bfloat16 has 8 bits


def check_predictions(
    probabilities: Float[Array | np.ndarray, "..."],
    labels: Shaped[Array | np.ndarray, "..."],
    mask: Shaped[Array | np.ndarray, "..."] | None = None,
) -> None:
    """Refuses predictions and labels that do not belong together.

    Args:
      probabilities: `[n, *spatial, C]`; a pixel with a NaN passes, since what is counted says what becomes of it.
      labels: int `[n, *spatial]`, in 0..C-1 where they count.
      mask: bool `[n, *spatial]`, the pixels that count; by default all.

    Raises:
      DataError: shapes that do not fit, labels that are no whole numbers or no classes, probabilities outside 0..1 or
        that do not sum to 1.

    >>> check_predictions(np.array([[[0.5, 0.5]]]), np.array([[2]]))
    Traceback (most recent call last):
    hyperlab.errors.DataError: labels span 2 to 2, expected the 2 classes of the probabilities, 0 to 1
    """
    if probabilities.shape[:-1] != labels.shape:
        raise DataError(
            f"probabilities have shape {tuple(probabilities.shape)}, labels {tuple(labels.shape)}; expected "
            f"[n, *spatial, C] and [n, *spatial]"
        )
    check_labels(labels, probabilities.shape[-1], mask)
    if _traced(probabilities) or not labels.size:
        return
    values = jnp.asarray(probabilities, jnp.float32)
    low, high = (float(end) for end in (jnp.nanmin(values), jnp.nanmax(values)))
    if low < 0 or high > 1 + _ROUNDING:
        raise DataError(f"probabilities span {low:g} to {high:g}, expected 0 to 1; are they logits?")
    apart = float(jnp.nanmax(jnp.abs(values.sum(-1) - 1), initial=0))
    if apart > _ROUNDING:
        raise DataError(f"probabilities of a pixel sum to 1 only up to {apart:.3g}, expected 1 over the last axis")


def check_labels(
    labels: Shaped[Array | np.ndarray, "..."], classes: int, mask: Shaped[Array | np.ndarray, "..."] | None = None
) -> None:
    """Refuses labels that are no whole numbers in 0..classes-1 where they count.

    Raises:
      DataError: naming what they span.
    """
    kind = np.dtype(labels.dtype).kind if not jnp.issubdtype(labels.dtype, jnp.floating) else "f"
    if kind not in "biu":
        raise DataError(f"labels are {labels.dtype}, expected whole numbers of the {classes} classes")
    if _traced(labels, mask) or not labels.size:
        return
    counted = np.asarray(labels) if mask is None else np.asarray(labels)[np.asarray(mask, bool)]
    if counted.size and not 0 <= counted.min() <= counted.max() < classes:
        raise DataError(
            f"labels span {counted.min()} to {counted.max()}, expected the {classes} classes of the probabilities, "
            f"0 to {classes - 1}"
        )


def check_temperature(temperature: Any) -> None:
    """Refuses temperatures that are not above 0 and finite.

    Raises:
      ConfigError: naming the value.
    """
    if temperature is None or _traced(temperature):
        return
    values = np.asarray(temperature)
    if values.dtype.kind not in "fiu" or not (np.isfinite(values) & (values > 0)).all():
        raise ConfigError(f"temperature is {temperature!r}, expected a finite number above 0")


def whole_number(value: Any, what: str) -> int:
    """A whole number, whatever its type.

    Raises:
      ConfigError: it is none: 2.5 draws are refused, and so is True.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise ConfigError(f"{what} is {value!r}, expected a whole number") from None


def _traced(*values: Any) -> bool:
    return any(isinstance(value, jax.core.Tracer) for value in values)
