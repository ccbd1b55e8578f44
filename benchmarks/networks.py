"""The network of the timings: a U-Net of 148,225 parameters, without normalisation."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperlab.nn import Conv, max_pool


class UNet(nn.Module):
    """Two 3x3 convolutions on each level, max pooling down, nearest neighbours up, skips concatenated.

    Attributes:
      levels: resolutions, the input's included.
      features: channels of every convolution.
      conv: the convolution layer, `conv(features, kernel_size, name=...)`.

    Call with images `[batch, height, width, 1]`; returns logits of that shape.
    """

    levels: int = 4
    features: int = 32
    conv: Callable = Conv

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x, skips = images, []
        for level in range(self.levels - 1):
            x = self._block(x, f"down_{level}")
            skips.append(x)
            x = max_pool(x, (2, 2))
        x = self._block(x, "bottom")
        for level in reversed(range(self.levels - 1)):
            x = jnp.concatenate([x.repeat(2, axis=1).repeat(2, axis=2), skips[level]], axis=-1)
            x = self._block(x, f"up_{level}")
        return self.conv(1, (1, 1), name="logits")(x)

    def _block(self, x: jax.Array, name: str) -> jax.Array:
        for index in range(2):
            x = nn.leaky_relu(self.conv(self.features, (3, 3), name=f"{name}_{index}")(x))
        return x
