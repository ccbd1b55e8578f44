"""The modules of the arms, from a config."""

from typing import Any

import flax.linen as nn
import jax

from hyperlab.models import Tyche, UNet, UniverSeg
from hyperlab.models.few_shot import Prototypes, SqueezeGuided


def network(name: str, config: Any) -> nn.Module:
    """The module of an arm's network; all have the same levels.

    Args:
      name: `universeg`, `tyche`, `squeeze`, `prototypes`, `unet` or `dropout_unet`.
      config: with `widths`, channels of each level; of the rivals `rival_widths`, of the U-Nets `unet_widths`, and
        `dropout`, a share.

    >>> from types import SimpleNamespace
    >>> config = SimpleNamespace(widths=(8, 8), rival_widths=(4, 4), unet_widths=(4, 4))
    >>> type(network("prototypes", config)).__name__
    'Prototypes'
    """
    if name == "universeg":
        return UniverSeg(tuple(config.widths))
    if name == "squeeze":
        return SqueezeGuided(tuple(config.rival_widths))
    if name == "prototypes":
        return Prototypes(tuple(config.rival_widths))
    if name == "tyche":
        return Tyche(tuple(config.widths))
    if name == "dropout_unet":
        return DropoutUNet(tuple(config.unet_widths), classes=1, dropout=config.dropout)
    return UNet(tuple(config.unet_widths), classes=1)


class DropoutUNet(UNet):
    """A U-Net that drops channels after each block below the images' resolution; with no key for `dropout`, none.

    Whole channels, because a convolution averages over pixels that are dropped on their own.

    Attributes: those of `UNet`, and:
      dropout: the share of channels that is dropped.

    (Gal and Ghahramani, 2016, arXiv 1506.02142; of channels Tompson et al., 2015, arXiv 1411.4280.)
    """

    dropout: float = 0.2

    def _block(self, x, name, levels, level, films, train) -> jax.Array:
        x = super()._block(x, name, levels, level, films, train)
        if level == 0:
            return x
        fixed = not self.has_rng("dropout")
        return nn.Dropout(self.dropout, broadcast_dims=(1, 2), deterministic=fixed, name=f"{name}_dropout")(x)
