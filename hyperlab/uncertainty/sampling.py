"""Samples of any network that draws, and their moments in memory that does not grow with their number.

Draw number t is a function of the key and of t alone. So the first draws of many are the few, and how many are
computed at a time changes nothing.
"""

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8

from hyperlab.errors import ConfigError
from hyperlab.uncertainty import moments as running
from hyperlab.uncertainty.given import check_temperature, whole_number
from hyperlab.uncertainty.samplers import Sampler, by_number, check_draws


class Masks(NamedTuple):
    """Binary masks of samples at one bit a pixel; `hyperlab.uncertainty.sets.unpack` makes them bool.

    Attributes:
      bits: uint8 `[batch, sample, bytes]`, of the pixels in C order, the last byte filled with zeros.
    """

    bits: UInt8[Array, "batch sample bytes"]


def sample(
    sampler: Sampler,
    key: Key[Array, ""],
    images: Float[Array, "batch *spatial channel"],
    count: int,
    *,
    chunk: int = 1,
    at: Sequence[int] = (),
    temperature: Float[Array, ""] | float | None = None,
    masks: bool = False,
    fixed: bool = False,
    reuse: bool = False,
) -> Any:
    """The moments of some draws of a network; to be compiled, with `count`, `chunk` and `at` static.

    Args:
      sampler: `(key, images) -> logits [batch, *spatial, class]`, one draw; see `hyperlab.uncertainty.samplers`. A
        single logit is a sigmoid's, and counts as two classes.
      key: draw t has the key `fold_in(key, t)`, whatever the count and the chunk; a deep ensemble has its member t.
        Only under keys of the `rbg` generators, which compile faster, do draws depend on the chunk.
      images: `[batch, *spatial, channel]`.
      count: draws, T; 2 at least.
      chunk: draws that are computed at a time, side by side. Memory for activations grows with it. What does not fill
        a chunk at the end is a smaller one. Samplers of other weights, `latent` and `members`, are fastest at 1: side
        by side, they are grouped convolutions.
      at: numbers of draws, 2 to `count`, whose moments are wanted too.
      temperature: divides the logits of every draw, before their probabilities are averaged.
      masks: keep the mask of every draw as well: where its most probable class is not class 0.
      fixed: accept a sampler that draws nothing, for instance a network with a dropout rate of 0.
      reuse: let the compiler compute once, and keep, what comes before the first thing that is drawn. It is faster,
        the more so the later a network first drops something, and takes more memory than one forward pass does.

    Returns:
      The `moments.Moments`; with `at`, `{T: Moments}` of all these and of `count`. With `masks`, a pair of that and of
      the `Masks` of all draws.

    Raises:
      ConfigError: fewer than 2 draws or no whole number of them, a chunk below 1, an `at` out of range, more draws
        than a deep ensemble has members; a temperature that is not above 0; a sampler whose logits do not depend on
        its key, unless `fixed`.

    >>> from hyperlab.uncertainty.maps import maps
    >>> def sampler(key, images):
    ...     return images + jax.random.normal(key, ())
    >>> found = sample(sampler, jax.random.key(0), jnp.zeros((1, 4, 4, 1)), 20, chunk=8, at=(5, 10))
    >>> {T: float(moments.count) for T, moments in found.items()}
    {5: 5.0, 10: 10.0, 20: 20.0}
    >>> maps(found[20]).epistemic.shape
    (1, 4, 4)

    (Gal and Ghahramani, 2016, arXiv 1506.02142.)
    """
    draw, state, limit = by_number(sampler)
    count, chunk = whole_number(count, "the count of draws"), whole_number(chunk, "chunk")
    _check(count, chunk, [whole_number(number, "at") for number in at], limit)
    check_temperature(temperature)
    if not fixed:
        check_draws(sampler, key, images)

    def draws(start: Any, size: int) -> tuple[jax.Array, Any]:
        """Probabilities `[size, ...]` of the draws from number `start` on, and their masks."""
        # never zeroed; but the compiler cannot know, so that nothing is the same in all rounds of the loop
        seen = images if reuse else jnp.where(start < 0, jnp.zeros_like(images), images)
        if size == 1:  # without vmap, which would make convolutions with drawn weights grouped ones
            logits = draw(state(key, start), seen)[None]
        else:
            logits = jax.vmap(lambda t: draw(state(key, t), seen))(start + jnp.arange(size))
        found = running.probabilities(logits, temperature)
        return found, _packed(found) if masks else ()

    wanted = sorted({*at, count})
    shape = jax.eval_shape(lambda: draws(0, 1)[0]).shape[1:]
    empty = running.init(shape)
    # row i holds the moments of the first wanted[i] draws; until then it is overwritten with those so far
    rows = jax.tree.map(lambda leaf: jnp.zeros((len(wanted), *leaf.shape)), empty) if len(wanted) > 1 else ()

    def add(carry: Any, found: jax.Array) -> tuple[Any, None]:
        moments, kept = running.update(carry[0], found), carry[1]
        if not kept:
            return (moments, kept), None
        row = jnp.searchsorted(jnp.array(wanted, jnp.float32), moments.count)
        return (moments, jax.tree.map(lambda all_, one: all_.at[row].set(one), kept, moments)), None

    def step(carry: Any, start: Any, size: int) -> tuple[Any, Any]:
        found, bits = draws(start, size)
        return jax.lax.scan(add, carry, found)[0], bits

    whole, rest = divmod(count, chunk)
    carry: Any = (empty, rows)
    bits: Any = ()
    if whole:
        carry, bits = jax.lax.scan(lambda carry, start: step(carry, start, chunk), carry, chunk * jnp.arange(whole))
        bits = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), bits)
    if rest:
        carry, last = step(carry, whole * chunk, rest)
        bits = jax.tree.map(lambda *parts: jnp.concatenate(parts), bits, last) if whole else last
    moments, rows = carry
    found: Any = moments
    if at:
        earlier = [jax.tree.map(operator.itemgetter(row), rows) for row in range(len(wanted) - 1)]
        found = dict(zip(wanted, [*earlier, moments], strict=True))
    return (found, Masks(bits.swapaxes(0, 1))) if masks else found


def _packed(probabilities: jax.Array) -> jax.Array:
    """Masks `[sample, batch, bytes]` of probabilities `[sample, batch, *spatial, class]`."""
    mask = probabilities.argmax(-1) > 0
    return jnp.packbits(mask.reshape(*mask.shape[:2], -1), axis=-1)


def _check(count: int, chunk: int, at: Sequence[int], limit: int | None) -> None:
    if count < 2:
        raise ConfigError(
            f"{count} draws have no spread; give 2 or more, or apply the network without a key for one prediction"
        )
    if chunk < 1:
        raise ConfigError(f"chunk {chunk}; expected 1 draw at a time or more")
    if any(not 2 <= number <= count for number in at):
        raise ConfigError(f"moments at {tuple(at)} draws; expected numbers from 2 to the count, {count}")
    if limit is not None and count > limit:
        raise ConfigError(f"{count} draws of an ensemble of {limit} members; give {limit} at most")
