"""Compressed pseudo-gradients and gradients: each replica sends less, and what was lost is sent next time.

Two ways: numbers are rounded to few bits (`CODECS`), or matrices become thin factors (`low_rank`).

A sum of codes is no code, so these are gathered and summed in float32 by everyone: (n - 1) times the codes of one
replica, against 2 (n - 1) / n times the float32 values of an all-reduce. Bytes of 8 bits pay below 8 replicas, single
bits below 64.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Shaped, UInt8

from hyperlab import trees
from hyperlab.errors import ConfigError, nearest
from hyperlab.local_sgd import low_rank
from hyperlab.local_sgd.low_rank import RANKS
from hyperlab.local_sgd.packing import mean_over_replicas


class Codec(NamedTuple):
    """A way to write a row of numbers as bytes.

    Attributes:
      encode: `[rows, size]` float32 to (codes `[rows, bytes]` uint8, scales `[rows]` float32).
      decode: codes, scales and size back to `[rows, size]` float32.
      bits: of one number.
    """

    encode: Callable[[Array], tuple[Array, Array]]
    decode: Callable[[Array, Array, int], Array]
    bits: int


def _int8_encode(rows: Float[Array, "rows size"]) -> tuple[UInt8[Array, "rows bytes"], Float[Array, " rows"]]:
    scale = jnp.abs(rows).max(1) / 127
    codes = jnp.round(rows / jnp.where(scale > 0, scale, 1.0)[:, None]).astype(jnp.int8)
    return jax.lax.bitcast_convert_type(codes, jnp.uint8), scale


def _int8_decode(
    codes: UInt8[Array, "rows bytes"], scale: Float[Array, " rows"], size: int
) -> Float[Array, "rows size"]:
    return jax.lax.bitcast_convert_type(codes, jnp.int8).astype(jnp.float32) * scale[:, None]


def _sign_encode(rows: Float[Array, "rows size"]) -> tuple[UInt8[Array, "rows bytes"], Float[Array, " rows"]]:
    return jnp.packbits(rows >= 0, axis=1), jnp.abs(rows).mean(1)


def _sign_decode(
    codes: UInt8[Array, "rows bytes"], scale: Float[Array, " rows"], size: int
) -> Float[Array, "rows size"]:
    bits = jnp.unpackbits(codes, axis=1, count=size).astype(jnp.float32)
    return (2 * bits - 1) * scale[:, None]


# int8: symmetric, the scale is the largest magnitude of a leaf over 127. sign: the scale is the mean magnitude.
CODECS = {"int8": Codec(_int8_encode, _int8_decode, 8), "sign": Codec(_sign_encode, _sign_decode, 1)}
NAMES = (*CODECS, *RANKS)


def codec(name: str) -> Codec:
    """A codec by name.

    Raises:
      ConfigError: there is none of that name.
    """
    if name not in CODECS:
        raise ConfigError(f"unknown compression {name!r}; {nearest(name, CODECS)}")
    return CODECS[name]


def message_bytes(name: str, params: PyTree) -> int:
    """Bytes that one replica sends to each other one: the codes, and four bytes of scale a leaf.

    >>> message_bytes("int8", {"w": jnp.ones((3, 3))}), message_bytes("sign", {"w": jnp.ones((3, 3))})
    (13, 6)
    """
    return sum(-(-codec(name).bits * math.prod(leaf.shape) // 8) + 4 for leaf in jax.tree.leaves(params))


def begin(name: str, params: PyTree, replicas: int, error_feedback: bool = True) -> PyTree:
    """What there is to remember before the first exchange: zeros, `{}` without feedback, a `low_rank.Memory`.

    Raises:
      ConfigError: a leaf is complex, which neither codes nor factors are for.

    >>> begin("sign", jnp.ones(3), 2).shape
    (2, 3)
    """
    for path, leaf in trees.flatten(params).items():
        if jnp.iscomplexobj(leaf):
            raise ConfigError(
                f"compression {name!r} is for real numbers, and {path!r} is {leaf.dtype}; leave compression out, or "
                "keep its two parts as a real leaf with one more axis"
            )
    if name in RANKS:
        return low_rank.begin(params, RANKS[name], replicas)
    if not error_feedback:
        return {}
    return jax.tree.map(lambda leaf: jnp.zeros((replicas, *leaf.shape), leaf.dtype), params)


def compressed_mean(
    delta: PyTree[Shaped[Array, "replicas ..."]],
    residual: PyTree,
    name: str,
    gather: Callable[[Array], Array] = lambda codes: codes,
    mean: Callable[[PyTree], PyTree] = mean_over_replicas,
) -> tuple[PyTree, PyTree]:
    """The mean over replicas of compressed pseudo-gradients, and what compression left behind.

    Args:
      delta: leaves `[replicas, ...]`.
      residual: what was left behind before, of `begin`; None does without error feedback, which codecs can.
      name: one of `NAMES`.
      gather: brings the codes `[replicas, bytes]` of all replicas to every device.
      mean: of leaves `[replicas, ...]` over the replicas, for factors.

    Returns:
      The mean, leaves `[...]` float32, and the new residual (None where it was None).

    >>> mean, left = compressed_mean(jnp.array([[1.0, -0.5]]), jnp.zeros((1, 2)), "sign")
    >>> mean.tolist(), left.tolist()
    ([0.75, -0.75], [[0.25, 0.25]])
    """
    if name in RANKS:
        return low_rank.low_rank_mean(delta, residual, RANKS[name], mean)
    kind = codec(name)
    leaves, structure = jax.tree.flatten(delta)
    rows = [leaf.reshape(leaf.shape[0], -1).astype(jnp.float32) for leaf in leaves]
    if residual is not None:
        left = jax.tree.leaves(residual)
        rows = [row + old.reshape(row.shape) for row, old in zip(rows, left, strict=True)]
    coded = [kind.encode(row) for row in rows]
    # one array of bytes, scales included: one collective
    scales = jnp.stack([scale for _, scale in coded], axis=1)
    tail = jax.lax.bitcast_convert_type(scales, jnp.uint8).reshape(scales.shape[0], -1)
    everyone = gather(jnp.concatenate([*(codes for codes, _ in coded), tail], axis=1))
    tail = everyone[:, everyone.shape[1] - tail.shape[1] :].reshape(-1, len(rows), 4)
    scales = jax.lax.bitcast_convert_type(tail, jnp.float32)
    at, means = 0, []
    for index, (row, (codes, _)) in enumerate(zip(rows, coded, strict=True)):
        part = everyone[:, at : at + codes.shape[1]]
        means.append(kind.decode(part, scales[:, index], row.shape[1]).mean(0).reshape(leaves[index].shape[1:]))
        at += codes.shape[1]
    mean = jax.tree.unflatten(structure, means)
    if residual is None:
        return mean, None
    lost = [row - kind.decode(*pair, row.shape[1]) for row, pair in zip(rows, coded, strict=True)]
    lost = [loss.reshape(leaf.shape) for loss, leaf in zip(lost, leaves, strict=True)]
    return mean, jax.tree.unflatten(structure, lost)
