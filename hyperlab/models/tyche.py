"""Tyche: several plausible segmentations of an image at once, from a few examples of the task.

Every candidate is the image with noise of its own as a second channel. In each block the mean of the candidates meets
the examples, and each candidate is convolved together with what came of that: so candidates know of each other, and
can be trained to differ (with the loss of the best one). Permuting them permutes the results.

Source: Rakic, Wong, Gonzalez Ortiz, Cimini, Guttag and Dalca (2024), arXiv 2401.13650: its variant with stochasticity
in training, and the released network.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperlab.errors import ConfigError
from hyperlab.models.in_context import InContextNetwork, width_pairs


class Tyche(InContextNetwork):
    """Logits of candidates, from examples; the released network by default (1,774,785 parameters).

    Attributes: those of `InContextNetwork`, with equal widths of the cross convolution and of the convolutions in each
    block, and:
      mix_candidates: whether candidates meet in each block. Without, each goes through the network as the only one:
        the same parameters, at the cost of as many networks as there are candidates. Candidates then differ by their
        noise alone, and no one depends on another.

    Call with:
      target: `[batch, candidates, height, width, 1]`, in [0, 1]: the image, as often as candidates are wanted; sides
        are multiples of `2 ** (levels - 1)`.
      noise: of the same shape, standard normal.
      support_images: `[batch, support, height, width, 1]`, in [0, 1]; at least one.
      support_labels: of the same shape, 0 or 1; values in between are labels that are not sure.

    Returns logits `[batch, candidates, height, width, 1]` in float32 (float64 if that is the `dtype`).

    Raises:
      ConfigError: an option that does not fit, at construction; shapes that do not fit, when it is called.

    >>> noise = jax.random.normal(jax.random.key(0), (1, 5, 8, 6, 1))
    >>> net, images, examples = Tyche([4, 4]), jnp.ones((1, 5, 8, 6, 1)), jnp.ones((1, 3, 8, 6, 1))
    >>> net.init_with_output(jax.random.key(1), images, noise, examples, examples)[0].shape
    (1, 5, 8, 6, 1)
    """

    cross_relu: bool = True
    mix_candidates: bool = True

    def __post_init__(self):
        for name in ("encoder", "decoder"):
            widths = getattr(self, name) or ()
            if any(cross != conv for cross, conv in width_pairs(name, widths)):
                raise ConfigError(f"{name} widths {tuple(widths)}: Tyche's blocks have equal cross and conv widths")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, target: jax.Array, noise: jax.Array, support_images: jax.Array, support_labels: jax.Array
    ) -> jax.Array:
        if target.ndim != 5 or target.shape[1] < 1 or noise.shape != target.shape:
            raise ConfigError(
                f"target of shape {target.shape} and noise of shape {noise.shape}; expected "
                "[batch, candidates, height, width, 1] of both, with one candidate at least"
            )
        examples = self.examples(target.shape, support_images, support_labels)
        candidates = jnp.concatenate([target.astype(self.dtype), noise.astype(self.dtype)], axis=-1)
        if self.mix_candidates:
            return self.logits(candidates, examples, candidates=True)
        alone = candidates.reshape(-1, 1, *candidates.shape[2:])
        logits = self.logits(alone, jnp.repeat(examples, target.shape[1], axis=0), candidates=True)
        return logits.reshape(*target.shape[:-1], 1)
