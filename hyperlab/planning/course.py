"""The course of a plan: what is known is read; else a process of its own compiles, with the compiler's own settings."""

import hashlib
import importlib.metadata
import json
import os
import pickle
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections

from hyperlab import errors
from hyperlab.errors import ConfigError, MissingExtraError
from hyperlab.files import write_json
from hyperlab.planning.machines import Machine
from hyperlab.planning.worker import environment
from hyperlab.train import config as configs

# Of a kind of machine: what brings its compiler, by its name in a package index, and the extra of hyperlab.
PLUGINS = {"cpu": (), "tpu": ("libtpu",), "cuda": ("jax-cuda13-plugin", "jax-cuda13-pjrt")}
EXTRAS = {"tpu": "plan-tpu", "cuda": "plan-cuda"}
_ASK = (
    "import importlib.metadata as m, json, sys\n"
    "have = {d.metadata['Name'].lower(): d.version for d in m.distributions()}\n"
    "print(json.dumps([{n: have.get(n) for n in sys.argv[1:]}, m.requires('jax') if 'jax' in have else []]))"
)


def plan(
    config: Any,
    machine: Machine,
    *,
    cells: Sequence[str] = (),
    python: str | None = None,
    folder: Path | None = None,
    fresh: bool = False,
    tell: Callable[[str], None] = lambda said: None,
) -> dict[str, Any]:
    """What a study would take on a machine: its programs are compiled for it, and none is run.

    Args:
      config: of the study that it names, checked.
      machine: see `machines.parse`.
      cells: whose programs alone are looked at, by key; none: of all.
      python: an interpreter that has the compiler's plugin; by default this one.
      folder: where plans are kept; None: nowhere.
      fresh: compiles what is known, too.
      tell: is told what is compiled, and the seconds.

    Returns:
      `programs`, a row for each kind and name, the heaviest of its kind; `fits`; `largest_batch`; the least `seconds`
      of a step and `hours` of the study; `waste`, sentences; `others`, how many programs were not compiled.

    Raises:
      MissingExtraError: the compiler's plugin is not installed.
      ConfigError: a plugin of another version than jax; a topology that there is not; whatever a run would refuse.
    """
    versions = _versions(machine, python or sys.executable)
    config = ml_collections.ConfigDict(config)
    key = [configs.plain(config), machine.name, sorted(cells), versions, _sources()]
    text = json.dumps(key, sort_keys=True, default=str)
    file = folder / f"plan-{hashlib.sha256(text.encode()).hexdigest()[:32]}.json" if folder else None
    if file is not None and file.is_file() and not fresh:
        return json.loads(file.read_text())
    request = {"config": config, "machine": machine, "cells": list(cells), "versions": versions}
    made = _asked({**request, "folder": None if fresh or folder is None else str(folder)}, python, tell)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, made)
    return made


def _asked(request: Mapping[str, Any], python: str | None, tell: Callable[[str], None]) -> dict[str, Any]:
    """The plan that a process of its own makes."""
    root = str(Path(__file__).parents[2])  # an interpreter of another environment may have no hyperlab
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    own = {**os.environ, **environment(request["machine"]), "PYTHONPATH": paths}
    with tempfile.TemporaryFile() as noise:
        process = subprocess.Popen(
            _command(python), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=noise, env=own
        )
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(pickle.dumps(request))
            process.stdin.close()
            for line in process.stdout:
                said = json.loads(line)
                if "told" in said:
                    tell(said["told"])
                elif "plan" in said:
                    return said["plan"]
                else:
                    raise getattr(errors, said["kind"])(said["error"])
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        noise.seek(0)
        end = " ".join(noise.read().decode(errors="replace").split()[-40:])
    raise ConfigError(f"the process of the plan for {request['machine'].name} ended without one: ... {end}")


def _command(python: str | None) -> list[str]:
    return [python or sys.executable, "-m", "hyperlab.planning.worker"]


def _versions(machine: Machine, python: str) -> dict[str, str]:
    """The versions that decide a plan, of an interpreter, whose plugin must be there and be of its jax."""
    kind, names = machine.of.kind, PLUGINS[machine.of.kind]
    try:
        asked = subprocess.run([python, "-c", _ASK, "jax", "jaxlib", "flax", *names], capture_output=True, text=True)
        found, required = json.loads(asked.stdout)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--python {python}: no interpreter that answers") from error
    if missing := [name for name in ("jax", "flax", *names) if found[name] is None]:
        extra = EXTRAS.get(kind)
        line = f"pip install 'hyperlab[{extra}]'" if extra else "pip install hyperlab"
        raise MissingExtraError(
            f"{missing[0]!r} is needed for a plan for {machine.name} and is not installed; run: {line} "
            "(an environment of its own will do: --python PATH)"
        )
    for name in names:
        wanted = _wanted(name, found["jax"], required)
        if not found[name].startswith(wanted):
            line = f"pip install 'hyperlab[{EXTRAS[kind]}]'"
            raise ConfigError(f"{name} is {found[name]}, jax {found['jax']} goes with {wanted}; run: {line}")
    return found


def _wanted(name: str, jax: str, required: Sequence[str]) -> str:
    """How the version of a plugin begins that a jax goes with; empty: it does not say.

    >>> _wanted("libtpu", "0.10.2", ['libtpu==0.0.42.*; extra == "tpu"'])
    '0.0.42.'
    """
    if name != "libtpu":
        return jax
    found = [re.match(r"libtpu\s*==\s*([\d.]+)", line) for line in required]
    return next((one[1] for one in found if one), "")


def _sources() -> str:
    """A digest of hyperlab's own files: a plan is of one version of the code."""
    root, digest = Path(__file__).parents[1], hashlib.sha256(importlib.metadata.version("jax").encode())
    for path in sorted(root.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
