r"""Matrices sent as two thin factors: one step of a power iteration that goes on from round to round.

Of a matrix $M_i$ [rows, columns] on each replica, with a basis $Q$ [columns, rank] that all share: $P$ is the mean of
$M_i Q$, made orthonormal; then $Q_i = M_i^T P$, whose mean is the next basis. The mean matrix is taken to be
$P \bar Q^T$; what a replica loses, $M_i - P Q_i^T$, it adds to its next one. Both means are all-reduces: unlike codes,
thin factors can be summed on the way.

Source: Vogels, Karimireddy and Jaggi 2019, "PowerSGD", arXiv 1905.13727.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Shaped

from hyperlab import prng
from hyperlab.local_sgd.packing import mean_over_replicas

RANKS = {"rank1": 1, "rank2": 2, "rank4": 4}


class Memory(NamedTuple):
    """What replicas remember between two exchanges.

    Attributes:
      lost: what each one has not sent yet, a tree like the parameters with leaves `[replicas, ...]`.
      basis: Q of every matrix that is sent as factors, `[replicas, columns, rank]`: the same on all of them.
    """

    lost: PyTree
    basis: tuple[Float[Array, "replicas columns rank"], ...]


def is_factored(shape: tuple[int, ...], rank: int) -> bool:
    """Whether a leaf is sent as factors: a matrix (of a kernel: inputs by outputs) of which they are the smaller part.

    >>> is_factored((3, 3, 16, 32), 2), is_factored((32,), 2), is_factored((2, 2), 2)
    (True, False, False)
    """
    rows, columns = _matrix(shape)
    return len(shape) > 1 and rank * (rows + columns) < rows * columns


def numbers_sent(params: PyTree, rank: int) -> int:
    """How many numbers one exchange sums up: factors, and the leaves that are sent whole.

    >>> numbers_sent({"kernel": jnp.ones((10, 20)), "bias": jnp.ones(20)}, 2)
    80
    """
    shapes = [leaf.shape for leaf in jax.tree.leaves(params)]
    return sum(rank * sum(_matrix(shape)) if is_factored(shape, rank) else math.prod(shape) for shape in shapes)


def begin(params: PyTree, rank: int, replicas: int) -> Memory:
    """The memory before the first exchange: nothing lost, and a basis drawn from a normal distribution."""
    shapes = [leaf.shape for leaf in jax.tree.leaves(params) if is_factored(leaf.shape, rank)]
    keys = prng.split(jax.random.key(0), max(1, len(shapes)))  # every replica draws the same
    drawn = [prng.normal(key, (_matrix(shape)[1], rank)) for key, shape in zip(keys, shapes, strict=False)]
    lost = jax.tree.map(lambda leaf: jnp.zeros((replicas, *leaf.shape), jnp.float32), params)
    return Memory(lost, tuple(jnp.broadcast_to(one, (replicas, *one.shape)) for one in drawn))


def low_rank_mean(
    delta: PyTree[Shaped[Array, "replicas ..."]],
    memory: Memory,
    rank: int,
    mean: Callable[[PyTree], PyTree] = mean_over_replicas,
) -> tuple[PyTree, Memory]:
    """The mean over replicas, of matrices to a rank.

    Exact where the rank of the mean matrix is no higher.

    Args:
      delta: leaves `[replicas, ...]`.
      memory: of the last exchange, or of `begin`.
      rank: of the factors.
      mean: of leaves `[replicas, ...]` over the replicas, to leaves `[...]`; called twice.

    Returns:
      The mean, leaves `[...]` float32, and the new memory.

    >>> delta = {"w": jnp.stack([jnp.ones((8, 4)), 3 * jnp.ones((8, 4))])}
    >>> found, memory = low_rank_mean(delta, begin({"w": jnp.ones((8, 4))}, 1, 2), 1)
    >>> bool(jnp.allclose(found["w"], 2.0, atol=1e-5)), memory.basis[0].shape
    (True, (2, 4, 1))
    """
    leaves, structure = jax.tree.flatten(delta)
    sent = [leaf.astype(jnp.float32) + old for leaf, old in zip(leaves, jax.tree.leaves(memory.lost), strict=True)]
    factored = [is_factored(leaf.shape[1:], rank) for leaf in leaves]
    matrices = [
        leaf.reshape(leaf.shape[0], -1, leaf.shape[-1]) for leaf, yes in zip(sent, factored, strict=True) if yes
    ]
    whole = [leaf for leaf, yes in zip(sent, factored, strict=True) if not yes]
    left, whole = mean(([m @ q for m, q in zip(matrices, memory.basis, strict=True)], whole))
    left = [jnp.linalg.qr(p)[0] for p in left]
    own = [jnp.einsum("imn,mk->ink", m, p) for m, p in zip(matrices, left, strict=True)]
    right = mean(own)
    lost = iter([m - jnp.einsum("mk,ink->imn", p, q) for m, p, q in zip(matrices, left, own, strict=True)])
    found, rest = iter([p @ q.T for p, q in zip(left, right, strict=True)]), iter(whole)
    means = [
        (next(found) if yes else next(rest)).reshape(leaf.shape[1:]) for leaf, yes in zip(leaves, factored, strict=True)
    ]
    losses = [
        next(lost).reshape(leaf.shape) if yes else jnp.zeros_like(leaf, jnp.float32)
        for leaf, yes in zip(leaves, factored, strict=True)
    ]
    basis = tuple(jnp.broadcast_to(q, old.shape) for q, old in zip(right, memory.basis, strict=True))
    return jax.tree.unflatten(structure, means), Memory(jax.tree.unflatten(structure, losses), basis)


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    return math.prod(shape[:-1]), shape[-1] if shape else 1
