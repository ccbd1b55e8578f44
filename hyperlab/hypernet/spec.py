"""What a hypernetwork has to generate: an ordered, hashable list of (path, shape, dtype).

The order fixes how a flat output vector is packed. It is part of a checkpoint's contract, so it is kept
as a tuple of records (a dict attribute would be frozen by Linen and change its type) and written to the
run folder with `manifest`.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Shaped

from hyperlab import roles, trees
from hyperlab.errors import ParameterTreeError

# A primary above this size gets its packed output padded, so that the head's output axis divides by any
# common number of devices.
PAD_ABOVE, PAD_MULTIPLE = 2**20, 256


@dataclasses.dataclass(frozen=True)
class Record:
    """One generated tensor: its slash path, shape and dtype name, and what it is in its layer.

    Attributes:
      path: of the tensor.
      shape: of the tensor; several layers may be stacked in it (`nn.scan`, `nn.vmap`).
      dtype: its name.
      leaf: its `roles.Role`; by default what its name says.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    leaf: roles.Role | None = None

    @property
    def size(self) -> int:
        """How many numbers the tensor holds."""
        return math.prod(self.shape)

    @property
    def decided(self) -> roles.Role:
        """What the tensor is, and along which axes its layer sums."""
        if self.leaf is not None:
            return self.leaf
        return roles.of({self.path: jax.ShapeDtypeStruct(self.shape, self.dtype)})[self.path]

    @property
    def role(self) -> str:
        """`kernel` (embeddings too), `scale` (a normalisation gain, which rests at 1) or `bias` (any other vector)."""
        kind = self.decided.kind
        return kind if kind in ("bias", "scale") else "kernel" if self.decided.is_matrix else "bias"

    @property
    def copies(self) -> int:
        """How many layers are stacked in the tensor; 1 where that is undecided."""
        return 1 if self.decided.undecided else self.decided.copies(self.shape)

    @property
    def fan_in(self) -> int:
        """Inputs of one output unit of one layer, receptive field included; of a vector, its size.

        Raises:
          ConfigError: the axes of the tensor are undecided; the message says how to say them.
        """
        return self.decided.fan_in(self.shape)

    @property
    def fan_out(self) -> int:
        """Outputs of one input unit of one layer, receptive field included; of a vector, its size.

        Raises:
          ConfigError: as for `fan_in`.
        """
        return self.decided.fan_out(self.shape)

    @property
    def layer(self) -> str:
        """The path of the layer that the tensor belongs to."""
        return self.path.rpartition("/")[0]


@dataclasses.dataclass(frozen=True)
class ParamSpec:
    """The generated tensors in packing order.

    >>> spec = ParamSpec.of({"bias": jnp.zeros(2), "kernel": jnp.zeros((3, 2))})
    >>> spec.size, [r.role for r in spec]
    (8, ['bias', 'kernel'])
    >>> spec.unpack(jnp.arange(8.0))["kernel"].shape
    (3, 2)
    """

    records: tuple[Record, ...]

    @classmethod
    def of(
        cls, tree: PyTree, paths: Iterable[str] | None = None, decided: Mapping[str, roles.Role] | None = None
    ) -> "ParamSpec":
        """The spec of a tree of arrays or `jax.ShapeDtypeStruct`, limited to `paths`, in tree order.

        What each leaf is, is `decided` by path, or by `roles.of` the tree.
        """
        leaves = trees.flatten(tree)
        decided = roles.of(tree) if decided is None else decided
        keep = set(leaves if paths is None else paths)
        return cls(
            tuple(
                Record(path, tuple(leaf.shape), jnp.dtype(leaf.dtype).name, decided[path])
                for path, leaf in leaves.items()
                if path in keep
            )
        )

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def size(self) -> int:
        """How many numbers are generated."""
        return sum(record.size for record in self.records)

    @property
    def packed_size(self) -> int:
        """Length of the packed vector: `size`, padded for large primaries so that devices divide it."""
        if self.size < PAD_ABOVE:
            return self.size
        return -(-self.size // PAD_MULTIPLE) * PAD_MULTIPLE

    @property
    def layers_with_bias(self) -> frozenset[str]:
        """Paths of the layers whose bias is generated too."""
        return frozenset(record.layer for record in self.records if record.role == "bias")

    def unpack(self, flat: Float[Array, "*draws packed_size"]) -> dict[str, Shaped[Array, "..."]]:
        """Splits `[..., packed_size]` into tensors `[..., *shape]` by path."""
        # One split, not a slice for each tensor: the gradient of n slices is a sum of n full-length vectors.
        rest = flat.shape[-1] - self.size
        sizes = [record.size for record in self.records] + ([rest] if rest else [])
        pieces = jax.lax.split(flat, sizes, axis=flat.ndim - 1)
        return {
            record.path: piece.reshape(*flat.shape[:-1], *record.shape)
            for record, piece in zip(self.records, pieces, strict=False)
        }

    def pack(self, tensors: Mapping[str, Shaped[Array, "..."]]) -> Float[Array, " packed_size"]:
        """The inverse of `unpack` for tensors without leading axes: a float32 vector `[packed_size]`."""
        self.check(tensors)
        flat = jnp.concatenate([jnp.ravel(tensors[r.path]).astype(jnp.float32) for r in self.records])
        return jnp.pad(flat, (0, self.packed_size - self.size))

    def check(self, tensors: Mapping[str, Any]) -> None:
        """Refuses tensors whose paths or shapes are not those of the spec.

        Raises:
          ParameterTreeError: naming each missing, unexpected or misshapen tensor.
        """
        problems = [f"missing {r.path!r}" for r in self.records if r.path not in tensors]
        known = {r.path: r.shape for r in self.records}
        for path, tensor in tensors.items():
            if path not in known:
                problems.append(f"unexpected {path!r}")
            elif tuple(tensor.shape) != known[path]:
                problems.append(f"{path!r} has shape {tuple(tensor.shape)}, expected {known[path]}")
        if problems:
            raise ParameterTreeError("; ".join(problems[:10]))

    def manifest(self) -> list[dict[str, Any]]:
        """The packing as plain JSON: path, shape, dtype, offset and role (in words) of each tensor."""
        offset, rows = 0, []
        for record in self.records:
            row = {"offset": offset, "path": record.path, "shape": list(record.shape), "dtype": record.dtype}
            rows.append({**row, "role": str(record.decided)})
            offset += record.size
        return rows
