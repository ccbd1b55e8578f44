"""The network of the timings: a U-Net without normalisation; of four levels in 2D it has 148,225 parameters."""

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
      classes: logits of a pixel.
      conv: the convolution layer, `conv(features, kernel_size, name=...)`.

    Call with images `[batch, *spatial, channel]`; returns logits `[batch, *spatial, class]`.
    """

    levels: int = 4
    features: int = 32
    classes: int = 1
    conv: Callable = Conv

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x, skips = images, []
        for level in range(self.levels - 1):
            x = self._block(x, f"down_{level}")
            skips.append(x)
            x = max_pool(x, (2,) * (x.ndim - 2))
        x = self._block(x, "bottom")
        for level in reversed(range(self.levels - 1)):
            for axis in range(1, x.ndim - 1):
                x = x.repeat(2, axis=axis)
            x = self._block(jnp.concatenate([x, skips[level]], axis=-1), f"up_{level}")
        return self.conv(self.classes, (1,) * (x.ndim - 2), name="logits")(x)

    def _block(self, x: jax.Array, name: str) -> jax.Array:
        for index in range(2):
            x = nn.leaky_relu(self.conv(self.features, (3,) * (x.ndim - 2), name=f"{name}_{index}")(x))
        return x
