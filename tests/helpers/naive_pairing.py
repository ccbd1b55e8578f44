"""UniverSeg and Tyche as they are defined: every pair of images, concatenated, convolved with one kernel.

Slow and obvious, on the parameters of `hyperlab.models`, with what JAX and Flax themselves offer.
`benchmarks/in_context.py` times against it.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def universeg(params, target, support_images, support_labels, cross_relu=False, normalization=None):
    """Logits `[batch, height, width, 1]`."""
    support = jnp.concatenate([support_images, support_labels], -1)
    block = partial(_block, cross_relu=cross_relu, norm=_norm if normalization else None)
    return _network(params, target[:, None], support, block)[:, 0]


def tyche(params, target, noise, support_images, support_labels, cross_relu=True, normalization=None):
    """Logits `[batch, candidates, height, width, 1]`."""
    target, support = (jnp.concatenate(both, -1) for both in ((target, noise), (support_images, support_labels)))
    block = partial(_block, cross_relu=cross_relu, norm=_norm if normalization else None)
    return _network(params, target, support, block)


def pairs(x, y):
    """All pairs, concatenated: `[batch, set_x, set_y, height, width, channels_x + channels_y]`."""
    sizes = (x.shape[0], x.shape[1], y.shape[1], *x.shape[2:4])
    x, y = (jnp.broadcast_to(images, (*sizes, images.shape[-1])) for images in (x[:, :, None], y[:, None]))
    return jnp.concatenate([x, y], -1)


def convolved(images, layer):
    """`SAME` convolution of `[..., height, width, channel]`."""
    flat = images.reshape(-1, *images.shape[-3:])
    numbers = ("NHWC", "HWIO", "NHWC")
    out = jax.lax.conv_general_dilated(flat, layer["kernel"], (1, 1), "SAME", dimension_numbers=numbers)
    return (out + layer["bias"].reshape(1, 1, 1, -1)).reshape(*images.shape[:-1], -1)


def aligned(images):
    """Twice the size with aligned corners: each output from its two neighbours along height, then along width."""
    for axis in (-3, -2):
        n = images.shape[axis]
        position = np.arange(2 * n) * ((n - 1) / (2 * n - 1))
        lower = np.floor(position).astype(int)
        weight = (position - lower).reshape((1,) * (images.ndim + axis) + (-1,) + (1,) * (-axis - 1))
        low, high = (jnp.take(images, np.minimum(place, n - 1), axis) for place in (lower, lower + 1))
        images = low + (high - low) * jnp.asarray(weight, images.dtype)
    return images


def _network(params, target, support, block):
    levels, skips = sum(name.startswith("enc_") for name in params), []
    for level in range(levels):
        target, support = block(params[f"enc_{level}"], target, support)
        if level < levels - 1:
            skips.append((target, support))
            target, support = _pooled(target), _pooled(support)
    for index in range(levels - 1):
        both = zip((target, support), skips.pop(), strict=True)
        target, support = (jnp.concatenate([aligned(below), skip], -1) for below, skip in both)
        target, support = block(params[f"dec_{index}"], target, support)
    return convolved(target, params["head"])


def _block(layers, target, support, cross_relu, norm):
    crossed = convolved(pairs(target.mean(1, keepdims=True), support), layers["cross"])[:, 0]
    crossed = _leaky(crossed) if cross_relu else crossed
    mean = crossed.mean(1, keepdims=True)
    if "meanconv" in layers:
        mean = _leaky(convolved(pairs(target, mean), layers["meanconv"]))[:, :, 0]
    target, support = (_leaky(convolved(x, layers[n])) for n, x in (("target", mean), ("support", crossed)))
    if norm:
        target, support = norm(target, layers["target_norm"]), norm(support, layers["support_norm"])
    return target, support


def _norm(images, layer):
    over = (-3, -2, -1)
    images = (images - images.mean(over, keepdims=True)) / jnp.sqrt(images.var(over, keepdims=True) + 1e-5)
    scale, bias = (layer[name].reshape((1,) * (images.ndim - 1) + (-1,)) for name in ("scale", "bias"))
    return images * scale + bias


def _leaky(x):
    return jnp.where(x >= 0, x, 0.01 * x)


def _pooled(x):
    return nn.max_pool(x, (2, 2), (2, 2))
