"""Samples of a U-Net with dropout: time against as many deterministic forward passes, memory against one of them.

    python benchmarks/uncertainty.py --record

20 draws of 4 images of 256x256, with moments, in one program; 20 calls of the same network's deterministic program.
With `reuse`, what comes before the first dropout is computed once for all draws, and kept. Dropout of single
activations needs a random number for each, which is what it costs; the generator of `rbg` keys is faster to compile.

Memory, for 5, 20 and 80 draws, is that of a program's intermediate arrays, the same with its results, and what a fresh
process grows by at most while it runs the compiled program (Linux).
"""

import ctypes
import functools
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
from common import arguments, compiled, forget_peak, interleave, ratio, report, resident, seconds, table, verdict

from hyperlab.models import DropoutUNet
from hyperlab.train import compiler
from hyperlab.uncertainty import dropout, sample

SETTINGS = {"batch": 4, "size": 256, "widths": (16, 16, 16, 16), "rate": 0.2, "draws": 20, "memory_draws": (5, 20, 80)}
TARGETS = {"time": 1.1, "memory": 1.3}
FORMS = {
    "spatial": {},
    "spatial, shared masks": {"share_masks": True},
    "spatial, 4 at a time": {"chunk": 4},
    "spatial, reuse": {"reuse": True},
    "element": {"kind": "element"},
    "element, rbg key": {"kind": "element", "generator": "rbg"},
}
JUDGED = ("spatial", "spatial, shared masks")


def main() -> None:
    parser = arguments(__doc__, repeats=5)
    parser.add_argument("--growth-of", help="print the growth of this process, in MiB, when it runs one form")
    parser.add_argument("--draws", type=int, help="of that form")
    options = parser.parse_args()
    if options.growth_of:
        return print(json.dumps(growth(options.growth_of, options.draws)))
    SETTINGS["compiler_options"] = compiler.options()
    report("uncertainty", SETTINGS, {"time": times(options.repeats), "memory": memory()}, options.record)


def times(repeats: int) -> dict:
    """Seconds of all draws of each form, and of as many forward passes."""
    turns, compiling, count = {}, {}, SETTINGS["draws"]
    program, compiling["forward passes"] = program_of("forward", 1)
    forward = functools.partial(program, *inputs())
    turns["forward passes"] = lambda: count * seconds(forward, count)
    for name in FORMS:
        program, compiling[name] = program_of(name, count)
        turns[name] = functools.partial(seconds, functools.partial(program, *inputs(name)))
    found = interleave(turns, repeats)
    table(found, compiling, f"{count} draws")
    targets = {name: TARGETS["time"] if name in JUDGED else None for name in FORMS}
    ratios = [verdict(ratio(found, name, "forward passes"), targets[name]) for name in FORMS]
    return {"seconds": found, "compile_seconds": compiling, "ratios": ratios}


def memory() -> dict:
    """MiB of programs and processes, and what they are of one forward pass."""
    found = {"forward": mib("forward", 1)}
    for name in ("spatial", "spatial, reuse", "element"):
        found |= {f"{name}, {count} draws": mib(name, count) for count in SETTINGS["memory_draws"]}
    ratios: dict = {}
    for name, values in found.items():
        ratios[name] = {kind: value / found["forward"][kind] for kind, value in values.items()}
        met = max(ratios[name].values()) <= TARGETS["memory"]
        shown = ", ".join(f"{kind} {value:.0f} MiB ({ratios[name][kind]:.2f})" for kind, value in values.items())
        print(f"{name}: {shown}", end="")
        judged = name.startswith("spatial") and "reuse" not in name
        print(f", target at most {TARGETS['memory']}: {'met' if met else 'not met'}" if judged else "")
    return {"mib": found, "ratios": ratios}


def mib(name: str, count: int) -> dict[str, float]:
    """The three memories of one form."""
    needed = program_of(name, count)[0].memory_analysis()
    command = [sys.executable, __file__, "--growth-of", name, "--draws", str(count)]
    grown = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    arrays = needed.temp_size_in_bytes / 2**20
    return {"arrays": arrays, "with results": arrays + needed.output_size_in_bytes / 2**20, "process": grown}


def growth(name: str, count: int) -> float:
    """MiB that this process grows by at most while it runs a compiled program for the first time."""
    program, given = program_of(name, count)[0], inputs(name)
    jax.block_until_ready(given)
    ctypes.CDLL(None).malloc_trim(0)  # what compilation freed would hide what the program takes
    before = resident("VmRSS")
    forget_peak()
    jax.block_until_ready(program(*given))
    return (resident("VmHWM") - before) / 2**20


def program_of(name: str, count: int):
    """The compiled program of a form, and the seconds of its compilation."""
    form = FORMS.get(name, {"kind": "none"})
    net = DropoutUNet(SETTINGS["widths"], classes=1, dropout=form.get("kind", "spatial"), rate=SETTINGS["rate"])

    def draws(variables, key, images):
        sampler = dropout(net.apply, variables, share_masks=form.get("share_masks", False))
        return sample(sampler, key, images, count, chunk=form.get("chunk", 1), reuse=form.get("reuse", False))

    def forward(variables, key, images):
        return net.apply(variables, images)

    function = forward if name == "forward" else draws
    return compiled(function, *inputs(name), compiler_options=compiler.options())


@functools.cache
def inputs(name: str = "forward") -> tuple:
    """Variables, a key of the form's generator, and images."""
    random = np.random.default_rng(0)
    images = jnp.asarray(random.random((SETTINGS["batch"], SETTINGS["size"], SETTINGS["size"], 1), np.float32))
    shapes = jax.eval_shape(DropoutUNet(SETTINGS["widths"], classes=1).init, jax.random.key(0), images)
    variables = jax.tree.map(lambda leaf: jnp.asarray(random.normal(0, 0.1, leaf.shape), leaf.dtype), shapes)
    return variables, jax.random.key(0, impl=FORMS.get(name, {}).get("generator")), images


if __name__ == "__main__":
    main()
