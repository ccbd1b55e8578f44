"""The hypernetwork itself: gamma -> encoding -> hidden layers -> head -> the generated tensors."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from hyperlab.errors import ConfigError, nearest
from hyperlab.hypernet.encodings import ENCODINGS, UnitNorm
from hyperlab.hypernet.heads import HEADS, Target
from hyperlab.hypernet.initializers import INITIALIZERS, gain
from hyperlab.hypernet.spec import ParamSpec

ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "leaky_relu": nn.leaky_relu,
    "relu": nn.relu,
    "gelu": nn.gelu,
    "silu": nn.silu,
    "tanh": nn.tanh,
    "elu": nn.elu,
    "identity": lambda x: x,
}
NORMALIZATIONS = (
    "layer_norm_before",
    "layer_norm_after",
    "rms_norm",
    "batch_norm",
    "weight_norm",
    "output_norm",
    "output_layer_norm",
    "output_rms_norm",
    "unit_norm",
)
OUTPUT_NORMALIZATIONS = ("output_norm", "output_layer_norm", "output_rms_norm")


class HyperNetwork(nn.Module):
    """A multilayer perceptron that generates the tensors of a `ParamSpec`.

    Attributes:
      spec: the tensors to generate, in packing order.
      encoding: name or callable, or `{input name: encoding}` as a tuple of pairs for named inputs.
      hidden: widths of the hidden layers.
      activation: one of `ACTIVATIONS`.
      initializer: name or `Scheme`.
      head: name (`dense`, `chunked:4096`, `low_rank:4`) or Linen module.
      head_bias: None, `zeros`, or `own` (starts at the primary's own initialisation).
      normalization: None or one of `NORMALIZATIONS`. LayerNorm and RMSNorm act on the hidden features,
        `batch_norm` standardises them over a batch of gamma, `weight_norm` gives the columns of hidden kernels
        unit norm times a learnt gain, `output_norm` and `output_layer_norm` normalise each generated tensor and
        scale it by learnt numbers (arXiv 2304.07645 compares such options). `output_rms_norm` divides each generated
        tensor by its root mean square (Zhang and Sennrich 2019, arXiv 1910.07467) and multiplies it by a learnt number
        that starts at that of the primary's own. `unit_norm` divides what the head sees by its norm, as generators
        of LoRA do (Charakorn et al. 2026, Doc-to-LoRA, arXiv 2602.15902), which let scales of what is generated
        start at 0: `parametrization="learned_scale:0"`.
      scale_by_dimension: divide the encoding by sqrt(d), so that the spread of what is generated does not grow
        with the number of inputs.

    The call takes `gamma [..., d]`, or a mapping of named inputs (joined in sorted order of their names), and
    returns `{path: [..., *shape]}` in float32. `own`, the primary's own parameters by path, is read at
    initialisation only.

    >>> spec = ParamSpec.of({"kernel": jnp.zeros((3, 2))})
    >>> network = HyperNetwork(spec, hidden=(4,))
    >>> variables = network.init(jax.random.key(0), jnp.array([0.5]))
    >>> network.apply(variables, jnp.array([[0.1], [0.9]]))["kernel"].shape
    (2, 3, 2)
    """

    spec: ParamSpec
    encoding: str | Callable[..., Any] | tuple[Any, ...] = "cos_sin"
    hidden: tuple[int, ...] = (16, 64, 128)
    activation: str = "leaky_relu"
    initializer: str | object = "fan_out"
    head: str | nn.Module = "dense"
    head_bias: str | None = None
    normalization: str | None = None
    scale_by_dimension: bool = False

    @nn.compact
    def __call__(self, gamma: PyTree, own: Mapping[str, Array] | None = None) -> dict[str, Float[Array, "..."]]:
        activate = self._checked(self.activation, ACTIVATIONS, "activation")
        if self.normalization is not None:
            self._checked(self.normalization, dict.fromkeys(NORMALIZATIONS), "normalization")
        scheme = INITIALIZERS.get(self.initializer)
        x = self.encode(gamma)
        for index, width in enumerate(self.hidden):
            x = self._dense(x, width, scheme.hidden_kernel(self.activation), f"hidden_{index}")
            if self.normalization in ("layer_norm_before", "batch_norm"):
                x = self._normalize(x, index)
            x = activate(x)
            if self.normalization in ("layer_norm_after", "rms_norm"):
                x = self._normalize(x, index)
        if self.normalization == "unit_norm":
            x = UnitNorm()(x)
        self.sow("intermediates", "features", x)  # costs nothing unless it is asked for
        target = Target(self.spec, scheme, gain(self.activation), self.head_bias, own or {})
        head = HEADS.get(self.head).clone(name="head", parent=self)
        tensors = head(x, target)
        if self.normalization in OUTPUT_NORMALIZATIONS:
            tensors = self._normalize_output(tensors, own or {})
        return tensors

    def encode(self, gamma: PyTree) -> Float[Array, "*draws e"]:
        """The encoded input `[..., e]`, in float32."""
        if isinstance(gamma, Mapping):
            parts = [jnp.asarray(gamma[name], jnp.float32) for name in sorted(gamma)]
        else:
            parts = [jnp.asarray(gamma, jnp.float32)]
        dimension = sum(part.shape[-1] for part in parts)
        if isinstance(self.encoding, tuple):
            encodings = [ENCODINGS.get(encoding) for _, encoding in sorted(self.encoding)]
            parts = [encoding(part) for encoding, part in zip(encodings, parts, strict=True)]
            x = jnp.concatenate(parts, axis=-1)
        else:
            x = ENCODINGS.get(self.encoding)(jnp.concatenate(parts, axis=-1))
        return x / jnp.sqrt(jnp.float32(dimension)) if self.scale_by_dimension else x

    def _checked(self, name: str, table: Mapping[str, Any], kind: str) -> Any:
        if name not in table:
            raise ConfigError(f"unknown {kind} {name!r}; {nearest(name, table)}")
        return table[name]

    def _dense(self, x: jax.Array, width: int, kernel_init: Callable[..., PyTree], name: str) -> jax.Array:
        layer = nn.Dense(width, kernel_init=kernel_init, name=name)
        if self.normalization == "weight_norm":
            return nn.WeightNorm(layer, variable_filter={"kernel"}, name=f"{name}_weight_norm")(x)
        return layer(x)

    def _normalize(self, x: jax.Array, index: int) -> jax.Array:
        if self.normalization == "batch_norm":
            # Batch statistics while they may be updated, running ones otherwise.
            running = not self.is_mutable_collection("batch_stats") or self.is_initializing()
            return nn.BatchNorm(use_running_average=running, momentum=0.9, name=f"norm_{index}")(x)
        if self.normalization == "rms_norm":
            return nn.RMSNorm(epsilon=1e-5, name=f"norm_{index}")(x)
        return nn.LayerNorm(epsilon=1e-5, name=f"norm_{index}")(x)

    def _normalize_output(self, tensors: dict[str, Any], own: Mapping[str, jax.Array]) -> dict[str, Any]:
        normalized = {}
        dotted = Counter(record.path.replace("/", ".") for record in self.spec)
        for record in self.spec:
            tensor, axes = tensors[record.path], tuple(range(-len(record.shape), 0))
            short = record.path.replace("/", ".")
            name = f"{self.normalization}_{short if dotted[short] == 1 else record.path}"
            if self.normalization == "output_norm":
                # g v / |v| with g of ones: the norm of each tensor is sqrt(1) at the start, whatever gamma.
                norm = jnp.sqrt(jnp.sum(jnp.square(tensor), axes, keepdims=True) + 1e-12)
                scale = self.param(name, nn.initializers.ones, record.shape)
                normalized[record.path] = tensor / norm * scale.reshape((1,) * (tensor.ndim - scale.ndim) + scale.shape)
            elif self.normalization == "output_rms_norm":
                # A gain rests at 1, which the direct form adds: what is generated of it starts at 0.
                start = jnp.zeros(()) if record.role == "scale" else own.get(record.path, jnp.ones(()))
                rms = jnp.sqrt(jnp.mean(jnp.square(start.astype(jnp.float32))))
                scale = self.param(name, lambda key, rms=rms: rms)
                squared = jnp.mean(jnp.square(tensor), axes, keepdims=True)
                normalized[record.path] = scale * tensor * jax.lax.rsqrt(squared + 1e-12)
            else:
                mean = jnp.mean(tensor, axes, keepdims=True)
                variance = jnp.var(tensor, axes, keepdims=True)
                start = own.get(record.path, jnp.ones(()))
                rms = jnp.sqrt(jnp.mean(jnp.square(start.astype(jnp.float32))))
                scale = self.param(name, lambda key, rms=rms: rms)
                normalized[record.path] = scale * (tensor - mean) / jnp.sqrt(variance + 1e-5)
        return normalized
