"""Residual networks for images of 32x32, with shortcuts that have no parameters.

Source: He, Zhang, Ren and Sun, "Deep residual learning for image recognition" (2015), arXiv 1512.03385, section 4.2.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperlab.errors import ConfigError
from hyperlab.models.backbones import KAIMING, check_normalization, normalize, scaled
from hyperlab.nn import Conv, Dense


class CifarBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut without parameters (option A).

    Where the size or the width changes, the shortcut takes every second pixel, beginning with the first, and puts
    zero channels on both sides.

    Attributes:
      channels: of the output.
      stride: of the first convolution and of the shortcut, 1 or 2.
      normalization: `batch`, `group`, or the empty string (convolutions then have a bias).
      dtype: of the computation.
    """

    channels: int
    stride: int = 1
    normalization: str = "batch"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        y = x
        for index, stride in enumerate((self.stride, 1)):
            y = Conv(
                self.channels,
                (3, 3),
                strides=stride,
                padding=1,
                use_bias=not self.normalization,
                kernel_init=KAIMING,
                dtype=self.dtype,
                name=f"conv_{index}",
            )(y)
            y = normalize(y, self.normalization, train, f"norm_{index}", dtype=self.dtype)
            y = nn.relu(y) if index == 0 else y
        x = x[:, :: self.stride, :: self.stride]
        more = self.channels - x.shape[-1]
        x = jnp.pad(x, [(0, 0)] * 3 + [(more // 2, more - more // 2)]) if more else x
        return nn.relu(x + y)


def blocks_of(depth: int) -> int:
    """Blocks of each of the three stages.

    Raises:
      ConfigError: there is no such depth.

    >>> blocks_of(20)
    3
    """
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise ConfigError(f"depth {depth}; expected 6n + 2, for instance 20, 32, 44, 56 or 110")
    return blocks


class CifarResNet(nn.Module):
    """ResNet-20, 32, 44, 56 or 110: a 3x3 convolution, three stages of basic blocks, mean over pixels, one dense layer.

    Attributes:
      depth: 6n + 2, with n blocks a stage.
      classes: number of logits.
      width: multiplier of the 16, 32 and 64 channels.
      normalization: `batch`, `group` (no state, no dependence on the batch), or the empty string for none; without
        one, convolutions have a bias.
      dtype: of the computation; parameters are float32.

    Call with images `[batch, height, width, channel]` and `train`; returns logits `[batch, classes]` in float32.

    >>> net = CifarResNet(depth=20)
    >>> variables = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    269722
    """

    depth: int = 20
    classes: int = 10
    width: float = 1.0
    normalization: str = "batch"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        blocks = blocks_of(self.depth)
        check_normalization(self.normalization)
        widths = [scaled(channels, self.width) for channels in (16, 32, 64)]
        x = Conv(
            widths[0],
            (3, 3),
            padding=1,
            use_bias=not self.normalization,
            kernel_init=KAIMING,
            dtype=self.dtype,
            name="stem",
        )(images)
        x = nn.relu(normalize(x, self.normalization, train, "stem_norm", dtype=self.dtype))
        for stage, channels in enumerate(widths):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                name = f"stage_{stage}_block_{block}"
                x = CifarBlock(channels, stride, self.normalization, self.dtype, name=name)(x, train)
        x = x.mean((1, 2))
        x = Dense(self.classes, kernel_init=KAIMING, dtype=self.dtype, name="classifier")(x)
        return x.astype(jnp.float32)
