"""What a step of the hypernetised U-Net holds on accelerators that are not there, in float32 and as is advised.

    python benchmarks/plan_step.py [--forms FORM ...] [--machines NAME ...] [--tpu-python PATH] [--cuda-python PATH]
        [--record]

The U-Net and the hypernetwork of `step_time.py` (148,225 generated parameters), with Adam, at batch 8 of 256x256 a
device. Bytes are the compiler's, so exact and the same on any machine.

`--volumes` compiles another step: a 3D U-Net of 32 to 256 channels on patches of 128^3, all of it generated, with its
head split over the devices of `model` and the patches dealt out over those of `data`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from common import RESULTS, arguments
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding
from networks import UNet

import hyperlab as hl
from hyperlab import models
from hyperlab.planning import parse
from hyperlab.planning.collectives import collectives
from hyperlab.planning.compiled import devices_of, memory, refused
from hyperlab.planning.worker import environment
from hyperlab.train import state
from hyperlab.train.mesh import make_mesh, shardings
from hyperlab.train.step import Aux, on_mesh, train_step

ROOT = Path(__file__).resolve().parents[1]
FILE = RESULTS / "plan_step.json"
SETTINGS: dict[str, Any] = {"batch": 8, "size": 256, "levels": 4, "features": 32, "hidden": (16, 64, 128), "rate": 1e-3}
FORMS: dict[str, dict[str, Any]] = {
    "float32": {},
    "bfloat16": {"dtype": jnp.bfloat16},
    "bfloat16, blocks again": {"dtype": jnp.bfloat16, "remat": True},
}
VOLUMES: dict[str, Any] = {"widths": (32, 64, 128, 256), "size": 128, "classes": 1}
MESHES = {"v5e:4x4": {"data": 4, "model": 4}, "h100x8": {"data": 4, "model": 2}}
# of the float32 form at commit b956228, in MiB, and the share of it that is aimed at
GOALS = {"v5e:1x1": (2422, 0.45), "h100x1": (918, 0.55)}


def main() -> None:
    parser = arguments(__doc__, repeats=1)
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=list(FORMS), metavar="FORM")
    parser.add_argument("--machines", nargs="+", choices=[*GOALS, *MESHES], metavar="NAME")
    parser.add_argument("--volumes", type=int, nargs="+", default=[], metavar="BATCH", help="patches of a step")
    parser.add_argument("--tpu-python", default=sys.executable, help="an interpreter with the compiler for TPUs")
    parser.add_argument("--cuda-python", default=sys.executable, help="an interpreter with the compiler for NVIDIA")
    parser.add_argument("--compile", action="store_true", help="in this process: the first form and machine")
    options = parser.parse_args()
    options.machines = options.machines or list(MESHES if options.volumes else GOALS)
    if options.compile:
        form, machine = options.forms[0], options.machines[0]
        print(json.dumps(volumes(machine, options.volumes[0]) if options.volumes else compiled(form, machine)))
        return
    pythons = {"tpu": options.tpu_python, "cuda": options.cuda_python}
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    for machine in options.machines if options.volumes else ():
        print("| batch | machine | needed, MiB | of | collectives |\n| --- | --- | --- | --- | --- |")
        for batch in options.volumes:
            found = child(pythons[parse(machine).of.kind], "--volumes", str(batch), "--machines", machine)
            sizes = f"{found['needed'] / 2**20:,.0f} | {parse(machine).of.memory / 2**20:,.0f}"
            print(f"| {batch} | {machine} | {sizes} | {found.get('collectives')} |", flush=True)
            known.setdefault("volumes", {}).setdefault(machine, {})[str(batch)] = found
            if options.record:
                FILE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    if options.volumes:
        return
    print("| form | machine | temporaries, MiB | of b956228 | goal |\n| --- | --- | --- | --- | --- |")
    for machine in options.machines:
        for form in options.forms:
            found = child(pythons[parse(machine).of.kind], "--forms", form, "--machines", machine)
            before, goal = GOALS[machine]
            temporary = found["temporaries"] / 2**20
            print(f"| {form} | {machine} | {temporary:,.0f} | {temporary / before:.3f} | {goal} |", flush=True)
            known.setdefault(machine, {})[form] = found
            if options.record:
                FILE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


def child(python: str, *words: str) -> dict[str, Any]:
    """One compilation, in a process with the machine's compiler; the last word is the machine."""
    command = [python, str(Path(__file__)), "--compile", *words]
    told = environment(parse(words[-1])) | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, env=os.environ | told, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(ended.stderr[-2000:])
    return json.loads(ended.stdout.splitlines()[-1])


def compiled(form: str, machine: str) -> dict[str, int]:
    """Bytes of the step on one device."""
    net = UNet(SETTINGS["levels"], SETTINGS["features"], **FORMS[form])
    place = SingleDeviceSharding(devices_of(parse(machine))[0])
    step, given = program(net, SETTINGS["batch"], SETTINGS["size"])
    given = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), given)
    made = jax.jit(step, donate_argnums=0).lower(*given).compile()
    return memory(made)


def volumes(machine: str, batch: int) -> dict[str, Any]:
    """Bytes of one device, and the collectives, of a step on volumes; where it does not fit, what it would need."""
    net = models.UNet(VOLUMES["widths"], VOLUMES["classes"], normalization="group", dtype=jnp.bfloat16, remat=True)
    mesh = make_mesh(MESHES[machine], devices_of(parse(machine)))
    step, (start, images, key) = program(net, batch, VOLUMES["size"], dims=3)
    where = shardings(start, mesh), NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    placed = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), start, where[0])
    rows = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where[1]), images)
    key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=where[2])
    jitted = jax.jit(on_mesh(step, where[0]), donate_argnums=0, out_shardings=(where[0], None))
    lowered = jitted.lower(placed, rows, key)
    theta = sum(leaf.size for leaf in jax.tree.leaves(start.params["theta0"]))
    try:
        made = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        return refused(str(error)) | {"generated": theta}
    found: dict[str, list[int]] = {}
    for one in collectives(made.as_text(), parse(machine).devices):
        count, size = found.get(one.name, (0, 0))
        found[one.name] = [count + 1, size + one.bytes]
    return memory(made) | {"collectives": found, "generated": theta}


def program(net: nn.Module, batch: int, size: int, dims: int = 2) -> tuple[Any, tuple[Any, ...]]:
    """The training step of a network, and the shapes of what it is given."""
    images = jax.ShapeDtypeStruct((batch, *(size,) * dims, 1), jnp.float32)
    example = jax.ShapeDtypeStruct((1, *images.shape[1:]), jnp.float32)
    model = hl.hypernetize(net, example, hidden=SETTINGS["hidden"])
    gamma = jnp.array([0.3])

    def loss_fn(params, collections, batch, rngs):
        images, labels = batch
        logits = model.apply({"params": params}, gamma, images)
        return optax.sigmoid_binary_cross_entropy(logits, labels).mean(), Aux()

    optimizer = optax.adam(SETTINGS["rate"])
    key = jax.eval_shape(lambda: jax.random.key(0))
    start = jax.eval_shape(lambda key: state.create(model.init(key), optimizer), key)
    return train_step(loss_fn, optimizer), (start, (images, images), key)


if __name__ == "__main__":
    main()
