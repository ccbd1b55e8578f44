"""FiLM: a U-Net whose features are scaled and shifted by what a small network makes of a conditioning input.

Source: Perez et al., FiLM (2018), arXiv 1709.07871; as a baseline of scale-space hypernetworks, arXiv 2304.05448, where
neither the place of the modulation nor the network is given: both are ours.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperlab.errors import ConfigError
from hyperlab.models.unet import UNet


class FilmUNet(nn.Module):
    r"""A U-Net with $x \cdot (1 + s_k(\gamma)) + t_k(\gamma)$ after each convolution and its normalisation.

    `s` and `t`, one number for each channel, come from a multilayer perceptron on the conditioning input. Its last
    layer starts at zero, so that the network starts as the U-Net alone.

    Attributes:
      unet: the primary.
      hidden: widths of the perceptron's hidden layers. The default adds 83.1 thousand parameters to
        `published_size()`, as many as are published.

    Call with:
      conditioning: `[d]`, one for the whole batch, for instance the rescaling factor, taken to [0, 1].
      images, sizes, canvases, train: as for `UNet`.

    >>> from hyperlab.models import published_size
    >>> net = FilmUNet(published_size())
    >>> variables = net.init(jax.random.key(0), jnp.array([0.5]), jnp.ones((1, 8, 8, 1)))
    >>> net.apply(variables, jnp.array([0.3]), jnp.ones((1, 8, 8, 1))).shape
    (1, 8, 8, 2)
    """

    unet: UNet
    hidden: tuple[int, ...] = (32, 156)

    @nn.compact
    def __call__(
        self,
        conditioning: jax.Array,
        images: jax.Array,
        sizes: Any = None,
        *,
        canvases: Sequence[Sequence[int]] | None = None,
        train: bool = False,
    ) -> jax.Array:
        x = jnp.asarray(conditioning, jnp.float32)
        if x.ndim != 1:
            raise ConfigError(f"conditioning of shape {x.shape}; expected [d], one for the whole batch")
        for index, width in enumerate(self.hidden):
            kernel_init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
            x = nn.leaky_relu(nn.Dense(width, kernel_init=kernel_init, name=f"film_{index}")(x))
        x = nn.Dense(2 * self.unet.channels, kernel_init=nn.initializers.zeros, name="film_out")(x)
        modulation = x.reshape(2, self.unet.channels)
        return self.unet(images, sizes, canvases=canvases, modulation=modulation, train=train)
