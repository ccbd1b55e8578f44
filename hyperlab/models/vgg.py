"""A VGG with batch normalisation and dropout for images of 32x32.

Source: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition" (2014), arXiv
1409.1556; the form for CIFAR with dropout is Zagoruyko's (2015, "92.45% on CIFAR-10 in Torch").
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperlab.models.backbones import KAIMING, check_normalization, normalize, scaled
from hyperlab.nn import Conv, Dense, max_pool

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class CifarVGG(nn.Module):
    """Stages of 3x3 convolutions, each ending in 2x2 max pooling, and two dense layers.

    Convolutions have a bias, also before a normalisation. Dropout of 0.3 follows the first convolution, of 0.4 all
    later ones but the last of each stage, of 0.5 stands before both dense layers.

    Attributes:
      classes: number of logits.
      stages: channels of the convolutions of each stage; an image side is halved (rounded down) by each.
      hidden: width of the first dense layer.
      width: multiplier of all channels and of `hidden`.
      normalization: `batch`, `group` (no state, no dependence on the batch), or the empty string for none.
      dropout: whether there is any in training.
      dtype: of the computation; parameters are float32.

    Call with images `[batch, height, width, channel]` and `train` (then also a key in `rngs={"dropout": ...}`, unless
    `dropout` is off); returns logits `[batch, classes]` in float32.

    >>> variables = jax.eval_shape(CifarVGG().init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    14991946
    """

    classes: int = 10
    stages: tuple[tuple[int, ...], ...] = STAGES
    hidden: int = 512
    width: float = 1.0
    normalization: str = "batch"
    dropout: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        check_normalization(self.normalization)

        def dropped(x, rate):
            return nn.Dropout(rate if self.dropout else 0.0, deterministic=not train)(x)

        x = images
        for stage, widths in enumerate(self.stages):
            for index, channels in enumerate(widths):
                name = f"stage_{stage}_conv_{index}"
                channels = scaled(channels, self.width)
                x = Conv(channels, (3, 3), padding=1, kernel_init=KAIMING, dtype=self.dtype, name=name)(x)
                x = normalize(x, self.normalization, train, name.replace("conv", "norm"), 1e-3, self.dtype)
                x = nn.relu(x)
                if index + 1 < len(widths):
                    x = dropped(x, 0.4 if stage else 0.3)
            x = max_pool(x, (2, 2))
        x = dropped(x.reshape(x.shape[0], -1), 0.5)
        x = Dense(scaled(self.hidden, self.width), kernel_init=KAIMING, dtype=self.dtype, name="hidden")(x)
        x = nn.relu(normalize(x, self.normalization, train, "hidden_norm", dtype=self.dtype))
        x = Dense(self.classes, kernel_init=KAIMING, dtype=self.dtype, name="classifier")(dropped(x, 0.5))
        return x.astype(jnp.float32)
