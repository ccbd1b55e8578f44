"""What the statistics of training are worth at one gamma, and those that `calibrated` finds there.

    python benchmarks/batch_statistics.py [--record]

Two networks with BatchNorm learn digits for 300 steps of Adam at .003, with gamma drawn anew at each step and without
a hypernetwork; three seeds of everything. Nothing depends on gamma, so every gamma should do as well. Held-out accuracy
at three gammas in evaluation mode, with the statistics of training and with those of 500 batches at the gamma.
"""

import argparse
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import report
from flax import nnx
from sklearn.datasets import load_digits

from hyperlab import hypernetize
from hyperlab.hypernet import as_primary, calibrated

STEPS, RATE, BATCH, TRAIN, SEEDS, GAMMAS = 300, 0.003, 64, 1200, range(3), (0.1, 0.5, 0.9)


class Convolutions(nnx.Module):
    """Two convolutions, each with BatchNorm of momentum .99, and dropout."""

    def __init__(self, rngs: nnx.Rngs):
        self.first, self.second = nnx.Conv(1, 16, (3, 3), rngs=rngs), nnx.Conv(16, 32, (3, 3), strides=2, rngs=rngs)
        self.norms = nnx.List([nnx.BatchNorm(16, rngs=rngs), nnx.BatchNorm(32, rngs=rngs)])
        self.dropout, self.classifier = nnx.Dropout(0.3, rngs=rngs), nnx.Linear(32, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norms[0](self.first(x)))
        x = nnx.relu(self.norms[1](self.second(x)))
        return self.classifier(self.dropout(x.mean((1, 2))))


def block(x: jax.Array, is_training: bool) -> jax.Array:
    """A residual block with BatchNorm of decay .9."""
    h = hk.Conv2D(16, 3)(x)
    r = hk.Conv2D(16, 3)(jax.nn.relu(hk.BatchNorm(True, True, 0.9)(h, is_training)))
    h = jax.nn.relu(h + hk.BatchNorm(True, True, 0.9)(r, is_training))
    return hk.Linear(10)(h.mean((1, 2)))


NETWORKS: dict[str, tuple[Any, dict[str, Any], list[str], bool]] = {
    "NNX, momentum .99": (lambda rngs: Convolutions(rngs), {}, ["batch_stats"], True),
    "Haiku, decay .9": (hk.transform_with_state(block), {"is_training": True}, ["state"], False),
}


class Plain:
    """A network without a hypernetwork, with the calls of one."""

    def __init__(self, primary: Any):
        self.primary = primary

    def apply(self, variables: Any, gamma: jax.Array, *inputs: Any, **options: Any) -> Any:
        return self.primary.apply(variables, *inputs, **options)

    def generate(self, variables: Any, gamma: jax.Array) -> Any:
        return dict(variables)

    def train(self) -> "Plain":
        return Plain(self.primary.switched(True))

    def eval(self) -> "Plain":
        return Plain(self.primary.switched(False))


def one(name: str, hypernetwork: bool, seed: int) -> list[list[float]]:
    """Accuracy at each gamma with the statistics of training, and with those at gamma."""
    network, kwargs, collections, draws = NETWORKS[name]
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    images, labels = (digits.images[..., None] / 16).astype(np.float32)[order], digits.target[order]
    x, y = jnp.asarray(images), jnp.asarray(labels)
    if hypernetwork:
        model: Any = hypernetize(network, x[:4], example_kwargs=kwargs)
        state = model.init(jax.random.key(seed))
    else:
        model = Plain(as_primary(network))
        state = model.primary.init(jax.random.key(seed), x[:4], **kwargs)
    optimizer = optax.adam(RATE)
    opt_state = optimizer.init(state["params"])

    @jax.jit
    def step(state: Any, opt_state: Any, key: jax.Array) -> Any:
        of_gamma, of_batch, of_dropout = jax.random.split(key, 3)
        chosen = jax.random.randint(of_batch, (BATCH,), 0, TRAIN)
        rngs = {"rngs": {"dropout": of_dropout}} if draws else {}

        def loss(params: Any) -> Any:
            variables, at = {**state, "params": params}, jax.random.uniform(of_gamma, (1,))
            logits, updated = model.train().apply(variables, at, x[chosen], mutable=collections, **rngs)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y[chosen]).mean(), updated

        (_, updated), gradient = jax.value_and_grad(loss, has_aux=True)(state["params"])
        updates, opt_state = optimizer.update(gradient, opt_state, state["params"])
        return {**state, **updated, "params": optax.apply_updates(state["params"], updates)}, opt_state

    for key in jax.random.split(jax.random.key(seed + 100), STEPS):
        state, opt_state = step(state, opt_state, key)
    batches = [x[index : index + BATCH] for index in range(0, TRAIN - BATCH, BATCH)]
    rngs = {"dropout": jax.random.key(seed)} if draws else None

    def right(variables: Any, gamma: jax.Array) -> float:
        return float((model.eval().apply(variables, gamma, x[TRAIN:]).argmax(-1) == y[TRAIN:]).mean())

    gammas = [jnp.array([gamma]) for gamma in GAMMAS]
    return [[right(state, g), right(calibrated(model, state, g, batches, rngs=rngs), g)] for g in gammas]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true")
    options, results = parser.parse_args(), {}
    for name in NETWORKS:
        for hypernetwork in (False, True):
            found = np.array([one(name, hypernetwork, seed) for seed in SEEDS])  # [seed, gamma, of training or there]
            how = f"{name}, {'a hypernetwork' if hypernetwork else 'no hypernetwork'}"
            both = (found[..., 0], found[..., 1])
            cells = [f"{each.mean():.3f} [{each.min():.3f}, {each.max():.3f}]" for each in both]
            print(f"| {how} | {cells[0]} | {cells[1]} |", flush=True)
            results[how] = found.tolist()
    report("batch_statistics", {"steps": STEPS, "seeds": len(SEEDS)}, results, options.record)


if __name__ == "__main__":
    main()
