"""The arms of the stability study, each defined completely: encoding, parametrisation, head, normalisation.

An arm has variants, which differ in the head's initialiser alone: the best of them on tuning seeds and the
validation split stands for the arm. So what an arm can do is not decided by one unlucky initialisation, and every
arm of a comparison gets the same number of trials. A direct arm has no head bias, unless that is what it is there
for: a head bias that starts at zero already is a theta0.

Adding an arm is one line in `ARMS`.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from hyperlab.train.phases import TUNE

# Each hypernetwork is tried with these; `scale_matched` starts direct arms where the primary's own init would.
INITIALIZERS = ("fan_out", "fan_in", "hyperfan_in", "scale_matched")


class Setting(NamedTuple):
    """What an arm is trained with, under some seeds.

    Attributes:
      initializer: of the head: the variant.
      rates: learning rates, each of which is tried under every seed.
    """

    initializer: str
    rates: tuple[float, ...]


class Run(NamedTuple):
    """One training of a unit, which holds several."""

    learning_rate: float
    seed: int


class Cell(NamedTuple):
    """An arm, trained with an optimizer.

    >>> Cell("sgd", "mip").unit_name("tune", Setting("fan_out", (0.01, 0.1)), range(2))
    'sgd/mip/tune/fan_out/0.01_0.1'
    >>> Cell("sgd", "mip").unit_name("report", Setting("fan_out", (0.1,)), range(100, 102))
    'sgd/mip/report'
    """

    optimizer: str
    arm: str

    @property
    def key(self) -> str:
        """Initialiser and rate are chosen for each."""
        return f"{self.optimizer}/{self.arm}"

    def unit_name(self, phase: str, setting: Setting, seed: Sequence[int]) -> str:
        """Of all rates of a setting under all seeds of a phase, which lie in one file."""
        if phase != TUNE:
            return f"{self.key}/{phase}"
        return f"{self.key}/{phase}/{setting.initializer}/{'_'.join(f'{rate:.3g}' for rate in sorted(setting.rates))}"


def cells_of(config: Any) -> list[Cell]:
    """All that a config compares, in order."""
    return [Cell(optimizer, arm) for optimizer in config["optimizers"] for arm in config["arms"]]


def chosen_setting(choice: Any) -> Setting:
    """What an arm's entry of `choices.json` says that it is trained with."""
    return Setting(choice["initializer"], (choice["learning_rate"],))


@dataclasses.dataclass(frozen=True)
class Arm:
    """One arm, or one variant of it once it has a single initialiser.

    Attributes:
      label: what the report calls it.
      encoding: of gamma.
      parametrization: how theta is composed.
      initializers: of the head; the variants.
      head_bias: None, or `zeros`.
      normalization: inside the hypernetwork.
      per_sample: one theta a sample instead of one a batch (BatchNorm over gamma needs a batch of gamma).
      hypernetwork: False for the primary trained as it is.
      stream: another number gives the arm random draws of its own under the same seeds (A/A test).
      rate_factor: multiplies the learning rate after it was chosen (a planted handicap).
      prefit: share of the run in which the hypernetwork is first fitted to a plain network's parameters.
      by_width: initial scales and rates go with width and depth by a rule; only a study of transfer has what it needs.
    """

    label: str
    encoding: str = "raw"
    parametrization: str = "direct"
    initializers: tuple[str, ...] = INITIALIZERS
    head_bias: str | None = None
    normalization: str | None = None
    per_sample: bool = False
    hypernetwork: bool = True
    stream: int = 0
    rate_factor: float = 1.0
    prefit: float = 0.0
    by_width: bool = False

    @property
    def initializer(self) -> str:
        """The only initialiser of a variant."""
        (initializer,) = self.initializers
        return initializer

    @property
    def untuned(self) -> str:
        """The initialiser where nothing is tuned: the library's own, and the primary's scale where theta0 is not there.

        A direct arm that starts at another scale shows that scale first of all.
        """
        if len(self.initializers) == 1:
            return self.initializer
        return "scale_matched" if self.parametrization == "direct" else "fan_out"

    def prefit_steps(self, steps: int, call: int) -> int:
        """Steps of a run that go into the first fit, in whole calls of the program.

        >>> Arm("fitted first", prefit=1 / 3).prefit_steps(120, 40)
        40
        """
        return int(self.prefit * steps + 1e-9) // call * call

    def variant(self, initializer: str) -> "Arm":
        """The arm with one initialiser alone."""
        return dataclasses.replace(self, initializers=(initializer,))

    def variants(self) -> list["Arm"]:
        """The arm once for each initialiser."""
        return [self.variant(initializer) for initializer in self.initializers]

    def definition(self) -> str:
        """Encoding, parametrisation and the rest in one line, for tables."""
        by_width = ["initial scales and rates by width and depth"] if self.by_width else []
        if not self.hypernetwork:
            return ", ".join(["the primary alone", *by_width])
        parts = [self.encoding, self.parametrization, " / ".join(self.initializers)]
        parts.append(f"head bias {self.head_bias}" if self.head_bias else "no head bias")
        parts += [self.normalization] if self.normalization else []
        parts += ["one gamma per sample"] if self.per_sample else []
        parts += [f"fitted first for {self.prefit:.0%} of its steps"] if self.prefit else []
        return ", ".join(parts + by_width)


_MIP: dict[str, Any] = {"encoding": "cos_sin", "parametrization": "additive"}

# What pages call the arm that files and configs call "default": the default of the library is another one, MIP.
SHOWN = {"default": "ordinary"}

RIVALS = ("mip_scaled", "bias_hyperinit", "lora_start", "prefit", "output_rms")

ARMS: dict[str, Arm] = {
    # the comparison
    "plain": Arm("no hypernetwork", hypernetwork=False, initializers=("own",)),
    "default": Arm("default"),
    "encoding": Arm("encoding only", encoding="cos_sin"),
    "additive": Arm("additive only", parametrization="additive"),
    "mip": Arm("MIP", **_MIP),
    # controls
    "fan_out": Arm("default, fan-out", initializers=("fan_out",)),
    "zero_bias": Arm("default + zero head bias", head_bias="zeros"),
    "wide_additive": Arm("additive, doubled width", encoding="z_z", parametrization="additive"),
    "z_1mz": Arm("additive, z|1-z", encoding="z_1mz", parametrization="additive"),
    "unit_norm": Arm("additive, gamma / norm", encoding="unit_norm", parametrization="additive"),
    # normalisation inside the hypernetwork, on the default
    "layer_norm_before": Arm("default + LayerNorm before", normalization="layer_norm_before"),
    "layer_norm_after": Arm("default + LayerNorm after", normalization="layer_norm_after"),
    "weight_norm": Arm("default + weight norm", normalization="weight_norm"),
    "output_norm": Arm("default + output norm", normalization="output_norm"),
    "per_sample": Arm("default, gamma per sample", per_sample=True),
    "batch_norm": Arm("default + BatchNorm over gamma", normalization="batch_norm", per_sample=True),
    "additive_layer_norm": Arm(
        "additive + LayerNorm after", parametrization="additive", normalization="layer_norm_after"
    ),
    # rivals: what others put in place of MIP, or in addition
    "mip_scaled": Arm("MIP, delta x 0.1", encoding="cos_sin", parametrization="scaled:0.1"),
    # Beck et al., Hypernetworks in Meta-Reinforcement Learning (CoRL 2022)
    "bias_hyperinit": Arm("Bias-HyperInit", initializers=("bias_hyperinit",), head_bias="own"),
    # Charakorn et al., Doc-to-LoRA (2026), arXiv 2602.15902, on the whole of theta instead of low-rank factors
    "lora_start": Arm(
        "unit norm, scales from 0",
        parametrization="learned_scale:0",
        initializers=("fan_out",),
        normalization="unit_norm",
    ),
    # Zhou, Universal Hypernetworks (2026), arXiv 2604.02215: in place of a good initialisation
    "prefit": Arm("fitted first", initializers=("fan_in",), prefit=1 / 3),
    # Zhang and Sennrich (2019), arXiv 1910.07467, on every generated tensor
    "output_rms": Arm("default + RMS-scaled outputs", normalization="output_rms_norm"),
    # scales and rates that go with the width of the primary (`stability.width`); an eighth is MIP's share at width 64
    "plain_by_width": Arm("no hypernetwork, by width", hypernetwork=False, initializers=("own",), by_width=True),
    "mip_by_width": Arm("MIP, by width", **_MIP | {"initializers": ("scale_matched:0.125",)}, by_width=True),
    # A/A and sensitivity checks: a copy that must not be separable, and a handicap that must be found
    "mip_again": Arm("MIP again", **_MIP, stream=1),
    "mip_slowed": Arm("MIP at a tenth of its rate", **_MIP, rate_factor=0.1),
}
