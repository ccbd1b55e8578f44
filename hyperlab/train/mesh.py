"""Devices by name: meshes, sharding rules on parameter paths, and batches that are dealt out.

`jax.jit` with shardings is all that is needed: axes are of type Auto, the compiler adds the
communication. Which parameters are split is an ordered list of `(path pattern, PartitionSpec)` rules.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from hyperlab import trees
from hyperlab.errors import MeshError, nearest

Rules = Sequence[tuple[str, PartitionSpec]]

# A hypernetwork's head [hidden, outputs] is the largest array of a run: its output axis is split over
# `model`. The optimizer's moments sit at paths that end alike, so the same rules split them too.
HEAD_RULES: Rules = (
    ("**/head/kernel", PartitionSpec(None, "model")),
    ("**/head/bias", PartitionSpec("model")),
)


def make_mesh(shape: Mapping[str, int] | None = None, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh with named axes of type Auto.

    Args:
      shape: ordered sizes by axis name, for instance `{"data": 4, "model": 2}`; one size may be -1, the
        rest of the devices. By default all devices on `data`, with a `model` axis of 1.
      devices: all devices by default. A smaller shape takes the first ones, in one process.

    Returns:
      The mesh.

    Raises:
      MeshError: the shape needs more devices than there are, or does not divide them.

    >>> dict(make_mesh({"data": 1, "model": 1}).shape)
    {'data': 1, 'model': 1}
    """
    devices = list(jax.devices() if devices is None else devices)
    shape = dict(shape or {"data": -1, "model": 1})
    free = [name for name, size in shape.items() if size == -1]
    fixed = math.prod(size for size in shape.values() if size != -1)
    if len(free) > 1 or any(size < 1 and size != -1 for size in shape.values()):
        raise MeshError(f"mesh {shape}: sizes must be at least 1, and at most one of them -1")
    if free:
        if len(devices) % fixed:
            raise MeshError(f"mesh {shape}: {len(devices)} devices do not divide by {fixed}")
        shape[free[0]] = len(devices) // fixed
    needed = math.prod(shape.values())
    if needed > len(devices) or (needed < len(devices) and jax.process_count() > 1):
        raise MeshError(f"mesh {shape} needs {needed} devices, there are {len(devices)}")
    return jax.make_mesh(
        tuple(shape.values()), tuple(shape), axis_types=(AxisType.Auto,) * len(shape), devices=devices[:needed]
    )


def shardings(tree: PyTree, mesh: Mesh, rules: Rules | None = None) -> PyTree:
    """The sharding of every leaf, by the first rule that matches its path; replicated where none does.

    Args:
      tree: arrays or `jax.ShapeDtypeStruct`, for instance `jax.eval_shape(make_state)`.
      mesh: the mesh.
      rules: ordered `(path pattern, PartitionSpec)`; by default `HEAD_RULES` where the mesh has a `model`
        axis. Outputs of large heads are padded to divide, those of small ones are not: `()` keeps all whole.

    Returns:
      A tree of `NamedSharding` in the structure of `tree`.

    Raises:
      MeshError: an axis name that the mesh does not have, or a dimension that does not divide.

    >>> mesh = make_mesh({"data": 1, "model": 1})
    >>> where = shardings({"head": {"kernel": jax.ShapeDtypeStruct((8, 6), "float32")}}, mesh)
    >>> tuple(where["head"]["kernel"].spec)
    (None, 'model')
    """
    if rules is None:
        rules = HEAD_RULES if "model" in mesh.shape else ()
    leaves = trees.flatten(tree)
    specs = trees.assign(leaves, rules, default=PartitionSpec())
    for path, spec in specs.items():
        _check_spec(path, tuple(leaves[path].shape), spec, mesh)
    return trees.unflatten({path: NamedSharding(mesh, spec) for path, spec in specs.items()}, tree)


def create_sharded(make: Callable[..., PyTree], *args, mesh: Mesh, rules: Rules | None = None) -> PyTree:
    """Calls a function that makes a state, so that every leaf is born where it will live.

    The whole state never exists on one device.

    Args:
      make: a pure function, for instance `lambda key: state.create(model.init(key), optimizer)`.
      *args: its arguments.
      mesh: the mesh.
      rules: as for `shardings`.
    """
    where = shardings(jax.eval_shape(make, *args), mesh, rules)
    return jax.jit(make, out_shardings=where)(*args)


def place(tree: PyTree, mesh: Mesh, rules: Rules | None = None) -> PyTree:
    """Moves a tree of arrays to the devices that the rules say."""
    return jax.device_put(tree, shardings(tree, mesh, rules))


def shard_batch(batch: PyTree, mesh: Mesh, axis: str | tuple[str, ...] = "data", dimension: int = 0) -> PyTree:
    """Deals the rows of a batch out over the devices of one mesh axis.

    With several processes, `batch` holds this process's rows and the result is the global batch.

    Args:
      batch: a tree of host or device arrays.
      mesh: the mesh.
      axis: the mesh axis (or axes) over which rows are dealt.
      dimension: which dimension holds the rows; 1 where a leading axis holds the steps of a call.

    Returns:
      A tree of `jax.Array`, `[batch, ...]` with rows on `axis`.

    Raises:
      MeshError: the rows do not divide by the devices.
    """
    names = (axis,) if isinstance(axis, str) else tuple(axis)
    for name in names:
        if name not in mesh.shape:
            raise MeshError(f"the mesh has no axis {name!r}; {nearest(name, mesh.shape)}")
    parts = math.prod(mesh.shape[name] for name in names)
    sharding = NamedSharding(mesh, PartitionSpec(*(None,) * dimension, names))
    several = jax.process_count() > 1
    for path, leaf in trees.flatten(batch).items():
        shape = np.shape(leaf)
        rows = shape[dimension] * (jax.process_count() if several else 1) if len(shape) > dimension else 0
        if rows % parts or not rows:
            raise MeshError(
                f"batch leaf {path!r} {shape}: {rows} rows do not divide by the {parts} devices of mesh axis {axis!r}"
            )
    if several:
        return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)), batch)
    return jax.device_put(batch, sharding)


def _check_spec(path: str, shape: tuple[int, ...], spec: PartitionSpec, mesh: Mesh) -> None:
    if len(spec) > len(shape):
        raise MeshError(f"{path!r} has shape {shape}: too few dimensions for the rule {spec}")
    for dimension, names in enumerate(spec):
        names = () if names is None else (names,) if isinstance(names, str) else tuple(names)
        for name in names:
            if name not in mesh.shape:
                raise MeshError(f"rule {spec} of {path!r}: no mesh axis {name!r}; {nearest(name, mesh.shape)}")
        parts = math.prod(mesh.shape[name] for name in names)
        if shape[dimension] % parts:
            raise MeshError(
                f"{path!r} {shape}: dimension {dimension} of size {shape[dimension]} does not divide by the "
                f"{parts} devices of mesh axis {', '.join(names)}; rules decide what is split: "
                f"a first rule ({path!r}, PartitionSpec()) keeps it whole on every device"
            )
