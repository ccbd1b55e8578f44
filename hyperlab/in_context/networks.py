"""The modules of the arms, from a config."""

import flax.linen as nn
from ml_collections import ConfigDict

from hyperlab.models import DropoutUNet, Tyche, UNet, UniverSeg
from hyperlab.models.few_shot import Prototypes, SqueezeGuided


def network(name: str, config: ConfigDict) -> nn.Module:
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
        # below the images' resolution alone
        return DropoutUNet(tuple(config.unet_widths), classes=1, rate=config.dropout, first_level=1)
    return UNet(tuple(config.unet_widths), classes=1)
