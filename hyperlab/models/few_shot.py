r"""Two few-shot segmentation networks to compare an in-context network with, called as `UniverSeg` is.

`SqueezeGuided`: a conditioner runs over every pair of support image and label; what it finds at each level, averaged
over the set, becomes one gate for each pixel of the query's features at that level. `Prototypes`: one encoder for query
and support; the mean feature inside the support's masks and the one outside are prototypes, and a pixel of the query
belongs to the more similar one.

Both are in the style of their sources; widths, levels and normalisation are those of the other networks here, not the
published ones (arXiv 1902.01314 has volumes in mind, arXiv 1908.06391 a pretrained encoder).
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperlab.errors import ConfigError
from hyperlab.nn import Conv
from hyperlab.nn.cross_conv import map_set
from hyperlab.nn.pool import max_pool
from hyperlab.nn.precision import widened
from hyperlab.nn.upsample import upsample_aligned

_KAIMING = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class SqueezeGuided(nn.Module):
    r"""Segments with gates from the support: at each level $u \leftarrow u \cdot \sigma(w \star \bar v)$.

    Attributes:
      widths: channels of each level; the conditioner has the same.
      dtype: of the computation; parameters are float32, and so are means over the set.

    Call with:
      target: `[batch, height, width, 1]` in 0..1, sizes that `2 ** (levels - 1)` divides.
      support_images: `[batch, set, height, width, 1]`.
      support_labels: `[batch, set, height, width, 1]` in 0..1.

    Returns logits `[batch, height, width, 1]` in float32.

    >>> images, sets = jnp.ones((2, 8, 8, 1)), jnp.ones((2, 3, 8, 8, 1))
    >>> module = SqueezeGuided((4, 4))
    >>> module.apply(module.init(jax.random.key(0), images, sets, sets), images, sets, sets).shape
    (2, 8, 8, 1)

    (Roy, Siddiqui, Poelsterl, Navab and Wachinger, 2019, arXiv 1902.01314.)
    """

    widths: tuple[int, ...] = (16, 16, 16)
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, target: jax.Array, support_images: jax.Array, support_labels: jax.Array) -> jax.Array:
        _check(target, support_images, support_labels, len(self.widths))
        gates = self._gates(jnp.concatenate([support_images, support_labels], -1).astype(self.dtype))
        x, skips, levels = target.astype(self.dtype), [], len(self.widths)
        for level, width in enumerate(self.widths):
            x = max_pool(x, (2, 2)) if level else x
            x = _gated(_block(x, width, f"segmenter_{level}", self.dtype), gates[level])
            skips.append(x)
        for level in reversed(range(levels - 1)):
            x = jnp.concatenate([upsample_aligned(x), skips[level]], -1)
            x = _block(x, self.widths[level], f"segmenter_up_{level}", self.dtype)
            x = _gated(x, gates[2 * levels - 2 - level])
        return Conv(1, (1, 1), kernel_init=_KAIMING, dtype=self.dtype, name="classifier")(x).astype(jnp.float32)

    def _gates(self, v: jax.Array) -> list[jax.Array]:
        """One gate for every block of the segmenter, `[batch, height, width, 1]`, in the order of the blocks."""
        gates, skips, levels = [], [], len(self.widths)

        def gate(v, name):
            squeezed = Conv(1, (1, 1), kernel_init=_KAIMING, dtype=self.dtype, name=name)(v.mean(1))
            return 2 * jax.nn.sigmoid(squeezed)  # one at the start, in the mean

        for level, width in enumerate(self.widths):
            v = map_set(lambda flat: max_pool(flat, (2, 2)), v) if level else v
            v = map_set(partial(_block, width=width, name=f"conditioner_{level}", dtype=self.dtype), v)
            gates.append(gate(v, f"gate_{level}"))
            skips.append(v)
        for level in reversed(range(levels - 1)):
            v = jnp.concatenate([map_set(upsample_aligned, v), skips[level]], -1)
            v = map_set(partial(_block, width=self.widths[level], name=f"conditioner_up_{level}", dtype=self.dtype), v)
            gates.append(gate(v, f"gate_up_{level}"))
        return gates


class Prototypes(nn.Module):
    r"""Segments by the nearer of two prototypes: logit $= \alpha (\cos(f, p_1) - \cos(f, p_0))$, upsampled.

    Attributes:
      widths: channels of each level of the encoder.
      stride_levels: levels whose features are halved; the features have `1 / 2 ** stride_levels` of the resolution.
      scale: alpha; 20 as in the source.
      dtype: of the encoder; parameters are float32, and so are prototypes and cosines.

    Call with, and returns: as `SqueezeGuided`. A support set without foreground (or background) has no such prototype;
    its similarity is then 0.

    >>> images, sets = jnp.ones((2, 8, 8, 1)), jnp.ones((2, 3, 8, 8, 1))
    >>> module = Prototypes((4, 4))
    >>> module.apply(module.init(jax.random.key(0), images, sets, sets), images, sets, sets).shape
    (2, 8, 8, 1)

    (Wang, Liew, Zou, Zhou and Feng, PANet, 2019, arXiv 1908.06391.)
    """

    widths: tuple[int, ...] = (16, 32, 32)
    stride_levels: int = 1
    scale: float = 20.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, target: jax.Array, support_images: jax.Array, support_labels: jax.Array) -> jax.Array:
        _check(target, support_images, support_labels, self.stride_levels + 1)
        # Query and support in one batch: one encoder.
        images = jnp.concatenate([target[:, None], support_images], 1)
        features = map_set(self._encoder, images)
        query, support = features[:, 0], features[:, 1:]
        masks = support_labels
        for _ in range(self.stride_levels):
            masks = map_set(lambda flat: nn.avg_pool(flat, (2, 2), (2, 2)), masks)
        inside = _similarity(query, _prototype(support, masks))
        outside = _similarity(query, _prototype(support, 1 - masks))
        logits = self.scale * (inside - outside)[..., None]
        for _ in range(self.stride_levels):
            logits = upsample_aligned(logits)
        return logits

    def _encoder(self, x: jax.Array) -> jax.Array:
        for level, width in enumerate(self.widths):
            x = max_pool(x, (2, 2)) if 0 < level <= self.stride_levels else x
            x = _block(x, width, f"encoder_{level}", self.dtype)
        # No activation: directions of all signs.
        x = Conv(self.widths[-1], (3, 3), kernel_init=_KAIMING, dtype=self.dtype, name="features")(x)
        return x.astype(jnp.float32)  # alpha makes of an error of a cosine twenty of a logit


def _gated(features: jax.Array, gate: jax.Array) -> jax.Array:
    return (features * widened(gate)).astype(features.dtype)


def _prototype(features: jax.Array, weights: jax.Array) -> jax.Array:
    """The weighted mean feature over a set, `[batch, channel]`."""
    total = (features * weights).sum((1, 2, 3))
    return total / jnp.maximum(weights.sum((1, 2, 3)), 1e-6)


def _similarity(features: jax.Array, prototype: jax.Array) -> jax.Array:
    """The cosine of every pixel's feature and a prototype, `[batch, height, width]`."""
    norms = _norm(features) * _norm(prototype)[:, None, None]
    return jnp.einsum("bhwc,bc->bhw", features, prototype) / norms


def _norm(vectors: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.square(vectors).sum(-1) + 1e-8)  # its gradient is finite at zero


def _block(x: jax.Array, width: int, name: str, dtype: jnp.dtype) -> jax.Array:
    for index in range(2):
        x = nn.leaky_relu(Conv(width, (3, 3), kernel_init=_KAIMING, dtype=dtype, name=f"{name}_conv_{index}")(x))
    return x


def _check(target: jax.Array, images: jax.Array, labels: jax.Array, levels: int) -> None:
    if images.shape != labels.shape or images.ndim != 5 or images.shape[2:] != target.shape[1:]:
        raise ConfigError(
            f"target {target.shape}, support images {images.shape} and labels {labels.shape}; expected "
            "[batch, height, width, 1] and twice [batch, set, height, width, 1]"
        )
    divisor = 2 ** (levels - 1)
    if images.shape[1] < 1 or any(n % divisor for n in target.shape[1:3]):
        raise ConfigError(
            f"{images.shape[1]} support images of {target.shape[1:3]} pixels; expected at least one, and sizes that "
            f"{divisor} divides"
        )
