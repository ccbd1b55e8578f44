r"""Output parametrisations: how generated numbers become the primary's parameters.

With $\Delta(\gamma)$ the output of the hypernetwork and $\theta^0$ parameters of their own, trained but not
generated: direct $\theta = \Delta$, additive $\theta = \theta^0 + \Delta$, scaled
$\theta = \theta^0 + s \Delta$, multiplicative $\theta = \theta^0 (1 + \Delta)$, centred
$\theta = \theta^0 + \Delta(\gamma) - \Delta(\gamma_0)$. All sums are taken in float32.

Source: the additive form is the output encoding of Magnitude Invariant Parametrizations (arXiv 2304.07645);
the centred one follows Delta-STN (Bae and Grosse 2020, arXiv 2010.13514).
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from hyperlab.hypernet.registry import Registry
from hyperlab.hypernet.spec import ParamSpec

Tensors = dict[str, jax.Array]
PARAMETRIZATIONS = Registry("parametrization")


class Parametrization:
    """The interface: a hashable object that turns theta0 and Delta into theta."""

    uses_theta0: ClassVar[bool] = True
    per_tensor: ClassVar[bool] = False  # `init` gives one value for each generated tensor, by its path

    def init(self, spec: ParamSpec) -> dict[str, Float[Array, "..."]]:
        """Parameters of the parametrisation itself; most have none."""
        return {}

    def delta(self, network: Callable[[Array], Tensors], gamma: PyTree) -> Tensors:
        """Delta(gamma): what the hypernetwork contributes."""
        return network(gamma)

    def __call__(self, theta0: Tensors, delta: Tensors, params: dict[str, Any], spec: ParamSpec) -> Tensors:
        """theta in float32. `delta` may carry leading axes that `theta0` lacks."""
        return _add(theta0, delta)


def _add(theta0: Tensors, delta: Tensors) -> Tensors:
    return {path: delta[path] + _lift(theta0[path], delta[path]) for path in delta}


def _lift(base: jax.Array, like: jax.Array) -> jax.Array:
    return base.astype(jnp.float32).reshape((1,) * (like.ndim - base.ndim) + base.shape)


@PARAMETRIZATIONS.add("direct")
@dataclasses.dataclass(frozen=True)
class Direct(Parametrization):
    """theta = Delta; a normalisation scale is 1 + Delta, since it rests at 1."""

    uses_theta0: ClassVar[bool] = False

    def __call__(self, theta0: Tensors, delta: Tensors, params: dict[str, Any], spec: ParamSpec) -> Tensors:
        scales = {record.path for record in spec if record.role == "scale"}
        return {path: tensor + 1 if path in scales else tensor for path, tensor in delta.items()}


@PARAMETRIZATIONS.add("additive")
@dataclasses.dataclass(frozen=True)
class Additive(Parametrization):
    """theta = theta0 + Delta: the non-proportional form."""


@PARAMETRIZATIONS.add("learned_scale", learned=True)
@PARAMETRIZATIONS.add("scaled")
@dataclasses.dataclass(frozen=True)
class Scaled(Parametrization):
    """theta = theta0 + s Delta, `scaled:0.1` with a fixed s, `learned_scale:0.1` with one learnt s per tensor."""

    per_tensor: ClassVar[bool] = True
    scale: float = 0.1
    learned: bool = False

    def init(self, spec: ParamSpec) -> dict[str, Float[Array, "..."]]:
        if not self.learned:
            return {}
        return {record.path: jnp.float32(self.scale) for record in spec}

    def __call__(self, theta0: Tensors, delta: Tensors, params: dict[str, Any], spec: ParamSpec) -> Tensors:
        scale = params if self.learned else dict.fromkeys(delta, self.scale)
        return _add(theta0, {path: scale[path] * tensor for path, tensor in delta.items()})


@PARAMETRIZATIONS.add("multiplicative")
@dataclasses.dataclass(frozen=True)
class Multiplicative(Parametrization):
    """theta = theta0 (1 + Delta); a theta0 of exactly zero still learns, since its gradient is 1 + Delta."""

    def __call__(self, theta0: Tensors, delta: Tensors, params: dict[str, Any], spec: ParamSpec) -> Tensors:
        return {path: _lift(theta0[path], tensor) * (1 + tensor) for path, tensor in delta.items()}


@PARAMETRIZATIONS.add("centred", "centered")
@dataclasses.dataclass(frozen=True)
class Centred(Parametrization):
    """theta = theta0 + Delta(gamma) - Delta(centre): theta0 is what the primary is at the centre."""

    centre: float = 0.5

    def delta(self, network: Callable[[Array], Tensors], gamma: PyTree) -> Tensors:
        tensors = network(gamma)
        # One centre, without leading axes: its tensors are broadcast against a batch of gamma.
        at_centre = network(jax.tree.map(lambda g: jnp.full(g.shape[-1:], self.centre, g.dtype), gamma))
        return {path: tensor - _lift(at_centre[path], tensor) for path, tensor in tensors.items()}
