"""The network at one factor as files that need no hypernetwork, and for one of them no hyperlab, to be used.

A folder holds: `network.json` (shapes, cost, versions, and what the caller says of it); `variables/`, an orbax
checkpoint; `variables.safetensors`, the same arrays named by slash path; `program.stablehlo`, the compiled function
with the variables inside, for any batch size, which `jax.export.deserialize` reads. JAX promises to read such a
program for six months after the version that wrote it; the variables stay.
"""

import contextlib
import hashlib
import json
import os
import platform
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.export  # not an attribute of jax until imported
import numpy as np
from jaxtyping import PyTree

from hyperlab import __version__, trees
from hyperlab.errors import CheckpointError, ConfigError, WorkdirError, nearest, reading, require
from hyperlab.files import PART, orbax_of_this_process, to_disk
from hyperlab.metrics.operations import operations

ORBAX, SAFETENSORS, PROGRAM, CARD = "variables", "variables.safetensors", "program.stablehlo", "network.json"
FORMATS = ("orbax", "safetensors", "program")
TREE = "tree_of_variables"  # what the card notes of leaves whose names or sizes a format does not hold
OWN = ("input", "output", "platforms", "parameters", "macs", "other_macs", "versions", "sha256", TREE)  # on the card


class Exported(NamedTuple):
    """A network that was read back.

    Attributes:
      call: `images -> logits`, for any batch size; None where no program was written.
      variables: nested dicts of host arrays, with the keys that were exported (a list's are `"0"`, `"1"`, ...); None
        where no variables were written.
      card: what `network.json` says.
    """

    call: Callable[..., PyTree] | None
    variables: PyTree
    card: dict[str, Any]


def export(
    folder: str | os.PathLike[str],
    apply: Callable[..., PyTree],
    variables: PyTree,
    example: Any,
    metadata: Mapping[str, Any] | None = None,
    *,
    formats: Sequence[str] = FORMATS,
    platforms: Sequence[str] = ("cpu", "cuda"),
    beside: Mapping[str, str] | None = None,
) -> Path:
    """Writes an ordinary network to a folder, all of it or nothing.

    Args:
      folder: must not exist yet, or be empty.
      apply: `apply(variables, images) -> outputs`, for instance of `model.freeze(variables, gamma)`; what else it
        needs (the sizes of levels) is closed over.
      variables: arrays; parameters and other collections, in a tree of any structure. Functions and names among its
        leaves are part of the program, and in no other file.
      example: images `[batch, *spatial, channel]` or their shape; the program takes any batch size, and these
        sizes and this dtype otherwise.
      metadata: what else the card says, as JSON: `rescaling_factor`, `sizes`, `classes`.
      formats: some of `orbax`, `safetensors`, `program`.
      platforms: that the program can run on.
      beside: text files that lie beside, by name.

    Returns:
      The folder.

    Raises:
      WorkdirError: the folder is there and not empty.
      ConfigError: an unknown format, metadata that is no JSON or takes a name of the card's own, or an array that a
        format does not know.
      MissingExtraError: safetensors or flatbuffers, which a format needs, is not installed.

    >>> def apply(variables, images):
    ...     return images @ variables["kernel"]
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as path:
    ...     where = export(path, apply, {"kernel": jax.numpy.ones((2, 3))}, jax.numpy.zeros((1, 4, 2)))
    ...     network = load(where)
    >>> network.call(jax.numpy.ones((5, 4, 2))).shape, network.card["macs"], network.card["input"]["shape"]
    ((5, 4, 3), 24, ['batch', 4, 2])
    """
    folder, metadata = Path(folder).absolute(), dict(metadata or {})
    _check(folder, metadata, formats)
    leaves = _leaves(variables, formats)
    exported = _exported(apply, variables, example, platforms)
    card = _card(exported, metadata, apply, variables, example)

    keys = {path: own for path, own in trees.odd_keys(variables).items() if path in leaves}
    tree, notes = _orbax_tree(leaves, keys)
    card |= {TREE: notes} if notes else {}

    with whole_folder(folder) as temporary:
        if "orbax" in formats:
            _save_orbax(temporary / ORBAX, tree)
        if "safetensors" in formats:
            _save_safetensors(temporary / SAFETENSORS, leaves)
        if "program" in formats:
            (temporary / PROGRAM).write_bytes(exported.serialize())
        for name, text in (beside or {}).items():
            (temporary / name).write_text(text)
        card["sha256"] = {
            name: hashlib.sha256((temporary / name).read_bytes()).hexdigest()
            for name in (SAFETENSORS, PROGRAM)
            if (temporary / name).exists()
        }
        (temporary / CARD).write_text(json.dumps(card, indent=2, allow_nan=False) + "\n")
    return folder


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder that is there with all its files, or not at all; an empty one is replaced.

    Args:
      folder: gets what was written to the folder that is given out, when the block ends without an error.
    """
    temporary = folder.with_name(f"{PART}{os.getpid()}-{threading.get_ident()}-{folder.name}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for written in (*temporary.rglob("*"), temporary):
            to_disk(written)
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
        to_disk(folder.parent)
    except OSError as error:
        raise WorkdirError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load(folder: str | os.PathLike[str]) -> Exported:
    """Reads what `export` wrote.

    Raises:
      CheckpointError: the folder holds no network, or a file is missing or damaged.
    """
    folder = Path(folder).absolute()
    with reading(folder / CARD, "export the network again", CheckpointError):
        if not (folder / CARD).is_file():
            raise CheckpointError(f"{folder} holds no exported network: it has no {CARD}")
        card = json.loads((folder / CARD).read_text())
        digests = dict(card["sha256"])
    for name, digest in digests.items():
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} holds no exported network: {name}, which {CARD} names, is missing")
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            raise CheckpointError(f"{folder / name} is damaged: its checksum differs from that in {CARD}")
    call = variables = None
    if (folder / PROGRAM).exists():
        require("flatbuffers", "export", "reading a program")
        with reading(folder / PROGRAM, "export the network again", CheckpointError):
            call = jax.jit(jax.export.deserialize(bytearray((folder / PROGRAM).read_bytes())).call)
    if (folder / SAFETENSORS).exists():
        reader = require("safetensors.numpy", "export", "reading safetensors")
        with reading(folder / SAFETENSORS, "export the network again", CheckpointError):
            variables = trees.nest(reader.load_file(folder / SAFETENSORS), card.get(TREE, {}).get("keys"))
    elif (folder / ORBAX).exists():
        with reading(folder / ORBAX, "export the network again", CheckpointError):
            variables = _variables(_load_orbax(folder / ORBAX), card.get(TREE, {}))
    return Exported(call, variables, card)


# -- parts --------------------------------------------------------------------------------------------------------


def _check(folder: Path, metadata: dict[str, Any], formats: Sequence[str]) -> None:
    for name in formats:
        if name not in FORMATS:
            raise ConfigError(f"unknown format {name!r}; {nearest(str(name), FORMATS)}")
    if "safetensors" in formats:
        require("safetensors.numpy", "export", "writing safetensors")
    if "program" in formats:
        require("flatbuffers", "export", "writing a program")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise WorkdirError(f"{folder} is there already; choose a new folder: nothing is written over")
    if clash := sorted(set(metadata) & set(OWN)):
        raise ConfigError(f"metadata names {clash}, which the card says itself; choose other names")
    try:
        json.dumps(metadata, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"metadata is no JSON: {error}") from error


def _dtype(example: Any) -> Any:
    """The dtype that JAX computes in: float32 for the float64 of NumPy."""
    return jax.dtypes.canonicalize_dtype(example.dtype)


def _exported(
    apply: Callable[..., PyTree], variables: PyTree, example: Any, platforms: Sequence[str]
) -> jax.export.Exported:
    (batch,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *example.shape[1:]), _dtype(example))
    exported = jax.export.export(jax.jit(lambda images: apply(variables, images)), platforms=list(platforms))(images)
    if len(exported.out_avals) != 1:
        raise ConfigError(f"apply returns {len(exported.out_avals)} arrays, expected one: logits")
    return exported


def _card(
    exported: jax.export.Exported,
    metadata: dict[str, Any],
    apply: Callable[..., PyTree],
    variables: PyTree,
    example: Any,
) -> dict[str, Any]:
    def shape(aval: Any) -> dict[str, Any]:
        sizes = [size if isinstance(size, int) else str(size) for size in aval.shape]
        return {"shape": sizes, "dtype": str(aval.dtype)}

    one = jax.ShapeDtypeStruct((1, *example.shape[1:]), _dtype(example))
    parameters = variables["params"] if isinstance(variables, Mapping) and "params" in variables else variables
    packages = {name: version(name) for name in ("jax", "flax", "numpy")}
    card = {
        "input": shape(exported.in_avals[0]),
        "output": shape(exported.out_avals[0]),
        "platforms": list(exported.platforms),
        "parameters": trees.count(parameters),
        **operations(apply, variables, one)._asdict(),
        "versions": {"hyperlab": __version__, "python": platform.python_version(), **packages},
    }
    return {**metadata, **card}


def _leaves(variables: PyTree, formats: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays and numbers of the variables by path; functions and names belong to the program."""
    leaves = {path: leaf for path, leaf in trees.flatten(variables).items() if trees.is_array(leaf)}
    keys = [p for p, leaf in leaves.items() if jax.dtypes.issubdtype(jax.numpy.result_type(leaf), jax.dtypes.prng_key)]
    if keys:
        raise ConfigError(f"variables hold a random key, {keys[0]!r}, which no file takes; export jax.random.key_data")
    leaves = {path: np.asarray(leaf, jax.numpy.result_type(leaf)) for path, leaf in leaves.items()}
    complex_ones = [path for path, leaf in leaves.items() if np.iscomplexobj(leaf)]
    if complex_ones and "safetensors" in formats:
        raise ConfigError(
            f"{complex_ones[0]!r} is {leaves[complex_ones[0]].dtype}, which safetensors does not know; leave "
            "'safetensors' out of formats"
        )
    return leaves


def _orbax_tree(leaves: dict[str, np.ndarray], keys: Mapping[str, list[str]]) -> tuple[Any, dict[str, Any]]:
    """Nested dicts as orbax takes them, and what the card notes of them: orbax holds no array without entries."""
    empty = {path: [list(leaf.shape), str(leaf.dtype)] for path, leaf in leaves.items() if not leaf.size}
    own = {path: keys.get(path, path.split("/")) for path in leaves if path not in empty}
    places = trees.stored_keys(own)
    notes: dict[str, Any] = {"keys": keys} if keys else {}
    notes |= ({"empty": empty} if empty else {}) | ({"places": places} if places != own or not own else {})
    return trees.nest({path: leaves[path] for path in own}, places) if own else {"nothing": np.zeros(1)}, notes


def _variables(tree: PyTree, notes: Mapping[str, Any]) -> Any:
    """The nested dicts that were exported, from what orbax holds and what the card notes."""
    keys, places = notes.get("keys", {}), notes.get("places")
    empty = {p: np.zeros(shape, jax.numpy.dtype(dtype)) for p, (shape, dtype) in notes.get("empty", {}).items()}
    paths = {tuple(own): path for path, own in {**keys, **(places or {})}.items()}
    held = jax.tree_util.tree_flatten_with_path(tree)[0] if places != {} else []
    leaves = {paths.get(trees.keys_of(where), trees.path_of(where)): leaf for where, leaf in held}
    return trees.nest({**leaves, **empty}, keys)


def _save_safetensors(path: Path, leaves: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(leaf) for name, leaf in leaves.items()}, path)


def _save_orbax(path: Path, tree: PyTree) -> None:
    import orbax.checkpoint as ocp  # takes about a second to import

    if jax.process_index():
        raise ConfigError(f"{path}: orbax writes arrays in process 0 alone; export there, or in another format")
    with contextlib.closing(_checkpointer(path)) as checkpointer:
        checkpointer.save(path, args=ocp.args.StandardSave(tree))


def _load_orbax(path: Path) -> Any:
    import orbax.checkpoint as ocp

    with contextlib.closing(_checkpointer(path)) as checkpointer:
        return jax.tree.map(np.asarray, checkpointer.restore(path, args=ocp.args.StandardRestore()))


def _checkpointer(path: Path) -> Any:
    """Of this process alone: of a run of several, one exports, and the others know nothing of it."""
    import orbax.checkpoint as ocp

    own = orbax_of_this_process(path) if jax.process_count() > 1 else ocp.options.MultiprocessingOptions()
    return ocp.Checkpointer(ocp.StandardCheckpointHandler(multiprocessing_options=own), multiprocessing_options=own)
