"""What is kept of the samples of a network: running moments, whose size does not depend on how many there are.

The mean and the sum of squared deviations from it (Welford's recurrence), not sums of squares: the variance of
samples that hardly differ would be lost in the difference of two large numbers. All in float32, whatever the
network computes in.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperlab.errors import DataError
from hyperlab.uncertainty.given import check_temperature


class Moments(NamedTuple):
    """Of samples of class probabilities `[batch, *spatial, class]`; float32 throughout.

    Attributes:
      count: how many samples, a scalar.
      mean: `[batch, *spatial, class]`.
      deviations: the sum over samples of the squared deviations from the mean, `[batch, *spatial, class]`.
      entropy: the sum over samples of the entropy of each, in nats, `[batch, *spatial]`.
      votes: in how many samples a class is the most probable one, `[batch, *spatial, class]`; the first of equals.
    """

    count: Float[Array, ""]  # type: ignore[assignment] # hides the method of tuples
    mean: Float[Array, "batch *spatial class"]
    deviations: Float[Array, "batch *spatial class"]
    entropy: Float[Array, " batch *spatial"]
    votes: Float[Array, "batch *spatial class"]


def probabilities(
    logits: Float[Array, "*rest class"], temperature: Float[Array, "..."] | float | None = None
) -> Float[Array, "*rest classes"]:
    """Class probabilities in float32: `[..., class]`, and `[..., 2]` of a single logit, that of class 1.

    Args:
      logits: `[..., class]`; with one channel a sigmoid's, otherwise a softmax's.
      temperature: divides the logits, above 0.

    Raises:
      ConfigError: a temperature that is not above 0.

    >>> probabilities(jnp.array([[0.0]])), probabilities(jnp.array([[0.0, 0.0]]))
    (Array([[0.5, 0.5]], dtype=float32), Array([[0.5, 0.5]], dtype=float32))
    """
    check_temperature(temperature)
    logits = logits.astype(jnp.float32)
    if temperature is not None:
        logits = logits / temperature
    if logits.shape[-1] == 1:
        return jnp.concatenate([jax.nn.sigmoid(-logits), jax.nn.sigmoid(logits)], axis=-1)
    return jax.nn.softmax(logits)


def entropy(probabilities: Float[Array, "*rest class"]) -> Float[Array, "*rest"]:
    """The entropy in nats of the last axis, 0 ln 0 being 0.

    >>> entropy(jnp.array([[0.5, 0.5], [1.0, 0.0]]))
    Array([0.6931472, 0.       ], dtype=float32)
    """
    return jax.scipy.special.entr(probabilities).sum(-1)


def init(shape: Sequence[int]) -> Moments:
    """The moments of no sample.

    Args:
      shape: of one sample's probabilities, `(batch, *spatial, class)`; a single logit has two classes.

    >>> init((1, 4, 4, 2)).entropy.shape
    (1, 4, 4)
    """
    whole, reduced = jnp.zeros(tuple(shape)), jnp.zeros(tuple(shape)[:-1])
    return Moments(jnp.zeros(()), whole, whole, reduced, whole)


def update(moments: Moments, sample: Float[Array, "batch *spatial class"]) -> Moments:
    """The moments with one sample more.

    Args:
      moments: so far.
      sample: probabilities `[batch, *spatial, class]`, sum 1 over classes.

    >>> found = update(update(init((1, 2)), jnp.array([[0.1, 0.9]])), jnp.array([[0.9, 0.1]]))
    >>> found.mean.round(4), found.votes
    (Array([[0.5, 0.5]], dtype=float32), Array([[1., 1.]], dtype=float32))

    (Welford, 1962, "Note on a method for calculating corrected sums of squares and products".)
    """
    sample = sample.astype(jnp.float32)
    count = moments.count + 1
    away = sample - moments.mean
    mean = moments.mean + away / count
    return Moments(
        count,
        mean,
        moments.deviations + away * (sample - mean),
        moments.entropy + entropy(sample),
        moments.votes + _vote(sample),
    )


def merge(first: Moments, second: Moments) -> Moments:
    """The moments of two sets of samples together; either may be empty, and the order does not matter.

    >>> both = merge(from_stacked(jnp.array([[[0.1, 0.9]]])), from_stacked(jnp.array([[[0.9, 0.1]]])))
    >>> both.mean.round(4), both.deviations.round(4)
    (Array([[0.5, 0.5]], dtype=float32), Array([[0.32, 0.32]], dtype=float32))

    (Chan, Golub and LeVeque, 1983, "Algorithms for computing the sample variance".)
    """
    count = first.count + second.count
    share = second.count / jnp.maximum(count, 1)
    away = second.mean - first.mean
    return Moments(
        count,
        first.mean + away * share,
        first.deviations + second.deviations + away**2 * (first.count * share),
        first.entropy + second.entropy,
        first.votes + second.votes,
    )


def from_stacked(samples: Float[Array, "sample batch *spatial class"]) -> Moments:
    """The moments of samples that are all there.

    Args:
      samples: probabilities `[sample, batch, *spatial, class]`, sum 1 over classes; one sample at least.

    Raises:
      DataError: no sample, or too few axes.

    >>> float(from_stacked(jnp.full((5, 1, 2), 0.5)).count)
    5.0
    """
    if samples.ndim < 2 or not samples.shape[0]:
        raise DataError(f"samples of shape {samples.shape}; expected [sample, batch, *spatial, class], one at least")
    samples = samples.astype(jnp.float32)
    mean = samples.mean(0)
    return Moments(
        jnp.asarray(len(samples), jnp.float32),
        mean,
        ((samples - mean[None]) ** 2).sum(0),
        entropy(samples).sum(0),
        _vote(samples).sum(0),
    )


def _vote(probabilities: jax.Array) -> jax.Array:
    return jax.nn.one_hot(probabilities.argmax(-1), probabilities.shape[-1])
