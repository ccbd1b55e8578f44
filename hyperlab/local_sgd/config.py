"""One description of how replicas train and when they talk."""

import dataclasses
from collections.abc import Callable
from typing import Any

import optax

from hyperlab.errors import ConfigError, nearest
from hyperlab.local_sgd.compression import NAMES
from hyperlab.local_sgd.low_rank import RANKS
from hyperlab.local_sgd.periods import Period, checked, length
from hyperlab.local_sgd.slow_momentum import OUTERS, outer_optimizer

KINDS = tuple(OUTERS)
INNER_STATES = ("reset", "maintain", "average")
COLLECTIONS = ("share", "keep")
COMPRESSIONS = (None, *NAMES)


@dataclasses.dataclass(frozen=True)
class Config:
    """A method of training with rare communication.

    | kind | between synchronisations | at one, the anchor moves by | source |
    |---|---|---|---|
    | `synchronous` | nothing: gradients are averaged at every step | | |
    | `local` | local steps | the mean of the replicas | Stich 2018, arXiv 1805.09767 |
    | `post_local` | as `local`, after `synchronous_steps` | the same | Lin et al. 2018, arXiv 1808.07217 |
    | `hierarchical` | averages within groups of replicas (`levels`) | the same | Lin et al. 2018 |
    | `slowmo` | local steps | slow momentum | Wang et al. 2019, arXiv 1910.00643 |
    | `diloco` | local steps | Nesterov momentum | Douillard et al. 2023, arXiv 2311.08105 |
    | `lookahead` | local steps, usually of one replica | a share of the way | Zhang et al. 2019, arXiv 1907.08610 |

    Attributes:
      kind: one of `KINDS`.
      replicas: how many, at least 1; not bound to the number of devices.
      period: H, the local steps of a round: a number or a function of the step at which the round begins
        (`periods.quadratic`, `periods.warm_up`).
      inner_state: what a synchronisation does to momenta and moments of the inner optimizer: `reset` to their
        beginning, `maintain` each replica's own, `average` (more bytes). Gradients that wait for others
        (`optax.MultiSteps`) stay where they are.
      collections: other model variables (batch statistics): `share` the combined ones, or `keep` each replica's own;
        the anchor always has the combined ones.
      synchronous_steps: steps at the beginning in which gradients are averaged.
      levels: `(every, group size)` pairs, from the most frequent to the rarest: averages within groups of neighbouring
        replicas between the rounds' ends.
      outer: any optax transformation of the pseudo-gradient; by default the one that belongs to the kind.
      outer_rate: its learning rate; None for the kind's usual one.
      outer_momentum: its momentum; None for the kind's usual one.
      learning_rate: the inner rate, a number or a traceable function of the step. SlowMo takes the one at the first
        step of each round.
      fragments: path patterns, one or a tuple of them a fragment (`strided` makes some); fragments are synchronised in
        turn, each every H steps, which lowers the peak traffic (Douillard et al. 2025, arXiv 2501.18512). The first
        pattern that matches a leaf decides.
      compression: None, or what each replica's pseudo-gradient becomes before it is sent: `int8`, `sign` (one bit an
        entry), or factors of a rank (`rank1`, `rank2`, `rank4`: Vogels et al. 2019, arXiv 1905.13727). Of the kind
        `synchronous` it is the gradient, and the state is made with `inner_optimizer`.
      error_feedback: adds what was lost in rounding to the next pseudo-gradient (Karimireddy et al. 2019,
        arXiv 1901.09847).

    Raises:
      ConfigError: an unknown name (the nearest is given), a number out of its range, or settings that contradict.

    >>> Config("slowmo", replicas=8, period=12, learning_rate=0.1).outer_momentum is None
    True
    """

    kind: str = "local"
    replicas: int = 1
    period: Period = 1
    inner_state: str = "maintain"
    collections: str = "share"
    synchronous_steps: int = 0
    levels: tuple[tuple[int, int], ...] = ()
    outer: optax.GradientTransformation | None = None
    outer_rate: float | None = None
    outer_momentum: float | None = None
    learning_rate: float | Callable[[Any], Any] | None = None
    fragments: tuple[str | tuple[str, ...], ...] = ()
    compression: str | None = None
    error_feedback: bool = True

    def __post_init__(self) -> None:
        for name, value, known in [
            ("kind", self.kind, KINDS),
            ("inner_state", self.inner_state, INNER_STATES),
            ("collections", self.collections, COLLECTIONS),
            ("compression", self.compression, COMPRESSIONS),
        ]:
            if value not in known:
                raise ConfigError(f"unknown {name} {value!r}; {nearest(str(value), map(str, known))}")
        if isinstance(self.replicas, bool) or int(self.replicas) != self.replicas or self.replicas < 1:
            raise ConfigError(f"replicas is a whole number of at least 1, got {self.replicas!r}")
        length(self.period, 0)
        if self.synchronous_steps < 0:
            raise ConfigError(f"synchronous_steps is at least 0, got {self.synchronous_steps}")
        self._check_kind()
        self._check_levels()
        self._check_fragments()
        if self.outer is None:
            self.outer_transformation()

    @property
    def groups(self) -> int:
        """How many fragments there are, at least one."""
        return max(1, len(self.fragments))

    def outer_transformation(self) -> optax.GradientTransformationExtraArgs:
        """The outer optimizer; its `update` is given the round's `learning_rate`."""
        if self.outer is not None:
            return optax.with_extra_args_support(self.outer)
        return outer_optimizer(self.kind, self.outer_rate, self.outer_momentum)

    def rate(self, step: Any) -> Any:
        """The inner learning rate at a step, which may be traced; None where none is given."""
        return self.learning_rate(step) if callable(self.learning_rate) else self.learning_rate

    def _check_kind(self) -> None:
        if self.kind == "synchronous" and (callable(self.period) or self.period != 1):
            raise ConfigError(f"kind 'synchronous' averages gradients at every step: period is 1, not {self.period}")
        if self.kind == "post_local" and not self.synchronous_steps:
            raise ConfigError("kind 'post_local' needs synchronous_steps >= 1; without them it is 'local'")
        if self.kind == "local" and self.synchronous_steps:
            raise ConfigError("kind 'local' has no synchronous_steps; with them it is 'post_local'")
        if self.kind == "slowmo" and self.outer is None and self.learning_rate is None:
            raise ConfigError("kind 'slowmo' needs learning_rate: its buffer holds pseudo-gradients over that rate")
        if self.compression in RANKS and (self.groups > 1 or not self.error_feedback):
            raise ConfigError(f"compression {self.compression!r} needs error feedback, and one fragment")
        if self.outer is not None and (self.outer_rate is not None or self.outer_momentum is not None):
            raise ConfigError("give either outer, or outer_rate and outer_momentum")

    def _check_levels(self) -> None:
        if self.kind == "hierarchical" and not self.levels:
            raise ConfigError("kind 'hierarchical' needs levels: (every, group size) pairs, for instance ((2, 4),)")
        last_every, last_size = 0, 1
        for every, size in self.levels:
            checked(every, "the period of a level")
            if not (size > last_size and size % last_size == 0 and self.replicas % size == 0 and size < self.replicas):
                raise ConfigError(
                    f"level ({every}, {size}): group sizes rise from level to level, each divides the next and the "
                    f"{self.replicas} replicas, and is smaller than they are"
                )
            if not (every > last_every and every % max(last_every, 1) == 0):
                raise ConfigError(f"level ({every}, {size}): periods rise from level to level, each divides the next")
            last_every, last_size = every, size
        if self.levels and not callable(self.period) and self.period % last_every:
            raise ConfigError(f"the period {self.period} does not divide by the levels' last period {last_every}")

    def _check_fragments(self) -> None:
        if len(self.fragments) < 2:
            return
        if callable(self.period) or self.period < len(self.fragments):
            raise ConfigError(
                f"{len(self.fragments)} fragments take turns within one period: it is a number of at least "
                f"{len(self.fragments)}, got {self.period}"
            )
        if self.inner_state != "maintain":
            raise ConfigError(f"with fragments every replica maintains its inner state, got {self.inner_state!r}")
        if self.levels:
            raise ConfigError("fragments and levels do not go together")
