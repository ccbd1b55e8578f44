"""The interface of all sources of uncertainty: how a network is trained, what it is given, how it answers."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import flax.linen as nn
import jax

from hyperlab.errors import ConfigError
from hyperlab.nn.precision import computing_in
from hyperlab.studies.uncertainty.cells import Cell, Setting
from hyperlab.train import engine
from hyperlab.uncertainty.samplers import Sampler

Take = Callable[[jax.Array], tuple[jax.Array, jax.Array]]  # rows of the training split -> images, labels


class Problem(NamedTuple):
    """What all sources of a study are given.

    Attributes:
      config: of the study; a source reads its own group, and `network`, the settings of the U-Net.
      shape: of an image, `(height, width, channel)`.
      classes: background included.
      examples: training images, of the smallest share.
    """

    config: Any
    shape: tuple[int, ...]
    classes: int
    examples: int


UNBOUND = Problem({}, (), 0, 0)


@dataclasses.dataclass(frozen=True)
class Source:
    """A source of uncertainty, and how an arm uses it.

    A subclass is a source; an instance is an arm. The compiled programs of a class serve all its arms and all
    subclasses that inherit what is compiled (see `programs.defining`), so what differs between arms of a class reaches
    a network as `aux_inputs` alone: arrays that are given beside images and parameters.

    Attributes:
      label: for tables and figures.
      learner: the arm whose trained networks it uses; empty for its own.
      like: the arm whose diversity on the validation split it is given.
      stream: added to the seed of what is drawn (A/A copies differ in it alone).
      rate_factor: of the learning rate in the report phase: a planted handicap.
      problem: see `bound`.
      how: what is done, in words.
      citation: authors, year, arXiv id.
      draws: whether it has a `sampler`, several draws of which are one answer.
      ensemble: whether networks from different initial parameters answer together, in place of draws.
      drops: whether it has a dropout rate: then a whole curve of them is measured.
      plain_unet: whether its network is the U-Net that all the others are compared with.
      feature_maps: whether `unet` gives a network whose feature maps can be looked at.
    """

    label: str
    _: dataclasses.KW_ONLY
    learner: str = ""
    like: str = ""
    stream: int = 0
    rate_factor: float = 1.0
    problem: Problem = dataclasses.field(default=UNBOUND, repr=False, compare=False)

    how: ClassVar[str] = ""
    citation: ClassVar[str] = ""
    draws: ClassVar[bool] = True
    ensemble: ClassVar[bool] = False
    drops: ClassVar[bool] = False
    plain_unet: ClassVar[bool] = False
    feature_maps: ClassVar[bool] = True

    # -- what is said of it ------------------------------------------------------------------------------------

    @property
    def definition(self) -> str:
        """What is done, in words, as this arm does it."""
        return self.how + (f"; learning rate times {self.rate_factor:g}" if self.rate_factor != 1 else "")

    def remark(self, config: Any) -> str:
        """What a reader of its costs and measures has to know; mostly nothing."""
        return ""

    @property
    def several(self) -> bool:
        """Whether its answer is made of several, so that it has maps beside the entropy of one pass."""
        return self.draws or self.ensemble

    def members(self, config: Any) -> int:
        """Networks that answer together."""
        return config.members if self.ensemble else 1

    def answers(self, config: Any, draws: Sequence[int] | None = None) -> list[str]:
        """Names of its answers: `pass`, then numbers of draws or networks; the last stands for the arm."""
        counts = [self.members(config)] if self.ensemble else (draws or config.draws) if self.draws else []
        return ["pass", *map(str, counts)]

    # -- its network -------------------------------------------------------------------------------------------

    def computing(self, network: nn.Module) -> Any:
        """A network that computes in the study's precision."""
        return computing_in(network, engine.of(self.problem.config).precision)

    def bound(self, problem: Problem) -> Self:
        """The same with a network for a problem.

        Raises:
          ConfigError: it cannot segment these images.
        """
        made = dataclasses.replace(self, problem=problem)
        made.check(problem)
        return made

    def check(self, problem: Problem) -> None:
        """Refuses what it cannot segment, before anything is trained."""

    @functools.cached_property
    def network(self) -> Any:
        """What the methods below apply."""
        raise NotImplementedError

    def init(self, key: jax.Array, images: jax.Array) -> Any:
        """Fresh parameters."""
        return self.network.init(key, images)["params"]

    def rows(self, key: jax.Array, rows: jax.Array, aux_inputs: Any) -> jax.Array:
        """All rows of the training split that a step takes, as its loss is given them: by default those of its images.

        Args:
          key: that of the loss.
          rows: of the step's images, `[batch]`.
          aux_inputs: from `train_inputs`.
        """
        return rows

    def loss(self, params: Any, key: jax.Array, take: Take, rows: jax.Array, aux_inputs: Any) -> jax.Array:
        """The loss of each image of a step, `[batch]`.

        Args:
          params: of the network.
          key: of all that is drawn in the step.
          take: images and labels of rows of the training split.
          rows: from `rows`.
          aux_inputs: from `train_inputs`.
        """
        raise NotImplementedError

    def one_pass(self, params: Any, key: jax.Array, images: jax.Array, aux_inputs: Any) -> jax.Array:
        """The logits of one pass in which nothing is drawn; of one draw where the network always draws."""
        raise NotImplementedError

    def sampler(self, params: Any, aux_inputs: Any) -> Sampler:
        """Its draws, `(key, images) -> logits`."""
        raise NotImplementedError

    # -- what is given beside images and parameters ------------------------------------------------------------

    def train_inputs(self, study: Any, cell: Cell) -> Any:
        """The `aux_inputs` of the loss.

        Args:
          study: `study.Uncertainty`: its training images, rows of a share, programs.
          cell: what is trained.
        """
        return ()

    def aux_inputs(self, study: Any, cell: Cell, setting: Setting, params: Any, seed: int) -> Any:
        """The `aux_inputs` of a trained network that answers.

        Args:
          study: as above.
          cell: what answers.
          setting: with what `like` asks for.
          params: of the network, where what is given depends on it.
          seed: of the run.
        """
        return ()

    # -- what else is asked of a trained network ---------------------------------------------------------------

    def unet(self, params: Any, key: jax.Array) -> Any:
        """The parameters of a U-Net whose feature maps can be looked at; of one draw where they are drawn."""
        return params

    def spread(self, params: Any, key: jax.Array, images: jax.Array) -> dict[str, jax.Array]:
        """How far its networks differ, by name: numbers, and probabilities of `images`, of which the Dice is kept."""
        return {}

    def exported(self, cell: Cell) -> Any:
        """The module that draws by itself, for `hyperlab segment-uncertain`; None where more is needed than one."""
        return None


def check_one_foreground(source: str, problem: Problem) -> None:
    """Refuses several foregrounds, for a source of binary masks.

    Raises:
      ConfigError: how many classes there are.
    """
    if problem.classes != 2:
        raise ConfigError(f"{source} tells one class from the background, the images have {problem.classes} classes")
