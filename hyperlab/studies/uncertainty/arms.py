"""The arms of the uncertainty study: a network, what it drops and where, and how it answers with an uncertainty.

Arms are trained alike on the same images, and tuned with as many trials. Networks that drop something, an ensemble and
the control have the same layers, parameters and initialisation; at one rate, dropout of channels and of activations
are different noises, so a whole curve over rates is measured for every arm that drops.
"""

from typing import NamedTuple

from hyperlab.errors import ConfigError, nearest
from hyperlab.models.dropout_unet import PLACES

ANSWERS = ("draws", "pass", "members")


class Arm(NamedTuple):
    """One arm.

    Attributes:
      label: for tables and figures.
      network: of `networks.NETWORKS`; of `spatial` and `element` at the rate 0, which makes no difference.
      places: blocks that drop.
      answers: `draws`: the mean over draws of the network, and how they differ; `pass`: one pass without dropout;
        `members`: networks from different initial parameters, in place of draws.
      drops: whether anything is dropped; an arm that drops nothing has the rate 0 alone.
      learner: the arm whose trained networks it uses; empty for its own.
      like: the arm whose diversity on the validation split it is given.
      stream: added to the seed of what is drawn (A/A copies differ in it alone).
      rate_factor: of the learning rate in the report phase: a planted handicap.
      source: authors, year, arXiv id.
    """

    label: str
    network: str = "spatial"
    places: tuple[str, ...] = PLACES
    answers: str = "draws"
    drops: bool = True
    learner: str = ""
    like: str = ""
    stream: int = 0
    rate_factor: float = 1.0
    source: str = ""

    def definition(self) -> str:
        """What is done, in words."""
        if not self.drops:
            return _DEFINITIONS[self.answers if self.answers != "draws" else self.network]
        what = "whole channels" if self.network == "spatial" else "single activations"
        extra = f"; learning rate times {self.rate_factor:g}" if self.rate_factor != 1 else ""
        return f"{what} are dropped in {', '.join(self.places)}; several draws{extra}"


_DEFINITIONS = {
    "pass": "nothing is dropped; one pass",
    "members": "nothing is dropped; several networks, each from its own initial parameters",
    "bayesian": "all parameters are theta0 + delta(z), generated from z of N(0, I); trained on the expected loss, one "
    "z a step; several z. No term but the loss keeps z in use: an implicit ensemble, no posterior",
    "tyche": "an image, noise and labelled training images of its task; loss of the best candidate; a draw is one "
    "candidate of a pass",
    "noise": "nothing is dropped; smooth noise on the logit of one pass, as diverse on the validation split as Tyche's "
    "candidates; several draws",
}
_SPATIAL = "Tompson et al., 2015, arXiv 1411.4280; for segmentation Soleimany et al., 2019, arXiv 1912.00262"
_ELEMENT = "Gal and Ghahramani, 2016, arXiv 1506.02142"

# Adding an arm is one line.
ARMS: dict[str, Arm] = {
    "none": Arm("no dropout", answers="pass", drops=False),
    "spatial": Arm("spatial dropout", "spatial", source=_SPATIAL),
    "element": Arm("element-wise dropout", "element", source=_ELEMENT),
    "ensemble": Arm(
        "deep ensemble",
        answers="members",
        drops=False,
        learner="none",
        source="Lakshminarayanan et al., 2017, arXiv 1612.01474",
    ),
    "bayesian": Arm(
        "Bayesian hypernetwork",
        "bayesian",
        drops=False,
        source="Krueger et al., 2017, arXiv 1710.04759; generated as by Gonzalez Ortiz et al., 2023, arXiv 2304.07645",
    ),
    "tyche": Arm("Tyche", "tyche", drops=False, source="Rakic et al., 2024, arXiv 2401.13650"),
    "noise": Arm("smooth noise (control)", "noise", drops=False, learner="none", like="tyche"),
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
