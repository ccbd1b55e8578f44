"""In which numbers a network computes: float32, or bfloat16 where it costs nothing that counts.

bfloat16 has the range of float32 and 8 bits of precision. Parameters, and with them moments and updates, stay float32:
each layer casts what it is given, so a generated theta is cast after theta0 and delta were added. What sums up or
measures stays float32 as well: statistics of normalisations, means over sets, logits, and with them losses; places,
as of a displacement, which bfloat16 could not tell apart beyond 256.
"""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp

from hyperlab.errors import ConfigError, nearest

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def computing_in(network: nn.Module, precision: str) -> nn.Module:
    """A network that computes in a precision; its parameters are the same, in float32.

    To be done before `hyperlab.hypernetize`: the hypernetwork computes in float32 whatever its primary does.

    Args:
      network: a Linen module with an attribute `dtype` of its computation, as all of `hyperlab.models` have where a
        caller can choose it.
      precision: `float32` or `bfloat16`.

    Returns:
      A copy, or for `float32` the network itself, as it is.

    Raises:
      ConfigError: an unknown precision; a network that cannot be told.

    >>> import jax
    >>> from hyperlab.models import MLP
    >>> network, images = computing_in(MLP((4,)), "bfloat16"), jnp.ones((1, 3))
    >>> variables = network.init(jax.random.key(0), images)
    >>> {leaf.dtype.name for leaf in jax.tree.leaves(variables)}, network.apply(variables, images).dtype.name
    ({'float32'}, 'float32')
    >>> "dot_general[" in (program := str(jax.make_jaxpr(network.apply)(variables, images))), "bf16[1,4]" in program
    (True, True)
    """
    if precision not in DTYPES:
        raise ConfigError(f"unknown precision {precision!r}; {nearest(precision, DTYPES)}")
    if precision == "float32":
        return network
    if not isinstance(network, nn.Module) or "dtype" not in {field.name for field in dataclasses.fields(network)}:
        kind = type(network).__name__
        raise ConfigError(
            f"{kind} cannot be told to compute in {precision}: expected a Linen module with an attribute `dtype`"
        )
    return network.clone(dtype=DTYPES[precision])
