"""The training step of a network whose hypernetwork has a large dense head: milliseconds and memory, in two versions.

    python benchmarks/large_head.py OLD NEW [--pairs 5] [--record]

OLD and NEW are checkouts. The primary is a perceptron of one hidden layer of 512 on 784 inputs, batch 32; its head is
a matrix of 128 x 407,050, 52 million parameters. Each version runs a process of its own, which stays, and takes turns.
Beside the steps stands how fast the machine copies an array of the head's size: what passes over memory cost at least.
"""

import argparse
import json
import sys
from pathlib import Path

from common import Child, report

STEPS = 6  # of a turn
OPTIMIZERS = {
    "adam": {"name": "adam", "learning_rate": 1e-3},
    "sgd": {"name": "sgd", "learning_rate": 1e-2, "momentum": 0.0},
    "adam, clipped": {"name": "adam", "learning_rate": 1e-3, "clip_norm": 1.0},
}
TARGETS = {"adam": 0.45, "sgd": 0.35}
CHILD = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import jax, jax.numpy as jnp, numpy as np, optax
from hyperlab import hypernetize, models
from hyperlab.train import optimizers, state
from hyperlab.train.step import Aux, make_train_step

images = jax.random.normal(jax.random.key(0), (32, 784))
labels = jax.random.randint(jax.random.key(1), (32,), 0, 10)
model = hypernetize(models.MLP((512,), 10), images, gamma_dim=1, hidden=(16, 64, 128))
gamma = jnp.array([0.5])

def loss(params, collections, batch, keys):
    logits = model.apply({"params": params, **collections}, gamma, batch)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), Aux()

def made(settings):
    variables = model.init(jax.random.key(2))
    optimizer = optimizers.build(settings, variables["params"])
    step = make_train_step(loss, optimizer)
    start = state.create(variables, optimizer)
    key = jax.random.key(3)
    compiled = step.lower(start, images, key).compile()
    memory = compiled.memory_analysis()
    held = sum(leaf.nbytes for leaf in jax.tree.leaves((start.params, start.opt_state)))
    return compiled, start, key, (memory.temp_size_in_bytes + memory.argument_size_in_bytes) / held

programs = {}
for line in sys.stdin:
    name, settings, steps = json.loads(line)
    if name not in programs:
        programs.clear()  # one state at a time fits
        programs[name] = made(settings)
    step, current, key, share = programs.pop(name)
    current, metrics = step(current, images, key)
    jax.block_until_ready(current)
    begun = time.perf_counter()
    for _ in range(steps):
        current, metrics = step(current, images, key)
    jax.block_until_ready(current)
    seconds = (time.perf_counter() - begun) / steps
    programs[name] = step, current, key, share
    print(json.dumps({"seconds": seconds, "memory": share, "loss": float(metrics["loss"].total)}), flush=True)
"""


def copying() -> float:
    """Seconds of reading and writing an array as large as the head once, by NumPy on one core."""
    import time

    import numpy as np

    given, out = np.ones(128 * 407_050, np.float32), np.empty(128 * 407_050, np.float32)
    found = []
    for _ in range(4):
        begun = time.perf_counter()
        np.copyto(out, given)
        found.append(time.perf_counter() - begun)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    folders = {"old": options.old.resolve(), "new": options.new.resolve()}
    found = {}
    for name, settings in OPTIMIZERS.items():
        children = {key: Child([sys.executable, "-W", "ignore", "-c", CHILD, str(at)]) for key, at in folders.items()}
        turns = []
        for _ in range(options.pairs + 1):
            turns.append({key: child.ask(json.dumps([name, settings, STEPS])) for key, child in children.items()})
        for child in children.values():
            child.close()
        pairs = sorted(one["new"]["seconds"] / one["old"]["seconds"] for one in turns[1:])
        row = {key: 1e3 * sorted(one[key]["seconds"] for one in turns[1:])[len(pairs) // 2] for key in folders}
        row |= {f"{key}_memory": turns[0][key]["memory"] for key in folders}
        row |= {"ratio": pairs[len(pairs) // 2], "ratio_range": [pairs[0], pairs[-1]], "copy_ms": 1e3 * copying()}
        apart = abs(turns[0]["new"]["loss"] - turns[0]["old"]["loss"])
        found[name] = row
        target = f", target {TARGETS[name]}" if name in TARGETS else ""
        print(
            f"{name}: {row['old']:.0f} ms before, {row['new']:.0f} ms now: {row['ratio']:.2f} "
            f"[{pairs[0]:.2f}, {pairs[-1]:.2f}]{target}; memory over parameters and moments {row['old_memory']:.2f} "
            f"before, {row['new_memory']:.2f} now (target 1.1); a copy of the head {row['copy_ms']:.0f} ms; "
            f"losses {apart:.1e} apart",
            flush=True,
        )
    report("large_head", {"steps": STEPS}, found, options.record)


if __name__ == "__main__":
    main()
