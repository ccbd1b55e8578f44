"""Dropout of whole channels or of single activations, on while a key for it is given."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperlab import prng
from hyperlab.errors import ConfigError, nearest

DROPOUTS = ("spatial", "element", "none")
RATES = "dropout_rates"  # a collection: rates that are values, by layer


class Dropout(nn.Module):
    """Zeros some of what it gets and scales the rest by `1 / (1 - rate)`; without a key named `dropout`, nothing.

    The key is the only switch: evaluation gives none and drops nothing, training and sampling give one.

    Attributes:
      kind: `spatial`, one draw for each image and channel, whatever the number of spatial axes; `element`, one for
        each activation; `none`. A convolution averages over pixels that are dropped on their own: of a constant map
        of n pixels, the mean after dropout has the variance rate / (1 - rate) in the first case, and an n-th of it
        in the second.
      rate: the share that is dropped, in [0, 1). A number `rate` in the layer's part of the collection `dropout_rates`
        stands for it, and may be traced: then one program serves all rates, 0 included.

    Call with `[batch, *spatial, channel]`; returns the same shape and dtype.

    Raises:
      ConfigError: an unknown kind, or a rate outside its range, at construction.

    >>> import jax
    >>> layer, ones = Dropout("spatial", 0.5), jnp.ones((1, 2, 2, 6))
    >>> layer.apply({}, ones).tolist() == ones.tolist()
    True
    >>> layer.apply({}, ones, rngs={"dropout": jax.random.key(0)})[0, :, :, :3].tolist()
    [[[0.0, 2.0, 2.0], [0.0, 2.0, 2.0]], [[0.0, 2.0, 2.0], [0.0, 2.0, 2.0]]]

    (Of channels: Tompson et al., 2015, arXiv 1411.4280. As samples of a network: Gal and Ghahramani, 2016, arXiv
    1506.02142.)
    """

    kind: str = "spatial"
    rate: float = 0.2

    def __post_init__(self) -> None:
        check_dropout(self.kind, self.rate)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "batch *spatial channel"]) -> Float[Array, "batch *spatial channel"]:
        given = self.has_variable(RATES, "rate")
        rate = self.get_variable(RATES, "rate") if given else self.rate
        if self.kind == "none" or not self.has_rng("dropout") or not (given or self.rate):
            return x
        shared = (1,) * (x.ndim - 2) if self.kind == "spatial" else x.shape[1:-1]
        # the key is of this layer's path, so that its draws do not depend on how the layer is built
        kept = prng.bernoulli(self.make_rng("dropout"), 1 - rate, (x.shape[0], *shared, x.shape[-1]))
        return jnp.where(kept, x / jnp.asarray(1 - rate, x.dtype), 0)


def check_dropout(kind: str, rate: float) -> None:
    """Refuses a kind or a rate that `Dropout` does not have.

    Raises:
      ConfigError: see `Dropout`.

    >>> check_dropout("spacial", 0.2)
    Traceback (most recent call last):
    hyperlab.errors.ConfigError: unknown dropout 'spacial'; did you mean 'spatial'?
    """
    if kind not in DROPOUTS:
        raise ConfigError(f"unknown dropout {kind!r}; {nearest(str(kind), DROPOUTS)}")
    if not 0 <= rate < 1:
        raise ConfigError(f"dropout rate {rate}; expected a share from 0 up to, not including, 1")
