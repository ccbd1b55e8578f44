"""Leaves of a tree as plain arrays by slash path, what is recorded of them, and the way back."""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from hyperlab import trees
from hyperlab.errors import CheckpointError, nearest


def manifest(tree: PyTree) -> dict[str, list]:
    """Shape and dtype of every leaf by slash path: what a checkpoint says about its tree.

    >>> manifest({"w": np.zeros((2, 3), np.float32)})
    {'w': [[2, 3], 'float32']}
    """
    return {
        path: [list(np.shape(leaf)), str(leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype)]
        for path, leaf in named(tree).items()
    }


def named(tree: PyTree) -> dict[str, Any]:
    """The arrays and numbers of a tree by slash path; a tree that is one leaf calls it `value`.

    What is neither (a function, a name: the structure of a module that carries them as leaves) is left out, and
    comes back from the tree that a file is read onto.
    """
    leaves = {path: leaf for path, leaf in trees.flatten(tree).items() if trees.is_array(leaf)}
    return {path or _single(leaves): leaf for path, leaf in leaves.items()}


def keys(tree: PyTree) -> dict[str, list[str]]:
    """The keys of the leaves whose path, cut at its slashes, does not tell them: what a file has to note."""
    odd, leaves = trees.odd_keys(tree), named(tree)
    return {path: own for path, own in odd.items() if path in leaves}


def rebuilt(like: PyTree, values: dict[str, Any], host: bool = False) -> PyTree:
    """Stored arrays by path in the structure of `like`, each as what it is there (see `back`)."""
    leaves = trees.flatten(like)
    single = _single([path for path, leaf in leaves.items() if trees.is_array(leaf)])
    new = [back(values[p or single], leaf, host) if trees.is_array(leaf) else leaf for p, leaf in leaves.items()]
    return jax.tree.unflatten(jax.tree.structure(like), new)


def _single(leaves: Any) -> str:
    """What a leaf without a path is called."""
    return "value" if "value" not in leaves else ""


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a typed random key (or many)."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def plain(tree: PyTree) -> dict[str, Any]:
    """The leaves by slash path as device or host arrays; keys as their data, numbers as arrays."""
    return {path: _plain(leaf) for path, leaf in named(tree).items()}


def target(leaf: Any, host: bool = False) -> Any:
    """What orbax restores onto: a sharded structure for device arrays that have a place, else (or `host`) an array."""
    data = jax.eval_shape(jax.random.key_data, leaf) if is_key(leaf) else leaf
    sharding = getattr(leaf, "sharding", None)
    placed = sharding is not None and getattr(leaf, "committed", True)
    if placed and not is_key(leaf) and not host:
        return jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=sharding)
    return np.empty(np.shape(data), data.dtype if hasattr(data, "dtype") else np.asarray(data).dtype)


def placed(value: Any, leaf: Any) -> Any:
    """A host array where `leaf` is: on its devices, if it has a place."""
    if is_key(leaf) or not getattr(leaf, "committed", False):
        return value
    return jax.device_put(value, leaf.sharding)


def empty(leaf: Any) -> Any:
    """A leaf without entries, which no checkpoint holds: all that is to be known of it is in its target."""
    wanted = target(leaf)
    if isinstance(wanted, np.ndarray):
        return wanted
    return jax.device_put(np.empty(wanted.shape, wanted.dtype), wanted.sharding)


def back(value: Any, leaf: Any, host: bool = False) -> Any:
    """A stored array as what `leaf` is: key, Python number, host or device array."""
    if is_key(leaf):
        key = jax.random.wrap_key_data(jnp.asarray(value), impl=jax.random.key_impl(_one_key(leaf)))
        return jax.device_put(key, leaf.sharding) if getattr(leaf, "committed", False) else key
    if isinstance(leaf, np.generic):
        return np.asarray(value)[()]
    if isinstance(leaf, bool | int | float | complex):
        return type(leaf)(value)
    if host or isinstance(value, jax.Array) or isinstance(leaf, np.ndarray):
        return value
    return jnp.array(value)


def _plain(leaf: Any) -> Any:
    if is_key(leaf):
        return jax.random.key_data(leaf)
    return leaf if isinstance(leaf, jax.Array) else np.array(leaf)


def _one_key(leaf: Any) -> Any:
    return leaf if isinstance(leaf, jax.Array) else jnp.zeros((), leaf.dtype)


def checksums(leaves: dict[str, Any]) -> dict[str, int]:
    """CRC-32 of every leaf, which this process holds in full: orbax itself does not notice a flipped bit."""
    return {path: zlib.crc32(np.ascontiguousarray(leaf).tobytes()) for path, leaf in leaves.items()}


def check_manifest(saved: dict[str, list], wanted: dict[str, list], where: str) -> None:
    """Refuses a tree whose paths, shapes or dtypes differ, naming each (CheckpointError)."""
    problems = [f"missing {path!r}" for path in wanted if path not in saved]
    problems += [f"unexpected {path!r} ({nearest(path, wanted)})" for path in saved if path not in wanted]
    problems += [
        f"{path!r} is {saved[path][1]} {tuple(saved[path][0])}, expected {want[1]} {tuple(want[0])}"
        for path, want in wanted.items()
        if path in saved and saved[path] != want
    ]
    if problems:
        more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise CheckpointError(f"{where} does not fit this run's state: {'; '.join(problems[:10])}{more}")
