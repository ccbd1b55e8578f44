"""Temperature scaling: one number, fitted to the likelihood of validation data, that softens or sharpens probabilities.

After sampling there are two places for it, which give different probabilities, so every name says which:

- `of="samples"`: the logits z_t of each sample are divided before the mean, p = mean_t softmax(z_t / T);
- `of="mean"`: the mean probability is sharpened or softened, p = softmax(ln(pbar) / T).

Both are the same for one sample. The first changes which class is most probable where samples disagree, the second
never does.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Array, Float, Shaped

from hyperlab.errors import DataError
from hyperlab.uncertainty.given import check_labels, check_predictions, check_temperature
from hyperlab.uncertainty.proper import SMALLEST

LOWEST, HIGHEST = 0.05, 20.0
PIXELS = 200_000


class Temperature(NamedTuple):
    """A fitted temperature.

    Attributes:
      value: above 1 where the network was over-confident.
      of: `samples` or `mean`, what is divided by it.
      nll_before: at T = 1, in nats a pixel, on the pixels that it was fitted to.
      nll_after: at `value`.
      pixels: how many these are.
      at_edge: whether an end of 0.05..20 is as good, as where every pixel is right: it is no estimate then.
    """

    value: float
    of: str
    nll_before: float
    nll_after: float
    pixels: int
    at_edge: bool


def fit_samples(
    logits: Float[Array | np.ndarray, "T n *spatial C"],
    labels: Shaped[Array | np.ndarray, " n *spatial"],
    mask: Shaped[Array | np.ndarray, " n *spatial"] | None = None,
    *,
    pixels: int = PIXELS,
    seed: int = 0,
) -> Temperature:
    """The temperature of per-sample logits with the least mean NLL of validation data.

    Args:
      logits: `[T, n, *spatial, C]` of the validation set alone; one channel is binary (the logit of class 1).
      labels: int `[n, *spatial]`.
      mask: bool `[n, *spatial]`, the pixels that count; by default all.
      pixels: at most so many are used, drawn without replacement.
      seed: of the draw.

    Raises:
      DataError: shapes do not fit, or no pixel counts.

    >>> logits = np.array([[[4.0], [4.0], [4.0], [-4.0]]])  # 98 % sure, three times in four right
    >>> result = fit_samples(logits, np.array([1, 1, 0, 0]))
    >>> result.of, round(4 / result.value, 2)
    ('samples', 1.1)

    (Guo, Pleiss, Sun and Weinberger, 2017, arXiv 1706.04599.)
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.shape[1:-1] != labels.shape:
        raise DataError(f"logits have shape {logits.shape}, labels {labels.shape}; expected [T, n, *spatial, C]")
    check_labels(labels, max(logits.shape[-1], 2), mask)
    place = _drawn(labels, mask, pixels, seed)
    chosen = logits.reshape(len(logits), -1, logits.shape[-1])[:, place]
    return _fit("samples", _samples, jnp.asarray(chosen, jnp.float32), labels.ravel()[place])


def fit_mean(
    probabilities: Float[Array | np.ndarray, "n *spatial C"],
    labels: Shaped[Array | np.ndarray, " n *spatial"],
    mask: Shaped[Array | np.ndarray, " n *spatial"] | None = None,
    *,
    pixels: int = PIXELS,
    seed: int = 0,
) -> Temperature:
    """The temperature of the mean probability with the least mean NLL of validation data.

    Args:
      probabilities: `[n, *spatial, C]` of the validation set alone, sum 1 over the classes.
      labels: int `[n, *spatial]`.
      mask: bool `[n, *spatial]`, the pixels that count; by default all.
      pixels: at most so many are used, drawn without replacement.
      seed: of the draw.

    Raises:
      DataError: shapes do not fit, or no pixel counts.

    >>> result = fit_mean(np.array([[0.98, 0.02]] * 4), np.array([0, 0, 0, 1]))
    >>> tempered_mean(np.array([0.98, 0.02]), result.value).round(2).tolist()
    [0.75, 0.25]
    """
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    check_predictions(probabilities, labels, mask)
    place = _drawn(labels, mask, pixels, seed)
    chosen = probabilities.reshape(-1, probabilities.shape[-1])[place]
    return _fit("mean", _mean, jnp.asarray(chosen, jnp.float32), labels.ravel()[place])


def tempered_samples(logits: Float[Array, "T *rest C"], temperature: float) -> Float[Array, "*rest classes"]:
    """mean_t softmax(z_t / T): `[T, ..., C]` logits to `[..., C]` probabilities; one channel becomes two classes.

    Args:
      logits: float; the leading axis is that of the samples.
      temperature: above 0.

    >>> tempered_samples(jnp.array([[2.0], [-2.0]]), 2.0)
    Array([0.5, 0.5], dtype=float32)
    """
    check_temperature(temperature)
    return _samples(jnp.asarray(logits, jnp.float32), temperature)


def tempered_mean(probabilities: Float[Array | np.ndarray, "*rest C"], temperature: float) -> Float[Array, "*rest C"]:
    """softmax(ln(p) / T), with p at least 1e-7; the most probable class stays.

    Args:
      probabilities: `[..., C]`.
      temperature: above 0.

    >>> tempered_mean(jnp.array([0.75, 0.25]), 0.5).round(3).tolist()  # 9 to 1
    [0.9..., 0.1...]
    """
    check_temperature(temperature)
    return _mean(jnp.asarray(probabilities, jnp.float32), temperature)


def _samples(logits: jax.Array, temperature: Any) -> jax.Array:
    if logits.shape[-1] == 1:
        logits = jnp.concatenate([jnp.zeros_like(logits), logits], -1)
    return jax.nn.softmax(logits / temperature, -1).mean(0)


def _mean(probabilities: jax.Array, temperature: Any) -> jax.Array:
    return jax.nn.softmax(jnp.log(jnp.maximum(probabilities, SMALLEST)) / temperature, -1)


def _drawn(labels: np.ndarray, mask: Any, pixels: int, seed: int) -> np.ndarray:
    place = np.arange(labels.size) if mask is None else np.flatnonzero(np.asarray(mask))
    if not place.size:
        raise DataError("no pixel to fit a temperature to: the labels or the mask are empty")
    return place if place.size <= pixels else np.random.default_rng(seed).choice(place, pixels, replace=False)


def _fit(of: str, temper: Any, values: jax.Array, labels: np.ndarray) -> Temperature:
    truth = jnp.asarray(labels)[:, None]

    @jax.jit
    def nll(logarithm: jax.Array, values: jax.Array) -> jax.Array:
        chosen = jnp.take_along_axis(temper(values, jnp.exp(logarithm)), truth, -1)
        return -jnp.log(jnp.maximum(chosen, SMALLEST)).mean()

    edges = np.log(LOWEST), np.log(HIGHEST)
    found = scipy.optimize.minimize_scalar(
        lambda logarithm: float(nll(logarithm, values)), bounds=edges, method="bounded", options={"xatol": 1e-4}
    )
    # Where every pixel is right, the likelihood is flat to rounding before the edge is reached.
    at_edge = min(float(nll(edge, values)) for edge in edges) <= found.fun + 1e-7
    return Temperature(
        float(np.exp(found.x)), of, float(nll(0.0, values)), float(found.fun), len(labels), bool(at_edge)
    )
