"""The training step of a network whose hypernetwork has a large dense head: milliseconds and memory, in two versions.

    python benchmarks/large_head.py OLD NEW [--pairs 5] [--record]
    python benchmarks/large_head.py --accuracy | --heads [--record]

OLD and NEW are checkouts. The primary is a perceptron of one hidden layer of 512 on 784 inputs, batch 32; its head is
a matrix of 128 x 407,050, 52 million parameters. Each version runs a process of its own, which stays, and takes turns.
Beside the steps stands how fast the machine copies an array of the head's size: what passes over memory cost at least.
`lean_adam`, which OLD need not have, is compared with NEW's Adam.

--accuracy trains a perceptron on digits with a head of 2.5 million, gamma drawn anew at every step, by Adam and by
`lean_adam` at three rates, five seeds each: held-out accuracy over seven gammas. --heads does so by Adam with a dense,
a low-rank and a chunked head at five rates, three seeds each: which rate a smaller head wants, and what it costs.
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
    "lean_adam": {"name": "lean_adam", "learning_rate": 1e-3},
}
HEADS = ("dense", "low_rank:4", "low_rank:16", "chunked:4096")
HEAD_RATES, HEAD_SEEDS = (0.0003, 0.001, 0.003, 0.01, 0.03), range(3)
RATES, SEEDS, TRAINED = (0.001, 0.003, 0.01), range(5), 300
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
    numbers = sum(leaf.size for leaf in jax.tree.leaves(start.params))  # parameters and exact moments in float32
    held = 4 * numbers * (1 if settings["name"] == "sgd" else 3)
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


def trainer(head: str = "dense"):
    """`(optimizer's name, rate, seed) -> held-out accuracy` on digits, and how many parameters the hypernetwork has."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
    from sklearn.datasets import load_digits

    from hyperlab import hypernetize, models
    from hyperlab.train import optimizers, state
    from hyperlab.train.step import Aux, make_train_step

    images, labels = load_digits(return_X_y=True)
    images, labels = jnp.asarray(images / 16, jnp.float32), jnp.asarray(labels)
    model = hypernetize(models.MLP((256,), 10), images[:32], gamma_dim=1, hidden=(16, 64, 128), head=head)
    shapes = jax.eval_shape(model.init, jax.random.key(0))["params"]
    gammas = jnp.linspace(0, 1, 7)[:, None]
    steps: dict = {}

    def loss(params, collections, batch, keys):
        gamma, rows = batch
        logits = model.apply({"params": params}, gamma, images[rows])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows]).mean(), Aux()

    @jax.jit
    def right(params, rows):
        found = jax.lax.map(lambda gamma: model.apply({"params": params}, gamma, images[rows]).argmax(-1), gammas)
        return (found == labels[rows]).mean()

    def trained(name: str, rate: float, seed: int) -> float:
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(images))
        train, held_out = order[:1200], order[1200:]
        variables = model.init(jax.random.key(seed))
        optimizer = optimizers.build({"name": name, "learning_rate": rate}, variables["params"])
        step = steps.setdefault(name, make_train_step(loss, optimizer))  # the rate is in the state
        current = state.create(variables, optimizer)
        for _ in range(TRAINED):
            batch = jnp.asarray(rng.uniform(size=1), jnp.float32), jnp.asarray(rng.choice(train, 64))
            current, _ = step(current, batch, jax.random.key(seed))
        return float(right(current.params, held_out))

    return trained, sum(leaf.size for leaf in jax.tree.leaves(shapes["hypernet"]))


def accuracies() -> dict:
    """Held-out accuracy by optimizer and rate, and the differences of the two seed by seed."""
    import numpy as np

    found, (trained, _) = {}, trainer()
    for rate in RATES:
        pairs = np.array([[trained(name, rate, seed) for name in ("adam", "lean_adam")] for seed in SEEDS])
        apart = pairs[:, 1] - pairs[:, 0]
        found[str(rate)] = {"adam": pairs[:, 0].tolist(), "lean_adam": pairs[:, 1].tolist()}
        print(
            f"rate {rate:g}: Adam {pairs[:, 0].mean():.4f}, lean {pairs[:, 1].mean():.4f}; lean - Adam "
            f"{apart.mean():+.4f}, seeds from {apart.min():+.4f} to {apart.max():+.4f}",
            flush=True,
        )
    return found


def heads() -> dict:
    """Held-out accuracy by head and rate."""
    import numpy as np

    found = {}
    for head in HEADS:
        trained, parameters = trainer(head)
        rows = {str(rate): [trained("adam", rate, seed) for seed in HEAD_SEEDS] for rate in HEAD_RATES}
        found[head] = {"parameters": parameters, "accuracy": rows}
        shown = ", ".join(
            f"{rate}: {np.mean(each):.3f} [{min(each):.3f}, {max(each):.3f}]" for rate, each in rows.items()
        )
        print(f"{head} ({parameters:,} parameters): {shown}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path, nargs="?")
    parser.add_argument("new", type=Path, nargs="?")
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--heads", action="store_true")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    if options.accuracy:
        return report("large_head_accuracy", {"rates": RATES, "seeds": [*SEEDS]}, accuracies(), options.record)
    if options.heads:
        return report("large_head_heads", {"rates": HEAD_RATES, "seeds": [*HEAD_SEEDS]}, heads(), options.record)
    if options.new is None:
        parser.error("two checkouts, or --accuracy")
    folders = {"old": options.old.resolve(), "new": options.new.resolve()}
    found = {}
    for name, settings in OPTIMIZERS.items():
        lean = name == "lean_adam"
        folders = {"old": folders["new"], "new": folders["new"]} if lean else folders
        children = {key: Child([sys.executable, "-W", "ignore", "-c", CHILD, str(at)]) for key, at in folders.items()}
        turns = []
        for _ in range(options.pairs + 1):
            turns.append(
                {
                    key: child.ask(json.dumps([name, OPTIMIZERS["adam"] if lean and key == "old" else settings, STEPS]))
                    for key, child in children.items()
                }
            )
        for child in children.values():
            child.close()
        pairs = sorted(one["new"]["seconds"] / one["old"]["seconds"] for one in turns[1:])
        row = {key: 1e3 * sorted(one[key]["seconds"] for one in turns[1:])[len(pairs) // 2] for key in folders}
        row |= {f"{key}_memory": turns[0][key]["memory"] for key in folders}
        row |= {"ratio": pairs[len(pairs) // 2], "ratio_range": [pairs[0], pairs[-1]], "copy_ms": 1e3 * copying()}
        found[name] = row
        target = f", target {TARGETS[name]}" if name in TARGETS else ""
        print(
            f"{name}: {row['old']:.0f} ms before, {row['new']:.0f} ms now: {row['ratio']:.2f} "
            f"[{pairs[0]:.2f}, {pairs[-1]:.2f}]{target}; memory over parameters and moments {row['old_memory']:.2f} "
            f"before, {row['new_memory']:.2f} now (target 1.1); a copy of the head {row['copy_ms']:.0f} ms; "
            f"losses after {STEPS + 1} steps {turns[0]['old']['loss']:.6g} and {turns[0]['new']['loss']:.6g}",
            flush=True,
        )
    report("large_head", {"steps": STEPS}, found, options.record)


if __name__ == "__main__":
    main()
