"""The arms of the local SGD study, each defined completely: what replicas do between synchronisations, and at them.

All arms see the same examples in the same order and start from the same parameters, seed by seed. What an arm may be
tuned in is its own space; every arm gets the same number of trials over it. Adding an arm is one line in `ARMS`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from hyperlab.errors import ConfigError, nearest
from hyperlab.studies.search import Axis, draw

# Beside the inner rate, whose axis is the config's: `(low, high)`, drawn uniformly.
MOMENTUM = {"beta": (0.1, 0.9)}
OUTER_RATE = {"outer_rate": (0.1, 1.0)}
NUMBERS = ("rate", "outer_rate", "beta")
FORMS = ("average", "slowmo", "nesterov")
KINDS = ("synchronous", "local", "post_local", "hierarchical")
GROUPS = 2  # of replicas, in the hierarchical arm
EVERY = 4  # averages within groups in a round of it, the last one being the round's end


COMPUTE = "compute"  # the unit that holds the measured seconds of a step


class Cell(NamedTuple):
    """What is tuned by itself: an arm at one H, with one number of replicas."""

    arm: str
    period: int
    replicas: int

    @property
    def name(self) -> str:
        """For files and tables.

        >>> Cell("local", 16, 8).name
        'local/16/8'
        """
        return f"{self.arm}/{self.period}/{self.replicas}"

    @property
    def key(self) -> str:
        """Numbers are chosen for every cell by itself."""
        return self.name

    def unit_name(self, phase: str, trial: int, seed: int) -> str:
        """Of one training, with the numbers of a trial.

        >>> Cell("local", 16, 8).unit_name("report", 2, 100)
        'local/16/8/report/2/100'
        """
        return f"{self.name}/{phase}/{trial}/{seed}"


@dataclasses.dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
      label: what the report calls it.
      kind: `synchronous`; `local`; `post_local`, synchronous at first; `hierarchical`, with averages in groups.
      accumulate: whether a synchronous step averages the gradients of H batches: as rare as local SGD's rounds.
      switch: share of the training that is synchronous, of `post_local`, to whole rounds.
      outer: how the anchor moves: `average` by rate times the mean pseudo-gradient, `slowmo`, `nesterov`.
      space: what is tuned beside the inner rate: `{number: (low, high)}`.
      effective: whether the outer rate is that of slow momentum in the long run, 1 / (1 - beta), without a momentum.
      inner_state: what a synchronisation does to the inner optimizer's buffers.
      compression: what pseudo-gradients become before they are sent; the gradients, where synchronous steps send
        them.
      fragments: parts of the network that are synchronised in turn; 0 for all at once.
      stream: another number gives other random draws under the same seeds (A/A test).
      rate_factor: multiplies the inner rate of the reported runs (a planted handicap).
      source: where the method was published.

    Raises:
      ConfigError: an unknown kind or form.
    """

    label: str
    kind: str = "local"
    accumulate: bool = False
    switch: float = 0.0
    outer: str = "average"
    space: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    effective: bool = False
    inner_state: str = "maintain"
    compression: str | None = None
    fragments: int = 0
    stream: int = 0
    rate_factor: float = 1.0
    source: str = ""

    def __post_init__(self):
        for name, known in (("kind", KINDS), ("outer", FORMS)):
            given = getattr(self, name)
            if given not in known:
                raise ConfigError(f"arm {self.label!r}: {name} is {given!r}; {nearest(given, known)}")

    def takes(self, period: int, replicas: int) -> bool:
        """Whether the arm is one of its own at H local steps a round.

        Synchronous training has no H, an accumulated batch of one is synchronous training, and a switch or groups
        between rounds of one step change nothing.

        >>> [ARMS[name].takes(1, 8) for name in ("synchronous", "local", "large_batch", "post_local")]
        [True, True, False, False]
        """
        if self.kind == "hierarchical":
            return period % EVERY == 0 and replicas % GROUPS == 0 and replicas > GROUPS
        if not self.has_period:
            return period == 1
        if self.fragments:
            return period > 1 and period % self.fragments == 0
        return period > 1 or (self.kind == "local" and self.compression is None)

    def periods(self, config: Any, replicas: int) -> list[int]:
        """The H at which a study with so many replicas runs the arm; one without H stands at 1."""
        return [period for period in config.periods if self.takes(period, replicas)] if self.has_period else [1]

    @property
    def has_period(self) -> bool:
        """Whether there is an H: plain synchronous training has none."""
        return self.kind != "synchronous" or self.accumulate

    def outer_numbers(self, numbers: Mapping[str, float]) -> tuple[float, float]:
        """Outer rate and outer momentum.

        >>> ARMS["control"].outer_numbers({"rate": 0.1, "beta": 0.75}), ARMS["slowmo"].outer_numbers({"beta": 0.75})
        ((4.0, 0.0), (1.0, 0.75))
        """
        beta = numbers.get("beta", 0.0)
        if self.effective:
            return 1 / (1 - beta), 0.0
        return numbers.get("outer_rate", 1.0), beta

    def definition(self) -> str:
        """Everything in one line, for tables."""
        if self.kind == "synchronous":
            how = "of H batches, summed up before the step" if self.accumulate else "at every step"
            sent = f"; sent as {self.compression}, errors fed back" if self.compression else ""
            return f"gradients averaged {how}{sent}"
        moves = {
            "average": "the mean of the replicas",
            "slowmo": "slow momentum (heavy ball on pseudo-gradients over the inner rate), outer rate 1",
            "nesterov": "Nesterov momentum on the pseudo-gradient",
        }[self.outer]
        if self.effective:
            moves = "outer rate 1 / (1 - beta), no momentum"
        elif self.outer == "average" and "outer_rate" in self.space:
            moves = "an outer rate below 1 towards the mean of the replicas"
        parts = [f"H local steps, then {moves}"]
        parts += [f"synchronous for the first {self.switch:.0%}"] if self.switch else []
        if self.kind == "hierarchical":
            parts.append(f"every H/{EVERY} steps the mean within {GROUPS} groups")
        parts += [f"{self.fragments} parts of the network in turn, each every H steps"] if self.fragments else []
        parts.append(f"inner momenta: {self.inner_state}")
        parts += [f"sent as {self.compression}, errors fed back"] if self.compression else []
        return "; ".join(parts)


_POWER = "Vogels et al., 2019, arXiv 1905.13727"
_SIGN = "Karimireddy et al., 2019, arXiv 1901.09847"
_STREAMING = "Douillard et al., 2025, arXiv 2501.18512"
_LIN, _SLOWMO = "Lin et al., 2018, arXiv 1808.07217", "Wang et al., 2019, arXiv 1910.00643"

ARMS: dict[str, Arm] = {
    "synchronous": Arm("synchronous", "synchronous"),
    "large_batch": Arm("synchronous, H-fold batch", "synchronous", accumulate=True, source="Goyal et al., 2017"),
    "local": Arm("local SGD", source="Stich, 2018, arXiv 1805.09767"),
    "local_reset": Arm("local SGD, momenta reset", inner_state="reset"),
    "local_average": Arm("local SGD, momenta averaged", inner_state="average", source="Yu et al., 2019"),
    "post_local": Arm("post-local SGD, from 50 %", "post_local", switch=0.5, source=_LIN),
    "post_local_25": Arm("post-local SGD, from 25 %", "post_local", switch=0.25, source=_LIN),
    "post_local_75": Arm("post-local SGD, from 75 %", "post_local", switch=0.75, source=_LIN),
    "hierarchical": Arm("hierarchical local SGD", "hierarchical", source=_LIN),
    "slowmo": Arm("SlowMo", outer="slowmo", space=MOMENTUM, source=_SLOWMO),
    "slowmo_reset": Arm("SlowMo, momenta reset", outer="slowmo", space=MOMENTUM, inner_state="reset", source=_SLOWMO),
    "diloco": Arm(
        "DiLoCo's outer step",
        outer="nesterov",
        space=OUTER_RATE | MOMENTUM,
        source="Douillard et al., 2023",
    ),
    "lookahead": Arm("Lookahead", space=OUTER_RATE, source="Zhang et al., 2019, arXiv 1907.08610"),
    "int8": Arm("local SGD, 8 bits sent", compression="int8"),
    "sign": Arm("local SGD, 1 bit sent", compression="sign", source=_SIGN),
    "rank2": Arm("local SGD, rank 2 sent", compression="rank2", source=_POWER),
    "diloco_int8": Arm(
        "DiLoCo, 8 bits sent",
        outer="nesterov",
        space=OUTER_RATE | MOMENTUM,
        compression="int8",
        source=_STREAMING,
    ),
    "fragments": Arm("local SGD, 2 fragments", fragments=2, source=_STREAMING),
    # every gradient, sent in less
    "int8_gradients": Arm("8-bit gradients", "synchronous", compression="int8"),
    "sign_gradients": Arm("1-bit gradients", "synchronous", compression="sign", source=_SIGN),
    "powersgd": Arm("PowerSGD, rank 2", "synchronous", compression="rank2", source=_POWER),
    "powersgd_4": Arm("PowerSGD, rank 4", "synchronous", compression="rank4", source=_POWER),
    # controls
    "control": Arm("local SGD, outer rate 1/(1-beta)", space=MOMENTUM, effective=True),
    # tests of the instrument
    "local_again": Arm("local SGD, other draws", stream=1),
    "local_slowed": Arm("local SGD, a hundredth of the rate", rate_factor=0.01),
}


def find(name: str) -> Arm:
    """An arm by name.

    Raises:
      ConfigError: the nearest name.

    >>> find("slowmo").outer
    'slowmo'
    """
    if name not in ARMS:
        raise ConfigError(f"arms: unknown arm {name!r}; {nearest(name, ARMS)}")
    return ARMS[name]


def cells_of(config: Any) -> list[Cell]:
    """All that is tuned and reported, in order."""
    return [
        Cell(arm, period, replicas)
        for replicas in config.replicas
        for arm in config.arms
        for period in find(arm).periods(config, replicas)
    ]


def space(arm: str, config: Any) -> dict[str, Axis]:
    """What an arm is tuned in."""
    own = {name: Axis(*ends) for name, ends in find(arm).space.items()}
    rates: tuple[float, float] = config.rates
    return {"rate": Axis(*rates, log=True)} | own


def drawn(arm: str, config: Any) -> list[dict[str, float]]:
    """The numbers of each tuning trial of an arm: the same at every H and number of replicas."""
    return draw(space(arm, config), config.trials, config.seed)
