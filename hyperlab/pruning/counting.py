"""Masks as values: applied, counted, compared, shuffled, stored.

Counts are of masks and in integers: a weight that happens to be zero is not pruned, and float32 loses units beyond
2^24.
"""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Key, PyTree, UInt8

from hyperlab import trees
from hyperlab.errors import ParameterTreeError
from hyperlab.pruning.scores import words


def apply(params: PyTree, masks: PyTree[Bool[Array | np.ndarray, "..."]]) -> PyTree:
    """Parameters with exact zeros where pruned, also where a pruned entry is not finite; differentiable.

    >>> apply({"a": jnp.array([1.0, jnp.nan])}, {"a": np.array([True, False])})["a"].tolist()
    [1.0, 0.0]
    """
    return jax.tree.map(zeroed, masks, params)


def zeroed(mask: Any, leaf: Any) -> Any:
    """A leaf with zeros of its own dtype where pruned; random keys have none, and stay."""
    if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    return jnp.where(mask, leaf, jnp.zeros((), jnp.result_type(leaf)))


def dense(params: PyTree) -> PyTree[Bool[np.ndarray, "..."]]:
    """Masks that prune nothing.

    >>> dense({"a": jnp.ones(2)})
    {'a': array([ True,  True])}
    """
    return jax.tree.map(lambda leaf: np.ones(leaf.shape, bool), params)


def check(masks: PyTree, params: PyTree) -> None:
    """Refuses masks that are not bool arrays in the structure and shapes of the parameters.

    Raises:
      ParameterTreeError: what differs is named.
    """
    trees.check_same(masks, params, "the masks", ParameterTreeError)
    for path, mask in trees.flatten(masks).items():
        if mask.dtype != bool:
            raise ParameterTreeError(f"mask {path!r} has dtype {mask.dtype}, expected bool")


def agree(params: PyTree, masks: PyTree[Bool[Array | np.ndarray, "..."]]) -> bool:
    """Whether every pruned entry is exactly zero; checks the trees as `check` does.

    >>> agree({"a": np.array([1.0, 0.5])}, {"a": np.array([True, False])})
    False
    """
    check(masks, params)
    pruned = {path: ~np.asarray(mask) for path, mask in trees.flatten(masks).items()}
    leaves = trees.flatten(params).items()
    return not any(np.any(np.asarray(leaf)[pruned[path]]) for path, leaf in leaves if pruned[path].any())


def available(masks: PyTree[Bool[Array | np.ndarray, "..."]]) -> dict[str, int]:
    """Entries kept, by path.

    >>> available({"a": {"kernel": np.array([True, False])}})
    {'a/kernel': 1}
    """
    return {path: int(np.count_nonzero(np.asarray(mask))) for path, mask in trees.flatten(masks).items()}


def compression(masks: PyTree[Bool[Array | np.ndarray, "..."]]) -> float:
    """All entries over kept ones; infinite where none is kept.

    >>> compression({"a": np.array([True, False]), "b": np.ones(2, bool)})
    1.3333333333333333
    """
    kept = sum(available(masks).values())
    return trees.count(masks) / kept if kept else float("inf")


def fractions_of(masks: PyTree[Bool[Array | np.ndarray, "..."]]) -> dict[str, float]:
    """The kept fraction of every leaf, by path; a control with `distribution=fractions_of(masks)` keeps the counts.

    >>> fractions_of({"a": np.array([True, False]), "b": np.ones(2, bool)})
    {'a': 0.5, 'b': 1.0}
    """
    sizes = {path: int(mask.size) for path, mask in trees.flatten(masks).items()}
    return {path: kept / sizes[path] if sizes[path] else 1.0 for path, kept in available(masks).items()}


def collapsed(masks: PyTree[Bool[Array | np.ndarray, "..."]]) -> list[str]:
    """The leaves of which nothing is kept: a network with such a kernel may pass nothing on.

    >>> collapsed({"a": np.zeros(2, bool), "b": np.array([True, False])})
    ['a']
    """
    kept = available(masks)
    return [path for path, mask in trees.flatten(masks).items() if np.size(mask) and not kept[path]]


def shuffle(
    masks: PyTree[Bool[Array | np.ndarray, "..."]], key: Key[Array, ""] | int
) -> PyTree[Bool[np.ndarray, "..."]]:
    """Masks of the same counts in every leaf, at random places: the control that only layer fractions pass.

    Args:
      masks: a tree of bool arrays.
      key: a `jax.random` key or an integer; the draws of a leaf depend on it and the leaf's path.

    Source: Frankle, Dziugaite, Roy and Carbin (2021), arXiv 2009.08576.

    >>> fractions_of(shuffle({"a": np.arange(10) < 3}, 0))
    {'a': 0.3}
    """
    seed = words(key)
    return trees.unflatten(
        {
            path: np.random.default_rng([*seed, zlib.crc32(path.encode())])
            .permutation(np.ravel(np.asarray(mask)))
            .reshape(mask.shape)
            for path, mask in trees.flatten(masks).items()
        },
        masks,
    )


def pack(masks: PyTree[Bool[Array | np.ndarray, "..."]]) -> dict[str, UInt8[np.ndarray, " bytes"]]:
    """Masks at one bit an entry, by path, for storage.

    >>> pack({"a": np.ones((3, 3), bool)})["a"].nbytes
    2
    """
    return {path: np.packbits(np.asarray(mask)) for path, mask in trees.flatten(masks).items()}


def unpack(packed: dict[str, UInt8[np.ndarray, " bytes"]], like: PyTree) -> PyTree[Bool[np.ndarray, "..."]]:
    """The masks that `pack` stored, for parameters of the same paths and shapes.

    >>> masks = {"a": np.array([[True, False], [False, True]])}
    >>> bool((unpack(pack(masks), masks)["a"] == masks["a"]).all())
    True
    """
    sizes = {path: tuple(leaf.shape) for path, leaf in trees.flatten(like).items()}
    flat = {}
    for path, bits in packed.items():
        shape = sizes.get(path, ())
        size = int(np.prod(shape, dtype=np.int64))
        if path in sizes and len(bits) != -(-size // 8):
            raise ParameterTreeError(
                f"mask {path!r} has {len(bits)} bytes, which is not one bit for each of {size} entries"
            )
        flat[path] = np.unpackbits(bits, count=size).reshape(shape).astype(bool)
    return trees.unflatten(flat, like)
