"""What the pruning and the local SGD study have to know of a task; everything else is the same for all of them."""

import abc
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from hyperlab.data import streaming
from hyperlab.errors import ConfigError


class Task(abc.ABC):
    """A network on its data.

    Attributes:
      name: of the data.
      architecture: of the network, so that equal names mean equal shapes.
      fingerprint: of the data; a run folder is for one alone.
      sizes: how many examples `train`, `validation` and `test` have.
      toy: whether it is too small to tell methods apart.
      classes: of an image; 0 where that has no meaning.
      score: what the score is called, for instance `accuracy`.
      prunable: ordered patterns of the parameters that may be pruned.
      exclude: patterns of those that may not, for instance the classifier.
      notes: sentences about the data, for the report.
    """

    name: str
    architecture: str
    fingerprint: str
    sizes: Mapping[str, int]
    toy: bool = False
    classes: int = 0
    score: str = "accuracy"
    prunable: Sequence[str] = ("**/kernel", "**/bias")
    exclude: Sequence[str] = ()
    notes: Sequence[str] = ()

    def described(self) -> dict[str, Any]:
        """What reports have to know of the task, as JSON."""
        return {
            "data": self.name,
            "architecture": self.architecture,
            "fingerprint": self.fingerprint,
            "sizes": dict(self.sizes),
            "toy": self.toy,
            "classes": self.classes,
            "score": self.score,
            "notes": list(self.notes),
        }

    @abc.abstractmethod
    def init(self, key: jax.Array) -> PyTree:
        """Variables of a fresh network: `params` and other collections."""

    @abc.abstractmethod
    def train(self) -> PyTree:
        """All training examples, on the host; `()` where `read` reads them."""

    @abc.abstractmethod
    def indices(self, seed: int, step: int) -> PyTree:
        """Which examples a step sees, on the host: a function of seed and step alone."""

    def select(self, examples: PyTree, indices: PyTree) -> tuple[PyTree, PyTree]:
        """The rows of all examples that a step sees, and the indices within these rows; see `data.streaming`.

        Args:
          examples: of `train`.
          indices: of one step, leaves with any leading axes (replicas) before that of the batch.
        """
        return streaming.select(examples, indices)

    def read(self, indices: PyTree) -> PyTree:
        """What a step is given, on the host: by default the indices, with which it gathers examples.

        A task whose examples are files reads them here, and its `train` is an empty tuple.

        Args:
          indices: as those of `select`.
        """
        return indices

    def batch(self, indices: PyTree) -> tuple[PyTree, PyTree]:
        """Examples of one step alone, on the host, with the indices within them: what a loss is given."""
        examples, indices = self.select(self.train(), self.read(indices))
        return streaming.read(examples), indices

    def feeding(self) -> dict[str, Any]:
        """The `examples`, `select` and `read` of `Study.fit` for steps for which `(step, indices)` is drawn."""

        def select(examples: PyTree, drawn: tuple[int, PyTree]) -> tuple[PyTree, tuple[int, PyTree]]:
            part, indices = self.select(examples, drawn[1])
            return part, (drawn[0], indices)

        read = functools.partial(_read, self) if self.reads else None
        return {"examples": self.train(), "select": select, "read": read}

    @property
    def reads(self) -> bool:
        """Whether steps are given what `read` reads."""
        return type(self).read is not Task.read

    def __getstate__(self) -> dict[str, Any]:
        """For processes that read: without compiled programs and threads, which each makes when it needs them."""
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_memoized_")}

    @abc.abstractmethod
    def loss(
        self, params: PyTree, collections: PyTree, examples: PyTree, indices: PyTree, keys: Mapping[str, jax.Array]
    ) -> tuple[jax.Array, PyTree]:
        """The training loss of a batch, a scalar, and the updated collections; a pure function."""

    @abc.abstractmethod
    def deterministic_loss(self, params: PyTree, collections: PyTree, examples: PyTree, indices: PyTree) -> jax.Array:
        """The loss of a batch without dropout, augmentation or batch statistics: what scores of pruning look at."""

    @abc.abstractmethod
    def measure(self, variables: PyTree, part: str) -> dict[str, np.ndarray]:
        """What the network is worth on `validation` or `test`: of every example (or task), by metric, `score` first.

        Nothing in the variables changes, and the values do not depend on the size of a batch.
        """

    @abc.abstractmethod
    def example(self) -> tuple[Callable, tuple[Any, ...]]:
        """`function(params, *inputs)` and shapes of the inputs of one example: what multiply-accumulates are of."""

    # -- what pruning is of, where it is not of the parameters as they are -----------------------------------------

    def pruned(self, params: PyTree) -> PyTree:
        """What is pruned: a tree that masks are made of and counted on. By default the parameters.

        A task whose network in use is made from its parameters gives what is made, with values that are worth what its
        entries are worth.
        """
        return params

    def parameter_masks(self, masks: PyTree, params: PyTree) -> PyTree:
        """Masks of what is pruned as masks of the parameters, which keep it so in training."""
        return masks

    def gradients(self, params: PyTree, collections: PyTree, examples: PyTree, indices: PyTree) -> PyTree:
        """Gradients of `deterministic_loss`, a tree like what is pruned; a pure function."""
        return jax.grad(self.deterministic_loss)(params, collections, examples, indices)

    def operating_points(self) -> dict[str, tuple[Callable, tuple[Any, ...]]]:
        """What `example` is, at each point of a front by name; empty for a network that has none."""
        return {}

    def restrict(self, point: str) -> "Task":
        """The task at one point of its front: it trains, scores and measures there alone, with the same programs.

        Raises:
          ConfigError: it has no front.
        """
        raise ConfigError(f"{self.name} has no front, and so no point {point!r} of one")


def _read(task: Task, drawn: tuple[int, PyTree]) -> tuple[int, PyTree]:
    return drawn[0], task.read(drawn[1])
