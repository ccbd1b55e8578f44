"""Training step of a hypernetised U-Net against the same U-Net alone, and against PyTorch.

    python benchmarks/step_time.py --torch-python PYTHON_WITH_TORCH --record

A step is loss, gradient and SGD with momentum, with donated state; batch 8 of 128x128x1. PyTorch runs eagerly in a
process of its own, from the same initial parameters on the same batch, with as many threads as there are cores.
On a CPU the step is timed with XLA's default options too.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import Child, arguments, compiled, interleave, ratio, report, seconds, table, verdict
from networks import UNet

import hyperlab as hl
from hyperlab import trees
from hyperlab.train import compiler, state
from hyperlab.train.step import Aux, train_step

SETTINGS = {"batch": 8, "size": 128, "levels": 4, "features": 32, "hidden": (16, 64, 128), "gamma": 0.3}
SETTINGS |= {"rate": 0.01, "momentum": 0.9}
CHECKED_STEPS = 3


def main() -> None:
    parser = arguments(__doc__, repeats=15)
    parser.add_argument("--torch-python", default=sys.executable, help="a Python that has torch")
    parser.add_argument("--no-torch", action="store_true", help="leave PyTorch out")
    parser.add_argument("--steps", type=int, default=1, help="steps in a turn")
    options = parser.parse_args()

    random = np.random.default_rng(0)
    shape = (SETTINGS["batch"], SETTINGS["size"], SETTINGS["size"], 1)
    images = random.normal(size=shape).astype(np.float32)
    batch = (jnp.asarray(images), jnp.asarray((images > 0.5).astype(np.float32)))
    net = UNet(SETTINGS["levels"], SETTINGS["features"])
    model = hl.hypernetize(net, batch[0], hidden=SETTINGS["hidden"])
    gamma = jnp.array([SETTINGS["gamma"]])

    variables = {"alone": net.init(jax.random.key(0), batch[0]), "hypernetised": model.init(jax.random.key(0))}
    print(", ".join(f"{name}: {trees.count(tree):,} parameters" for name, tree in variables.items()))
    turns, compiling, losses = {}, {}, {}
    applies = {"alone": net.apply, "hypernetised": lambda variables, x: model.apply(variables, gamma, x)}
    flags = compiler.options()
    for label, given in {"": flags, ", default options": None}.items() if flags else [("", None)]:
        for name, apply in applies.items():
            key = name + label
            turns[key], compiling[key], losses[key] = trainer(apply, variables[name], batch, given, options.steps)

    child, torch = None, {}
    if not options.no_torch:
        child = torch_child(options.torch_python, variables["hypernetised"], batch)
        for layout in ("default", "channels_last"):
            ask = json.dumps([layout, 1])
            *_, torch = [child.ask(ask) for _ in range(CHECKED_STEPS)]
            print(f"loss after {CHECKED_STEPS} steps: {losses['hypernetised']:.6f}, torch {torch['loss']:.6f}")
            np.testing.assert_allclose(torch["loss"], losses["hypernetised"], rtol=1e-4)
            ask = json.dumps([layout, options.steps])
            turns[f"torch, {layout}"] = lambda ask=ask: child.ask(ask)["seconds"]
    times = interleave(turns, options.repeats)
    if child is not None:
        child.close()

    table(times, compiling)
    ratios = [verdict(ratio(times, "hypernetised", "alone"), 1.15)]
    if "alone, default options" in times:
        ratios.append(verdict(ratio(times, "alone", "alone, default options")))
    if child is not None:
        print(f"torch {torch['torch']}, {torch['threads']} threads")
        ratios.append(verdict(ratio(times, "hypernetised", "torch, default"), 1.2))
        ratios.append(verdict(ratio(times, "hypernetised", "torch, channels_last")))
    SETTINGS["compiler_options"] = flags
    results = {"compile_seconds": compiling, "seconds_per_step": times, "ratios": ratios}
    results["torch"] = {key: torch[key] for key in ("torch", "threads")} if torch else None
    report("step_time", SETTINGS, results, options.record)


def trainer(apply, variables, batch, flags, steps):
    """A turn of training steps, the seconds of their compilation, and the loss after some."""

    def loss_fn(params, collections, batch, rngs):
        images, labels = batch
        return optax.sigmoid_binary_cross_entropy(apply({"params": params}, images), labels).mean(), Aux()

    optimizer = optax.sgd(SETTINGS["rate"], SETTINGS["momentum"])
    current = state.create(jax.tree.map(jnp.array, variables), optimizer)
    key = jax.random.key(0)
    step, compile_seconds = compiled(
        train_step(loss_fn, optimizer), current, batch, key, donate_argnums=0, compiler_options=flags
    )

    def one():
        nonlocal current
        current, metrics = step(current, batch, key)
        return metrics, current

    loss = [one()[0]["loss"].total for _ in range(CHECKED_STEPS)][-1]
    return (lambda: seconds(one, steps)), compile_seconds, float(loss)


def torch_child(python, variables, batch):
    """Starts PyTorch on the same parameters, batch and settings."""
    params = variables["params"]
    theta0 = trees.flatten(params["theta0"])
    arrays = {"settings": json.dumps(SETTINGS), "gamma": np.array([SETTINGS["gamma"]], np.float32)}
    arrays |= {"images": np.asarray(batch[0]), "labels": np.asarray(batch[1])}
    arrays |= {f"theta0:{path}": np.asarray(value) for path, value in theta0.items()}
    offset, head = 0, np.asarray(params["hypernet"]["head"]["kernel"])
    for path, value in theta0.items():
        arrays[f"head:{path}"] = head[:, offset : offset + value.size].reshape(-1, *value.shape)
        offset += value.size
    for index in range(len(SETTINGS["hidden"])):
        layer = params["hypernet"][f"hidden_{index}"]
        arrays |= {f"kernel:{index}": np.asarray(layer["kernel"]), f"bias:{index}": np.asarray(layer["bias"])}
    threads = str(len(os.sched_getaffinity(0)))
    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "start.npz", **arrays)
        script = Path(__file__).with_name("torch_unet.py")
        child = Child([python, str(script), str(Path(folder) / "start.npz"), threads, device])
        child.read()  # it is ready, and has read the file
    return child


if __name__ == "__main__":
    main()
