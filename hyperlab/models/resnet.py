"""Residual networks for images of 224x224: ResNet-18, 34 and 50.

Where a stage makes the image smaller, a bottleneck does so in its 3x3 convolution, as torchvision's does (often called
version 1.5), and not in its first 1x1 as in the paper.

Source: He, Zhang, Ren and Sun, "Deep residual learning for image recognition" (2015), arXiv 1512.03385.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperlab.errors import ConfigError
from hyperlab.models.backbones import KAIMING, KAIMING_OUT, check_normalization, normalize, scaled
from hyperlab.nn import Conv, Dense

# Blocks of each stage, and whether they are bottlenecks.
DEPTHS = {18: ((2, 2, 2, 2), False), 34: ((3, 4, 6, 3), False), 50: ((3, 4, 6, 3), True)}
EXPANSION = 4


class ResidualBlock(nn.Module):
    """A basic block (3x3, 3x3) or a bottleneck (1x1, 3x3, 1x1 with four times the channels).

    Attributes:
      channels: of the inner convolutions.
      stride: of the first 3x3 convolution.
      bottleneck: which of the two.
      shortcut: whether a 1x1 convolution brings the input to the output's shape; it is said, and not seen from the
        shapes, because in a network with fewer channels they can be equal by chance.
      normalization: `batch`, `group`, or the empty string (convolutions then have a bias).
      dtype: of the computation.
    """

    channels: int
    stride: int = 1
    bottleneck: bool = False
    shortcut: bool = False
    normalization: str = "batch"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        layers = [(self.channels, 3, self.stride), (self.channels, 3, 1)]
        if self.bottleneck:
            layers = [(self.channels, 1, 1), (self.channels, 3, self.stride), (self.channels * EXPANSION, 1, 1)]
        conv = functools.partial(Conv, use_bias=not self.normalization, kernel_init=KAIMING_OUT, dtype=self.dtype)
        y = x
        for index, (channels, window, stride) in enumerate(layers):
            y = conv(channels, (window, window), strides=stride, padding=window // 2, name=f"conv_{index}")(y)
            y = normalize(y, self.normalization, train, f"norm_{index}", dtype=self.dtype)
            y = nn.relu(y) if index + 1 < len(layers) else y
        if self.shortcut:
            x = conv(layers[-1][0], (1, 1), strides=self.stride, padding=0, name="shortcut")(x)
            x = normalize(x, self.normalization, train, "shortcut_norm", dtype=self.dtype)
        return nn.relu(x + y)


def check_depth(depth: int) -> None:
    """Refuses a depth that a ResNet does not have.

    Raises:
      ConfigError: the depth, and those that there are.
    """
    if depth not in DEPTHS:
        raise ConfigError(f"depth {depth}; expected one of {sorted(DEPTHS)}")


class ResNet(nn.Module):
    """ResNet-18, 34 or 50: a 7x7 convolution, max pooling, four stages, mean over pixels, one dense layer.

    Attributes:
      depth: 18, 34 or 50.
      classes: number of logits.
      width: multiplier of the 64, 128, 256 and 512 channels.
      normalization: `batch`, `group` (no state, no dependence on the batch), or the empty string for none; without
        one, convolutions have a bias.
      dtype: of the computation; parameters are float32.

    Call with images `[batch, height, width, channel]` and `train`; returns logits `[batch, classes]` in float32.

    >>> variables = jax.eval_shape(ResNet(depth=18).init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    11689512
    """

    depth: int = 18
    classes: int = 1000
    width: float = 1.0
    normalization: str = "batch"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        check_depth(self.depth)
        check_normalization(self.normalization)
        blocks, bottleneck = DEPTHS[self.depth]
        widths = [scaled(channels, self.width) for channels in (64, 128, 256, 512)]
        x = Conv(
            widths[0],
            (7, 7),
            strides=2,
            padding=3,
            use_bias=not self.normalization,
            kernel_init=KAIMING_OUT,
            dtype=self.dtype,
            name="stem",
        )(images)
        x = nn.relu(normalize(x, self.normalization, train, "stem_norm", dtype=self.dtype))
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        for stage, (channels, count) in enumerate(zip(widths, blocks, strict=True)):
            for block in range(count):
                x = ResidualBlock(
                    channels,
                    stride=2 if stage and not block else 1,
                    bottleneck=bottleneck,
                    shortcut=not block and (stage > 0 or bottleneck),
                    normalization=self.normalization,
                    dtype=self.dtype,
                    name=f"stage_{stage}_block_{block}",
                )(x, train)
        x = x.mean((1, 2))
        x = Dense(self.classes, kernel_init=KAIMING, dtype=self.dtype, name="classifier")(x)
        return x.astype(jnp.float32)
