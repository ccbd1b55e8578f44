"""The arms of the registration study, each defined completely: encoding, parametrisation, head, what is generated.

A HyperMorph arm is trained once, on all regularisation weights. `separate` is one ordinary VoxelMorph for each weight.
An arm's variants differ in the head's initialiser alone; the best on tuning seeds and the validation split stands for
it. Direct arms have no head bias. Adding an arm is one line in `ARMS`.
"""

import dataclasses
from typing import Any

from hyperlab.hypernet import HyperModel, hypernetize
from hyperlab.registration.model import WITHOUT_FLOW

INITIALIZERS = ("fan_out", "fan_in", "hyperfan_in", "scale_matched")
# As published: the last convolution, which has to start near zero, is an ordinary layer.
EVERYTHING = ("**",)


@dataclasses.dataclass(frozen=True)
class Arm:
    """One arm, or one variant of it once it has a single initialiser.

    Attributes:
      label: what the report calls it.
      encoding: of the regularisation weight.
      parametrization: how theta is composed.
      initializers: of the head; the variants.
      select: which leaves of the VoxelMorph are generated.
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
    select: tuple[str, ...] = WITHOUT_FLOW
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

    def variants(self, tried: tuple[str, ...] = INITIALIZERS) -> list["Arm"]:
        """The arm once for each of its initialisers that are tried (all of its own where none of them is)."""
        chosen = [name for name in self.initializers if name in tried] or self.initializers
        return [dataclasses.replace(self, initializers=(name,)) for name in chosen]

    def definition(self) -> str:
        """Encoding, parametrisation and the rest in one line, for tables."""
        if not self.hypernetwork:
            return "an ordinary VoxelMorph for each weight"
        flow = "flow layer ordinary" if self.select == WITHOUT_FLOW else "flow layer generated"
        parts = [self.encoding, self.parametrization, " / ".join(self.initializers), "no head bias", flow]
        parts += [f"{self.length_factor} x the steps"] if self.length_factor != 1 else []
        return ", ".join(parts)

    def build(self, primary: Any, *example: Any, **options: Any) -> HyperModel | None:
        """The model of a variant; None without a hypernetwork."""
        if not self.hypernetwork:
            return None
        return hypernetize(
            primary,
            *example,
            gamma_dim=1,
            gamma_range=(0.0, 1.0),
            select=self.select,
            encoding=self.encoding,
            parametrization=self.parametrization,
            initializer=self.initializer,
            **options,
        )


_MIP = {"encoding": "cos_sin", "parametrization": "additive", "initializers": ("fan_out",)}

ARMS: dict[str, Arm] = {
    "separate": Arm("separate VoxelMorphs", hypernetwork=False, initializers=("own",)),
    "default": Arm("HyperMorph, default"),
    "mip": Arm("HyperMorph, MIP", **_MIP),
    # what each part of MIP does
    "encoding": Arm("HyperMorph, encoding only", encoding="cos_sin"),
    "additive": Arm("HyperMorph, additive only", parametrization="additive", initializers=("fan_out",)),
    # controls: everything generated; a longer run, for one network has to serve every weight
    "mip_flow": Arm("HyperMorph, MIP, flow layer too", **_MIP, select=EVERYTHING),
    "mip_long": Arm("HyperMorph, MIP, 3x the steps", **_MIP, length_factor=3, tuned_as="mip"),
    # tests of the instrument: a copy that must not be separable, and a handicap that must be found
    "mip_again": Arm("HyperMorph, MIP again", **_MIP, stream=1),
    "mip_slowed": Arm("HyperMorph, MIP at a tenth of its rate", **_MIP, rate_factor=0.1),
}
