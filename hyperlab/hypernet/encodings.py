r"""Encodings of the conditioning input: what the first layer of a hypernetwork sees instead of gamma.

A plain multilayer perceptron with piecewise linear activations and zero biases is positively homogeneous,
$h(c\gamma) = c\,h(\gamma)$, so the norm of what it generates is proportional to $\|\gamma\|$. An encoding of
constant norm removes that. Each encoding here is a hashable callable `[..., d] -> [..., e]` with a
`domain`, the range in which its inputs must lie (`None`: anywhere). An encoding with parameters is a Linen
module with the same two members.

Source: Gonzalez Ortiz, Guttag and Dalca (2023), arXiv 2304.07645, and the options of its authors' code.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real

from hyperlab.hypernet.registry import Registry

UNIT = (0.0, 1.0)
ENCODINGS = Registry("encoding")


@ENCODINGS.add("raw")
@dataclasses.dataclass(frozen=True)
class Raw:
    """`gamma` itself. Norm from 0 to sqrt(d): the proportional case."""

    domain: ClassVar = None

    def __call__(self, gamma: Real[Array, "*draws d"]) -> Real[Array, "*draws d"]:
        return gamma


@ENCODINGS.add("cos_sin")
@dataclasses.dataclass(frozen=True)
class CosSin:
    r"""$[\cos(\pi\gamma/2), \sin(\pi\gamma/2)]$, all cosines first: constant norm sqrt(d).

    The input encoding of Magnitude Invariant Parametrizations (arXiv 2304.07645).

    >>> float(jnp.linalg.norm(CosSin()(jnp.array([0.3]))).round(5))
    1.0
    """

    domain: ClassVar = UNIT

    def __call__(self, gamma: Real[Array, "*draws d"]) -> Float[Array, "*draws 2*d"]:
        angle = gamma * (math.pi / 2)
        return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


@ENCODINGS.add("z_1mz")
@dataclasses.dataclass(frozen=True)
class ZOneMinusZ:
    """`[gamma, 1 - gamma]`: constant L1 norm; used by scale-space hypernetworks (arXiv 2304.05448)."""

    domain: ClassVar = UNIT

    def __call__(self, gamma: Real[Array, "*draws d"]) -> Real[Array, "*draws 2*d"]:
        return jnp.concatenate([gamma, 1 - gamma], axis=-1)


@ENCODINGS.add("z_z")
@dataclasses.dataclass(frozen=True)
class ZZ:
    """`[gamma, gamma]`: the control for the doubled width of cos|sin; still proportional."""

    domain: ClassVar = None

    def __call__(self, gamma: Real[Array, "*draws d"]) -> Real[Array, "*draws 2*d"]:
        return jnp.concatenate([gamma, gamma], axis=-1)


@ENCODINGS.add("1mz", offset=1.0, slope=-1.0)
@ENCODINGS.add("1pz", offset=1.0, slope=1.0)
@ENCODINGS.add("2zm1", offset=-1.0, slope=2.0)
@dataclasses.dataclass(frozen=True)
class Affine:
    """`offset + slope * gamma`: `1mz` is 1 - gamma, `1pz` is 1 + gamma, `2zm1` is 2 gamma - 1.

    The last two only move the dead point (to 1 and to 1/2) or lift it away from zero.
    """

    offset: float = 0.0
    slope: float = 1.0
    domain: ClassVar = UNIT

    def __call__(self, gamma: Real[Array, "*draws d"]) -> Real[Array, "*draws d"]:
        return self.offset + self.slope * gamma


@ENCODINGS.add("fourier")
@dataclasses.dataclass(frozen=True)
class Fourier:
    r"""$[\cos(\pi 2^k\gamma/2), \sin(\pi 2^k\gamma/2)]_{k<K}/\sqrt K$: constant norm sqrt(d)."""

    frequencies: int = 4
    domain: ClassVar = UNIT

    def __call__(self, gamma: Real[Array, "*draws d"]) -> Float[Array, "*draws e"]:
        octaves = [gamma * (2.0**k * math.pi / 2) for k in range(self.frequencies)]
        angle = jnp.concatenate(octaves, axis=-1)
        waves = jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)
        return waves / math.sqrt(self.frequencies)


@ENCODINGS.add("random_fourier")
@dataclasses.dataclass(frozen=True)
class RandomFourier:
    r"""$[\cos(2\pi B\gamma), \sin(2\pi B\gamma)]/\sqrt m$ with fixed Gaussian B: constant norm 1.

    Source: Rahimi and Recht (2007); Tancik et al. (2020), arXiv 2006.10739.
    """

    features: int = 32
    sigma: float = 1.0
    seed: int = 0
    domain: ClassVar = None

    def __call__(self, gamma: Real[Array, "*draws d"]) -> Float[Array, "*draws e"]:
        # A numpy constant derived from the seed: never trained, identical in every process.
        rows = np.random.default_rng(self.seed).normal(0, self.sigma, (gamma.shape[-1], self.features))
        angle = 2 * math.pi * (gamma @ jnp.asarray(rows, jnp.float32))
        return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1) / math.sqrt(self.features)


@ENCODINGS.add("unit_norm")
@dataclasses.dataclass(frozen=True)
class UnitNorm:
    """`gamma / norm(gamma)`: norm 1, the magnitude is lost, zero maps to zero."""

    epsilon: float = 1e-12
    domain: ClassVar = None

    def __call__(self, gamma: Real[Array, "*draws d"]) -> Float[Array, "*draws d"]:
        squared = jnp.sum(jnp.square(gamma), axis=-1, keepdims=True)
        return gamma * jax.lax.rsqrt(squared + self.epsilon)


@ENCODINGS.add("gaussian_cdf")
@dataclasses.dataclass(frozen=True)
class GaussianCdf:
    """The normal distribution function, then (by default) cos|sin: for latents that are drawn from N(0, 1)."""

    encoding: Callable[..., Any] = CosSin()
    domain: ClassVar = None

    def __call__(self, gamma: Real[Array, "*draws d"]) -> Float[Array, "*draws e"]:
        return self.encoding(jax.scipy.stats.norm.cdf(gamma))


@dataclasses.dataclass(frozen=True)
class Rescaled:
    """Maps `low .. high` to the unit interval, then encodes: for inputs that have another range than the encoding.

    >>> Rescaled(-2.0, 2.0)(jnp.array([0.0])).round(4)
    Array([0.7071, 0.7071], dtype=float32)
    """

    low: float
    high: float
    encoding: Callable[..., Any] = CosSin()

    @property
    def domain(self) -> tuple[float, float]:
        """The range that is mapped."""
        return (self.low, self.high)

    def __call__(self, gamma: Real[Array, "*draws d"]) -> Real[Array, "*draws e"]:
        return self.encoding((gamma - self.low) / (self.high - self.low))


@ENCODINGS.add("one_hot")
@dataclasses.dataclass(frozen=True)
class OneHot:
    """A class id `[..., 1]`, an integer from 0 to classes - 1, as a unit vector `[..., classes]`.

    >>> OneHot(3)(jnp.array([2]))
    Array([0., 0., 1.], dtype=float32)
    """

    classes: int = 2

    @property
    def domain(self) -> tuple[float, float]:
        """Valid ids."""
        return (0.0, self.classes - 1.0)

    def __call__(self, gamma: Real[Array, "*draws d"]) -> Float[Array, "*draws e"]:
        return jax.nn.one_hot(jnp.asarray(gamma[..., 0], jnp.int32), self.classes)


@ENCODINGS.add("learned_embedding")
class LearnedEmbedding(nn.Module):
    """A learnt vector of unit norm for each class id: `[..., 1] -> [..., features]`.

    The norm is fixed, so an embedding that grows in training cannot scale the generated parameters.
    """

    classes: int = 2
    features: int = 16

    @property
    def domain(self) -> tuple[float, float]:
        """Valid ids."""
        return (0.0, self.classes - 1.0)

    @nn.compact
    def __call__(self, gamma: Real[Array, "*draws d"]) -> Float[Array, "*draws e"]:
        table = self.param("table", nn.initializers.normal(1.0), (self.classes, self.features))
        return UnitNorm()(table[jnp.asarray(gamma[..., 0], jnp.int32)])
