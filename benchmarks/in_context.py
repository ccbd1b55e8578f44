"""UniverSeg's forward pass as hyperlab computes it against the naive pairing that defines it, and against PyTorch.

    python benchmarks/in_context.py --torch-python PYTHON_WITH_TORCH --record

One 128x128 image, the released widths, 1, 16 and 64 examples. The naive pairing concatenates the target to every
example (`tests/helpers/naive_pairing.py`); PyTorch does the same eagerly, in a process of its own, with as many
threads as there are cores. Memory is that of the compiled program's intermediate arrays, and what a fresh process
grows by when it compiles and runs it.
"""

import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from common import Child, arguments, compiled, interleave, ratio, report, seconds, table, verdict

from hyperlab import trees
from hyperlab.models import UniverSeg
from hyperlab.train import compiler

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
import naive_pairing

SETTINGS = {"batch": 1, "size": 128, "widths": (64, 64, 64, 64), "chunk": 4}
TIME_TARGETS = {16: 0.65, 64: 0.45}
TORCH_TARGETS = {64: 0.6}
MEMORY_TARGETS = {64: 0.6}


def main() -> None:
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--torch-python", help="a Python that has torch; without one, PyTorch is left out")
    parser.add_argument("--examples", type=int, nargs="+", default=[1, 16, 64], help="sizes of the support set")
    parser.add_argument("--peak-of", help="print the growth of this process, in MiB, when it runs one form")
    options = parser.parse_args()
    if options.peak_of:
        return print(json.dumps(growth(options.peak_of, options.examples[0])))
    SETTINGS["compiler_options"] = compiler.options()
    results, torch = {}, None
    for count in options.examples:
        print(f"\n{count} examples")
        results[str(count)], torch = measured(count, options)
    report("in_context", SETTINGS, {"examples": results, "torch": torch}, options.record)


def measured(count: int, options) -> tuple[dict, dict | None]:
    """Times, memory and ratios with one number of examples."""
    params, inputs = example(count)
    programs, compiling, memory, turns, logits = {}, {}, {}, {}, {}
    for name, form in forms().items():
        programs[name], compiling[name] = compiled(form, params, *inputs, compiler_options=compiler.options())
        memory[name] = {"arrays": programs[name].memory_analysis().temp_size_in_bytes / 2**20}
        memory[name]["process"] = peak(name, count)
        logits[name] = np.asarray(programs[name](params, *inputs))
        turns[name] = lambda program=programs[name]: seconds(lambda: program(params, *inputs))
    child, torch = None, None
    if options.torch_python:
        child = torch_child(options.torch_python, params, inputs)
        torch = child.ask("run")
        memory["torch"] = {"process": torch["peak_mib"]}
        np.testing.assert_allclose(torch["logits"], logits["naive"][:, ::16, ::16, 0], rtol=1e-3, atol=1e-3)
        turns["torch"] = lambda: child.ask("run")["seconds"]
    for name in programs:
        np.testing.assert_allclose(logits[name], logits["naive"], rtol=1e-3, atol=1e-3)
    times = interleave(turns, options.repeats)
    if child is not None:
        child.close()

    table(times, compiling, "forward pass")
    for name, found in memory.items():
        print(f"{name}: " + ", ".join(f"{kind} {value:.0f} MiB" for kind, value in found.items()))
    ratios = [verdict(ratio(times, "ours", "naive"), TIME_TARGETS.get(count))]
    ratios.append(verdict(ratio(times, "ours, in chunks", "naive")))
    if child is not None:
        ratios.append(verdict(ratio(times, "ours", "torch"), TORCH_TARGETS.get(count)))
    shares = {}
    for kind in ("arrays", "process"):
        target, share = MEMORY_TARGETS.get(count), memory["ours"][kind] / memory["naive"][kind]
        judged = "" if target is None else f", target at most {target}: {'met' if share <= target else 'not met'}"
        print(f"memory of ours / naive, {kind}: {share:.2f}{judged}")
        shares[kind] = share
    found = {"seconds": times, "compile_seconds": compiling, "mib": memory, "ratios": ratios, "memory_ratios": shares}
    return found, {key: torch[key] for key in ("torch", "threads")} if torch else None


def forms() -> dict:
    """Functions of parameters and inputs."""

    def ours(params, *inputs, chunk=None):
        return UniverSeg(SETTINGS["widths"], support_chunk=chunk).apply({"params": params}, *inputs)

    return {"naive": naive_pairing.universeg, "ours": ours, "ours, in chunks": partial(ours, chunk=SETTINGS["chunk"])}


def example(count: int) -> tuple[dict, tuple]:
    """Parameters of the spread that training starts from, and inputs; from a generator that need not be compiled."""
    random = np.random.default_rng(0)
    shape = (SETTINGS["batch"], SETTINGS["size"], SETTINGS["size"], 1)
    examples = (SETTINGS["batch"], count, *shape[1:])
    given = (jax.ShapeDtypeStruct(size, jnp.float32) for size in (shape, examples, examples))
    shapes = jax.eval_shape(UniverSeg(SETTINGS["widths"]).init, jax.random.key(0), *given)["params"]

    def draw(leaf):
        deviation = np.sqrt(1.5 / np.prod(leaf.shape[:-1])) if len(leaf.shape) == 4 else 0.1
        return jnp.asarray(random.normal(0, deviation, leaf.shape), leaf.dtype)

    images, labels = random.uniform(size=examples), random.integers(0, 2, examples)
    inputs = tuple(jnp.asarray(x, jnp.float32) for x in (random.uniform(size=shape), images, labels))
    return jax.tree.map(draw, shapes), inputs


def growth(name: str, count: int) -> float:
    """MiB that this process grows by while it compiles a form and runs it."""
    params, inputs = jax.block_until_ready(example(count))
    before = peak_mib()
    program, _ = compiled(forms()[name], params, *inputs, compiler_options=compiler.options())
    jax.block_until_ready(program(params, *inputs))
    return peak_mib() - before


def peak_mib() -> float:
    """The most memory that this process has held; of it alone, not of the one that started it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def peak(name: str, count: int) -> float:
    command = [sys.executable, __file__, "--peak-of", name, "--examples", str(count)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def torch_child(python: str, params: dict, inputs: tuple) -> Child:
    """Starts PyTorch on the same parameters and inputs."""
    arrays = {path: np.asarray(value) for path, value in trees.flatten(params).items()}
    names = ("target", "support_images", "support_labels")
    arrays |= {name: np.asarray(value) for name, value in zip(names, inputs, strict=True)}
    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "start.npz", **arrays)
        script = Path(__file__).with_name("torch_universeg.py")
        threads = str(len(os.sched_getaffinity(0)))
        child = Child([python, str(script), str(Path(folder) / "start.npz"), threads, device])
        child.read()  # it is ready, and has read the file
    return child


if __name__ == "__main__":
    main()
