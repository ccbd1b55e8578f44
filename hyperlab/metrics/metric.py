"""A metric is sums and a count until the very end, so that batches, devices and padded rows stay exact."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Real


class Metric(NamedTuple):
    """A mean that is not divided yet: `total` over `count` examples (or pixels, or steps).

    Metrics of several batches are added leaf by leaf with `jax.tree.map(jnp.add, first, second)`.

    >>> import jax
    >>> first, second = Metric(3.0, 4.0), Metric(2.0, 4.0)
    >>> float(jax.tree.map(jnp.add, first, second).finish())
    0.625
    """

    total: Float[Array, "..."]
    count: Float[Array, "..."]  # type: ignore[assignment] # hides the method of tuples

    def finish(self) -> Float[Array, "..."]:
        """The mean; NaN where nothing was counted."""
        return jnp.divide(self.total, self.count)


def mean_over(values: Real[Array, " n"], weights: Real[Array, " n"] | None = None) -> Metric:
    """The sum of one value an example, in float32, and how many examples there are.

    Args:
      values: `[n]`.
      weights: `[n]`, 0 where a row is padding, whatever value the row has (NaN included), else 1; by
        default all rows count.

    >>> mean_over(jnp.array([1.0, 2.0, jnp.nan]), jnp.array([1.0, 1.0, 0.0])).finish()
    Array(1.5, dtype=float32)
    """
    values = values.astype(jnp.float32)
    if weights is None:
        return Metric(values.sum(), jnp.float32(values.size))
    return Metric(jnp.where(weights > 0, values * weights, 0).sum(), weights.astype(jnp.float32).sum())
