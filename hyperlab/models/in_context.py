r"""What UniverSeg and Tyche share: cross blocks on the levels of a U-Net, for a target and for a set of examples.

The target is a set of images too, of one (UniverSeg) or of K candidates (Tyche). Parameters are `enc_<i>` from the
images' resolution down and `dec_<i>` from the bottom up, each with `cross`, `target`, `support` (Tyche: `meanconv`),
and `head`.

Nothing leaves the last block but the target. So its convolution of examples is a parameter that gets no gradient:
published checkpoints hold it. And where the cross convolution has no activation, the mean of its results over the
examples is its result for the mean example,
$$\tfrac1n \textstyle\sum_s (W_x \star u + b + W_y \star v_s) = W_x \star u + b + W_y \star \tfrac1n \sum_s v_s,$$
so that the last block, the most expensive one, runs on one image, and the examples' features at the images'
resolution are kept as a mean alone.

Source: the networks of UniverSeg (2023), arXiv 2304.06131, and Tyche (2024), arXiv 2401.13650, as released.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperlab.errors import ConfigError, nearest
from hyperlab.nn.cross_conv import conv_set, cross_conv, map_set, split_kernel
from hyperlab.nn.precision import widened
from hyperlab.nn.set_mean import mean_over_set
from hyperlab.nn.upsample import upsample_aligned

NORMALIZATIONS = (None, "group")
Widths = Sequence[int | Sequence[int]]


def width_pairs(name: str, widths: Widths) -> tuple[tuple[int, int], ...]:
    """Channels of the cross convolution and of the convolutions of each block; one int stands for both.

    Raises:
      ConfigError: a width that is no int of at least 1, nor a pair of them.

    >>> width_pairs("encoder", [8, (4, 6)])
    ((8, 8), (4, 6))
    """
    pairs = []
    for width in widths:
        pair = tuple(width) if isinstance(width, Sequence) else (width, width)
        if len(pair) != 2 or not all(isinstance(n, int) and n >= 1 for n in pair):
            raise ConfigError(f"{name} widths {tuple(widths)}: each is an int of at least 1, or a (cross, conv) pair")
        pairs.append(pair)
    return tuple(pairs)


class Kernel(nn.Module):
    """Parameters of a convolution, as arrays: Kaiming-normal (fan-in, not truncated), bias 0.

    Call with the number of input channels; returns the kernel in `dtype`, and the bias in float32 at least.
    """

    features: int
    window: int
    gain_squared: float
    dtype: Any

    @nn.compact
    def __call__(self, channels: int) -> tuple[jax.Array, jax.Array]:
        kaiming = nn.initializers.variance_scaling(self.gain_squared, "fan_in", "normal")
        kernel = self.param("kernel", kaiming, (self.window, self.window, channels, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return kernel.astype(self.dtype), bias.astype(jnp.promote_types(self.dtype, jnp.float32))


class Scale(nn.Module):
    """Parameters of a normalisation, as arrays: `{"scale": [channels], "bias": [channels]}`."""

    @nn.compact
    def __call__(self, channels: int) -> dict[str, jax.Array]:
        scale, bias = nn.initializers.ones, nn.initializers.zeros
        return {"scale": self.param("scale", scale, (channels,)), "bias": self.param("bias", bias, (channels,))}


class CrossBlock(nn.Module):
    """Target and examples meet in a cross convolution; each is then convolved with a kernel of its own.

    Attributes:
      cross: channels of the cross convolution.
      conv: channels of the result.
      cross_relu: an activation after the cross convolution, before the mean over examples.
      candidates: the target is a set whose mean meets the examples; each candidate is then convolved together with
        what came of that (`meanconv`). Otherwise the target is one image, and the mean over examples is the next.
      wanted: what to return of the examples: `whole`, `pooled` (2x2 maxima), `mean`, or nothing.
      normalization: None or `group` (one group, after each activation but the cross convolution's).
      support_chunk: examples at a time, or None.
      remat: compute activations again in the gradient.
      dtype: of the computation.

    Call with target and examples, each a tuple of sets `[batch, set, height, width, channel]`: one set, or what comes
    from below, at half the size, and what is concatenated to it. Returns the target and a dict of what is wanted.
    """

    cross: int
    conv: int
    cross_relu: bool
    candidates: bool
    wanted: tuple[str, ...]
    normalization: str | None
    support_chunk: int | None
    remat: bool
    dtype: Any

    @nn.compact
    def __call__(self, target: tuple, support: tuple) -> tuple[jax.Array, dict[str, jax.Array]]:
        channels, channels_y = (sum(part.shape[-1] for part in parts) for parts in (target, support))
        kernel, bias = self._kernel("cross", self.cross, channels + channels_y, relu=self.cross_relu)
        kernel_x, kernel_y = split_kernel(kernel, channels, channels_y)
        if self.candidates:
            of_mean = self._kernel("meanconv", self.conv, channels + self.cross)
        of_target, of_support = (self._kernel(name, self.conv, self.cross) for name in ("target", "support"))
        normalizations = [self._normalization(name) for name in ("target_norm", "support_norm")]
        checkpoint = jax.checkpoint if self.remat else lambda function: function

        @checkpoint
        def meet(images, of_x):
            images = join(images)
            crossed = (widened(of_x) + conv_set(images, kernel_y)).astype(self.dtype)
            crossed = nn.leaky_relu(crossed) if self.cross_relu else crossed
            averaged: dict[str, jax.Array] = {"crossed": crossed}
            kept: dict[str, jax.Array] = {}
            if not self.wanted:
                return averaged, kept
            result = normalizations[1](nn.leaky_relu(conv_set(crossed, *of_support)))
            if "mean" in self.wanted:
                averaged["mean"] = result
            if "whole" in self.wanted:
                kept["whole"] = result
            if "pooled" in self.wanted:
                kept["pooled"] = pool(result)
            return averaged, kept

        @checkpoint
        def advance(images, crossed):
            if self.candidates:
                crossed = nn.leaky_relu(cross_conv(join(images), crossed, *of_mean)[:, :, 0])
            return normalizations[0](nn.leaky_relu(conv_set(crossed, *of_target)))

        one = join(target)
        if self.candidates:
            one = mean_over_set(lambda images: (images, ()), one)[0]
        of_x = conv_set(one, kernel_x, bias)
        means, kept = mean_over_set(lambda images: meet(images, of_x), support, self.support_chunk)
        crossed = means.pop("crossed")
        return advance(target, crossed), kept | means

    def _kernel(self, name: str, features: int, channels: int, relu: bool = True) -> tuple[jax.Array, jax.Array]:
        return Kernel(features, 3, 2.0 if relu else 1.0, self.dtype, name=name)(channels)

    def _normalization(self, name: str) -> Any:
        if self.normalization is None:
            return lambda images: images
        # A pure function of arrays, because the loop over chunks of examples cannot hold modules.
        params = Scale(name=name)(self.conv)
        norm = nn.GroupNorm(1, epsilon=1e-5, use_fast_variance=False, dtype=self.dtype, parent=None)
        apply: Callable[[jax.Array], Any] = partial(norm.apply, {"params": params})
        return lambda images: map_set(apply, images)


class InContextNetwork(nn.Module):
    """The U-Net of cross blocks; `UniverSeg` and `Tyche` say what they are called with.

    Attributes:
      encoder: channels of each level, the images' resolution first: ints, or pairs of those of the cross convolution
        and of the convolutions.
      decoder: channels of each level from the one above the bottom up; by default the encoder's.
      cross_relu: an activation after the cross convolutions, before the mean over examples.
      normalization: None, or `group`: GroupNorm of one group after the activations, as in MultiverSeg.
      support_chunk: examples that are in work at a time, or None for all: less memory, the same result to rounding.
      remat: compute activations again in the gradient: less memory in training, above all with `support_chunk`.
      dtype: of the computation; parameters are float32, sums over sets and logits at least that.
    """

    encoder: Widths = (64, 64, 64, 64)
    decoder: Widths | None = None
    cross_relu: bool = False
    normalization: str | None = None
    support_chunk: int | None = None
    remat: bool = False
    dtype: Any = jnp.float32

    def __post_init__(self):
        encoder = width_pairs("encoder", self.encoder)
        decoder = encoder[-2::-1] if self.decoder is None else width_pairs("decoder", self.decoder)
        if not encoder or len(decoder) != len(encoder) - 1:
            raise ConfigError(
                f"{len(encoder)} encoder and {len(decoder)} decoder widths; expected a level at least, and one less"
            )
        if self.normalization not in NORMALIZATIONS:
            valid = [str(name) for name in NORMALIZATIONS]
            raise ConfigError(
                f"unknown normalization {self.normalization!r}; {nearest(str(self.normalization), valid)}"
            )
        if self.support_chunk is not None and (not isinstance(self.support_chunk, int) or self.support_chunk < 1):
            raise ConfigError(f"support_chunk {self.support_chunk!r}; expected None or an int of at least 1")
        # Both as tuples of pairs: modules are hashed, and lists cannot be.
        object.__setattr__(self, "encoder", encoder)
        object.__setattr__(self, "decoder", decoder)
        super().__post_init__()

    def logits(self, target: jax.Array, support: jax.Array, candidates: bool) -> jax.Array:
        """Logits `[batch, set, height, width, 1]` of the target set, at least in float32."""
        bottom, linear = len(self.encoder) - 1, not (self.cross_relu or candidates)

        def form(level):  # in which the decoder of a level takes the examples
            return "mean" if linear and level == 0 else "whole"

        def block(name, widths, wanted):
            options = (self.normalization, self.support_chunk, self.remat, self.dtype)
            cross, conv = widths
            return CrossBlock(cross, conv, self.cross_relu, candidates, wanted, *options, name=name)

        u, v, skips = target.astype(self.dtype), support.astype(self.dtype), []
        for level, widths in enumerate(self.encoder[:-1]):
            u, found = block(f"enc_{level}", widths, ("pooled", form(level)))((u,), (v,))
            skips.append((u, found[form(level)]))
            u, v = pool(u), found["pooled"]
        upwards = [(f"enc_{bottom}", self.encoder[-1])]
        upwards += [(f"dec_{index}", widths) for index, widths in enumerate(self.decoder or ())]
        targets: tuple[jax.Array, ...] = (u,)
        supports: tuple[jax.Array, ...] = (v,)
        for above, (name, widths) in zip(reversed(range(-1, bottom)), upwards, strict=True):
            u, found = block(name, widths, () if above < 0 else (form(above),))(targets, supports)
            if above >= 0:
                skip_u, skip_v = skips[above]
                targets, supports = (u, skip_u), (found[form(above)], skip_v)
        head = Kernel(1, 1, 1.0, self.dtype, name="head")(u.shape[-1])
        return conv_set(u, *head).astype(jnp.promote_types(self.dtype, jnp.float32))

    def examples(self, target_shape: Sequence[int], images: jax.Array, labels: jax.Array) -> jax.Array:
        """Examples with their labels as further channels; refuses what does not fit the network or the target."""
        batch, (height, width) = target_shape[0], target_shape[-3:-1]
        fit = images.ndim == labels.ndim == 5 and images.shape[:4] == labels.shape[:4]
        if not fit or images.shape[0] != batch or images.shape[2:4] != (height, width):
            raise ConfigError(
                f"support images {images.shape} and labels {labels.shape} for a target {tuple(target_shape)}; expected "
                f"[batch, support, height, width, channel] = ({batch}, support, {height}, {width}, 1) of both"
            )
        if images.shape[1] < 1:
            raise ConfigError("the support set is empty; expected one image with its label at least")
        factor = 2 ** (len(self.encoder) - 1)
        if height < 1 or width < 1 or height % factor or width % factor:
            raise ConfigError(
                f"images of {height} x {width}; {len(self.encoder)} levels need sides that are multiples of {factor}, "
                f"such as {' x '.join(str(max(-(-n // factor), 1) * factor) for n in (height, width))}: pad or resize"
            )
        return jnp.concatenate([images.astype(self.dtype), labels.astype(self.dtype)], axis=-1)


def join(parts: Sequence[jax.Array]) -> jax.Array:
    """One set as it is; of two, the first at twice its height and width, then the second, along channels."""
    if len(parts) == 1:
        return parts[0]
    below, skip = parts
    return jnp.concatenate([map_set(upsample_aligned, below), skip], axis=-1)


def pool(images: jax.Array) -> jax.Array:
    """The largest of each 2x2 block, of every image of a set.

    Selections, whose gradient goes to one of the four whatever happens. That of `jnp.max` compares with the maximum;
    a compiler may compute the same normalised features twice and round them differently, and then none is equal.
    """
    batch, count, height, width, channels = images.shape
    blocks = images.reshape(batch, count, height // 2, 2, width, channels)
    rows = _larger(blocks[:, :, :, 0], blocks[:, :, :, 1])
    blocks = rows.reshape(batch, count, height // 2, width // 2, 2, channels)
    return _larger(blocks[:, :, :, :, 0], blocks[:, :, :, :, 1])


def _larger(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where(a >= b, a, b)
