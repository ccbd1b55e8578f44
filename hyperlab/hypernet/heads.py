r"""Heads: from the last hidden features of a hypernetwork to the generated tensors.

The dense head of a large primary is the largest array in the project, (H + 1) P numbers: its output axis is
laid out to be sharded over the `model` axis of a mesh. The chunked and the low-rank head exist so that
primaries of ten million parameters and more stay trainable on one device. The fourth, `lora`, generates updates of a
trained network and has a file of its own (`hyperlab.hypernet.lora`).

A head is a Linen module `(features [..., H], target) -> {path: [..., *shape]}`, with a method `size` that
counts its parameters before anything is allocated.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Shaped

from hyperlab.hypernet.initializers import HeadContext, Scheme
from hyperlab.hypernet.registry import Registry
from hyperlab.hypernet.spec import ParamSpec, Record

HEADS = Registry("head")


@dataclasses.dataclass(frozen=True)
class Target:
    """What a head has to produce, and how it starts.

    Attributes:
      spec: the tensors to generate.
      scheme: the initialisation scheme.
      gain: gain of the hidden activation.
      bias: None, `zeros`, or `own`: starts at the primary's own initialisation, which makes it a theta0.
      own: the primary's own initial parameters by path; read at initialisation only.
    """

    spec: ParamSpec
    scheme: Scheme
    gain: float
    bias: str | None
    own: Mapping[str, Shaped[Array, "..."]]

    def rows_std(self, features: Float[Array, "... width"]) -> dict[str, Float[Array, ""]]:
        """Standard deviation of the head rows of each tensor under the scheme."""
        context = HeadContext(self.spec, features.shape[-1], self.gain, features, self.own)
        return self.scheme.head_std(context)

    def add_bias(self, module: nn.Module, flat: Float[Array, "... packed_size"]) -> Float[Array, "... packed_size"]:
        """Adds the bias `[packed_size]`, a parameter of `module`, where the target asks for one."""
        if self.bias is None:
            return flat
        start = self.spec.pack(self.own) if self.bias == "own" and self.own else jnp.zeros(flat.shape[-1])
        return flat + _align(module.param("bias", lambda key: start), flat)


def _align(array: jax.Array, like: jax.Array) -> jax.Array:
    return array.reshape((1,) * (like.ndim - array.ndim) + array.shape)


def columns_of(spec: ParamSpec, values: Mapping[str, Any]) -> Float[Array, "1 packed_size"]:
    """A number of each tensor, repeated over the columns of a dense head that generate it; 0 for the padding."""
    columns = jnp.concatenate([jnp.full((r.size,), values[r.path], jnp.float32) for r in spec])
    return jnp.pad(columns, (0, spec.packed_size - spec.size))[None, :]


@HEADS.add("dense")
class DenseHead(nn.Module):
    """One matrix `[H, P]`; each tensor's columns are initialised as a layer of their own."""

    def size(self, spec: ParamSpec, width: int) -> int:
        """Number of parameters without the bias."""
        return width * spec.packed_size

    @nn.compact
    def __call__(self, features: Float[Array, "*draws width"], target: Target) -> dict[str, Float[Array, "..."]]:
        def start(key: jax.Array) -> jax.Array:
            columns = columns_of(target.spec, target.rows_std(features))
            return target.scheme.draw(key, (features.shape[-1], target.spec.packed_size)) * columns

        return target.spec.unpack(_whole(target.add_bias(self, features @ self.param("kernel", start))))


def _whole(flat: Float[Array, "*draws packed_size"]) -> Float[Array, "*draws packed_size"]:
    """What a split head gives, brought to every device at once where the mesh is known (`train.step.on_mesh`).

    Left to itself the compiler splits the primary's layers as the head, and moves their features instead, which are
    larger than a theta. Told of the whole theta alone, it would bring the head to every device; so the product is split
    first.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if dict(mesh.shape).get("model", 1) == 1:
        return flat
    free = (PartitionSpec.UNCONSTRAINED,) * (flat.ndim - 1)
    split = jax.lax.with_sharding_constraint(flat, PartitionSpec(*free, "model"))
    return jax.lax.with_sharding_constraint(split, PartitionSpec(*free, None))


@HEADS.add("chunked")
class ChunkedHead(nn.Module):
    """One small network applied to every chunk of the output, told apart by a learnt chunk embedding.

    `concat(features, embedding_j) -> hidden -> chunk_j`: only the embeddings grow with P.
    After von Oswald et al., Continual learning with hypernetworks (2020), arXiv 1906.00695.

    Attributes:
      chunk: numbers in one chunk.
      embedding: size of a chunk's embedding.
      width: width of the hidden layer.
    """

    chunk: int = 4096
    embedding: int = 16
    width: int = 64

    def chunks(self, spec: ParamSpec) -> int:
        """How many chunks cover the packed output."""
        return -(-spec.packed_size // self.chunk)

    def size(self, spec: ParamSpec, width: int) -> int:
        """Number of parameters without the bias."""
        hidden = (width + self.embedding + 1) * self.width
        return self.chunks(spec) * self.embedding + hidden + self.width * self.chunk

    @nn.compact
    def __call__(self, features: Float[Array, "*draws width"], target: Target) -> dict[str, Float[Array, "..."]]:
        spec = target.spec
        kaiming = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
        table = self.param("embeddings", nn.initializers.normal(1.0), (self.chunks(spec), self.embedding))
        # dense(concat(x, e)) = x A + e B: A is applied once, not once per chunk.
        hidden = nn.Dense(self.width, use_bias=False, kernel_init=kaiming, name="from_features")(features)
        shift = nn.Dense(self.width, kernel_init=kaiming, name="from_embedding")(table)
        joint = nn.leaky_relu(hidden[..., None, :] + _align(shift, hidden[..., None, :]))

        def start(key: jax.Array) -> jax.Array:
            # Tensors share the columns, so the size-weighted mean of their variances is what can be met.
            std = target.rows_std(features)
            variance = sum(jnp.square(std[r.path]) * r.size for r in spec) / spec.size
            scale = jnp.sqrt(variance * squared_norm(features) / squared_norm(joint))
            return target.scheme.draw(key, (self.width, self.chunk)) * scale

        flat = joint @ self.param("kernel", start)
        flat = flat.reshape(*flat.shape[:-2], -1)[..., : spec.packed_size]
        return spec.unpack(target.add_bias(self, flat))


@HEADS.add("low_rank")
class LowRankHead(nn.Module):
    r"""Kernels as products of two generated factors, $\Delta_W = A(\gamma) B(\gamma)$.

    A kernel `[..., in, out]` counts as a matrix of receptive field x in rows. Tensors too small to gain, and
    all vectors, are generated densely. Both factors start away from zero (two zero factors would never receive
    a gradient), with variances such that their product has the variance of the scheme. Being a product, the
    generated kernel is homogeneous of degree two in the features.

    Attributes:
      rank: the rank of the product.
    """

    rank: int = 4

    def factors(self, spec: ParamSpec) -> ParamSpec:
        """The tensors generated in place of those of `spec`; factors are named `<path>@a`, `<path>@b`."""
        records = []
        for record in spec:
            # by rank, whatever the role: the factors are the structure of checkpoints
            rows = record.size // record.shape[-1] if len(record.shape) >= 2 else 0
            if rows and self.rank * (rows + record.shape[-1]) < record.size:
                records.append(Record(record.path + "@a", (rows, self.rank)))
                records.append(Record(record.path + "@b", (self.rank, record.shape[-1])))
            else:
                records.append(record)
        return ParamSpec(tuple(records))

    def size(self, spec: ParamSpec, width: int) -> int:
        """Number of parameters without the bias."""
        return width * self.factors(spec).packed_size

    @nn.compact
    def __call__(self, features: Float[Array, "*draws width"], target: Target) -> dict[str, Float[Array, "..."]]:
        spec, factors = target.spec, self.factors(target.spec)
        gains = {record.path for record in spec if record.role == "scale"}

        def start(key: jax.Array) -> jax.Array:
            std, norm = target.rows_std(features), jnp.sqrt(squared_norm(features))
            made = {record.path for record in factors} - {record.path for record in spec}
            for record in spec:  # Var(A B) = rank Var(A) Var(B), where Var(A) = norm^2 x variance of its rows
                for factor in made & {record.path + "@a", record.path + "@b"}:
                    std[factor] = jnp.sqrt(std[record.path] / (math.sqrt(self.rank) * norm))
                    if record.path in gains and factor.endswith("@a"):  # their product is zero, and yet gets a gradient
                        std[factor] = 1 / norm
            return target.scheme.draw(key, (features.shape[-1], factors.packed_size)) * columns_of(factors, std)

        pieces = factors.unpack(features @ self.param("kernel", start))

        def tensor(record: Record) -> jax.Array:
            if record.path in pieces:
                return pieces[record.path]
            product = pieces[record.path + "@a"] @ pieces[record.path + "@b"]
            return product.reshape(*product.shape[:-2], *record.shape)

        if target.bias is None:
            return {record.path: tensor(record) for record in spec}
        leading = features.shape[:-1]
        flat = jnp.concatenate([tensor(record).reshape(*leading, -1) for record in spec], axis=-1)
        flat = jnp.pad(flat, [(0, 0)] * len(leading) + [(0, spec.packed_size - spec.size)])
        return spec.unpack(target.add_bias(self, flat))


def squared_norm(features: Float[Array, "*draws width"]) -> Float[Array, ""]:
    """The mean over draws of the squared norm of features; never 0."""
    return jnp.maximum(jnp.sum(jnp.square(features), axis=-1).mean(), 1e-12)
