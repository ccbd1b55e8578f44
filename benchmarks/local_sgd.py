"""Local SGD: what a round of eight local steps costs over eight plain vmapped steps and one all-reduce.

    python benchmarks/local_sgd.py --record

Eight replicas on eight virtual devices of the processor (or on as many real ones). The plain step is a `jax.vmap` of
the training step with its state sharded over replicas and donated; a round is the same step through `local_sgd.Driver`,
with an outer step of DiLoCo at its end. The all-reduce is the mean over replicas of as many numbers as are sent, and
nothing else. What is held against the target is the round less the all-reduce, over the plain steps of the same turn.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import arguments, interleave, ratio, report, seconds, table, verdict
from jax.sharding import NamedSharding, PartitionSpec

from hyperlab import local_sgd, trees
from hyperlab.train import compiler, state
from hyperlab.train.mesh import make_mesh
from hyperlab.train.step import Aux, train_step

SETTINGS = {"devices": 8, "replicas": 8, "period": 8, "kind": "diloco"}
TARGET = 1.05


class Perceptron(nn.Module):
    """Two hidden layers."""

    width: int

    @nn.compact
    def __call__(self, images):
        hidden = nn.relu(nn.Dense(self.width)(images.reshape(images.shape[0], -1)))
        return nn.Dense(10)(nn.relu(nn.Dense(self.width)(hidden)))


# network, size of an image, rows of a replica's batch: a step of little more than a call from Python, and one whose
# parameters take some time to average
NETWORKS = {"digits": (Perceptron(256), (8, 8, 1), 32), "mnist": (Perceptron(1024), (28, 28, 1), 64)}


def main() -> None:
    parser = arguments(__doc__, repeats=15)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    options = parser.parse_args()
    if jax.config.jax_platforms in (None, "", "cpu"):
        jax.config.update("jax_num_cpu_devices", SETTINGS["devices"])
    results = {name: compare(name, options.repeats) for name in options.networks}
    report("local_sgd", SETTINGS, results, options.record)


def compare(name: str, repeats: int) -> dict:
    """Plain steps, a round and an all-reduce of one network, in turns."""
    net, shape, rows = NETWORKS[name]
    optimizer = optax.sgd(1e-3, momentum=0.9, nesterov=True)
    config = local_sgd.Config(SETTINGS["kind"], SETTINGS["replicas"], SETTINGS["period"])
    mesh = make_mesh(local_sgd.mesh_shape(config.replicas, len(jax.devices())))
    make_step = functools.partial(train_step, loss_of(net))
    method = local_sgd.build(config, make_step, optimizer, mesh)
    variables = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, *shape)))
    start = method.create(state.create(variables, optimizer))
    where = local_sgd.shardings(start, mesh)
    random, split = np.random.default_rng(0), NamedSharding(mesh, PartitionSpec("replica"))
    batch = {
        "image": random.normal(size=(config.replicas, rows, *shape)).astype(np.float32),
        "label": random.integers(0, 10, (config.replicas, rows)),
    }
    batch, key = jax.device_put(batch, split), jax.random.key(1)
    driver = local_sgd.Driver(method, compiler_options=compiler.options())
    plain = jax.jit(
        lambda inner, batch, key: jax.vmap(make_step(optimizer), (0, 0, None))(inner, batch, key),
        donate_argnums=0,
        out_shardings=(where.inner, None),
        compiler_options=compiler.options(),
    )
    numbers = jax.device_put(jnp.ones((config.replicas, trees.count(start.anchor))), split)
    mean = jax.jit(lambda rows: rows.mean(0), out_shardings=NamedSharding(mesh, PartitionSpec()))
    turns = {
        "8 plain steps": turn(lambda inner: plain(inner, batch, key)[0], jax.device_put(start.inner, where.inner)),
        "round of 8": turn(lambda current: driver(current, batch, key)[0], jax.device_put(start, where)),
        "all-reduce": lambda: seconds(lambda: mean(numbers)),
    }
    print(f"{name}: {trees.count(start.anchor):,} parameters, {rows} images a replica, mesh {dict(mesh.shape)}")
    times = interleave(turns, repeats)
    times["round less all-reduce"] = [
        whole - part for whole, part in zip(times["round of 8"], times["all-reduce"], strict=True)
    ]
    table(times, {}, "round")
    found = verdict(ratio(times, "round less all-reduce", "8 plain steps"), TARGET)
    return {"parameters": trees.count(start.anchor), "seconds": times, "ratio": found}


def turn(step, current):
    """A turn of one round's steps on a state that is used up."""
    holder = [current]

    def steps():
        for _ in range(SETTINGS["period"]):
            holder[0] = step(holder[0])
        return holder[0]

    return lambda: seconds(steps)


def loss_of(net: nn.Module):
    """The loss of a classifier."""

    def loss(params, collections, batch, rngs):
        logits = net.apply({"params": params}, batch["image"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean(), Aux()

    return loss


if __name__ == "__main__":
    main()
