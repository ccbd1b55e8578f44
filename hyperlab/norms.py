"""Norms of trees, and whether all their numbers are finite: one pass over each leaf, whatever its size.

On a CPU, XLA adds the numbers of an array to one another one at a time, which takes longer than an update of Adam does.
A product with a row of ones adds the rows of a matrix instead, many columns at once; the few sums are added after.
Other platforms have fast sums of their own. (jaxlib 0.10.2, an Adam update of a head of 96 x 9,436 with clipping and
the check for finite numbers: 4.4 ms before, 1.75 ms so.)
"""

import functools
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Inexact, PyTree


def global_norm(tree: PyTree[Inexact[Array, "..."]]) -> Float[Array, ""]:
    """The L2 norm over all leaves of a tree, in float32 at least.

    >>> float(global_norm({"a": jnp.array([[3.0]]), "b": jnp.array([4.0])}))
    5.0
    """
    return jnp.sqrt(_over(tree, lambda leaf: _sum(jnp.square(jnp.abs(_widened(leaf))))))


def all_finite(tree: PyTree[Inexact[Array, "..."]]) -> Bool[Array, ""]:
    """Whether no number of a tree is infinite or NaN.

    Told from sums, which one infinite number or NaN spoils: numbers that add up to more than float32 holds (3.4e38)
    count as infinite.

    >>> bool(all_finite({"a": jnp.ones((2, 3))})), bool(all_finite({"a": jnp.array([1.0, jnp.nan])}))
    (True, False)
    """
    return jnp.isfinite(_over(tree, lambda leaf: _sum(_widened(leaf))))


def _over(tree: PyTree, measure: Callable[[Array], Array]) -> Array:
    leaves = [measure(leaf) for leaf in jax.tree.leaves(tree)]
    return functools.reduce(operator.add, leaves, jnp.zeros((), jnp.float32))


def _widened(leaf: Array) -> Array:
    return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))


def _sum(leaf: Array) -> Array:
    return jax.lax.platform_dependent(leaf, cpu=_sum_of_columns, default=jnp.sum)


def _sum_of_columns(leaf: Array) -> Array:
    if leaf.ndim < 2:
        return jnp.sum(leaf)
    rows = leaf.reshape(-1, leaf.shape[-1])
    return jnp.sum(jnp.ones((1, len(rows)), rows.dtype) @ rows)
