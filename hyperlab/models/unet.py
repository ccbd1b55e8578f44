"""The U-Net in 2D and 3D, with any rescaling factor in place of 1/2.

An encoder level is a block of convolutions; between levels, features are resized linearly to the next level's size.
On the way up they are resized to the size of the skip they join, so that any factor and odd sizes work. With the
sizes of a factor 1/2 it is an ordinary U-Net.

The sizes are an argument, not an attribute: the parameters are the same for all of them.

Source: Ronneberger, Fischer and Brox (2015), arXiv 1505.04597; the rescaling factor is that of Gonzalez Ortiz, Guttag
and Dalca, Scale-Space Hypernetworks (2023), arXiv 2304.05448.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hyperlab.errors import ConfigError, nearest
from hyperlab.nn import Conv, level_sizes
from hyperlab.nn.levels import Canvas, Exact, Levels
from hyperlab.nn.precision import widened

ACTIVATIONS: dict[str, Callable] = {
    "leaky_relu": nn.leaky_relu,
    "relu": nn.relu,
    "gelu": nn.gelu,
    "silu": nn.silu,
    "tanh": nn.tanh,
    "elu": nn.elu,
}
NORMALIZATIONS = (None, "group", "batch")
SKIPS = ("concat", "add", "none")
_KAIMING = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class UNet(nn.Module):
    """Convolutions on every level, linear resizing between levels, skips from the encoder to the decoder.

    Attributes:
      widths: channels of each level, the images' resolution first. The decoder has the same.
      classes: number of logits.
      convs_per_block: convolutions of a block; each is followed by normalisation, modulation and activation.
      kernel_size: of the convolutions.
      normalization: None, `group` or `batch`; over the valid region where there is one. Running averages of
        `batch` are one set, shared by all sizes.
      groups: at most, for `group`: the largest number of groups that divides the width is taken.
      activation: one of `ACTIVATIONS`.
      skip: `concat`, `add` (features are projected to the skip's width where they differ) or `none`.
      width_multiplier: all widths times this, rounded, at least 1.
      dtype: of the computation; parameters are float32.
      rescaled_input: images are resized before the first level, and the logits back to the images' size. There is one
        size more, then: the images' own, before those of the levels. Parameters are the same.
      remat: the convolutions of a block are computed again for its gradient, in place of being kept: less memory, and
        a third more products at most. Values and gradients are the same.

    Call with:
      images: `[batch, *spatial, channel]`, with any number of spatial axes.
      sizes: the size of each level, from `level_sizes` or `Pyramid.sizes`; the first is the images' own. By default
        those of a factor 1/2, with images as they are. Ints give the exact form: a program for each. With `canvases`,
        int32 `[sizes, dims]`, traced.
      canvases: static sizes that hold the traced ones, from `plan` or `plan_for`; the first is the images' own.
      modulation: `[2, channels]`, for `channels` see below: after each normalisation, `x * (1 + scale) + shift`.
      train: take batch statistics, and update running ones (`batch` only).

    Returns logits `[batch, *spatial, classes]` in float32.

    Raises:
      ConfigError: an unknown option, or sizes that do not fit the images, the levels or the canvases.

    >>> from hyperlab.nn import bucket_of, plan
    >>> net, images = UNet((4, 4, 4)), jnp.ones((1, 16, 13, 1))
    >>> variables = net.init(jax.random.key(0), images)
    >>> sizes = level_sizes((16, 13), 0.3, levels=3)
    >>> net.apply(variables, images, sizes).shape
    (1, 16, 13, 2)
    >>> bucket = bucket_of(plan((16, 13), 3, 0.0, 0.5, programs=2), 0.3)
    >>> on_canvas = jax.jit(net.apply, static_argnames="canvases")
    >>> on_canvas(variables, images, jnp.array(sizes), canvases=bucket.canvases).shape
    (1, 16, 13, 2)
    >>> net.clone(rescaled_input=True).apply(variables, images, ((16, 13), (8, 7), (4, 4), (2, 2))).shape
    (1, 16, 13, 2)
    """

    widths: tuple[int, ...] = (16, 16, 16, 16)
    classes: int = 2
    convs_per_block: int = 2
    kernel_size: int = 3
    normalization: str | None = None
    groups: int = 8
    activation: str = "leaky_relu"
    skip: str = "concat"
    width_multiplier: float = 1.0
    dtype: jnp.dtype = jnp.float32
    rescaled_input: bool = False
    remat: bool = False

    @property
    def features(self) -> tuple[int, ...]:
        """Channels of each level, the multiplier included."""
        return tuple(max(1, round(width * self.width_multiplier)) for width in self.widths)

    @property
    def channels(self) -> int:
        """Channels of all convolutions of blocks together: what a modulation scales and shifts."""
        return self.convs_per_block * (2 * sum(self.features) - self.features[-1])

    def pixel_costs(self, dims: int, in_channels: int = 1) -> tuple[int, ...]:
        """Multiply-adds of the convolutions on a pixel of each of the `sizes`: `weights` for `hyperlab.nn.plan`.

        Args:
          dims: spatial axes.
          in_channels: of the images.

        Returns:
          One for each size; 0 for images that are resized before any convolution.

        >>> UNet((2, 4)).pixel_costs(2), UNet((2, 4), rescaled_input=True).pixel_costs(2)
        ((202, 216), (0, 202, 216))
        """
        taps, features, count = self.kernel_size**dims, self.features, self.convs_per_block
        costs = [0] * len(features)
        for level, width in enumerate(features):
            before = features[level - 1] if level else in_channels
            costs[level] += taps * width * (before + (count - 1) * width)
            if level + 1 < len(features):
                joined = features[level + 1] if self.skip == "none" else width
                joined += features[level + 1] if self.skip == "concat" else 0
                costs[level] += taps * width * (joined + (count - 1) * width)
        costs[0] += features[0] * self.classes
        return (0,) * self.rescaled_input + tuple(costs)

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        sizes: Any = None,
        *,
        canvases: Sequence[Sequence[int]] | None = None,
        modulation: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        self._check(modulation)
        levels = self._levels(images.shape, sizes, canvases)
        films = iter(() if modulation is None else self._split(modulation))
        x, skips, first = images.astype(self.dtype), [], int(self.rescaled_input)  # which size is level 0's
        if first:
            x = levels.resize(x, 0, first)
        for level in range(len(self.features)):
            if level:
                x = levels.resize(x, first + level - 1, first + level)
            x = self._block(x, f"encoder_{level}", levels, level, films, train)
            skips.append(x)
        for level in reversed(range(len(self.features) - 1)):
            width = self.features[level]
            if self.skip == "add" and x.shape[-1] != width:
                # Linear interpolation and a projection commute; the smaller image is the cheaper place.
                x = self._conv(x, width, 1, f"project_{level}")
            x = levels.resize(x, first + level + 1, first + level)
            if self.skip != "none":
                x = x + skips[level] if self.skip == "add" else jnp.concatenate([skips[level], x], axis=-1)
            x = self._block(x, f"decoder_{level}", levels, level, films, train)
        logits = self._conv(x, self.classes, 1, "classifier").astype(jnp.float32)
        return levels.resize(logits, first, 0) if first else logits

    def _block(self, x, name: str, levels: Levels, level: int, films, train: bool) -> jax.Array:
        place = level + int(self.rescaled_input)  # among the sizes
        own = list(itertools.islice(films, self.convs_per_block))

        def block(module: "UNet", x: jax.Array, own: list[jax.Array]) -> jax.Array:
            for index in range(module.convs_per_block):
                x = module._conv(x, module.features[level], module.kernel_size, f"{name}_conv_{index}")
                x = module._normalize(x, levels.mask(place), train, f"{name}_norm_{index}")
                if own:
                    scale, shift = (row.reshape((1,) * (x.ndim - 1) + (-1,)) for row in widened(own[index]))
                    x = (x * (1 + scale) + shift).astype(x.dtype)
                x = levels.masked(ACTIVATIONS[module.activation](x), place)
            return x

        return (nn.remat(block) if self.remat else block)(self, x, own)

    def _conv(self, x: jax.Array, width: int, kernel_size: int, name: str) -> jax.Array:
        window = (kernel_size,) * (x.ndim - 2)
        return Conv(width, window, kernel_init=_KAIMING, dtype=self.dtype, name=name)(x)

    def _normalize(self, x: jax.Array, mask: jax.Array | None, train: bool, name: str) -> jax.Array:
        # The two-pass variance: means of squares lose what canvas and exact form have in common.
        options: dict[str, Any] = {"epsilon": 1e-5, "use_fast_variance": False, "dtype": self.dtype, "name": name}
        if mask is not None:
            mask = jnp.broadcast_to(mask, (*mask.shape[:-1], x.shape[-1]))
        if self.normalization == "group":
            groups = max(n for n in range(1, self.groups + 1) if x.shape[-1] % n == 0)
            return nn.GroupNorm(groups, **options)(x, mask=mask)
        if self.normalization == "batch":
            return nn.BatchNorm(use_running_average=not train, momentum=0.9, **options)(x, mask=mask)
        return x

    def _split(self, modulation: jax.Array) -> list[jax.Array]:
        features = self.features
        widths = [w for w in (*features, *reversed(features[:-1])) for _ in range(self.convs_per_block)]
        return jnp.split(modulation, np.cumsum(widths)[:-1].tolist(), axis=-1)

    def _levels(self, shape: Sequence[int], sizes: Any, canvases: Any) -> Levels:
        spatial, first = tuple(shape[1:-1]), int(self.rescaled_input)
        count = first + len(self.features)
        if canvases is not None:
            if sizes is None:
                raise ConfigError("canvases without sizes; give the sizes of the levels, int32 [sizes, dims]")
            return Canvas.of(sizes, canvases, spatial, count)
        if sizes is None:
            sizes = (spatial,) * first + level_sizes(spatial, 0.5, len(self.features))
        return Exact.of(sizes, spatial, count)

    def _check(self, modulation: jax.Array | None) -> None:
        _known("activation", self.activation, ACTIVATIONS)
        _known("normalization", self.normalization, dict.fromkeys(NORMALIZATIONS))
        _known("skip", self.skip, dict.fromkeys(SKIPS))
        if not self.widths or min(self.widths) < 1 or self.width_multiplier <= 0:
            raise ConfigError(f"widths {self.widths} times {self.width_multiplier}: at least one, all above 0")
        if min(self.classes, self.convs_per_block, self.groups, self.kernel_size) < 1:
            raise ConfigError(
                f"classes {self.classes}, convs_per_block {self.convs_per_block}, groups {self.groups}, "
                f"kernel_size {self.kernel_size}: all are at least 1"
            )
        if modulation is not None and modulation.shape != (2, self.channels):
            raise ConfigError(f"modulation of shape {modulation.shape}; expected (2, {self.channels}): scale and shift")


def published_size(classes: int = 2, **options: Any) -> UNet:
    """A U-Net with as many parameters as the published primary of scale-space hypernetworks, 109.4 thousand.

    The layout is ours: of the paper's, only the number of parameters is known (and that its multiply-adds fall by up
    to half below those of a factor 1/2, as here). For one input channel, and one class or two.

    >>> from hyperlab import trees
    >>> trees.count(published_size().init(jax.random.key(0), jnp.zeros((1, 16, 16, 1))))
    109378
    """
    return UNet(**{"widths": (24, 40, 40, 40), "convs_per_block": 1, "classes": classes, **options})


def _known(kind: str, name: Any, table: Mapping[Any, Any]) -> None:
    if name not in table:
        raise ConfigError(f"unknown {kind} {name!r}; {nearest(str(name), [str(valid) for valid in table])}")
