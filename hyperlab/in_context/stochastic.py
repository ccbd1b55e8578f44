"""Several answers from a network that gives one: changed inputs, and, to hold them against, changed outputs.

`augmented_candidates` is in-context test-time augmentation: only grey values are changed, of the image and of the
examples, never labels, so every pass is a candidate on the same pixels, and nothing is averaged. `noise_candidates`
is the control that knows nothing of the image: one probability map plus smooth noise, at a diversity that
`matching_scale` sets to that of the method it is compared with. The best of its candidates also gets better with their
number.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab import prng
from hyperlab.data.in_context import operators
from hyperlab.errors import ConfigError, nearest
from hyperlab.metrics.candidates import sample_diversity

WHERE = ("both", "target", "context")
KINDS = ("blur", "noise", "sharpness", "brightness_contrast", "inversion")
_SURE = 1e-6  # a probability of exactly 0 or 1 would not move under any noise
Range = tuple[float, float]


@dataclass(frozen=True)
class IntensityChanges:
    """One change of grey values is drawn for an image, by these weights, then its strength, uniformly.

    The published table could not be found: weights and ranges are those of a public re-implementation, except for the
    inversion, which the paper names, and whose weight is this library's choice.

    Attributes:
      blur: weight of a Gaussian blur with 5 x 5 taps.
      noise: weight of Gaussian noise.
      sharpness: weight of moving away from (factor above 1) or towards a smoothed image.
      brightness_contrast: weight of adding a number and multiplying about 0.
      inversion: weight of `1 - x`.
      blur_sigma: range of the blur's standard deviation, in pixels.
      noise_mean: range of the noise's mean.
      noise_std: range of the noise's standard deviation.
      sharpness_factor: range of the factor, 1 changes nothing.
      brightness: range of what is added.
      contrast: range of what is multiplied by.
    """

    blur: float = 0.25
    noise: float = 0.15
    sharpness: float = 0.15
    brightness_contrast: float = 0.25
    inversion: float = 0.1
    blur_sigma: Range = (0.1, 0.5)
    noise_mean: Range = (0.0, 0.02)
    noise_std: Range = (0.0, 0.01)
    sharpness_factor: Range = (0.0, 5.0)
    brightness: Range = (-0.1, 0.1)
    contrast: Range = (0.7, 1.3)

    def __post_init__(self):
        if min(self.weights) < 0 or not sum(self.weights) > 0:
            raise ConfigError(f"weights {dict(zip(KINDS, self.weights, strict=True))}, none may be below 0, nor all 0")

    @property
    def weights(self) -> tuple[float, ...]:
        """The weights in the order of `KINDS`."""
        return tuple(getattr(self, kind) for kind in KINDS)


def change_intensity(
    draw_key: jax.Array, noise_key: jax.Array, image: jax.Array, changes: IntensityChanges
) -> jax.Array:  # fmt: skip
    """One drawn change of an image's grey values, clipped to 0..1.

    Args:
      draw_key: which change, and how strong: images that share it are changed alike.
      noise_key: the pixels of the noise, where noise is drawn.
      image: float `[height, width]` in 0..1.
      changes: what may be drawn.

    >>> only = IntensityChanges(blur=0, noise=0, sharpness=0, brightness_contrast=0)
    >>> change_intensity(jax.random.key(0), jax.random.key(1), jnp.full((4, 4), 0.25), only)[0, 0]
    Array(0.75, dtype=float32)
    """
    kind_key, order_key, value_key = prng.split(draw_key, 3)
    ranges = (changes.blur_sigma, changes.noise_mean, changes.noise_std, changes.sharpness_factor, changes.brightness,
              changes.contrast)  # fmt: skip
    low, high = np.array(ranges, np.float32).T
    sigma, mean, std, factor, brightness, contrast = low + (high - low) * prng.uniform(value_key, (len(ranges),))
    changed = (
        operators.gaussian_blur(image, sigma, sigma),
        image + mean + std * prng.normal(noise_key, image.shape),
        operators.sharpness(image, factor),
        operators.brightness_contrast(image, brightness, contrast, prng.bernoulli(order_key)),
        1 - image,
    )
    with np.errstate(divide="ignore"):
        log_weights = jnp.asarray(np.log(np.array(changes.weights, np.float32)))
    kind = jax.random.categorical(kind_key, log_weights)
    return jnp.clip(jnp.stack(changed)[kind], 0, 1)


def augmented_candidates(
    key: jax.Array,
    predict: Callable,
    target: jax.Array,
    support_images: jax.Array,
    support_labels: jax.Array,
    count: int,
    *,
    changes: IntensityChanges | None = None,
    shared: bool = True,
    where: str = "both",
) -> jax.Array:
    """Logits of `count` passes of a deterministic network, each on inputs with other changes: `[B, count, H, W, 1]`.

    Passes run one after the other, so memory is that of one.

    Args:
      key: what is drawn is a function of it.
      predict: `(target, support_images, support_labels) -> logits [B, H, W, 1]`.
      target: `[B, H, W, 1]` in 0..1.
      support_images: `[B, S, H, W, 1]` in 0..1.
      support_labels: `[B, S, H, W, 1]`, never changed.
      count: candidates.
      changes: what is drawn; by default `IntensityChanges()`.
      shared: target and examples are changed alike in a pass (the pixels of noise still differ); otherwise each image
        has a draw of its own.
      where: `"both"`, or only the `"target"`, or only the `"context"`.

    Raises:
      ConfigError: an unknown `where`, or no candidate.

    >>> predict = lambda target, images, labels: target - images.mean(1)
    >>> images = jnp.full((2, 3, 8, 8, 1), 0.5)
    >>> augmented_candidates(jax.random.key(0), predict, images[:, 0], images, images, 4).shape
    (2, 4, 8, 8, 1)

    (Rakic et al., 2024, "Tyche", arXiv 2401.13650, its variant with stochasticity at inference.)
    """
    if where not in WHERE:
        raise ConfigError(f"unknown where {where!r}; {nearest(where, WHERE)}")
    if count < 1:
        raise ConfigError(f"count is {count}, expected at least 1 candidate")
    changes = IntensityChanges() if changes is None else changes
    change = jax.vmap(jax.vmap(lambda a, b, image: change_intensity(a, b, image, changes)))
    batch, size = support_images.shape[:2]

    def one_pass(pass_key):
        draw_key, noise_key = prng.split(pass_key)
        # the target is image 0 of its set
        images = jnp.concatenate([target[:, None], support_images], 1)[..., 0]
        draws = prng.split(draw_key, (batch, 1 if shared else size + 1))
        draws = jnp.broadcast_to(draws, (batch, size + 1))
        changed = change(draws, prng.split(noise_key, (batch, size + 1)), images)[..., None]
        new_target = changed[:, 0] if where != "context" else target
        new_support = changed[:, 1:] if where != "target" else support_images
        return predict(new_target, new_support, support_labels)

    return jnp.moveaxis(jax.lax.map(one_pass, prng.split(key, count)), 0, 1)


def smooth_noise(key: jax.Array, shape: tuple[int, ...], smoothness: float) -> jax.Array:
    """Gaussian noise of mean 0 and variance 1 everywhere, correlated over `smoothness` pixels: float32 `shape`.

    Args:
      key: what is drawn is a function of it.
      shape: `[..., height, width]`.
      smoothness: standard deviation in pixels of the Gaussian that filters white noise; 0 leaves it white.

    Raises:
      ConfigError: a negative smoothness.
    """
    if not smoothness >= 0:
        raise ConfigError(f"smoothness is {smoothness}, expected 0 or more pixels")
    half = int(np.ceil(3 * smoothness))
    taps = np.exp(-((np.arange(-half, half + 1) / max(smoothness, 1e-6)) ** 2) / 2)
    taps = taps / np.sqrt((taps**2).sum())  # so that the variance stays 1
    # noise beyond the border is drawn too: no pixel has less of it than others
    bands = [
        jnp.asarray(sum(tap * np.eye(n, n + 2 * half, k) for k, tap in enumerate(taps)), jnp.float32)
        for n in shape[-2:]
    ]
    noise = prng.normal(key, (*shape[:-2], *(n + 2 * half for n in shape[-2:])))
    return jnp.einsum("ha,...ab,wb->...hw", bands[0], noise, bands[1], precision="highest")


def noise_candidates(
    key: jax.Array, probabilities: jax.Array, count: int, scale: float | jax.Array, smoothness: float
) -> jax.Array:  # fmt: skip
    """Candidates of one probability map and smooth noise: probabilities `[B, count, H, W, 1]`.

    candidate = sigmoid(logit(p) + scale * noise): a border moves where the network was uncertain, and stays where it
    was sure. A scale of 0 gives `p` each time.

    Args:
      key: what is drawn is a function of it.
      probabilities: `[B, H, W, 1]` in 0..1.
      count: candidates.
      scale: standard deviation of the noise, in units of a logit.
      smoothness: over how many pixels the noise is correlated; see `smooth_noise`.

    >>> noise_candidates(jax.random.key(0), jnp.full((2, 8, 8, 1), 0.5), 3, 1.0, 2.0).shape
    (2, 3, 8, 8, 1)
    """
    batch, height, width = probabilities.shape[:3]
    noise = smooth_noise(key, (batch, count, height, width), smoothness)[..., None]
    return jax.nn.sigmoid(_logits(probabilities)[:, None] + scale * noise)


def matching_scale(
    key: jax.Array,
    probabilities: Any,
    diversity: float,
    *,
    count: int,
    smoothness: float,
    distance: str = "iou",
    tolerance: float = 1e-3,
) -> float:
    """The scale at which `noise_candidates` are as diverse as wanted, in the mean over images; on the host.

    Diversity is the unbiased `sample_diversity` of the masks above 0.5. It is bisected with one draw of the noise, so
    with the same key and images the candidates themselves have it.

    Args:
      key: of the noise; give the same to `noise_candidates`.
      probabilities: `[B, H, W, 1]` in 0..1.
      diversity: wanted, for instance the mean unbiased `sample_diversity` of another method's candidates.
      count: candidates, at least 2.
      smoothness: see `smooth_noise`.
      distance: `"iou"` or `"dice"`.
      tolerance: of the diversity.

    Raises:
      ConfigError: fewer than 2 candidates, or a diversity that no scale reaches, with the largest that one does.

    >>> p = jnp.linspace(0, 1, 32 * 32).reshape(1, 32, 32, 1)
    >>> scale = matching_scale(jax.random.key(0), p, 0.2, count=4, smoothness=3.0)
    >>> masks = noise_candidates(jax.random.key(0), p, 4, scale, 3.0)[..., 0] > 0.5
    >>> bool(abs(sample_diversity(masks, unbiased=True).mean() - 0.2) < 1e-3)
    True
    """
    if count < 2:
        raise ConfigError(f"count is {count}, expected at least 2: one candidate has no diversity")

    logits = _logits(jnp.asarray(probabilities))[:, None, ..., 0]
    noise = smooth_noise(key, (len(logits), count, *logits.shape[2:]), smoothness)

    @jax.jit
    def measured(scale):
        return sample_diversity(logits + scale * noise > 0, distance=distance, unbiased=True).mean()

    low, middle, high = 0.0, 0.5, 1.0
    while (reached := float(measured(high))) < diversity:
        low, high = high, 2 * high
        if high > 1e6:
            raise ConfigError(
                f"diversity is {diversity}, expected 0 to {reached:.3f}, the most that noise reaches here"
            )
    for _ in range(60):
        middle = (low + high) / 2
        difference = float(measured(middle)) - diversity
        if abs(difference) <= tolerance:
            break
        low, high = (middle, high) if difference < 0 else (low, middle)
    return middle


def _logits(probabilities: jax.Array) -> jax.Array:
    p = jnp.clip(probabilities.astype(jnp.float32), _SURE, 1 - _SURE)
    return jnp.log(p) - jnp.log1p(-p)
