"""The arms of the rescaling study, each defined completely: network, conditioning, initialisation, what it trains on.

Adding an arm is one line in `ARMS`.
"""

import dataclasses
from typing import Any, NamedTuple

NETWORKS = ("plain", "film", "hypernet")


class Cell(NamedTuple):
    """One network that an arm trains under a seed.

    Attributes:
      arm: in `ARMS`.
      factor: the rescaling factor that it is trained for; None for all of the prior.
      width: multiplies the channels of the primary.

    >>> Cell("fixed", 0.3).unit_name("tune", 0.003, 0)
    'fixed/0.3/tune/0.003/0'
    """

    arm: str
    factor: float | None = None
    width: float = 1.0

    @property
    def key(self) -> str:
        """One learning rate is chosen for all networks of an arm."""
        return self.arm

    @property
    def trained_at(self) -> str:
        """The factor and the width, for names."""
        factor = "prior" if self.factor is None else f"{self.factor:g}"
        return factor if self.width == 1 else f"{factor}_width_{self.width:g}"

    def unit_name(self, phase: str, rate: float, seed: int) -> str:
        """Of one training."""
        return f"{self.arm}/{self.trained_at}/{phase}/{rate:.3g}/{seed}"

    @property
    def cost_name(self) -> str:
        """Of the unit that holds what training it costs."""
        return f"cost/{self.arm}/{self.trained_at}"

    def network_file(self, seed: int) -> str:
        """The file of its parameters, from the run folder."""
        return f"networks/{self.arm}_{self.trained_at}_{seed}.npz"


CASES = "cases"  # the unit that holds the names of the test images


def inference_name(width: float) -> str:
    """The unit that holds what the primary costs to run, at every factor."""
    return f"inference/{width:g}"


@dataclasses.dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
      label: what the report calls it.
      network: `plain` (the primary alone), `film` or `hypernet`.
      trains: `prior` (one network, a new factor at every step), `factors` (one network for each compared factor),
        or, at the largest compared factor, `widths` (one network for each width multiplier) or `slimmable` (one for
        all of them and 1, a new width at every step; see `slimmable`).
      encoding: of the factor, for a hypernetwork.
      parametrization: of a hypernetwork.
      initializer: of its head, which has no bias.
      length: multiplies the number of steps.
      zoom: images are magnified at random in training, by 1/zoom to zoom.
      stream: another number gives other random draws under the same seeds (A/A test).
      rate_factor: multiplies the learning rate after it was chosen (a planted handicap).
      blind: a hypernetwork is always told the middle of the prior, whatever the factor: what it then gives is
        reparametrisation alone.
      sandwich: every step is at the smallest factor that is measured, at the largest, and at a drawn one (Yu and Huang
        2019, arXiv 1903.05134); an arm of a third of the steps, so of the same cost.
    """

    label: str
    network: str = "plain"
    trains: str = "prior"
    encoding: str = "z_1mz"
    parametrization: str = "additive"
    initializer: str = "fan_out"
    length: float = 1.0
    zoom: float = 1.0
    stream: int = 0
    rate_factor: float = 1.0
    blind: bool = False
    sandwich: bool = False

    @property
    def by_width(self) -> bool:
        """Whether its operating points are widths, at one factor."""
        return self.trains in ("widths", "slimmable")

    @property
    def kind(self) -> "Arm":
        """The network alone: equal for arms that differ in how they are trained."""
        told = {"hypernet": ("encoding", "parametrization", "initializer", "blind"), "film": ("encoding",), "plain": ()}
        return Arm("", self.network, **{name: getattr(self, name) for name in told[self.network]})

    def definition(self) -> str:
        """Everything in one line, for tables."""
        parts = {
            "plain": ["the primary alone"],
            "film": [f"the primary, scaled and shifted by a perceptron on phi ({self.encoding})"],
            "hypernet": [
                f"hypernetwork: {self.encoding}, {self.parametrization}, {self.initializer}, no head bias",
            ],
        }[self.network]
        parts += ["told the middle of the prior instead of phi"] if self.blind else []
        parts.append(_TRAINS[self.trains])
        parts += ["a step is at the smallest, the largest and a drawn phi"] if self.sandwich else []
        parts += [f"{self.length:g} times the steps"] if self.length != 1 else []
        parts += [f"images magnified by 1/{self.zoom:g} to {self.zoom:g}"] if self.zoom != 1 else []
        return ", ".join(parts)


PLAIN = Arm("")  # the primary alone, as a network

_TRAINS = {
    "prior": "one network, phi drawn at every step",
    "factors": "one network for each phi",
    "widths": "one network for each width, at the largest phi",
    "slimmable": "one network, its width drawn at every step, at the largest phi",
}

ARMS: dict[str, Arm] = {
    # the comparison
    "fixed": Arm("Fixed", trains="factors"),
    "stochastic": Arm("Stochastic"),
    "film": Arm("FiLM", network="film"),
    "sshn": Arm("SSHN", network="hypernet"),
    # what of it is the conditioning, what the parametrisation
    "sshn_blind": Arm("SSHN, blind to phi", network="hypernet", blind=True),
    "sshn_scaled": Arm("SSHN, a tenth of Delta", network="hypernet", parametrization="scaled:0.1"),
    "film_raw": Arm("FiLM, raw phi", network="film", encoding="raw"),
    "sandwich": Arm("SSHN, sandwich rule", network="hypernet", sandwich=True, length=1 / 3),
    "stochastic_sandwich": Arm("Stochastic, sandwich rule", sandwich=True, length=1 / 3),
    # other ways of generating
    "sshn_cos": Arm("SSHN, cos|sin", network="hypernet", encoding="cos_sin"),
    "sshn_direct": Arm("SSHN, direct", network="hypernet", parametrization="direct", initializer="scale_matched"),
    "sshn_raw": Arm(
        "SSHN, raw phi, direct",
        network="hypernet",
        encoding="raw",
        parametrization="direct",
        initializer="scale_matched",
    ),
    # controls
    "constant": Arm("SSHN at one phi", network="hypernet", trains="factors"),
    "fixed_2x": Arm("Fixed, 2x steps", trains="factors", length=2.0),
    "fixed_4x": Arm("Fixed, 4x steps", trains="factors", length=4.0),
    "fixed_zoom": Arm("Fixed, magnified images", trains="factors", zoom=1.5),
    "width": Arm("Fixed, narrower", trains="widths"),
    "slimmable": Arm("Slimmable", trains="slimmable"),
    # A/A and sensitivity checks
    "sshn_again": Arm("SSHN, other draws", network="hypernet", stream=1),
    "sshn_slowed": Arm("SSHN, a tenth of the rate", network="hypernet", rate_factor=0.1),
}


def cells_of(arm: str, config: Any) -> list[Cell]:
    """The networks that an arm trains under one seed."""
    trains = ARMS[arm].trains
    if trains == "prior":
        return [Cell(arm)]
    if trains == "widths":
        return [Cell(arm, max(config.factors), width) for width in config.widths]
    if trains == "slimmable":
        return [Cell(arm, max(config.factors))]
    return [Cell(arm, factor) for factor in config.factors]


def widths_of(cell: Cell, config: Any) -> list[float]:
    """The widths that a network is trained and measured at, from narrow to wide."""
    return sorted({*config.widths, 1.0}) if ARMS[cell.arm].trains == "slimmable" else [cell.width]
