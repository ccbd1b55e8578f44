"""The arms of the registration study, each defined completely: encoding, parametrisation, head, what is generated.

A HyperMorph arm is trained once, on all regularisation weights. `separate` is one ordinary VoxelMorph for each weight.
An arm's variants differ in the head's initialiser alone; the best on tuning seeds and the validation split stands for
it. Direct arms have no head bias. Adding an arm is one line in `ARMS`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hyperlab.train.phases import REPORT, TUNE

INITIALIZERS = ("fan_out", "fan_in", "hyperfan_in", "scale_matched")


class Setting(NamedTuple):
    """What a network is trained with.

    Attributes:
      initializer: of the head: the variant.
      rate: the learning rate.
    """

    initializer: str
    rate: float


class Cell(NamedTuple):
    """One network that an arm trains under a seed.

    Attributes:
      arm: in `ARMS`.
      weight: the regularisation weight of a separate network; None for a network of all weights.

    >>> Cell("separate", 0.5).unit_name("tune", Setting("own", 0.001), 0)
    'separate/0.5/tune/own/0.001/0'
    >>> Cell("mip").unit_name("report", Setting("fan_out", 0.001), 100)
    'mip/report/100'
    """

    arm: str
    weight: float | None = None

    @property
    def key(self) -> str:
        """What is chosen for an arm stands together."""
        return self.arm

    @property
    def name(self) -> str:
        """The arm and the weight."""
        return self.arm if self.weight is None else f"{self.arm}/{self.weight:g}"

    def run_name(self, seed: int) -> str:
        """Of a reported training, in the record too."""
        return f"{self.name}/{REPORT}/{seed}"

    def unit_name(self, phase: str, setting: Setting, seed: int) -> str:
        """Of one training."""
        if phase == REPORT:
            return self.run_name(seed)
        return f"{self.name}/{phase}/{setting.initializer}/{setting.rate:.3g}/{seed}"


def identity_name(phase: str) -> str:
    """The unit that holds what is measured without registration."""
    return f"identity/{phase}"


def pairwise_name(phase: str, rate: float) -> str:
    """The unit of the optimisation of every pair on its own."""
    return f"pairwise/{phase}/{rate:.3g}" if phase == TUNE else f"pairwise/{phase}"


@dataclasses.dataclass(frozen=True)
class Arm:
    """One arm, or one variant of it once it has a single initialiser.

    Attributes:
      label: what the report calls it.
      encoding: of the regularisation weight.
      parametrization: how theta is composed.
      initializers: of the head; the variants.
      generates_flow: whether the last convolution is generated too. It has to start near zero: as published, it is an
        ordinary layer.
      hypernetwork: False for separate networks, one for each weight.
      stream: another number gives the arm random draws of its own under the same seeds (A/A test).
      rate_factor: multiplies the learning rate after it was chosen (a planted handicap).
      length_factor: multiplies the number of training steps.
      tuned_as: the arm whose rate and initialiser it takes over, without trials of its own.
    """

    label: str
    encoding: str = "raw"
    parametrization: str = "direct"
    initializers: tuple[str, ...] = INITIALIZERS
    generates_flow: bool = False
    hypernetwork: bool = True
    stream: int = 0
    rate_factor: float = 1.0
    length_factor: int = 1
    tuned_as: str | None = None

    @property
    def initializer(self) -> str:
        """The only initialiser of a variant."""
        (initializer,) = self.initializers
        return initializer

    def variant(self, initializer: str) -> "Arm":
        """The arm with one initialiser alone."""
        return dataclasses.replace(self, initializers=(initializer,))

    def tried(self, initializers: Sequence[str]) -> tuple[str, ...]:
        """Those of its initialisers that a study tries; all of its own where it tries none of them."""
        return tuple(name for name in self.initializers if name in initializers) or self.initializers

    def definition(self) -> str:
        """Encoding, parametrisation and the rest in one line, for tables."""
        if not self.hypernetwork:
            return "an ordinary VoxelMorph for each weight"
        flow = "flow layer generated" if self.generates_flow else "flow layer ordinary"
        parts = [self.encoding, self.parametrization, " / ".join(self.initializers), "no head bias", flow]
        parts += [f"{self.length_factor} x the steps"] if self.length_factor != 1 else []
        return ", ".join(parts)


_MIP: dict[str, Any] = {"encoding": "cos_sin", "parametrization": "additive", "initializers": ("fan_out",)}

ARMS: dict[str, Arm] = {
    "separate": Arm("separate VoxelMorphs", hypernetwork=False, initializers=("own",)),
    "default": Arm("HyperMorph, default"),
    "mip": Arm("HyperMorph, MIP", **_MIP),
    # what each part of MIP does
    "encoding": Arm("HyperMorph, encoding only", encoding="cos_sin"),
    "additive": Arm("HyperMorph, additive only", parametrization="additive", initializers=("fan_out",)),
    # controls: everything generated; a longer run, for one network has to serve every weight
    "mip_flow": Arm("HyperMorph, MIP, flow layer too", **_MIP, generates_flow=True),
    "mip_long": Arm("HyperMorph, MIP, 3x the steps", **_MIP, length_factor=3, tuned_as="mip"),
    # A/A and sensitivity checks: a copy that must not be separable, and a handicap that must be found
    "mip_again": Arm("HyperMorph, MIP again", **_MIP, stream=1),
    "mip_slowed": Arm("HyperMorph, MIP at a tenth of its rate", **_MIP, rate_factor=0.1),
}


def cells_of(arm: str, config: Any) -> list[Cell]:
    """The networks that an arm trains under one seed."""
    return [Cell(arm)] if ARMS[arm].hypernetwork else [Cell(arm, weight) for weight in config["weights"]]


def taken_over(arm: str, arms: Sequence[str]) -> str | None:
    """The arm whose choice another takes over; None where that one is not tuned before it.

    >>> taken_over("mip_long", ("mip", "mip_long")), taken_over("mip_long", ("mip_long", "mip"))
    ('mip', None)
    """
    other = ARMS[arm].tuned_as
    return other if other in arms[: arms.index(arm)] else None


def chosen_setting(cell: Cell, choice: Mapping[str, Any], config: Any) -> Setting:
    """What an arm's entry of `choices.json` says of one of its networks."""
    rate = choice["learning_rate"]
    if cell.weight is not None:  # one for each weight
        rate = rate[list(config["weights"]).index(cell.weight)]
    return Setting(choice["initializer"], rate)


def settings_tried(cell: Cell, choice: Mapping[str, Any], config: Any) -> list[Setting]:
    """What one of an arm's networks was trained with on tuning seeds, from the arm's entry of `choices.json`."""
    if taken_over(cell.arm, config["arms"]):
        return [chosen_setting(cell, choice, config)]
    tuning = choice["tuning"]
    if cell.weight is not None:
        tuning = tuning[list(config["weights"]).index(cell.weight)]
    return [Setting(one["initializer"], one["learning_rate"]) for one in tuning]
