"""Product with a matrix, whose gradient is as good in bfloat16."""

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Inexact

from hyperlab.nn.precision import as_written, in_dtype, promote_but_bias


class Dense(nn.Dense):
    """`flax.linen.Dense` with the same parameters, names and values.

    In half a precision its bias is added in float32, see `hyperlab.nn.precision`.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> Dense(4).init_with_output(jax.random.key(0), jnp.zeros((2, 3)))[0].shape
    (2, 4)
    """

    promote_dtype: Any = promote_but_bias

    @nn.compact
    def __call__(self, inputs: Inexact[Array, "*batch in"]) -> Inexact[Array, "*batch out"]:
        """The product, `[*batch, out]`."""
        return in_dtype(self, as_written(nn.Dense)(self, inputs))
