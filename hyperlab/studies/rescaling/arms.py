"""The arms of the rescaling study, each defined completely: network, conditioning, initialisation, what it trains on.

Adding an arm is one line in `ARMS`.
"""

import dataclasses
from typing import Any, NamedTuple

NETWORKS = ("plain", "film", "hypernet")


class Job(NamedTuple):
    """One network that an arm trains.

    Attributes:
      factor: the rescaling factor that it is trained for; None for all of the prior.
      width: multiplies the channels of the primary.
    """

    factor: float | None
    width: float = 1.0

    @property
    def name(self) -> str:
        """For files."""
        factor = "prior" if self.factor is None else f"{self.factor:g}"
        return factor if self.width == 1 else f"{factor}_width_{self.width:g}"


@dataclasses.dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
      label: what the report calls it.
      network: `plain` (the primary alone), `film` or `hypernet`.
      trains: `prior` (one network, a new factor at every step), `factors` (one network for each compared factor),
        or `widths` (one for each width multiplier, at the largest compared factor).
      encoding: of the factor, for a hypernetwork.
      parametrization: of a hypernetwork.
      initializer: of its head, which has no bias.
      length: multiplies the number of steps.
      zoom: images are magnified at random in training, by 1/zoom to zoom.
      stream: another number gives other random draws under the same seeds (A/A test).
      rate_factor: multiplies the learning rate after it was chosen (a planted handicap).
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

    def jobs(self, config: Any) -> list[Job]:
        """The networks that the arm trains under one seed."""
        if self.trains == "prior":
            return [Job(None)]
        if self.trains == "widths":
            return [Job(max(config.factors), width) for width in config.widths]
        return [Job(factor) for factor in config.factors]

    def definition(self) -> str:
        """Everything in one line, for tables."""
        parts = {
            "plain": ["the primary alone"],
            "film": ["the primary, scaled and shifted by a perceptron on phi"],
            "hypernet": [
                f"hypernetwork: {self.encoding}, {self.parametrization}, {self.initializer}, no head bias",
            ],
        }[self.network]
        parts.append(_TRAINS[self.trains])
        parts += [f"{self.length:g} times the steps"] if self.length != 1 else []
        parts += [f"images magnified by 1/{self.zoom:g} to {self.zoom:g}"] if self.zoom != 1 else []
        return ", ".join(parts)


_TRAINS = {
    "prior": "one network, phi drawn at every step",
    "factors": "one network for each phi",
    "widths": "one network for each width, at the largest phi",
}

ARMS: dict[str, Arm] = {
    # the comparison
    "fixed": Arm("Fixed", trains="factors"),
    "stochastic": Arm("Stochastic"),
    "film": Arm("FiLM", network="film"),
    "sshn": Arm("SSHN", network="hypernet"),
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
    # tests of the instrument
    "sshn_again": Arm("SSHN, other draws", network="hypernet", stream=1),
    "sshn_slowed": Arm("SSHN, a tenth of the rate", network="hypernet", rate_factor=0.1),
}
