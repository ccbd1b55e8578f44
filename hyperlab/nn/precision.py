"""In which numbers a network computes: float32, or bfloat16 where it costs nothing that counts.

bfloat16 has the range of float32 and 8 bits of precision. Parameters, and with them moments and updates, stay float32:
each layer casts what it is given, so a generated theta is cast after theta0 and delta were added. What is summed up
stays float32 as well: products accumulate in it, and so do statistics of normalisations, means over sets, losses, and
the gradients of what is added to every pixel. (Ones that are added in bfloat16 end at 256, since 257 is none of its
numbers: the gradient of a bias, which JAX sums in the bias's own dtype, would be lost.) So are logits, and places, as
of a displacement, of which bfloat16 cannot tell 256 from 257 either.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Inexact

from hyperlab.errors import ConfigError, nearest

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
Network = TypeVar("Network", bound=nn.Module)


def computing_in(network: Network, precision: str) -> Network:
    """A network that computes in a precision; its parameters are the same, in float32.

    To be done before `hyperlab.hypernetize`: the hypernetwork computes in float32 whatever its primary does.

    Args:
      network: a Linen module with an attribute `dtype`, of its computation, as the networks of `hyperlab.models` have.
      precision: `float32` or `bfloat16`.

    Returns:
      A copy, or for `float32` the network itself, as it is.

    Raises:
      ConfigError: an unknown precision; a network that cannot be told.

    >>> from hyperlab.models import MLP
    >>> network, images = computing_in(MLP((4,)), "bfloat16"), jnp.ones((1, 3))
    >>> variables = network.init(jax.random.key(0), images)
    >>> {leaf.dtype.name for leaf in jax.tree.leaves(variables)}, network.apply(variables, images).dtype.name
    ({'float32'}, 'float32')
    >>> "bf16[1,4] = dot_general" in str(jax.make_jaxpr(network.apply)(variables, images))
    True
    """
    if precision not in DTYPES:
        raise ConfigError(f"unknown precision {precision!r}; {nearest(precision, DTYPES)}")
    if precision == "float32":
        return network
    if not isinstance(network, nn.Module) or "dtype" not in {field.name for field in dataclasses.fields(network)}:
        raise ConfigError(
            f"{type(network).__name__} cannot be told to compute in {precision}: expected a Linen module with an "
            "attribute `dtype`"
        )
    changed: dict[str, Any] = {"dtype": DTYPES[precision]}
    return network.clone(**changed)


def widened(array: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
    """An array in float32 at least: what is summed over, or broadcast, since the gradient of that is a sum.

    >>> widened(jnp.ones(2, jnp.bfloat16)).dtype.name, widened(jnp.ones(2, jnp.complex64)).dtype.name
    ('float32', 'complex64')
    """
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


# -- layers ---------------------------------------------------------------------------------------------------------


def promote_but_bias(
    inputs: jax.Array, kernel: jax.Array, bias: jax.Array | None, *, dtype: Any
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """`promote_dtype` of a Linen layer: inputs and kernel in the dtype that the layer computes in, the bias `widened`.

    >>> layer = promote_but_bias(jnp.ones(1), jnp.ones(1), jnp.ones(1), dtype=jnp.bfloat16)
    >>> [array.dtype.name for array in layer]
    ['bfloat16', 'bfloat16', 'float32']
    """
    inputs, kernel, promoted = promote_dtype(inputs, kernel, bias, dtype=dtype)
    if dtype is None or bias is None:
        return inputs, kernel, promoted
    return inputs, kernel, bias.astype(jnp.promote_types(dtype, jnp.float32))


def in_dtype(layer: Any, outputs: jax.Array) -> jax.Array:
    """What a layer with `promote_but_bias` gives, in the dtype that it computes in."""
    return outputs if layer.dtype is None else outputs.astype(layer.dtype)


def as_written(kind: type[nn.Module]) -> Callable[..., jax.Array]:
    """The call of a Linen class as a function: for a subclass, so that who listens to layers hears one call of it."""
    call: Any = kind.__call__
    return call.__wrapped__
