"""A small regression, trained by replicas: what the tests of local SGD and their worker processes share."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hyperlab import local_sgd
from hyperlab.train import state, step
from hyperlab.train.step import Aux

ROOT = jax.random.key(7)
FEATURES = 3
QUICK = {"xla_backend_optimization_level": "0"}  # compiled in half the time


def loss_fn(params, collections, batch, keys):
    """A squared error; leaves of two shapes, so that packing has something to pack."""
    found = jnp.tanh(batch["x"] @ params["hidden"]) @ params["head"]
    return jnp.square(found - batch["y"]).mean(), Aux()


def params():
    random = np.random.default_rng(0)
    return {
        "hidden": random.normal(size=(FEATURES, 4)).astype(np.float32),
        "head": random.normal(size=4).astype(np.float32),
    }


def batch(at, rows):
    """The batch of a step, `[rows, ...]`."""
    random = np.random.default_rng((5, at))
    x = random.normal(size=(rows, FEATURES)).astype(np.float32)
    return {"x": x, "y": np.sin(x.sum(1))}


def replica_batch(at, replicas, rows=4):
    return local_sgd.split_batch(batch(at, replicas * rows), replicas)


def method(config, optimizer, mesh=None, loss=loss_fn):
    return local_sgd.build(config, partial(step.train_step, loss), optimizer, mesh)


def start(found, optimizer, values=None):
    """The first state of a method; on its mesh, if it has one."""
    inner = state.create({"params": params() if values is None else values}, optimizer)
    first = found.create(inner)
    return first if found.mesh is None else jax.device_put(first, local_sgd.shardings(first, found.mesh))


def run(config, optimizer, steps, total_steps=None, loss=loss_fn, batches=replica_batch, **options):
    """The state after some steps through the driver, on one device."""
    found = method(config, optimizer, loss=loss)
    driver, current = local_sgd.Driver(found, total_steps, compiler_options=QUICK, **options), start(found, optimizer)
    for at in range(steps):
        current, _ = driver(current, batches(at, config.replicas), ROOT)
    return current


def reference(optimizer, steps, rows):
    """Ordinary training on the concatenated batches: parameters after each step."""
    found = state.create({"params": params()}, optimizer)
    train = jax.jit(step.train_step(loss_fn, optimizer), compiler_options=QUICK)
    for at in range(steps):
        found, _ = train(found, batch(at, rows), ROOT)
    return found.params


def assert_close(first, second, tolerance=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance), first, second)


def assert_equal(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def sgd(rate=0.1, **options):
    return optax.sgd(rate, **options)
