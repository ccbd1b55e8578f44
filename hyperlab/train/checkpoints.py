"""Checkpoints that come back exactly, or say why not.

A wrapper over orbax's `CheckpointManager`. The item `state` holds the leaves as nested dicts of arrays,
by slash path, so that a checkpoint does not depend on Python classes; the item `meta` says what they are,
and where they are when a path does not tell. Leaves without entries are in `meta` alone: orbax holds none.
A state is always restored onto the structure and the shardings that the run has now, so another number
of devices works. A save is atomic: a folder without its commit marker is no checkpoint.
"""

import contextlib
import json
import logging
import math
import os
import shutil
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from hyperlab import files, trees
from hyperlab.errors import CheckpointError
from hyperlab.train import leaves as leaves_of

log = logging.getLogger(__name__)

MANIFEST, KEYS = "__manifest__", "__keys__"  # what a file of variables notes of itself
OWN_FILE = "arrays.npz"  # of a process that saves for itself, in the item `state`
# orbax numbers its saves in a variable of the process, and a save reads it several times while it begins: of two that
# begin in two threads one writes before its folder is there (findings/orbax_saves_of_two_threads.sh).
_BEGINNING = threading.Lock()


class Restored(NamedTuple):
    """What a checkpoint held: the step, the state, and the meta data that it was saved with."""

    step: int
    state: PyTree
    meta: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run, saved asynchronously, the newest few kept.

    Args:
      folder: where they are.
      keep: how many are kept.
      asynchronous: return from `save` as soon as the arrays are copied.
      anew: for short work: where no checkpoint can be read, all are set aside and it begins anew.
      alone: they are those of this process alone, whoever else is in its run.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, Checkpoints(folder) as checkpoints:
    ...     checkpoints.save(3, {"w": jnp.ones(2)}, {"seed": 0})
    ...     checkpoints.restore({"w": jnp.zeros(2)}).step
    3
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        keep: int = 3,
        asynchronous: bool = True,
        anew: bool = False,
        alone: bool = False,
    ):
        self.folder, self._anew = Path(folder).absolute(), anew
        self._alone = alone or jax.process_count() == 1
        # Orbax saves no array that one of several processes has for itself; see `own_arrays`.
        self._on_host = self._alone and jax.process_count() > 1
        # Orbax's asynchronous saves wait for signals that all processes of a run keep in one place, under the number of
        # a save that each counts for itself: one that ends takes away those of another's.
        self._keep, self._asynchronous, self._manager = keep, asynchronous and not self._on_host, None
        self._saving: int | None = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def latest_step(self) -> int | None:
        """The newest finished checkpoint, or None."""
        return self._open().latest_step() if self.folder.exists() or self._manager else None

    def save(self, step: int, state: PyTree, meta: dict[str, Any] | None = None, *, wait: bool = False) -> None:
        """Saves a state; nothing happens when there is a checkpoint of this step.

        Args:
          step: how many steps the state has seen.
          state: any pytree of arrays (device arrays, typed keys, host arrays, numbers). What is neither array nor
            number, such as a function, is not saved; it comes back from the tree that is restored onto.
          meta: what else to record, as JSON: seed, config digest, data fingerprint.
          wait: return only when the checkpoint is finished.
        """
        import orbax.checkpoint as ocp

        manager, leaves = self._open(), leaves_of.plain(state)
        if self._on_host:
            leaves = {path: np.asarray(leaf) for path, leaf in leaves.items()}
        if step not in manager.all_steps():
            stored, places = _stored(leaves)
            meta = {
                **(meta or {}),
                "step": step,
                "tree": leaves_of.manifest(state),
                "crc32": leaves_of.checksums(leaves) if self._alone else {},
            } | ({"places": places} if any("/".join(keys) != path for path, keys in places.items()) else {})
            arrays = _own_arrays().OwnSave(stored) if self._on_host else ocp.args.StandardSave(stored)
            items = ocp.args.Composite(state=arrays, meta=ocp.args.JsonSave(meta))
            self.wait()  # for the save before, out of the lock
            with self._named(step), _BEGINNING:
                manager.save(step, args=items, force=True)
        self._saving = step
        if wait:
            self.wait()

    def restore(self, like: PyTree, *, expect: dict[str, Any] | None = None) -> Restored | None:
        """The newest checkpoint that can be read, on the structure, dtypes and shardings of `like`.

        A checkpoint that cannot be read is set aside with a warning, and the one before is taken.

        Args:
          like: arrays, or `jax.ShapeDtypeStruct` with shardings.
          expect: meta data that must be equal, for instance the data set's fingerprint.

        Returns:
          Step, state and meta data; None when there is no checkpoint.

        Raises:
          CheckpointError: the tree or the expected meta data differ, or no checkpoint can be read.
        """
        if not self.folder.exists():
            return None
        failures, reason = [], ""
        for step in sorted(self._open().all_steps(), reverse=True):
            try:
                restored = self._read(step, like, expect or {})
            except CheckpointError:
                raise
            except Exception as error:  # any failure to read means the same: damaged
                failures.append(step)
                reason = _first_line(error)
                log.warning("checkpoint %s of %s is damaged (%s)", step, self.folder, reason)
                continue
            self._set_aside(failures)
            return restored
        if failures and self._anew:
            self._set_aside(failures)
        elif failures:
            raise CheckpointError(
                f"none of the checkpoints {failures} in {self.folder} can be read ({reason}); remove them to start anew"
            )
        return None

    def wait(self) -> None:
        """Waits until every save is finished."""
        if self._manager is not None:
            with self._named(self._saving):
                self._manager.wait_until_finished()

    def close(self) -> None:
        """Finishes the saves and lets go of the folder."""
        if self._manager is not None:
            manager, self._manager = self._manager, None
            with self._named(self._saving):
                manager.wait_until_finished()
                manager.close()

    def _open(self):
        if self._manager is None:
            import orbax.checkpoint as ocp  # takes about a second to import

            if self._alone or jax.process_index() == 0:
                # What a kill left half saved. Orbax would remove it while it goes on, and nobody waits for that where
                # the folder is closed again before the next save.
                for left in self.folder.glob("*.orbax-checkpoint-tmp*"):
                    shutil.rmtree(left, ignore_errors=True)
            options: dict[str, Any] = {"max_to_keep": self._keep, "enable_async_checkpointing": self._asynchronous}
            own = ocp.options.MultiprocessingOptions()
            if self._on_host:
                self.folder.mkdir(parents=True, exist_ok=True)
                own = files.orbax_of_this_process(self.folder)
                options |= {"create": False, "multiprocessing_options": own}
            self._manager = ocp.CheckpointManager(
                self.folder, options=ocp.CheckpointManagerOptions(**options), handler_registry=_handlers(own)
            )
        return self._manager

    @contextlib.contextmanager
    def _named(self, step: int | None) -> Iterator[None]:
        """Whatever keeps a save from its end (a full disk, a folder that was moved) says which one it was."""
        try:
            yield
        except Exception as error:  # orbax and tensorstore have many
            if not self._alone:
                raise  # by which the others know that a process is gone
            raise CheckpointError(
                f"checkpoint {step} of {self.folder} cannot be written ({_first_line(error)})"
            ) from error

    def _read(self, step: int, like: PyTree, expect: dict[str, Any]) -> Restored:
        import orbax.checkpoint as ocp

        manager = self._open()
        meta = dict(manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"])
        saved, where = meta.pop("tree"), f"checkpoint {step} of {self.folder}"
        leaves_of.check_manifest(saved, leaves_of.manifest(like), where)
        for name, value in json.loads(json.dumps(expect)).items():
            if meta.get(name) != value:
                raise CheckpointError(f"{where} has {name} {meta.get(name)!r}, this run has {value!r}")
        wanted = leaves_of.named(like)
        own = (self.folder / str(step) / "state" / OWN_FILE).exists()
        on_host = own or self._on_host
        targets, places = _stored(
            {path: leaves_of.target(leaf, host=on_host) for path, leaf in wanted.items()}, meta.pop("places", None)
        )
        args = _own_arrays().OwnRestore(targets) if own else ocp.args.StandardRestore(targets)
        state = manager.restore(step, args=ocp.args.Composite(state=args))["state"]
        leaves = {
            path: _at(state, places[path]) if path in places else leaves_of.empty(wanted[path]) for path in wanted
        }
        sums = leaves_of.checksums(leaves) if self._alone else {}
        if bad := [path for path, crc in meta.pop("crc32").items() if sums.get(path, crc) != crc]:
            raise OSError(f"checksum of {bad[0]!r} differs")
        if on_host:
            leaves = {path: leaves_of.placed(value, wanted[path]) for path, value in leaves.items()}
        return Restored(step, leaves_of.rebuilt(like, leaves), meta)

    def _set_aside(self, steps: list[int]) -> None:
        if not steps:
            return
        self.close()
        for step in steps:
            target = self.folder.parent / f"{self.folder.name}_damaged" / str(step)
            if self._alone or jax.process_index() == 0:
                shutil.rmtree(target, ignore_errors=True)
                target.parent.mkdir(exist_ok=True)
                (self.folder / str(step)).rename(target)
            log.warning("set it aside as %s", target)
        if not self._alone:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices("checkpoints set aside")


def _handlers(own: Any) -> Any:
    """Orbax's handlers of what a checkpoint holds, whichever process of whichever run wrote it."""
    import orbax.checkpoint as ocp

    arrays = _own_arrays()
    state = ocp.StandardCheckpointHandler(multiprocessing_options=own)
    meta = ocp.JsonCheckpointHandler(multiprocessing_options=own)
    registry, host = ocp.handlers.DefaultCheckpointHandlerRegistry(), arrays.OwnArrays()
    for item, handler, given in (
        ("state", state, (ocp.args.StandardSave, ocp.args.StandardRestore)),
        ("state", host, (arrays.OwnSave, arrays.OwnRestore)),
        ("meta", meta, (ocp.args.JsonSave, ocp.args.JsonRestore)),
    ):
        for one in given:
            registry.add(item, one, handler)
    return registry


def _own_arrays() -> Any:
    from hyperlab.train import own_arrays  # imports orbax, which takes about a second

    return own_arrays


def _stored(leaves: dict[str, Any], places: dict[str, list[str]] | None = None) -> tuple[dict, dict[str, list[str]]]:
    """The leaves as orbax takes them, nested dicts that are not empty, and the keys of each."""
    leaves = {path: leaf for path, leaf in leaves.items() if math.prod(leaf.shape)}
    places = places or trees.stored_keys({path: path.split("/") for path in leaves})
    return trees.nest(leaves, places) if leaves else {"nothing": np.zeros(1, np.uint8)}, places


def _at(tree: PyTree, keys: list[str]) -> Any:
    for key in keys:
        tree = tree[key]
    return tree


def save_variables(path: str | os.PathLike, tree: PyTree) -> None:
    """Writes one tree of arrays to one `.npz` file, atomically: a pretrained theta, a frozen network.

    What is no array or number (the activation function of a module) is not written; it comes back from the tree that
    the file is read onto.

    Args:
      path: the file.
      tree: arrays that this process holds in full, in a tree of any structure.

    Raises:
      CheckpointError: a leaf is called as what the file notes of itself.
      WorkdirError: the file cannot be written; what was there stays.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_variables(folder + "/theta.npz", {"conv/~/0": {"bias": jnp.ones(2)}})
    ...     load_variables(folder + "/theta.npz")
    {'conv/~/0': {'bias': array([1., 1.], dtype=float32)}}
    """
    path, leaves = Path(path), {name: np.asarray(leaf) for name, leaf in leaves_of.plain(tree).items()}
    if taken := [name for name in leaves if name in (MANIFEST, KEYS)]:
        raise CheckpointError(f"{path} cannot hold a leaf {taken[0]!r}, a name that the file needs; rename the leaf")
    # numpy's own format knows no bfloat16: raw bytes, and the dtypes in the manifest
    arrays = {name: np.frombuffer(leaf.tobytes(), np.uint8) for name, leaf in leaves.items()}
    arrays[MANIFEST] = np.asarray(json.dumps(leaves_of.manifest(tree)))
    if odd := leaves_of.keys(tree):
        arrays[KEYS] = np.asarray(json.dumps(odd))
    with files.writing(path) as partial, partial.open("wb") as file:
        _write_npz(file, arrays)


def _write_npz(file: Any, arrays: dict[str, np.ndarray]) -> None:
    """As `numpy.savez`, whose own arguments no array can be named after."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def load_variables(path: str | os.PathLike, like: PyTree = None) -> PyTree:
    """Reads what `save_variables` wrote.

    Args:
      path: the file.
      like: a tree of arrays or `jax.ShapeDtypeStruct` that it must fit; without one, nested dicts come back, with
        the keys that the tree had (a list's are `"0"`, `"1"`, ...).

    Returns:
      A tree of host arrays, in the structure of `like`; typed keys come back as such with `like` alone.

    Raises:
      CheckpointError: the file is missing or damaged, or its tree differs (paths are named).
    """
    try:
        with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            saved = json.loads(str(file[MANIFEST]))
            odd = json.loads(str(file[KEYS])) if KEYS in file.files else {}
            data = {name: file[f"{name}.npy"].tobytes() for name in saved}
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read as variables: {_first_line(error)}") from error
    leaves = {}
    for name, (shape, dtype) in saved.items():
        is_key = dtype.startswith("key<")
        flat = np.frombuffer(data[name], np.uint32 if is_key else jnp.dtype(dtype))
        leaves[name] = flat.reshape((*shape, -1) if is_key else shape).copy()
    if like is None:
        return trees.nest(leaves, odd)
    leaves_of.check_manifest(saved, leaves_of.manifest(like), str(path))
    return leaves_of.rebuilt(like, leaves, host=True)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
