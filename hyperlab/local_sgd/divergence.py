"""How far replicas have drifted apart, and whether they moved the same way.

These compare all replicas, so where replicas are sharded they communicate: for evaluations, not for every step.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Shaped

from hyperlab.local_sgd.packing import real_rows
from hyperlab.local_sgd.state import LocalState


def drift(state: LocalState) -> dict[str, Float[Array, ""]]:
    """Measures of how replicas drifted since the last synchronisation.

    Returns:
      Scalars:
        `distance_max`, `distance_mean`: of replica i from the mean of replicas, over the norm of that mean;
        `moved`: the mean norm of anchor minus replica, over the norm of the anchor;
        `cosine`: the mean cosine between the moves of two replicas, in [-1, 1]; NaN for one replica. A replica that
        has not moved has cosine 0 with all others.
    """
    stacked, anchor = rows(state.inner.params), rows(jax.tree.map(lambda leaf: leaf[None], state.anchor))
    return {**distances(stacked), **moves(stacked, anchor)}


def distances(stacked: Float[Array, "replicas size"]) -> dict[str, Float[Array, ""]]:
    """Distances from the mean, of replicas as rows `[replicas, size]`.

    >>> found = distances(jnp.array([[3.0, 4.0], [3.0, 4.0], [0.0, 0.0]]))
    >>> round(float(found["distance_max"]), 6), round(float(found["distance_mean"]), 6)
    (1.0, 0.666667)
    """
    mean = stacked.mean(0, keepdims=True)
    lengths = _norm(stacked - mean) / jnp.maximum(_norm(mean), jnp.finfo(stacked.dtype).tiny)
    return {"distance_max": lengths.max(), "distance_mean": lengths.mean()}


def moves(stacked: Float[Array, "replicas size"], anchor: Float[Array, "1 size"]) -> dict[str, Float[Array, ""]]:
    """How far and how much alike replicas, as rows, moved from an anchor `[1, size]`.

    >>> found = moves(jnp.array([[1.0, 1.0], [1.0, 2.0]]), jnp.array([[1.0, 0.0]]))
    >>> float(found["cosine"]), float(found["moved"])
    (1.0, 1.5)
    """
    delta, count = anchor - stacked, stacked.shape[0]
    lengths, tiny = _norm(delta), jnp.finfo(stacked.dtype).tiny
    units = delta / jnp.maximum(lengths, tiny)[:, None]
    # the sum over pairs i != j is the squared norm of the sum of unit vectors, less the i = j terms
    pairs = jnp.square(units.sum(0)).sum() - jnp.square(units).sum()
    cosine = pairs / (count * (count - 1)) if count > 1 else jnp.full((), jnp.nan, stacked.dtype)
    return {"moved": lengths.mean() / jnp.maximum(_norm(anchor)[0], tiny), "cosine": jnp.clip(cosine, -1, 1)}


def rows(stacked: PyTree[Shaped[Array, "replicas ..."]]) -> Float[Array, "replicas size"]:
    """A tree with a leading axis as one matrix `[replicas, size]`, float32; a complex number is two of them.

    >>> rows({"a": jnp.ones((2, 3)), "b": jnp.ones((2, 2, 2))}).shape
    (2, 7)
    """
    leaves = jax.tree.leaves(stacked)
    return jnp.concatenate([real_rows(leaf).astype(jnp.float32) for leaf in leaves], axis=1)


def _norm(matrix: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.square(matrix).sum(1))
