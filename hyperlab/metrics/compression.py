"""How small a pruned network is: counts on paper in one record, and a measured time apart from them.

Parameters, multiply-accumulates and bits are counts; a mask makes nothing faster. A measured latency is a field of its
own, with the device it was measured on. The vocabulary (kept, removed, times smaller) is in
`hyperlab.metrics.sparsity` and can be had from here.

Source: Blalock, Gonzalez Ortiz, Frankle and Guttag, "What is the State of Neural Network Pruning?" (2020),
arXiv 2003.03033.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from hyperlab import roles, trees
from hyperlab.errors import ConfigError, ParameterTreeError, nearest
from hyperlab.metrics.sparsity import CompressionRatio, KeptFraction, Sparsity, highest_compression, layerwise_speedup

__all__ = [
    "Compression",
    "CompressionRatio",
    "KeptFraction",
    "MeasuredLatency",
    "Sparsity",
    "bits_of",
    "highest_compression",
    "layerwise_speedup",
    "measure",
]


class MeasuredLatency(NamedTuple):
    """Seconds of one call as they were measured.

    Attributes:
      seconds: of one call, for instance the median of `hyperlab.pareto.latency`.
      device: what it ran on.
    """

    seconds: float
    device: str


class Compression(NamedTuple):
    """What pruning has left of a network; `row()` gives the columns of a table.

    Attributes:
      parameters: entries of all parameters, N.
      nonzero: those that the masks keep; what is not masked is kept, whatever its value.
      nonzero_by_value: kept by the masks and not zero (a fresh bias is zero without having been pruned); None if
        only shapes were given.
      prunable: entries of the prunable parameters, N_P.
      macs: multiply-accumulates of the dense network for one example, T; None where they were not given.
      nonzero_macs: those with kept entries; None as before.
      dense_bits: size without pruning.
      bitmask_bits: size where each pruned parameter stores one bit an entry, and the kept entries.
      indexed_bits: size where each pruned parameter is a matrix of compressed rows: an output channel (of each layer
        in a stack) is a row, each kept entry has its column, each row its end.
      latency: a measurement of the network as it was run; None where there is none. It is not derived from the counts.
    """

    parameters: int
    nonzero: int
    nonzero_by_value: int | None
    prunable: int
    macs: int | None
    nonzero_macs: int | None
    dense_bits: int
    bitmask_bits: int
    indexed_bits: int
    latency: MeasuredLatency | None

    @property
    def ratio(self) -> CompressionRatio:
        """Of all parameters."""
        return CompressionRatio(self.parameters / self.nonzero if self.nonzero else math.inf)

    @property
    def prunable_sparsity(self) -> Sparsity:
        """Of the prunable parameters."""
        return Sparsity((self.parameters - self.nonzero) / self.prunable if self.prunable else 0.0)

    @property
    def theoretical_speedup(self) -> float | None:
        """Dense multiply-accumulates over those that are left; None where they were not given."""
        if self.macs is None:
            return None
        return self.macs / self.nonzero_macs if self.nonzero_macs else math.inf

    def row(self) -> dict[str, Any]:
        """Columns by name."""
        counts = {name: value for name, value in self._asdict().items() if name != "latency"}
        return counts | {
            "compression_ratio": self.ratio.value,
            "prunable_sparsity": self.prunable_sparsity.value,
            "theoretical_speedup": self.theoretical_speedup,
            "measured_latency_seconds": self.latency.seconds if self.latency else None,
            "latency_device": self.latency.device if self.latency else None,
        }


def measure(
    params: PyTree,
    masks: PyTree,
    *,
    macs: Mapping[str, int] | None = None,
    total_macs: int | None = None,
    prunable: Collection[str] | None = None,
    latency: MeasuredLatency | None = None,
) -> Compression:
    """Sizes of a pruned network, dense and sparse.

    Args:
      params: the parameters (never batch statistics), or their shapes.
      masks: a tree like them, of booleans; all true where nothing is pruned.
      macs: of every kernel by path: `operations.macs_per_kernel`.
      total_macs: of the whole network for one example, if some belong to no parameter (attention); by default the
        sum of `macs`.
      prunable: paths of the parameters that may be pruned; by default those that have lost an entry.
      latency: a measurement of this network, to be kept beside the counts.

    Raises:
      ParameterTreeError: masks that do not fit or are no booleans, or an unknown path in `macs` or `prunable`.
      ConfigError: a total below the sum of the kernels; an entry lost that is not prunable.

    >>> params = {"conv": {"kernel": np.ones((3, 3, 1, 4))}, "classifier": {"kernel": np.ones((4, 2))}}
    >>> masks = jax.tree.map(lambda leaf: np.ones(leaf.shape, bool), params)
    >>> masks["conv"]["kernel"][:2] = False
    >>> result = measure(params, masks, macs={"conv/kernel": 2304, "classifier/kernel": 8})
    >>> result.nonzero, result.ratio.value, result.nonzero_macs, round(result.theoretical_speedup, 3)
    (20, 2.2, 776, 2.979)
    """
    leaves, kept = trees.flatten(params), trees.flatten(masks)
    trees.check_same(masks, params, "the masks")
    for path, mask in kept.items():
        if mask.dtype != bool:
            raise ParameterTreeError(f"the mask of {path!r} is of {mask.dtype}; expected booleans, true where kept")
    kept = {path: np.asarray(mask) for path, mask in kept.items()}
    entries = {path: int(leaf.size) for path, leaf in leaves.items()}
    nonzero = {path: int(np.count_nonzero(mask)) for path, mask in kept.items()}
    pruned = [path for path in leaves if nonzero[path] < entries[path]]
    prunable = pruned if prunable is None else list(prunable)
    _check_paths(prunable, leaves, "prunable")
    for path in pruned:
        if path not in prunable:
            raise ConfigError(f"{path!r} has lost {entries[path] - nonzero[path]} entries and is not prunable")
    bits = {path: bits_of(leaf.dtype) for path, leaf in leaves.items()}
    dense = {path: entries[path] * bits[path] for path in leaves}
    bitmask = {path: entries[path] + nonzero[path] * bits[path] for path in pruned}
    rows = _rows(params, pruned)
    indices = {path: _index_bits(entries[path], rows[path], nonzero[path]) for path in pruned}
    indexed = {path: nonzero[path] * bits[path] + indices[path] for path in pruned}
    total, left = _macs(macs, total_macs, entries, nonzero)
    return Compression(
        parameters=sum(entries.values()),
        nonzero=sum(nonzero.values()),
        nonzero_by_value=_by_value(leaves, kept),
        prunable=sum(entries[path] for path in prunable),
        macs=total,
        nonzero_macs=left,
        dense_bits=sum(dense.values()),
        bitmask_bits=sum((dense | bitmask).values()),
        indexed_bits=sum((dense | indexed).values()),
        latency=latency,
    )


def bits_of(dtype: Any) -> int:
    """Bits of one number; a boolean is one, a complex number has two parts.

    >>> [bits_of(dtype) for dtype in (jnp.float32, jnp.bfloat16, jnp.int8, bool, jnp.complex64)]
    [32, 16, 8, 1, 64]
    """
    dtype = jnp.dtype(dtype)
    if dtype.kind == "b":
        return 1
    if dtype.kind == "c":
        return 8 * dtype.itemsize
    return (jnp.finfo if jnp.issubdtype(dtype, jnp.inexact) else jnp.iinfo)(dtype).bits


def _macs(
    macs: Mapping[str, int] | None, total: int | None, entries: Mapping[str, int], nonzero: Mapping[str, int]
) -> tuple[int | None, int | None]:
    if macs is None:
        if total is not None:
            raise ConfigError(f"total_macs={total} without macs=; expected those of each kernel too")
        return None, None
    _check_paths(macs, entries, "macs")
    kernels = sum(macs.values())
    total = kernels if total is None else total
    if total < kernels:
        raise ConfigError(f"total_macs={total} is less than the {kernels} of the kernels")
    # Whole numbers wherever every entry of a kernel is used equally often.
    left = sum(round(count * nonzero[path] / entries[path]) for path, count in macs.items())
    return total, total - kernels + left


def _by_value(leaves: Mapping[str, Any], kept: Mapping[str, np.ndarray]) -> int | None:
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves.values()):
        return None
    return sum(int(np.count_nonzero((np.asarray(leaf) != 0) & kept[path])) for path, leaf in leaves.items())


def _rows(params: PyTree, paths: Collection[str]) -> dict[str, int]:
    """Output channels by path; a vector is one row, and where axes are undecided the last one is the outputs'."""
    decided, leaves, rows = roles.of(params), trees.flatten(params), {}
    for path in paths:
        role, shape = decided[path], leaves[path].shape
        axes = (*role.stacked, *role.outputs) if role.is_matrix and not role.undecided else range(len(shape))[-1:]
        rows[path] = math.prod(shape[axis] for axis in axes) if role.is_matrix else 1
    return rows


def _index_bits(entries: int, rows: int, nonzero: int) -> int:
    return nonzero * _address(entries // max(rows, 1)) + (rows + 1) * _address(nonzero + 1)


def _address(places: int) -> int:
    """Bits that tell one of some places."""
    return max(places - 1, 0).bit_length()


def _check_paths(paths: Collection[str], leaves: Mapping[str, Any], what: str) -> None:
    for path in paths:
        if path not in leaves:
            raise ParameterTreeError(f"{path!r} in {what} is no parameter; {nearest(path, leaves)}")
