"""Pruning: time and memory of masks for 25 million parameters, the masked training step, a smaller network's latency.

    python benchmarks/pruning.py --record

Masks are those of a ResNet-50 at a compression of 4; the memory is what the process holds more at most during the call
(Linux), over the bytes of the parameters. The step is that of a CIFAR ResNet-20 (batch 128, SGD with Nesterov momentum,
gradients clipped by norm), with the optimizer wrapped or not.

The smaller network is a CIFAR-VGG whose channels were removed for a theoretical speedup, exported and loaded back.
Beside it run the dense one, the same channels as masks, and a control without one channel in a hundred. If the control
is much faster than the dense network, the dense one meets a slow path of the compiler, and its ratio to the smaller one
is not what pruning gains. That is so with the fifth stage: on a CPU, 3x3 convolutions of 512 channels on 2x2 pixels ran
at less than a hundredth of the others' rate, and the control was 7 times as fast. So there are four stages here.
"""

import ctypes
import functools
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import (
    arguments,
    compiled,
    forget_peak,
    interleave,
    quartiles,
    ratio,
    report,
    resident,
    seconds,
    table,
    verdict,
)

from hyperlab import pareto, pruning, trees
from hyperlab.metrics.compression import measure
from hyperlab.metrics.operations import macs, macs_per_kernel
from hyperlab.models import CifarResNet, CifarVGG, ResNet
from hyperlab.models.vgg import STAGES
from hyperlab.pruning.channel_choice import channel_scores, choose_channels
from hyperlab.pruning.channels import channel_groups
from hyperlab.pruning.slim import channel_masks, slim, slim_apply
from hyperlab.train import compiler

SETTINGS = {"strategies": ("global_magnitude", "layer_magnitude", "random"), "compression": 4.0, "batch": 128}
SETTINGS |= {"steps": 2, "speedup": 4.0, "images": 32, "calls": 3, "control": 0.99}
TARGETS = {"seconds": 3.0, "memory": 4.0, "step": 1.05}


def main() -> None:
    options = arguments(__doc__, repeats=15).parse_args()
    results = {"masks": masks(), "step": step(options.repeats), "slim": smaller(options.repeats)}
    report("pruning", SETTINGS, results, options.record)


def masks() -> list[dict]:
    """Seconds and memory of masks, one call each after one that is not counted."""
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    params = drawn(jax.eval_shape(ResNet(50).init, jax.random.key(0), images)["params"])
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    print(f"{trees.count(params):,} parameters, {size / 2**20:.0f} MiB")
    found = []
    for strategy in SETTINGS["strategies"]:
        make = functools.partial(
            pruning.masks, strategy, params, SETTINGS["compression"], exclude=["classifier/**"], key=0
        )
        make()
        ctypes.CDLL(None).malloc_trim(0)  # what was freed and not returned would hide what the next call takes
        before = resident("VmRSS")
        forget_peak()
        start = time.perf_counter()
        kept = make()
        taken = time.perf_counter() - start
        memory = (resident("VmHWM") - before) / size
        reached = trees.count(params) / sum(int(mask.sum()) for mask in jax.tree.leaves(kept))
        met = taken <= TARGETS["seconds"] and memory <= TARGETS["memory"]
        print(
            f"{strategy}: {taken:.2f} s (target {TARGETS['seconds']}), {memory:.2f} times the parameters' memory ",
            end="",
        )
        print(f"(target {TARGETS['memory']}), compression {reached:.5f}: {'met' if met else 'not met'}")
        found.append({"strategy": strategy, "seconds": taken, "memory": memory, "met": met})
        del kept
    return found


def step(repeats: int) -> dict:
    """The training step under masks, over the dense one."""
    net, random = CifarResNet(20), np.random.default_rng(0)
    images = random.normal(size=(SETTINGS["batch"], 32, 32, 3)).astype(np.float32)
    labels = random.integers(0, 10, SETTINGS["batch"])
    variables = jax.jit(net.init)(jax.random.key(0), images[:1])
    kept = pruning.masks("global_magnitude", variables["params"], SETTINGS["compression"], exclude=["classifier/**"])
    inner = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1e-3, momentum=0.9, nesterov=True))
    turns, compiling = {}, {}
    for name, optimizer in {"dense": inner, "masked": pruning.masked(inner, kept)}.items():
        turns[name], compiling[name] = trainer(net, variables, optimizer, images, labels)
    times = interleave(turns, repeats)
    table(times, compiling)
    return {"seconds": times, "ratio": verdict(ratio(times, "masked", "dense"), TARGETS["step"])}


def trainer(net, variables, optimizer, images, labels):
    """A turn of training steps with donated state, and the seconds of their compilation."""

    def loss_of(params, statistics):
        given = {"params": params, "batch_stats": statistics}
        logits, changed = net.apply(given, images, train=True, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), changed["batch_stats"]

    def one_step(params, statistics, state):
        gradient, statistics = jax.grad(loss_of, has_aux=True)(params, statistics)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), statistics, state

    params, statistics = jax.tree.map(jnp.array, (variables["params"], variables["batch_stats"]))
    current = params, statistics, optimizer.init(params)
    program, taken = compiled(one_step, *current, donate_argnums=(0, 1, 2), compiler_options=compiler.options())

    def one():
        nonlocal current
        current = program(*current)
        return current

    return (lambda: seconds(one, SETTINGS["steps"])), taken


def smaller(repeats: int) -> dict:
    """Latency of the network without the channels, beside the dense one, the masked one and the control."""
    net, shape = CifarVGG(stages=STAGES[:4]), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    variables = jax.jit(net.init)(jax.random.key(0), jnp.zeros(shape.shape))
    counts = macs_per_kernel(net.apply, variables, shape)
    groups = channel_groups(net.apply, variables, shape)
    scores = channel_scores(variables, groups)
    kept = choose_channels(variables["params"], groups, scores, speedup=SETTINGS["speedup"], macs=counts)
    mask = channel_masks(variables, groups, kept)
    found = measure(variables["params"], mask["params"], macs=counts)
    print(f"channels: compression {found.ratio.value:.2f}, theoretical speedup {found.theoretical_speedup:.2f}")
    nearly = {g.name: scores[g.name].argsort().argsort() >= (1 - SETTINGS["control"]) * g.channels for g in groups}
    small, control = slim(variables, groups, kept), slim(variables, groups, nearly)
    with tempfile.TemporaryDirectory() as folder:
        card = {"theoretical_speedup": found.theoretical_speedup}
        pareto.export(Path(folder) / "network", slim_apply(net), small, shape, card, formats=("orbax",))
        small = jax.tree.map(jnp.asarray, pareto.load(Path(folder) / "network").variables)
    batch, turns, compiling, counted = jnp.ones((SETTINGS["images"], *shape.shape[1:])), {}, {}, {}
    masked = jax.tree.map(lambda leaf, keep: jnp.where(keep, leaf, 0), variables, mask)
    for name, given in {"dense": variables, "masked": masked, "control": control, "slim": small}.items():
        program, compiling[name] = compiled(slim_apply(net), given, batch, compiler_options=compiler.options())
        turns[name] = lambda p=program, v=given: seconds(lambda: p(v, batch), SETTINGS["calls"])
        counted[name] = macs(slim_apply(net), given, batch)
    times = interleave(turns, repeats)
    table(times, compiling, "batch")
    rates = {name: counted[name] / quartiles(values)["median"] for name, values in times.items()}
    print("multiply-accumulates a second: " + ", ".join(f"{name} {rate / 1e9:.1f}e9" for name, rate in rates.items()))
    ratios = [verdict(ratio(times, "dense", other)) for other in ("slim", "masked", "control")]
    speedups = {name: counted["dense"] / count for name, count in counted.items()}
    return {"theoretical_speedup": speedups, "seconds": times, "macs_a_second": rates, "ratios": ratios}


def drawn(shapes):
    """Normal numbers in arrays of some shapes."""
    random = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: random.standard_normal(leaf.shape, np.float32), shapes)


if __name__ == "__main__":
    main()
