r"""Initialisation schemes of a hypernetwork: variances of its hidden layers and of each tensor's head.

Let a primary layer be $y_i = \sum_j W_{ij} x_j + b_i$ with fan-in $d_j$ and fan-out $d_i$, a generated tensor
have $n_k$ elements, the whole output P, the head's input width be $d_k$, and Var(e) the variance of the
hypernetwork's input. A scheme states, for each generated tensor, the variance of the rows of the head that
produce it. Biases of the hidden layers start at zero in every scheme.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

from hyperlab.hypernet.registry import Registry
from hyperlab.hypernet.spec import ParamSpec, Record

INITIALIZERS = Registry("initializer")
Fan = Literal["fan_in", "fan_out", "fan_avg"]

# Gains of the nonlinearities as the published code has them: GELU and SiLU count as leaky ReLU.
GAINS = {"identity": 1.0, "tanh": 5.0 / 3.0, "elu": math.sqrt(2)}


def gain(activation: str) -> float:
    """The gain that keeps the second moment of activations: sqrt(2) for the ReLU family."""
    return GAINS.get(activation, math.sqrt(2))


@dataclasses.dataclass(frozen=True)
class HeadContext:
    """What the variance of a head may depend on.

    Attributes:
      spec: all generated tensors.
      width: input width of the head, $d_k$.
      gain: gain of the hidden activation.
      features: last hidden features at initialisation, `[..., width]`.
      own: the primary's own initial parameters by path.
    """

    spec: ParamSpec
    width: int
    gain: float
    features: Float[Array, "... width"]
    own: Mapping[str, Shaped[Array, "..."]]

    def own_variance(self, record: Record) -> Float[Array, ""]:
        """Mean square of the tensor in the primary's own initialisation."""
        # `own` is empty when Linen retraces the initialiser to check shapes; the value is not used then.
        own = self.own.get(record.path, jnp.ones(()))
        return jnp.mean(jnp.square(own.astype(jnp.float32)))


@dataclasses.dataclass(frozen=True)
class Scheme:
    """One initialisation scheme.

    Attributes:
      hidden: `(mode, numerator)`: hidden kernels have variance numerator / fan in that mode; a numerator of
        None is the squared gain of the activation.
      head: `(record, context) -> variance` of the head rows that generate the record.
      uniform: draw from a uniform distribution of that variance instead of a normal one.
    """

    hidden: tuple[Fan, float | None]
    head: Callable[[Record, HeadContext], Array | float]
    uniform: bool = False

    def hidden_kernel(self, activation: str) -> Callable[..., Array]:
        """The initialiser of hidden kernels `[in, out]`."""
        mode, numerator = self.hidden
        numerator = gain(activation) ** 2 if numerator is None else numerator
        distribution: Literal["uniform", "normal"] = "uniform" if self.uniform else "normal"
        return jax.nn.initializers.variance_scaling(numerator, mode, distribution)

    def head_std(self, context: HeadContext) -> dict[str, Float[Array, ""]]:
        """Standard deviation of the head rows of each tensor, by path.

        Rows that generate a normalisation scale start at zero, so that the scale itself starts at 1.
        """
        return {
            record.path: jnp.sqrt(0.0 if record.role == "scale" else self.head(record, context))
            for record in context.spec
        }

    def draw(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        """Numbers of zero mean and unit variance."""
        if self.uniform:
            return jax.random.uniform(key, shape, minval=-math.sqrt(3), maxval=math.sqrt(3))
        return jax.random.normal(key, shape)


def _hyperfan_in(record: Record, context: HeadContext, variance: float) -> float:
    if record.role == "bias":
        return 2 / (2 * context.width * variance)
    shared = 2 if record.layer in context.spec.layers_with_bias else 1
    return 2 / (shared * record.fan_in * context.width * variance)


def _hyperfan_out(record: Record, context: HeadContext, variance: float) -> float:
    if record.role != "bias":
        return 2 / (record.fan_out * context.width * variance)
    kernels = [r for r in context.spec if r.layer == record.layer and r.role == "kernel"]
    if not kernels:
        return 0.0
    return max(0.0, 2 * (1 - kernels[0].fan_in / kernels[0].fan_out) / (context.width * variance))


def _harmonic(record: Record, context: HeadContext, variance: float) -> float:
    # The harmonic mean; zero as soon as one of the two is (a bias of a layer that does not widen).
    inward, outward = _hyperfan_in(record, context, variance), _hyperfan_out(record, context, variance)
    return 2 / (1 / inward + 1 / outward) if inward > 0 and outward > 0 else 0.0


@INITIALIZERS.add("fan_out")
def fan_out() -> Scheme:
    """Kaiming fan-out, each generated tensor as a layer of its own: head variance gain^2 / n_k.

    In a stack of layers (`nn.scan`), n_k is the size of one, as it would be in a loop.

    The default, as in Magnitude Invariant Parametrizations (arXiv 2304.07645): the norm of each generated
    tensor is about that of the encoding, whatever the size of the tensor.
    """
    return Scheme(("fan_out", None), lambda record, context: context.gain**2 * record.copies / record.size)


@INITIALIZERS.add("fan_out_flat")
def fan_out_flat() -> Scheme:
    """Kaiming fan-out with the head as one layer: variance 1 / P; nearly dead for a large primary."""
    return Scheme(("fan_out", None), lambda record, context: 1 / context.spec.size)


@INITIALIZERS.add("fan_in")
def fan_in() -> Scheme:
    """Kaiming fan-in everywhere, linear head: variance 1 / d_k; the primary's activations explode."""
    return Scheme(("fan_in", None), lambda record, context: 1 / context.width)


@INITIALIZERS.add("torch_default")
def torch_default() -> Scheme:
    """The default of `torch.nn.Linear` kernels: uniform, variance 1 / (3 fan_in); here with zero biases."""
    return Scheme(("fan_in", 1 / 3), lambda record, context: 1 / (3 * context.width), uniform=True)


@INITIALIZERS.add("flax_default")
def flax_default() -> Scheme:
    """LeCun fan-in, the default of `flax.linen.Dense` (normal here, not truncated): variance 1 / d_k."""
    return Scheme(("fan_in", 1.0), lambda record, context: 1 / context.width)


@INITIALIZERS.add("hyperfan_in")
def hyperfan_in(input_variance: float = 1.0) -> Scheme:
    r"""Hyperfan-in: generated weights keep the variance of the primary's activations.

    Weights $2 / (2^{bias} d_j d_k Var(e))$, biases $2 / (2 d_l Var(e))$; uniform.
    Source: Chang, Flokas and Lipson, Principled Weight Initialization for Hypernetworks (ICLR 2020).
    """
    return Scheme(("fan_in", None), lambda r, c: _hyperfan_in(r, c, input_variance), uniform=True)


@INITIALIZERS.add("hyperfan_out")
def hyperfan_out(input_variance: float = 1.0) -> Scheme:
    r"""Hyperfan-out: generated weights keep the variance of the primary's gradients.

    Weights $2 / (d_i d_k Var(e))$, biases $\max(0, 2 (1 - d_j/d_i) / (d_l Var(e)))$; uniform.
    Source: Chang, Flokas and Lipson (ICLR 2020).
    """
    return Scheme(("fan_in", None), lambda r, c: _hyperfan_out(r, c, input_variance), uniform=True)


@INITIALIZERS.add("hyperfan_harmonic")
def hyperfan_harmonic(input_variance: float = 1.0) -> Scheme:
    """The harmonic mean of the two hyperfan variances, zero where one of them is zero."""
    return Scheme(("fan_in", None), lambda r, c: _harmonic(r, c, input_variance), uniform=True)


@INITIALIZERS.add("bias_hyperinit")
def bias_hyperinit() -> Scheme:
    """Zero head rows: every gamma starts at one ordinary sample of the primary's parameters.

    Source: Beck et al., Hypernetworks in Meta-Reinforcement Learning (CoRL 2022).
    """
    return Scheme(("fan_in", None), lambda record, context: 0.0)


@INITIALIZERS.add("tiny")
def tiny(factor: float = 0.01) -> Scheme:
    """A Kaiming fan-in head shrunk to `factor` of its standard deviation."""
    return Scheme(("fan_out", None), lambda record, context: factor**2 / context.width)


@INITIALIZERS.add("scale_matched")
def scale_matched(factor: float = 1.0) -> Scheme:
    """Generated tensors have `factor` times the root mean square of the primary's own initialisation, measured at init.

    So they keep their share of theta when the primary grows; what starts at zero in the primary is generated as zero.
    With a factor of 1 the strongest starting point for a direct parametrisation: whatever differs from an additive one
    then is not the scale that training starts from.
    """

    def head(record: Record, context: HeadContext) -> Any:
        squared = jnp.sum(jnp.square(context.features), axis=-1).mean()
        return factor**2 * context.own_variance(record) / jnp.maximum(squared, 1e-12)

    return Scheme(("fan_out", None), head)
