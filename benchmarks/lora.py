"""Updates of a trained network by their rank: what a network that knew one angle learns about all, and at which rates.

    python benchmarks/lora.py [--record]

A perceptron 64-128-10 learns the upright digits. Then gamma is an angle, 0 to 90 degrees, drawn anew at each step, and
the batch is turned by it; theta0 is the trained network. Held-out accuracy, the mean over seven angles, after 400 steps
of Adam at five rates, three seeds (of the split, the trained network and the rest). Without a hypernetwork, the
network as it is stands beside, and the same network fine-tuned on all angles at the same rates.
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import report
from scipy import ndimage
from sklearn.datasets import load_digits

from hyperlab import hypernetize, models
from hyperlab.train import optimizers

RATES, SEEDS, STEPS, BATCH = (0.0003, 0.001, 0.003, 0.01, 0.03), range(3), 400, 64
ANGLES = np.linspace(0, 90, 19)
SEEN = slice(None, None, 3)  # seven angles to judge by
NETWORK, TRAIN = models.MLP((128,), 10), 1200
ALL = (("**", {}),)
FROZEN = (("hypernet/**", {}), ("**", {"frozen": True}))
ARMS = {
    "lora=1": ({"lora": 1}, FROZEN),
    "lora=4": ({"lora": 4}, FROZEN),
    "lora=10": ({"lora": 10}, FROZEN),
    "dense, theta0 frozen": ({}, FROZEN),
    "dense, theta0 trained": ({}, ALL),
    "no hypernetwork, fine-tuned": (None, ALL),
}


def turned() -> tuple[np.ndarray, np.ndarray]:
    """Digits at every angle, `[angle, image, 8, 8, 1]`, and their labels."""
    digits = load_digits()
    images = [ndimage.rotate(digits.images / 16, angle, axes=(1, 2), reshape=False, order=1) for angle in ANGLES]
    return np.stack(images)[..., None].astype(np.float32), digits.target


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def plain(params: Any, gamma: jax.Array, x: jax.Array) -> jax.Array:
    return NETWORK.apply({"params": params}, x)


class Seed:
    """The data of one seed, and training and judging on it."""

    def __init__(self, seed: int, images: np.ndarray, labels: np.ndarray):
        order = np.random.default_rng(seed).permutation(len(labels))
        self.seed, (train, held) = seed, np.split(order, [TRAIN])
        self.train, self.held = jnp.asarray(images[:, train]), jnp.asarray(images[SEEN, held])
        self.of_train, self.of_held = jnp.asarray(labels[train]), jnp.asarray(labels[held])
        start = NETWORK.init(jax.random.key(seed), self.train[0, :1])["params"]
        self.start = jax.jit(lambda start: self.trained(plain, start, ALL, 0.003, angles=1))(start)

    def trained(self, apply: Any, params: Any, groups: Any, rate: Any, angles: int = len(ANGLES)) -> Any:
        optimizer = optimizers.build({"learning_rate": rate, "groups": groups}, params)

        def step(carry: Any, key: jax.Array) -> Any:
            params, opt_state = carry
            first, second = jax.random.split(key)
            angle, chosen = jax.random.randint(first, (), 0, angles), jax.random.randint(second, (BATCH,), 0, TRAIN)

            def loss(params: Any) -> jax.Array:
                gamma = angle[None] / (len(ANGLES) - 1)
                return cross_entropy(apply(params, gamma, self.train[angle, chosen]), self.of_train[chosen])

            updates, opt_state = optimizer.update(jax.grad(loss)(params), opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), None

        keys = jax.random.split(jax.random.key(self.seed + 100), STEPS)
        return jax.lax.scan(step, (params, optimizer.init(params)), keys)[0][0]

    def accuracy(self, apply: Any, params: Any) -> jax.Array:
        gammas = jnp.linspace(0, 1, len(ANGLES))[SEEN, None]
        right = jax.vmap(lambda gamma, x: (apply(params, gamma, x).argmax(-1) == self.of_held).mean())
        return right(gammas, self.held).mean()

    def arm(self, how: dict[str, Any] | None, groups: Any) -> tuple[list[float], int]:
        """Accuracy at each rate, and the size of the head."""
        apply, params, size = plain, self.start, 0
        if how is not None:
            model = hypernetize(NETWORK, self.train[0, :1], **how)
            params, size = model.init(jax.random.key(self.seed), pretrained=self.start)["params"], model.head_size()
            apply = lambda params, gamma, x: model.apply({"params": params}, gamma, x)  # noqa: E731
        run = jax.jit(lambda params, rate: self.accuracy(apply, self.trained(apply, params, groups, rate)))
        return [float(run(params, jnp.float32(rate))) for rate in RATES], size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    seeds = [Seed(seed, *turned()) for seed in SEEDS]
    alone = [float(seed.accuracy(plain, seed.start)) for seed in seeds]
    print(f"the trained network as it is: {np.mean(alone):.3f}, spread {np.ptp(alone):.3f}")
    print("| arm | parameters of the head | " + " | ".join(f"{rate:g}" for rate in RATES) + " |")
    results: dict[str, Any] = {"as it is": alone}
    for name, (how, groups) in ARMS.items():
        each = [seed.arm(how, groups) for seed in seeds]
        table = np.array([accuracies for accuracies, _ in each])
        cells = [
            f"{mean:.3f} (spread {spread:.3f})" for mean, spread in zip(table.mean(0), np.ptp(table, 0), strict=True)
        ]
        print(f"| {name} | {each[0][1]:,} | " + " | ".join(cells) + " |", flush=True)
        results[name] = {"head": each[0][1], "accuracy": table.tolist()}
    report("lora", {"rates": RATES, "steps": STEPS, "seeds": len(SEEDS)}, results, options.record)


if __name__ == "__main__":
    main()
