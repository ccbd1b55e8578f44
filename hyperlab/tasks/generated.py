"""A network in use at several factors phi, whose parameters theta are generated from phi, or one theta for all of them.

What is pruned is the generated theta, not the hypernetwork, and with one mask for all factors: theta_j(phi) is zero at
every phi where theta0_j and the column j of the head are. An entry is worth the root mean square of theta_j(phi) over
the fixed factors.
"""

import abc
import copy
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from hyperlab import trees
from hyperlab.errors import ConfigError, nearest
from hyperlab.hypernet import hypernetize
from hyperlab.hypernet.encodings import ENCODINGS, Rescaled
from hyperlab.hypernet.model import HyperModel
from hyperlab.tasks.task import Task
from hyperlab.train.units import memoize_method

NETWORKS = ("hypernetwork", "plain")


class Generated(Task):
    """A task whose network has a front; see `Task` for the parts.

    Attributes:
      model: the hypernetwork with its primary; None where one theta serves all factors.
      factors: the fixed ones, at which it is measured.
      always: the one factor that all steps see, of a task at one point; None for drawn ones.
    """

    model: HyperModel | None = None
    factors: tuple[float, ...]
    always: float | None = None

    def generate(self, network: str, primary: Any, example: tuple, *, low: float, high: float, hidden: Any) -> None:
        """Makes `model`, with a dense head without bias.

        Args:
          network: one of `NETWORKS`.
          primary: as `hypernetize` takes it.
          example: its inputs.
          low: of the factors; with `high`, what is taken to the unit interval.
          high: of the factors.
          hidden: widths of the hypernetwork's hidden layers.

        Raises:
          ConfigError: an unknown network.
        """
        if network not in NETWORKS:
            raise ConfigError(f"network is {network!r}; {nearest(network, NETWORKS)}")
        if network == "hypernetwork":
            encoding = Rescaled(low, high, ENCODINGS.get("z_1mz"))
            self.model = hypernetize(primary, *example, encoding=encoding, hidden=tuple(hidden))

    @property
    def conditioning(self) -> str:
        """Where theta comes from, in words."""
        return "one theta for all phi" if self.model is None else "theta generated from phi"

    @property
    def counted(self) -> str:
        """A sentence for the report: whose the counts are."""
        if self.model is None:
            return "The network has one theta for all phi, and does not see phi."
        return (
            "Parameters, compression and multiply-accumulates are those of the generated theta, with one mask for all "
            "phi; the hypernetwork itself is larger. What is deployed is the network at one phi."
        )

    def theta(self, params: PyTree, factor: jax.Array) -> PyTree:
        """The primary's parameters at a factor `[1]`."""
        return params if self.model is None else self.model.generate({"params": params}, factor)["params"]

    def fixed(self) -> np.ndarray:
        """The fixed factors, float32 `[factors, 1]`."""
        return np.array(self.factors, np.float32)[:, None]

    @abc.abstractmethod
    def example_at(self, factor: float) -> tuple[Callable, tuple[Any, ...]]:
        """What `example` is, at a factor."""

    def example(self) -> tuple[Callable, tuple[Any, ...]]:
        """The network at the largest of the fixed factors, on one image."""
        return self.example_at(max(self.factors))

    def operating_points(self) -> dict[str, tuple[Callable, tuple[Any, ...]]]:
        """The network at each of the fixed factors."""
        return {f"{factor:.3g}": self.example_at(factor) for factor in self.factors}

    def restrict(self, point: str) -> "Generated":
        """The same network at one of the fixed factors alone."""
        alone = copy.copy(self)  # programs are shared: none of them depends on the factors
        alone.always = next(factor for factor in self.factors if f"{factor:.3g}" == point)
        alone.factors = (alone.always,)
        return alone

    def pruned(self, params: PyTree) -> PyTree:
        """The root mean square of theta over the fixed factors; without a hypernetwork the parameters."""
        return params if self.model is None else self._worth(params, self.fixed())

    @property
    @memoize_method
    def _worth(self) -> Callable:
        def worth(params, factors):
            thetas = jax.vmap(lambda factor: self.theta(params, factor))(factors)
            return jax.tree.map(root_mean_square, thetas)

        return jax.jit(worth)

    def parameter_masks(self, masks: PyTree, params: PyTree) -> Any:
        """Masks of theta as masks of theta0 and of the columns of the head."""
        if self.model is None:
            return masks
        kept = trees.flatten(masks)
        columns = np.concatenate([np.ravel(kept[record.path]) for record in self.model.spec])
        head = {path: np.ones(leaf.shape, bool) for path, leaf in trees.flatten(params["hypernet"]).items()}
        head["head/kernel"][:, : len(columns)] &= columns  # the rest is padding
        of_params = {f"theta0/{path}": mask for path, mask in kept.items()}
        of_params |= {f"hypernet/{path}": mask for path, mask in head.items()}
        return trees.unflatten(of_params, params)


def root_mean_square(values: jax.Array) -> jax.Array:
    """Over the first axis.

    >>> root_mean_square(jnp.array([[3.0], [-3.0]])).tolist()
    [3.0]
    """
    return jnp.sqrt(jnp.square(values).mean(0))
