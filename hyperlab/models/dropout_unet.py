"""The U-Net whose blocks drop channels, in training and wherever samples of the network are wanted."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from hyperlab.errors import ConfigError, nearest
from hyperlab.models.unet import UNet
from hyperlab.nn.dropout import Dropout, check_dropout

PLACES = ("encoder", "bottleneck", "decoder")


class DropoutUNet(UNet):
    """A U-Net with dropout after the last normalisation and activation of chosen blocks; with no key, without any.

    After the normalisation, because dropout before one makes training and evaluation differ in the variance that it
    sees. Parameters are those of `UNet` with the same widths, by path and shape.

    Attributes: those of `UNet`, and:
      dropout: `spatial` (whole channels), `element` or `none`: the kinds of `hyperlab.nn.Dropout`.
      rate: the share that is dropped, in [0, 1).
      places: which blocks drop: of `encoder` (but for the lowest), `bottleneck` (the lowest) and `decoder`; or `all`.
      first_level: blocks at higher resolutions than this level's do not drop; 0 is the images' own.

    Call as `UNet`, with `rngs={"dropout": key}` for a draw.

    Raises:
      ConfigError: as `UNet`; an unknown kind or place, a rate or level outside its range.

    >>> import jax.numpy as jnp
    >>> net, images = DropoutUNet((4, 4), rate=0.5), jnp.ones((1, 8, 8, 1))
    >>> variables = net.init(jax.random.key(0), images)
    >>> fixed, drawn = (net.apply(variables, images, rngs=r) for r in (None, {"dropout": jax.random.key(1)}))
    >>> fixed.shape, bool((fixed == drawn).all())
    ((1, 8, 8, 2), False)

    (Tompson et al., 2015, arXiv 1411.4280, drop channels; Gal and Ghahramani, 2016, arXiv 1506.02142, sample with
    dropout; Soleimany et al., 2019, arXiv 1912.00262, do both for segmentation. Where and how much they drop is not
    known: places and rates are this library's.)
    """

    dropout: str = "spatial"
    rate: float = 0.2
    places: tuple[str, ...] | str = "all"
    first_level: int = 0

    def rates(self, rate: float, places: Sequence[str] | str = "all") -> dict[str, Any]:
        """Rates as values: `apply({"params": params, "dropout_rates": rates}, ...)` drops these and not its own.

        For a network whose own `places` are `all`, and for any of its rates or places in one compiled program.

        Args:
          rate: the share that is dropped, in [0, 1), where something is.
          places: where that is, as the attribute.

        Returns:
          `{layer: {"rate": float32}}`, 0 in blocks that drop nothing.

        >>> {name: float(one["rate"]) for name, one in DropoutUNet((4, 4)).rates(0.5, ("decoder",)).items()}
        {'encoder_0_dropout': 0.0, 'encoder_1_dropout': 0.0, 'decoder_0_dropout': 0.5}
        """
        check_dropout(self.dropout, rate)
        blocks = [("encoder", level) for level in range(len(self.widths))]
        blocks += [("decoder", level) for level in range(len(self.widths) - 1)]
        return {
            f"{name}_{level}_dropout": {"rate": np.float32(rate if self._drops(name, level, places) else 0)}
            for name, level in blocks
            if level >= self.first_level
        }

    def _block(self, x, name, levels, level, films, train) -> jax.Array:
        x = super()._block(x, name, levels, level, films, train)
        if level < self.first_level or not self._drops(name.split("_")[0], level, self.places):
            return x
        return Dropout(self.dropout, self.rate, name=f"{name}_dropout")(x)

    def _drops(self, name: str, level: int, places: Sequence[str] | str) -> bool:
        return ("bottleneck" if level == len(self.widths) - 1 else name) in _places(places)

    def _check(self, modulation: jax.Array | None) -> None:
        super()._check(modulation)
        check_dropout(self.dropout, self.rate)
        for place in _places(self.places):
            if place not in PLACES:
                raise ConfigError(f"unknown place {place!r} for dropout; {nearest(str(place), (*PLACES, 'all'))}")
        if not 0 <= self.first_level < len(self.widths):
            raise ConfigError(f"first_level {self.first_level} of a network with {len(self.widths)} levels")


def _places(places: Sequence[str] | str) -> tuple[str, ...]:
    if places == "all":
        return PLACES
    return (places,) if isinstance(places, str) else tuple(places)
