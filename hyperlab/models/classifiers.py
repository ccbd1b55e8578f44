"""Small classifiers: the primaries of the stability study.

Kaiming-normal kernels and zero biases, as an ordinary ReLU network would start; no normalisation, so that what
the parameters' scale does is not hidden.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperlab.nn import Conv, Dense, max_pool

_KAIMING = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class MLP(nn.Module):
    """A multilayer perceptron on flattened images.

    Attributes:
      widths: of the hidden layers.
      classes: number of logits.
      dtype: of the computation; parameters are float32.

    Call with images `[batch, ...]`; returns logits `[batch, classes]` in float32.

    >>> MLP((8,)).init_with_output(jax.random.key(0), jnp.zeros((2, 4, 4, 1)))[0].shape
    (2, 10)
    """

    widths: tuple[int, ...] = (64, 64)
    classes: int = 10
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x = images.reshape(images.shape[0], -1)
        for index, width in enumerate(self.widths):
            x = Dense(width, kernel_init=_KAIMING, dtype=self.dtype, name=f"hidden_{index}")(x)
            x = nn.leaky_relu(x)
        x = Dense(self.classes, kernel_init=_KAIMING, dtype=self.dtype, name="classifier")(x)
        return x.astype(jnp.float32)


class ConvNet(nn.Module):
    """A small convolutional classifier: 3x3 convolutions, each with 2x2 max pooling, and one dense layer.

    Attributes:
      widths: channels of the convolutions.
      classes: number of logits.
      dtype: of the computation; parameters are float32.

    Call with images `[batch, height, width, channel]`; returns logits `[batch, classes]` in float32.

    >>> ConvNet((4, 8)).init_with_output(jax.random.key(0), jnp.zeros((2, 8, 8, 1)))[0].shape
    (2, 10)
    """

    widths: tuple[int, ...] = (8, 16)
    classes: int = 10
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x = images
        for index, width in enumerate(self.widths):
            x = Conv(width, (3, 3), kernel_init=_KAIMING, dtype=self.dtype, name=f"conv_{index}")(x)
            x = max_pool(nn.leaky_relu(x), (2, 2))
        x = x.reshape(x.shape[0], -1)
        x = Dense(self.classes, kernel_init=_KAIMING, dtype=self.dtype, name="classifier")(x)
        return x.astype(jnp.float32)
