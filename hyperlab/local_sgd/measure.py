"""Timings that the cost model is fitted to: all-reduces of several sizes, over devices or processes as they are."""

import statistics
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from hyperlab.errors import MeshError
from hyperlab.local_sgd.packing import AXIS, mean_over_replicas


def all_reduce_sweep(mesh: Mesh, payloads: Sequence[int], repeats: int = 5) -> list[float]:
    """Seconds of an all-reduce over the mesh axis `replica`, for `cost_model.fit_link`.

    Every process of a run calls it with the same arguments.

    Args:
      mesh: a mesh with an axis `replica`.
      payloads: bytes, multiples of 4: that many float32 numbers are averaged.
      repeats: how often each is timed, after one call that is not.

    Returns:
      The median seconds of each payload.

    Raises:
      MeshError: the mesh has no such axis.

    >>> from hyperlab.train.mesh import make_mesh
    >>> len(all_reduce_sweep(make_mesh({"replica": 1}), [400, 4000], repeats=1))
    2
    """
    if AXIS not in mesh.shape:
        raise MeshError(f"the mesh {dict(mesh.shape)} has no axis {AXIS!r}")
    rows, whole = NamedSharding(mesh, PartitionSpec(AXIS)), NamedSharding(mesh, PartitionSpec())
    mean, found = jax.jit(mean_over_replicas, out_shardings=whole), []
    for payload in payloads:
        shape = (mesh.shape[AXIS], payload // 4)
        numbers = jax.jit(lambda shape=shape: jnp.ones(shape), out_shardings=rows)()
        mean(numbers).block_until_ready()
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            mean(numbers).block_until_ready()
            seconds.append(time.perf_counter() - start)
        found.append(statistics.median(seconds))
    return found
