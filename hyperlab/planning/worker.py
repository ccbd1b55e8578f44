"""The process of one plan: `python -m hyperlab.planning.worker`, with the request on its standard input.

What it says goes line by line to its standard output, as JSON: `{"told": ...}` while it works, then `{"plan": ...}` or
`{"error": ..., "kind": ...}`. Whatever else is printed goes to standard error: compilers say a lot.
"""

import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

from hyperlab.errors import HyperlabError, MissingExtraError
from hyperlab.planning.machines import Machine


def environment(machine: Machine) -> dict[str, str]:
    """What the process of a plan is told before jax starts: arrays are on the CPU, and compilers need no device."""
    found = {"JAX_PLATFORMS": "cpu"}
    if machine.of.kind == "cpu":
        flags = os.environ.get("XLA_FLAGS", "")
        found["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={machine.devices}".strip()
    elif machine.of.kind == "tpu":
        found |= {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "TPU_MIN_LOG_LEVEL": "3"}
    else:
        found |= {"JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1", "XLA_FLAGS": "--xla_gpu_autotune_level=0"}
        found["JAX_PLATFORMS"] = "cpu,cuda"
    return found


def main() -> None:
    """Reads a request, makes the plan, and says so."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(**said: Any) -> None:
        print(json.dumps(said), file=out, flush=True)

    request = pickle.load(sys.stdin.buffer)
    from hyperlab.planning.making import Making

    try:
        folder = Path(request["folder"]) if request["folder"] else None
        making = Making(
            request["config"], request["machine"], request["cells"], lambda text: say(told=text), folder,
            request["versions"],
        )  # fmt: skip
        say(plan=making.make())
    except (HyperlabError, MissingExtraError) as error:
        say(error=str(error), kind=type(error).__name__)


if __name__ == "__main__":
    main()
