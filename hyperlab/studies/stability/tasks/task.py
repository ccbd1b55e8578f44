"""What the stability study has to know of a task; everything else is the same for all of them."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from hyperlab.data import streaming
from hyperlab.data.splits import Split

PyTree = Any


class Gammas(NamedTuple):
    """Conditioning inputs, and further inputs that go with them and are made on the host.

    Attributes:
      values: float32 `[..., d]`, what a hypernetwork sees.
      aux_inputs: a tree of arrays with the same leading axes, which every network sees; `()` for none.
    """

    values: Any
    aux_inputs: PyTree = ()


class Wording(NamedTuple):
    """How the report speaks of a task.

    Attributes:
      score: what the score is called, for instance `accuracy`.
      setting: the data, the primary and what is generated from what.
      gamma: what gamma is.
      limits: sentences about what the study cannot say on this task.
    """

    score: str
    setting: str
    gamma: str
    limits: tuple[str, ...]


class Examples(NamedTuple):
    """Labelled images, on the host.

    Attributes:
      images: `[n, *spatial, channel]`.
      labels: `[n]` or `[n, *spatial]`.
      subjects: int `[n]`, from 0 to n - 1 at most; images of one subject have the same number.
    """

    images: Any  # arrays of the host, or traced ones
    labels: Any
    subjects: Any

    @classmethod
    def of(cls, split: Split) -> "Examples":
        """The examples of a split."""
        return cls(split.images, split.labels, numbered(split.groups))


class Task(abc.ABC):
    """One task with its data. Methods that see traced arrays are pure functions.

    Attributes:
      name: of the data.
      fingerprint: of the data; a run folder is for one alone.
      sizes: how many examples `train`, `validation` and `test` have.
      primary: the network, a Linen module.
      example: inputs of the primary, of batch size 1.
      options: keyword arguments of every call of the primary.
      select: which of the primary's parameters are generated, as ordered patterns.
      gamma_dim: size of a gamma.
      gamma_range: `(low, high)` of its values; None for standard normal ones.
      standardized: bring gamma from its range to 0..1 whatever the encoding; otherwise the raw encoding sees it as
        it is.
      per_sample: whether the examples of a batch may have a gamma each.
      guess: the score of a network that is not finite.
      probe_examples: training examples of the probes' fixed batch.
      wording: for the report.
    """

    name: str
    fingerprint: str
    sizes: Mapping[str, int]
    primary: Any
    example: tuple[jax.Array, ...]
    options: Mapping[str, Any] = {}
    select: Sequence[str] = ("**",)
    gamma_dim: int = 1
    gamma_range: tuple[float, float] | None
    standardized: bool = False
    per_sample: bool = True
    guess: float = 0.0
    probe_examples: int
    wording: Wording

    # -- data, on the host ------------------------------------------------------------------------------------

    @abc.abstractmethod
    def train(self) -> PyTree:
        """All training examples, on the host."""

    @abc.abstractmethod
    def held_out(self, split: str, count: int) -> PyTree:
        """So many examples of `validation` or `test`, on the host; the same ones whenever it is called."""

    @abc.abstractmethod
    def draw(self, seeds: np.ndarray, steps: range, per_sample: bool) -> Gammas:
        """Gammas of some steps of some runs, `[runs, steps, (batch,) d]`: functions of seed and step alone."""

    @abc.abstractmethod
    def fixed(self) -> Gammas:
        """The gammas at which networks are scored, `[samples, d]`: the same in every arm."""

    @abc.abstractmethod
    def grid(self, points: int) -> Gammas:
        """Gammas along the range, `[points, d]`, for the probes."""

    def rows(self, examples: PyTree, indices: np.ndarray) -> tuple[PyTree, np.ndarray]:
        """The rows of what `train` returned that a batch takes, and its indices within them; see `data.streaming`."""
        return streaming.select(examples, indices)

    # -- pure functions ---------------------------------------------------------------------------------------

    def take(self, examples: PyTree, indices: jax.Array | np.ndarray) -> PyTree:
        """A batch of what `train` returned."""
        return jax.tree.map(lambda array: array[indices], examples)

    @abc.abstractmethod
    def inputs(self, batch: PyTree, aux_inputs: PyTree) -> tuple:
        """What the primary is called with, for a batch or for held-out examples."""

    @abc.abstractmethod
    def loss(self, outputs: PyTree, batch: PyTree, gamma: jax.Array) -> jax.Array:
        """The loss of a batch, a scalar; `gamma` is `[d]`, or `[batch, d]` with one for each example."""

    @abc.abstractmethod
    def predict(self, outputs: PyTree, held_out: PyTree) -> PyTree:
        """What is kept of the outputs of one network, to be scored together with those at other gammas."""

    @abc.abstractmethod
    def score(self, predictions: PyTree, held_out: PyTree) -> jax.Array:
        """How good predictions `[samples, ...]` are, from 0 to 1; a leading axis of 1 where gamma changes nothing."""

    @abc.abstractmethod
    def final(self, predictions: PyTree, held_out: PyTree) -> dict[str, jax.Array]:
        """Further measurements at the end of a run, scalars by name."""


def numbered(groups: np.ndarray) -> np.ndarray:
    """The groups as numbers from 0 on.

    >>> numbered(np.array([7, 3, 7])).tolist()
    [1, 0, 1]
    """
    return np.unique(groups, return_inverse=True)[1].astype(np.int32)
