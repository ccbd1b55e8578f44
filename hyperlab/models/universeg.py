"""UniverSeg: segments an image of a task that it was never trained on, from a few examples of that task.

One function of an image and of a support set of images with binary labels: the task is an input, and the parameters
never change with it. The order of the examples does not matter, nor does repeating all of them.

Source: Butoi, Gonzalez Ortiz, Ma, Sabuncu, Guttag and Dalca (2023), arXiv 2304.06131, and the released network: it has
no activation after the cross convolution and a convolution of the target, both unlike the paper's equations.
"""

import flax.linen as nn
import jax

from hyperlab.errors import ConfigError
from hyperlab.models.in_context import InContextNetwork


class UniverSeg(InContextNetwork):
    """Logits of an image, from examples; the released network by default (1,182,785 parameters).

    Attributes: those of `InContextNetwork`: encoder, decoder, cross_relu, normalization, support_chunk, remat, dtype.

    Call with:
      target: `[batch, height, width, 1]`, in [0, 1]; sides are multiples of `2 ** (levels - 1)`.
      support_images: `[batch, support, height, width, 1]`, in [0, 1]; at least one.
      support_labels: of the same shape, 0 or 1; values in between are labels that are not sure.

    Returns logits `[batch, height, width, 1]` in float32 (float64 if that is the `dtype`).

    Raises:
      ConfigError: an option that does not fit, at construction; shapes that do not fit, when it is called.

    >>> import jax.numpy as jnp
    >>> net, image, examples = UniverSeg([4, 4]), jnp.ones((1, 8, 6, 1)), jnp.ones((1, 3, 8, 6, 1))
    >>> net.init_with_output(jax.random.key(0), image, examples, examples)[0].shape
    (1, 8, 6, 1)
    """

    @nn.compact
    def __call__(self, target: jax.Array, support_images: jax.Array, support_labels: jax.Array) -> jax.Array:
        if target.ndim != 4:
            raise ConfigError(f"target of shape {target.shape}; expected [batch, height, width, 1]")
        examples = self.examples(target.shape, support_images, support_labels)
        return self.logits(target[:, None], examples, candidates=False)[:, 0]
