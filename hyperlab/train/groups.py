"""Which devices a training has: those of the machine are dealt into groups, and every thread works with one of them.

In a group of several the rows of a batch are dealt over the mesh axis `data`, and the heads of hypernetworks with their
moments over `model`; everything else is whole on each. Programs are `jax.jit`: shardings of what they are given decide
where they run, so on one device nothing is different.
"""

import contextlib
import contextvars
import functools
import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import jax
import numpy as np
import psutil
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import PyTree

from hyperlab import trees
from hyperlab.data.streaming import Share
from hyperlab.errors import MeshError
from hyperlab.train import capture, compiler
from hyperlab.train import mesh as meshes
from hyperlab.train.engine import Engine

_HELD = 4  # sets of examples that stay on a group's devices
log = logging.getLogger(__name__)


class Group:
    """The devices of one training.

    Attributes:
      index: of the group.
      devices: which; none for the default device, to which nothing has to be moved.
      mesh: of several devices, or None.

    >>> alone = Group(0)
    >>> alone.rows({"indices": np.arange(4)}, 4)
    {'indices': array([0, 1, 2, 3])}
    """

    def __init__(self, index: int, devices: Sequence[jax.Device] = (), shape: dict[str, int] | None = None):
        self.index, self.devices = index, list(devices)
        self.mesh = meshes.make_mesh(shape, self.devices) if len(self.devices) > 1 else None
        self._held: dict[tuple[int, ...], tuple[PyTree, PyTree]] = {}
        self._makers: dict[Callable, Callable] = {}
        self._holding = threading.RLock()  # trainings side by side may share a group

    @property
    def room(self) -> int:
        """Half of the memory of one of its devices, in bytes; of a CPU half of the machine's."""
        if (planned := capture.current()) is not None:
            return planned.memory // 2
        device = self.devices[0] if self.devices else jax.local_devices()[0]
        known = (device.memory_stats() or {}) if device.platform != "cpu" else {}
        return (known.get("bytes_limit") or psutil.virtual_memory().total) // 2

    @property
    def spans(self) -> bool:
        """Whether some of the devices are another process's."""
        return capture.current() is None and any(device.process_index != jax.process_index() for device in self.devices)

    @property
    def parts(self) -> int:
        """Over how many devices the rows of a batch are dealt."""
        return self.mesh.shape["data"] if self.mesh is not None else 1

    # -- where things go ---------------------------------------------------------------------------------------

    def rows(self, tree: PyTree, size: int, leading: int = 0) -> PyTree:
        """Deals arrays out along their first axis of a size, where that divides; the others are whole everywhere.

        Args:
          tree: arrays, of one batch; what is no array stays as it is.
          size: rows of the batch.
          leading: axes before those that may hold the rows: of the steps of a call, of replicas.
        """
        if self.mesh is None:
            return tree if not self.devices else _put(tree, lambda leaf: self.devices[0])
        return _put(tree, lambda leaf: self._dealt(np.shape(leaf), size, leading))

    def kept_dealt(self, tree: PyTree) -> PyTree:
        """Inside a compiled program: arrays whose rows stay dealt along their first axis, where that divides.

        Where rows are gathered from a pool and changed at random, a compiler may lose sight of them, bring all of them
        to every device, and let each do the whole step.
        """
        if self.mesh is None or self.parts == 1:
            return tree

        def kept(leaf: jax.Array) -> jax.Array:
            fits = leaf.ndim > 0 and leaf.shape[0] % self.parts == 0
            return jax.lax.with_sharding_constraint(leaf, PartitionSpec("data")) if fits else leaf

        with jax.sharding.use_abstract_mesh(self.mesh.abstract_mesh):
            return jax.tree.map(kept, tree)

    def joined(self, tree: PyTree, size: int, leading: int, share: Share) -> PyTree:
        """Deals out a batch of which each process has its share alone; what is no part of the rows is whole everywhere.

        Args:
          tree: as for `rows`, but with `size / share.parts` rows along axis `leading`.
          size: rows of the batch, of all processes.
          leading: axes before that of the rows.
          share: which of the rows these are.
        """

        def put(leaf: Any) -> Any:
            shape = np.shape(leaf)
            if len(shape) > leading and shape[leading] * share.parts == size:
                return self.travelled(leaf, share, leading)
            return self.rows(leaf, size, leading)

        return jax.tree.map(put, tree)

    def whole(self, tree: PyTree) -> PyTree:
        """Arrays whole on each device; the last few are kept there, since every training is given the same examples.

        What was dealt out over the devices of the group before stays dealt.
        """
        key = tuple(map(id, jax.tree.leaves(tree)))
        with self._holding:  # a group may have several threads
            held = self._held.pop(key, None)
            # the tree too: as long as it lives, its identity is not another's
            self._held[key] = held or (tree, _put(jax.tree.map(_in_memory, tree), self._whole))
            while len(self._held) > _HELD:
                del self._held[next(iter(self._held))]
            return self._held[key][1]

    @property
    def share(self) -> Share:
        """Which part of the rows of a batch is that of this process's devices."""
        if not self.spans or self.mesh is None:
            return Share()
        axis = self.mesh.axis_names.index("data")
        owners = np.vectorize(lambda device: device.process_index)(np.moveaxis(self.mesh.devices, axis, 0))
        return share_of(owners.reshape(self.parts, -1), jax.process_index())

    def travelled(self, tree: PyTree, share: Share = Share(), axis: int = 0) -> PyTree:  # noqa: B008  # a tuple
        """Rows that were read for one batch, dealt out where they divide.

        Args:
          tree: arrays, on the host.
          share: of the rows of the batch that these are; of several processes, each has read its own.
          axis: that holds the rows.
        """
        if self.mesh is None:
            return capture.put(tree, self.devices[0] if self.devices else None)  # at once

        def put(leaf: Any) -> jax.Array:
            shape, before = list(np.shape(leaf)), (slice(None),) * axis
            first, rows = shape[axis] * share.part, shape[axis] * share.parts
            shape[axis] = rows
            where = self._named(*(None,) * axis, "data") if rows % self.parts == 0 else self._named()

            def part(index: Any) -> np.ndarray:
                start, stop, _ = index[axis].indices(rows)
                return leaf[(*before, slice(start - first, stop - first))]

            if capture.current() is not None:
                return capture.put(jax.ShapeDtypeStruct(tuple(shape), leaf.dtype), where)
            return jax.make_array_from_callback(tuple(shape), where, part)

        return jax.tree.map(put, tree)

    def shardings(self, state: PyTree, stacked: int = 0) -> PyTree:
        """Where each leaf of a state is: by `mesh.HEAD_RULES` where it divides, else whole.

        Args:
          state: arrays or their shapes.
          stacked: runs along a leading axis, which are dealt over the devices where they divide.
        """
        leaves, runs = trees.flatten(state), ("data",) if self.deals(stacked) else ()
        specs = trees.assign(leaves, meshes.HEAD_RULES, default=PartitionSpec())
        fitting = {path: self._fitting(path, leaves[path], tuple(spec), runs) for path, spec in specs.items()}
        return trees.unflatten({path: self._named(*spec) for path, spec in fitting.items()}, state)

    def deals(self, stacked: int) -> bool:
        """Whether the runs of a stack are dealt over the devices, in place of the rows of their batches."""
        return self.mesh is not None and stacked > 1 and stacked % self.parts == 0

    def placed(self, state: PyTree, stacked: int = 0) -> PyTree:
        """A state on the devices of the group; a state that is there already is not copied."""
        if self.mesh is None:
            return _put(state, lambda leaf: self.devices[0]) if self.devices else state
        return capture.put(state, self.shardings(state, stacked))

    def made(self, make: Callable[..., PyTree], *args: Any, stacked: int = 0) -> PyTree:
        """Calls a compiled function that makes a state; on a mesh every leaf is born where it will live.

        Of a mesh that spans processes each process makes the whole on its own, and `placed` keeps its part.

        Args:
          make: from `jax.jit`, the same one from call to call: it is compiled once for the group.
          *args: its arguments.
          stacked: as for `shardings`.
        """
        if capture.current() is not None:
            return self.placed(capture.promised(jax.eval_shape(compiler.uncompiled(make), *args)), stacked)
        if self.mesh is None or self.spans:
            return make(*args)
        with self._holding:
            if make not in self._makers:
                inner = compiler.uncompiled(make)
                where = self.shardings(jax.eval_shape(inner, *args), stacked)
                self._makers[make] = jax.jit(inner, out_shardings=where, compiler_options=compiler.options_once())
            program = self._makers[make]
        return program(*args)

    def abstract(self, tree: PyTree, rows: int | None = None, leading: int = 0) -> PyTree:
        """Shapes with the places of a state, or (with `rows`) of a batch: what a program is compiled for."""
        if self.mesh is None:
            return tree
        dealt = lambda leaf: self._dealt(leaf.shape, cast(int, rows), leading)  # noqa: E731
        where = self.shardings(tree) if rows is None else jax.tree.map(dealt, tree)
        return jax.tree.map(lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree, where)

    def _named(self, *spec: str | None) -> NamedSharding:
        assert self.mesh is not None
        while spec and spec[-1] is None:
            spec = spec[:-1]
        return NamedSharding(self.mesh, PartitionSpec(*spec))

    def _whole(self, leaf: Any) -> Any:
        if self.mesh is None:
            return self.devices[0] if self.devices else None
        where = leaf.sharding if isinstance(leaf, jax.Array | capture.Promised) else None
        here = where is not None and where.device_set == set(self.devices)
        return leaf.sharding if here else self._named()

    def _dealt(self, shape: tuple[int, ...], size: int, leading: int) -> NamedSharding:
        axes = [axis for axis in range(leading, len(shape)) if shape[axis] == size]
        return self._named(*(None,) * axes[0], "data") if axes and size % self.parts == 0 else self._named()

    def _fitting(self, path: str, leaf: Any, rule: tuple, runs: tuple) -> tuple:
        """A rule for the last dimensions of a leaf, not where they do not divide; before them `runs`, of a stack."""
        assert self.mesh is not None
        shape, runs = tuple(np.shape(leaf)), runs[: np.ndim(leaf)]
        spec = (*runs, *(None,) * (len(shape) - len(runs) - len(rule)), *rule)
        parts = [1 if name is None else self.mesh.shape[name] for name in spec]
        if len(spec) == len(shape) and not any(size % n for size, n in zip(shape, parts, strict=True)):
            return spec
        _note_whole("/".join(path.split("/")[-2:]), shape, self.mesh.shape["model"])  # its moments are called alike
        return runs


@functools.cache
def _note_whole(name: str, shape: tuple[int, ...], parts: int) -> None:
    """Says it once of every head."""
    log.warning("%s %s does not divide over devices.mesh.model = %d: it is whole on every device", name, shape, parts)


def share_of(owners: np.ndarray, process: int) -> Share:
    """The part of the rows that a process reads: those of its own devices, where they are one of several equal parts.

    Args:
      owners: `[parts, devices]`, the process of each device that holds a part of the rows.
      process: which.

    >>> owners = np.array([[0], [0], [1], [1]])
    >>> share_of(owners, 0), share_of(owners, 1)
    (Share(part=0, parts=2), Share(part=1, parts=2))
    >>> share_of(np.array([[0, 1], [0, 1]]), 1)  # heads are split over processes: each needs all rows
    Share(part=0, parts=1)
    """
    runs = np.split(owners, np.flatnonzero(np.any(owners[1:] != owners[:-1], axis=1)) + 1)
    whole = all((run == run[0, 0]).all() and len(run) == len(runs[0]) for run in runs)
    mine = [at for at, run in enumerate(runs) if run[0, 0] == process]
    return Share(mine[0], len(runs)) if whole and len(mine) == 1 else Share()


ALONE = Group(0)
_CURRENT: contextvars.ContextVar[Group] = contextvars.ContextVar("group", default=ALONE)  # of a thread


def current() -> Group:
    """The group that this thread works with."""
    return _CURRENT.get()


def deal(rows: PyTree) -> PyTree:
    """Rows of an evaluation, `[rows, ...]`, dealt over the devices of this thread's group.

    Where that spans processes, each evaluates all of them by itself.

    >>> deal(np.arange(3)).tolist()
    [0, 1, 2]
    """
    if current().spans:
        return rows
    return current().rows(rows, len(jax.tree.leaves(rows)[0]))


def even(size: int) -> int:
    """Rows that are evaluated at once, rounded up to as many on each device of this thread's group.

    Not for what draws: how many rows there are in a batch decides what is drawn for them.

    >>> even(20)
    20
    """
    parts = current().parts
    return -(-size // parts) * parts


@contextlib.contextmanager
def using(group: Group) -> Iterator[Group]:
    """The thread works with a group inside the block."""
    token = _CURRENT.set(group)
    try:
        first = next((one for one in group.devices if one.process_index == jax.process_index()), None)
        here = first is not None and capture.current() is None
        with jax.default_device(first) if here else contextlib.nullcontext():
            yield group
    finally:
        _CURRENT.reset(token)


def to_host(tree: PyTree) -> PyTree:
    """Arrays that may lie on devices of several processes, whole, on the host of each; all processes call this."""
    from jax.experimental import multihost_utils

    def read(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return leaf
        whole = leaf.is_fully_replicated
        return np.asarray(leaf) if whole else np.asarray(multihost_utils.process_allgather(leaf, tiled=True))

    return jax.tree.map(read, tree)


class Pool:
    """Groups that threads borrow.

    Args:
      groups: all that there are.
      workers: threads at the same time; 0: one for each group, and as many as `units.in_parallel` has for one device.
    """

    def __init__(self, groups: Sequence[Group], workers: int = 0):
        self.groups = list(groups)
        many = len(self.groups)
        if any(group.mesh is not None for group in groups):
            workers = many  # two programs on the same devices would wait for each other
        self.workers = workers or (many if many > 1 else 0)
        self._lock, self._borrowers = threading.Lock(), [0] * many

    @contextlib.contextmanager
    def lent(self) -> Iterator[Group]:
        """The first group of those with the fewest borrowers: one that has compiled programs goes on with them."""
        with self._lock:
            place = self._borrowers.index(min(self._borrowers))
            self._borrowers[place] += 1
        try:
            with using(self.groups[place]) as group:
                yield group
        finally:
            with self._lock:
                self._borrowers[place] -= 1


def of(engine: Engine, batch_size: int) -> list[Group]:
    """The groups that the devices of this machine are dealt into.

    Without a word on devices a training has all accelerators over which its batch divides; of a CPU, whose devices
    share its cores, the first.

    Args:
      engine: settings.
      batch_size: rows of a batch.

    Raises:
      MeshError: devices that do not divide into groups, a mesh that does not fit a group, a batch that does not divide.
    """
    planned = capture.current()
    there = jax.devices() if engine.across else jax.local_devices()
    devices = there if planned is None else planned.devices
    if not engine.devices_given:
        if devices[0].platform == "cpu" and planned is None:
            return [ALONE]
        devices = devices[: max(n for n in range(1, len(devices) + 1) if batch_size % n == 0)]
    sizes = engine.mesh.values()
    size = engine.per_training or (len(devices) if -1 in sizes else math.prod(sizes))
    if size > len(devices) or (engine.per_training and len(devices) % size):
        raise MeshError(
            f"devices: groups of {size} ({_said(engine)}) cannot be made of the {len(devices)} devices that are there"
        )
    count = len(devices) // size if engine.per_training else 1
    groups = [Group(at, devices[at * size : (at + 1) * size], engine.mesh) for at in range(count)]
    if math.prod(abs(n) for n in sizes) > size or (-1 not in sizes and math.prod(sizes) != size):
        raise MeshError(f"devices.mesh {engine.mesh} does not fill the {size} devices of a group")
    if batch_size % groups[0].parts:
        raise MeshError(
            f"batch_size is {batch_size}, which does not divide by the {groups[0].parts} devices of mesh axis 'data'"
        )
    if planned is None and len(groups) == 1 and size == 1 and devices[0] == jax.local_devices()[0]:
        return [ALONE]
    return groups


def _said(engine: Engine) -> str:
    return f"per_training {engine.per_training}, mesh {engine.mesh}"


def _put(tree: PyTree, where: Any) -> PyTree:
    return jax.tree.map(lambda leaf: capture.put(leaf, where(leaf)) if _is_array(leaf) else leaf, tree)


def _in_memory(leaf: Any) -> Any:
    """On a CPU a device may go on reading what it was given, and the file of a memory map may change."""
    return np.array(leaf) if isinstance(leaf, np.memmap) else leaf


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | capture.Promised)
