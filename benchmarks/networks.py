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
      conv: the convolution layer, `conv(features, kernel_size, dtype=..., name=...)`.
      dtype: of the computation; parameters are float32.
      remat: each pair of convolutions is computed again for its gradient, in place of being kept.

    Call with images `[batch, *spatial, channel]`; returns logits `[batch, *spatial, class]` in float32.
    """

    levels: int = 4
    features: int = 32
    classes: int = 1
    conv: Callable = Conv
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x, skips = images.astype(self.dtype), []
        for level in range(self.levels - 1):
            x = self._block(x, f"down_{level}")
            skips.append(x)
            x = max_pool(x, (2,) * (x.ndim - 2))
        x = self._block(x, "bottom")
        for level in reversed(range(self.levels - 1)):
            for axis in range(1, x.ndim - 1):
                x = x.repeat(2, axis=axis)
            x = self._block(jnp.concatenate([x, skips[level]], axis=-1), f"up_{level}")
        return self._conv(x, self.classes, 1, "logits").astype(jnp.float32)

    def _block(self, x: jax.Array, name: str) -> jax.Array:
        def pair(module: "UNet", x: jax.Array) -> jax.Array:
            for index in range(2):
                x = nn.leaky_relu(module._conv(x, module.features, 3, f"{name}_{index}"))
            return x

        return nn.remat(pair)(self, x) if self.remat else pair(self, x)

    def _conv(self, x: jax.Array, features: int, size: int, name: str) -> jax.Array:
        return self.conv(features, (size,) * (x.ndim - 2), dtype=self.dtype, name=name)(x)
