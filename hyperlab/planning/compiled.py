"""What the compiler says of a program on a machine that is not there: the devices described, the program compiled."""

import hashlib
import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import jax

from hyperlab.errors import ConfigError, require
from hyperlab.files import write_json
from hyperlab.planning.collectives import collectives
from hyperlab.planning.machines import Machine, target_config
from hyperlab.planning.waste import padding
from hyperlab.train.capture import Noted

# "Ran out of memory in memory space hbm. Used 18.55G of 15.75G hbm", and what else compilers say of it
_FULL = re.compile(r"RESOURCE_EXHAUSTED|[Rr]an out of memory|out of memory")
_USED = re.compile(r"Used ([\d.]+)([KMGT]) of ([\d.]+)([KMGT])")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def devices_of(machine: Machine) -> list[Any]:
    """Descriptions of a machine's devices, which programs can be compiled for; of a CPU the virtual devices.

    Raises:
      MissingExtraError: the plugin of the compiler is not installed.
      ConfigError: a topology that libtpu does not know; fewer virtual devices than the machine has.
    """
    from jax.experimental import topologies

    kind = machine.of.kind
    if kind == "cpu":
        found = jax.devices("cpu")
        if len(found) < machine.devices:
            raise ConfigError(f"{machine.name}: this process has {len(found)} virtual devices")
        return found[: machine.devices]
    if kind == "tpu":
        require("libtpu", "plan-tpu", f"a plan for {machine.name}")
        # less than one host has: a slice of one chip
        options: dict[str, Any] = {"chips_per_host_bounds": (1, 1, 1)} if machine.devices == 1 else {}
        name = machine.topology
    else:
        require("jax_cuda13_plugin", "plan-cuda", f"a plan for {machine.name}")
        options = {"target_config": target_config(machine), "topology": f"1x1x{machine.devices}"}
        name = ""
    try:
        return topologies.get_topology_desc(platform=kind, topology_name=name, **options).devices
    except Exception as error:  # of C++, of many types
        said = " ".join(str(error).split())[:300]
        raise ConfigError(f"machine {machine.name!r}: its compiler does not know this topology ({said})") from error


def compiled(program: Noted, machine: Machine, folder: Path | None = None, **versions: str) -> dict[str, Any]:
    """Compiles a program for a machine, or reads what is known of it.

    Args:
      program: noted for the machine's devices.
      machine: which.
      folder: where results are kept; None: nowhere.
      **versions: that a result is of.

    Returns:
      `fits` (by the compiler's own word; None: it had none), `seconds`, `cached`; bytes of one device: `arguments`,
      `outputs`, `temporaries`, `aliased` (outputs in the place of arguments), `code`, `needed`; `collectives`, by
      name `[count, bytes]`; `sent`, bytes that a device sends; `padding`, see `waste`; `error`, where the compiler
      refuses.
    """
    begun = time.perf_counter()
    lowered = program.jitted.lower(*program.given)
    text = json.dumps([lowered.as_text(), machine.name, versions], sort_keys=True)
    file = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json" if folder else None
    if file is not None and file.is_file():
        return json.loads(file.read_text()) | {"cached": True}
    result: dict[str, Any] = {"fits": None, "error": "", "cached": False}
    try:
        program_of_machine = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        result |= refused(str(error))
    else:
        result |= _read(program_of_machine, machine)
    result["seconds"] = round(time.perf_counter() - begun, 2)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, result)
    return result


def refused(said: str) -> dict[str, Any]:
    """What is known of a program that the compiler refuses: that it does not fit, and what it would need.

    >>> refused("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 2.0G of 1.5G hbm.")["needed"]
    2147483648
    """
    used = _USED.search(said)
    known = {"needed": int(float(used[1]) * _UNITS[used[2]])} if used else {}
    return {"fits": False if _FULL.search(said) else None, "error": " ".join(said.split())[:300], **known}


def memory(program: Any) -> dict[str, int]:
    """Bytes of one device that a compiled program takes.

    >>> memory(jax.jit(lambda x: x + 1).lower(jax.ShapeDtypeStruct((4,), "float32")).compile())["arguments"]
    16
    """
    found = program.memory_analysis()
    names = {"arguments": "argument", "outputs": "output", "temporaries": "temp", "aliased": "alias"}
    sizes = {name: int(getattr(found, f"{of}_size_in_bytes")) for name, of in names.items()}
    sizes["code"] = int(found.generated_code_size_in_bytes)
    return sizes | {"needed": sum(sizes.values()) - 2 * sizes["aliased"]}


def _read(program: Any, machine: Machine) -> dict[str, Any]:
    text = program.as_text()
    found = collectives(text, machine.devices)
    count, size = Counter(one.name for one in found), Counter[str]()
    for one in found:
        size[one.name] += one.bytes
    return {
        **memory(program),
        "collectives": {name: [count[name], size[name]] for name in count},
        "sent": sum(one.sent for one in found),
        "padding": padding(text) if machine.of.kind == "tpu" else [],
    }
