"""The memory that a plan for `cpu:1` foretells, against what the same step takes of the process when it is run.

    python benchmarks/plan_memory.py [--repeats N] [--record]

The U-Net step of `plan_step.py` at batch 4 of 256x256. The process is told to give back what it frees; after a first
step, the highest resident size of each further one is compared with that before it. Linux alone tells these.
"""

import ctypes
import gc
import os
import re
import statistics
import sys
from pathlib import Path

# Read when the process starts: what is freed goes back at once.
if __name__ == "__main__" and "MALLOC_MMAP_THRESHOLD_" not in os.environ:
    os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**20)})

import jax
import jax.numpy as jnp
from common import arguments, report
from networks import UNet
from plan_step import SETTINGS, program

from hyperlab.planning.compiled import memory

BATCH = 4
GOAL = 0.05


def main() -> None:
    options = arguments(__doc__, repeats=5).parse_args()
    step, (start, batch, key) = program(UNet(SETTINGS["levels"], SETTINGS["features"]), BATCH, SETTINGS["size"])
    made = jax.jit(step, donate_argnums=0).lower(start, batch, key).compile()
    sizes = memory(made)
    zeros = lambda tree: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tree)  # noqa: E731
    state, images, key = zeros(start), zeros(batch), jax.random.key(0)
    state, _ = jax.block_until_ready(made(state, images, key))
    # What the step adds to what it is given, which is there before and after.
    foretold = sizes["temporaries"] + sizes["outputs"] - sizes["aliased"]
    taken = []
    for _ in range(options.repeats):
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the highest size so far is the present one
        before = resident("VmRSS")
        state, metrics = jax.block_until_ready(made(state, images, key))
        taken.append(resident("VmHWM") - before)
        del metrics
    ratios = [(sizes["arguments"] + one) / (sizes["arguments"] + foretold) for one in taken]
    middle = statistics.median(ratios)
    mib = lambda size: f"{size / 2**20:,.1f} MiB"  # noqa: E731
    print(f"given {mib(sizes['arguments'])}; foretold beside it {mib(foretold)}")
    print(f"taken beside it {', '.join(mib(one) for one in taken)}")
    print(f"taken of foretold, what is given included: {middle:.3f} [{min(ratios):.3f}, {max(ratios):.3f}]")
    print(f"goal, 1 within {GOAL:.0%}: {'met' if abs(middle - 1) <= GOAL else 'not met'}")
    report("plan_memory", {"batch": BATCH}, {"foretold": sizes, "taken": taken, "ratios": ratios}, options.record)


def resident(name: str) -> int:
    """Bytes of this process, by a name in its status."""
    return 1024 * int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


if __name__ == "__main__":
    main()
