"""What a plan finds to be wasted, each as a sentence with its number."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from hyperlab import trees
from hyperlab.planning.machines import LANES, Machine
from hyperlab.report.sections import number
from hyperlab.train.capture import Noted

SMALL = 2**20  # bytes of a head that need not be split
_ARRAY = re.compile(r"= (pred|[a-z]+\d+)\[([\d,]+)\]\{([\d,]+):")


def padding(text: str) -> list[int]:
    """Bytes of the arrays that a TPU's program stores, and what they take with the last axis padded to 128 lanes.

    Args:
      text: `compiled.as_text()`, whose arrays have layouts with tiles.

    >>> padding("  %x = f32[8,16,4]{2,1,0:T(8,128)} fusion(f32[8]{0} %y)")
    [2048, 65536]
    """
    own, padded = 0, 0
    for kind, dims, layout in _ARRAY.findall(text, max(0, text.find("ENTRY "))):  # inside of fusions nothing is stored
        width = 1 if kind == "pred" else int(re.sub(r"\D", "", kind)) // 8 or 1
        sizes, last = [int(n) for n in dims.split(",")], int(layout.split(",")[0])
        rest = math.prod(sizes) // sizes[last] * width
        own, padded = own + rest * sizes[last], padded + rest * (-(-sizes[last] // LANES) * LANES)
    return [own, padded]


def sentences(program: Noted, found: Mapping[str, Any], machine: Machine, mesh: Mapping[str, int], precision: str):
    """What the training step of a study wastes on a machine.

    Args:
      program: the step.
      found: what `compiled.compiled` says of it.
      machine: which.
      mesh: sizes by axis.
      precision: that networks compute in.
    """
    said = []
    own, padded = found.get("padding") or (0, 0)
    if padded > 1.5 * own:
        said.append(
            f"channels are padded to {LANES} lanes: the arrays of the step take {padded / own:.1f} times their bytes; "
            "wider layers, or space folded into channels at the first levels, cost nothing more"
        )
    whole, model = whole_heads(program), mesh.get("model", 1)
    if machine.devices > 1 and whole > SMALL:
        split = (
            "devices.mesh.model splits them" if model == 1 else f"they do not divide over devices.mesh.model = {model}"
        )
        said.append(
            f"heads of {_mib(whole)} with their moments are whole on each of {machine.devices} devices: {split}"
        )
    count, size = found.get("collectives", {}).get("all-gather", (0, 0))
    if count and model > 1:
        said.append(
            f"{count} all-gathers bring {_mib(size)} to every device at each step, over devices.mesh.model = {model}"
        )
    if precision == "float32" and machine.of.kind != "cpu" and found.get("temporaries"):
        gain = machine.of.peak["bfloat16"] / machine.of.peak["float32"]
        faster = f", and products are {gain:.1f} times as fast" if gain > 1 else ""
        said.append(
            f"networks compute in float32: of {_mib(found['temporaries'])} of temporaries bfloat16 spares up to half"
            f"{faster} (precision=bfloat16)"
        )
    return said


def whole_heads(program: Noted) -> int:
    """Bytes of the heads in what a program is given, moments included, that are whole on every device."""
    leaves = trees.flatten(program.given[0])
    heads = [leaves[path] for path in leaves if path.endswith("head/kernel")]
    whole = [leaf for leaf in heads if leaf.sharding is None or leaf.sharding.is_fully_replicated]
    return sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in whole)


def _mib(size: float) -> str:
    return f"{number(size / 2**20)} MiB"
