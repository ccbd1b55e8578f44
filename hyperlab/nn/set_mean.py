"""Means over a set whose images are never all there at once."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Shaped

from hyperlab.errors import ConfigError

Step = Callable[[PyTree], tuple[PyTree, PyTree]]


def mean_over_set(
    step: Step, sets: PyTree[Shaped[Array, "batch set ..."]], chunk: int | None = None
) -> tuple[PyTree[Shaped[Array, "batch 1 ..."]], PyTree[Shaped[Array, "batch set ..."]]]:
    """Applies a step to the images of a set, takes the mean of some of its results and keeps others.

    Sums are at least of float32. With `chunk`, a loop takes that many images at a time and adds to a running sum:
    what the step needs in between is there for one chunk alone. The result is the same to rounding. In training the
    loop stores that for every chunk, unless the step is rematerialised (`jax.checkpoint`).

    Args:
      step: maps a tree of `[batch, part, ...]` to two trees of `[batch, part, ...]`: what to take the mean of, and
        what to keep. It treats images alike, whatever their number.
      sets: a tree of `[batch, set, ...]`, all with the same set size.
      chunk: images at a time, or None for all at once; what does not fill a chunk is a smaller one.

    Returns:
      `(means, kept)`: trees of `[batch, 1, ...]` and of `[batch, set, ...]`, in the dtypes of the step's results.

    Raises:
      ConfigError: an empty set, or a chunk below 1.

    >>> numbers = jnp.arange(10.0).reshape(2, 5)
    >>> means, kept = mean_over_set(lambda part: (part, -part), numbers, chunk=2)
    >>> means.tolist(), kept[1].tolist()
    ([[2.0], [7.0]], [-5.0, -6.0, -7.0, -8.0, -9.0])
    """
    count = jax.tree.leaves(sets)[0].shape[1]
    if count < 1 or (chunk is not None and chunk < 1):
        raise ConfigError(f"a set of {count} images in chunks of {chunk}: both are at least 1")
    if chunk is None or chunk >= count:
        values, kept = step(sets)
        return jax.tree.map(lambda value, total: _mean(total, count, value), values, _sums(values)), kept

    whole, rest = divmod(count, chunk)
    parts = jax.tree.map(lambda s: _to_chunks(s[:, : whole * chunk], chunk), sets)
    values = jax.eval_shape(step, jax.tree.map(lambda part: part[0], parts))[0]

    def body(totals: PyTree, part: PyTree) -> tuple[PyTree, PyTree]:
        values, kept = step(part)
        return jax.tree.map(jnp.add, totals, _sums(values)), kept

    zeros = jax.tree.map(lambda total: jnp.zeros(total.shape, total.dtype), jax.eval_shape(_sums, values))
    totals, kept = jax.lax.scan(body, zeros, parts)
    kept = jax.tree.map(_from_chunks, kept)
    if rest:
        totals, last = body(totals, jax.tree.map(lambda s: s[:, whole * chunk :], sets))
        kept = jax.tree.map(lambda *both: jnp.concatenate(both, axis=1), kept, last)
    return jax.tree.map(lambda value, total: _mean(total, count, value), values, totals), kept


def _sums(values: PyTree) -> PyTree:
    def total(value: jax.Array) -> jax.Array:
        return value.sum(1, keepdims=True, dtype=jnp.promote_types(value.dtype, jnp.float32))

    return jax.tree.map(total, values)


def _mean(total: jax.Array, count: int, like: Any) -> jax.Array:
    return (total / count).astype(like.dtype)


def _to_chunks(images: jax.Array, chunk: int) -> jax.Array:
    """From `[batch, set, ...]` to `[chunks, batch, chunk, ...]`."""
    return images.reshape(images.shape[0], -1, chunk, *images.shape[2:]).swapaxes(0, 1)


def _from_chunks(images: jax.Array) -> jax.Array:
    swapped = images.swapaxes(0, 1)
    return swapped.reshape(swapped.shape[0], -1, *swapped.shape[3:])
