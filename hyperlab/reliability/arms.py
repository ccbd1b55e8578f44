"""The arms of the uncertainty study: what a network drops and where, and how it answers with an uncertainty.

All networks have the same layers, parameters and initialisation, and are trained alike. At one rate, dropout of
channels and of activations are different noises, so a whole curve over rates is measured for every arm that drops.
"""

from typing import NamedTuple

from hyperlab.errors import ConfigError, nearest
from hyperlab.models.dropout_unet import PLACES

ANSWERS = ("draws", "pass", "members")


class Arm(NamedTuple):
    """One arm.

    Attributes:
      label: for tables and figures.
      dropout: `spatial` or `element`; what an arm at the rate 0 would drop makes no difference.
      places: blocks that drop.
      answers: `draws`: the mean over draws of the network, and how they differ; `pass`: one pass without dropout;
        `members`: networks from different initial parameters, in place of draws.
      drops: whether anything is dropped; an arm that drops nothing has the rate 0 alone.
      stream: added to the seed of what is drawn (A/A copies differ in it alone).
      rate_factor: of the learning rate in the report phase: a planted handicap.
      source: authors, year, arXiv id.
    """

    label: str
    dropout: str = "spatial"
    places: tuple[str, ...] = PLACES
    answers: str = "draws"
    drops: bool = True
    stream: int = 0
    rate_factor: float = 1.0
    source: str = ""

    def definition(self) -> str:
        """What is done, in words."""
        if not self.drops:
            return {
                "pass": "nothing is dropped; one pass",
                "members": "nothing is dropped; several networks, each from its own initial parameters",
            }[self.answers]
        what = "whole channels" if self.dropout == "spatial" else "single activations"
        extra = f"; learning rate times {self.rate_factor:g}" if self.rate_factor != 1 else ""
        return f"{what} are dropped in {', '.join(self.places)}; several draws{extra}"


_SPATIAL = "Tompson et al., 2015, arXiv 1411.4280; for segmentation Soleimany et al., 2019, arXiv 1912.00262"
_ELEMENT = "Gal and Ghahramani, 2016, arXiv 1506.02142"

# Adding an arm is one line.
ARMS: dict[str, Arm] = {
    "none": Arm("no dropout", answers="pass", drops=False),
    "spatial": Arm("spatial dropout", "spatial", source=_SPATIAL),
    "element": Arm("element-wise dropout", "element", source=_ELEMENT),
    "ensemble": Arm(
        "deep ensemble", answers="members", drops=False, source="Lakshminarayanan et al., 2017, arXiv 1612.01474"
    ),
    "spatial_encoder": Arm("spatial, encoder", "spatial", ("encoder",), source=_SPATIAL),
    "spatial_bottleneck": Arm("spatial, bottleneck", "spatial", ("bottleneck",), source=_SPATIAL),
    "spatial_decoder": Arm("spatial, decoder", "spatial", ("decoder",), source=_SPATIAL),
    "element_encoder": Arm("element-wise, encoder", "element", ("encoder",), source=_ELEMENT),
    "element_bottleneck": Arm("element-wise, bottleneck", "element", ("bottleneck",), source=_ELEMENT),
    "element_decoder": Arm("element-wise, decoder", "element", ("decoder",), source=_ELEMENT),
    "spatial_again": Arm("spatial dropout, again", "spatial", stream=1, source=_SPATIAL),
    "spatial_handicapped": Arm(
        "spatial dropout, a hundredth of the rate", "spatial", rate_factor=0.01, source=_SPATIAL
    ),
}


class Point(NamedTuple):
    """What is trained by itself: an arm at one dropout rate, on a share of the training images."""

    arm: str
    dropout_rate: float = 0.0
    share: float = 1.0

    @property
    def name(self) -> str:
        """For files and tables.

        >>> Point("spatial", 0.2).name
        'spatial/0.2/1'
        """
        return f"{self.arm}/{self.dropout_rate:g}/{self.share:g}"


def find(name: str) -> Arm:
    """The arm of a name.

    Raises:
      ConfigError: there is none.

    >>> find("spatail")
    Traceback (most recent call last):
    hyperlab.errors.ConfigError: unknown arm 'spatail'; did you mean 'spatial'?
    """
    if name not in ARMS:
        raise ConfigError(f"unknown arm {name!r}; {nearest(name, ARMS)}")
    return ARMS[name]
