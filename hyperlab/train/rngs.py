"""Randomness that is derived, never carried: a key is a function of the run's root key, a name and a step."""

import hashlib

import jax

from hyperlab import prng


def stable_hash(name: str) -> int:
    """A 31-bit number for a name, the same in every process and version (Python's own `hash` is not).

    >>> stable_hash("dropout")
    492591091
    """
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "little") >> 1


def stream(root: jax.Array, name: str, step: int | jax.Array | None = None) -> jax.Array:
    """The key `fold_in(fold_in(root, stable_hash(name)), step)`.

    Args:
      root: the run's key.
      name: what the randomness is for; another name gives independent draws.
      step: the step, which may be traced; None gives the stream's own key.

    Returns:
      A key; the same three arguments always give the same one, so a restart needs no saved key.

    >>> root = jax.random.key(0)
    >>> bool(stream(root, "latents", 3) == stream(root, "latents", 3))
    True
    """
    key = prng.fold_in(root, stable_hash(name))
    return key if step is None else prng.fold_in(key, step)
