"""LeNets for images of 28x28: one with convolutions, one without.

Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition" (1998); in the
widths that pruning papers use since Han, Pool, Tran and Dally (2015), arXiv 1506.02626.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperlab.models.backbones import KAIMING, scaled
from hyperlab.nn import Conv, Dense, max_pool


class MnistNet(nn.Module):
    """Two 5x5 convolutions without padding (20 and 50 channels), each pooled, and two dense layers (500, classes).

    Attributes:
      classes: number of logits.
      width: multiplier of all widths but the classes.
      dtype: of the computation; parameters are float32.

    Call with images `[batch, height, width, channel]` of at least 16x16; returns logits `[batch, classes]` in float32.
    `train` makes no difference.

    >>> variables = jax.eval_shape(MnistNet().init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    431080
    """

    classes: int = 10
    width: float = 1.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        x = images
        for index, channels in enumerate((20, 50)):
            channels = scaled(channels, self.width)
            name = f"conv_{index}"
            x = Conv(channels, (5, 5), padding="VALID", kernel_init=KAIMING, dtype=self.dtype, name=name)(x)
            x = max_pool(nn.relu(x), (2, 2))
        x = x.reshape(x.shape[0], -1)
        x = Dense(scaled(500, self.width), kernel_init=KAIMING, dtype=self.dtype, name="hidden")(x)
        x = Dense(self.classes, kernel_init=KAIMING, dtype=self.dtype, name="classifier")(nn.relu(x))
        return x.astype(jnp.float32)


class LeNet300100(nn.Module):
    """Dense layers of 300, 100 and `classes` units on flattened images.

    Attributes:
      classes: number of logits.
      width: multiplier of the 300 and 100.
      dtype: of the computation; parameters are float32.

    Call with images `[batch, ...]`; returns logits `[batch, classes]` in float32. `train` makes no difference.

    >>> variables = jax.eval_shape(LeNet300100().init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    266610
    """

    classes: int = 10
    width: float = 1.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        x = images.reshape(images.shape[0], -1)
        for index, width in enumerate((300, 100)):
            width = scaled(width, self.width)
            x = nn.relu(Dense(width, kernel_init=KAIMING, dtype=self.dtype, name=f"hidden_{index}")(x))
        x = Dense(self.classes, kernel_init=KAIMING, dtype=self.dtype, name="classifier")(x)
        return x.astype(jnp.float32)
