"""Factors of matrices, and compressed gradients: exact where theory says so, and nothing is lost for good."""

from functools import partial

import jax
import jax.numpy as jnp
import local_sgd_toys as toys
import numpy as np
import pytest
from collectives import program_collectives
from jax.sharding import NamedSharding, PartitionSpec

from hyperlab import local_sgd
from hyperlab.errors import ConfigError
from hyperlab.local_sgd import Config, Driver, low_rank
from hyperlab.local_sgd.accounting import payload
from hyperlab.local_sgd.compression import begin, compressed_mean
from hyperlab.train import state, step
from hyperlab.train.mesh import make_mesh

SHAPES = {"kernel": (3, 3, 4, 10), "bias": (10,), "small": (2, 2)}


def drawn(seed, replicas=3):
    random = np.random.default_rng(seed)
    return {name: jnp.asarray(random.normal(size=(replicas, *shape)), jnp.float32) for name, shape in SHAPES.items()}


def first(tree):
    return {name: leaf[0] for name, leaf in tree.items()}


def mean_of(name):
    return jax.jit(lambda delta, memory: compressed_mean(delta, memory, name), compiler_options=toys.QUICK)


def test_a_mean_of_no_higher_rank_is_exact_and_so_is_what_is_sent_whole():
    delta, random = drawn(0), np.random.default_rng(1)
    # every replica's matrix lies in the same two columns' span
    factors = random.normal(size=(3, 36, 2)) @ random.normal(size=(2, 10))
    delta["kernel"] = jnp.asarray(factors, jnp.float32).reshape(3, 3, 3, 4, 10)
    found, memory = mean_of("rank2")(delta, begin("rank2", first(delta), 3))
    for name, leaf in delta.items():
        np.testing.assert_allclose(found[name], leaf.mean(0), atol=1e-5)
    # one mean is exact: what replicas keep back cancels
    np.testing.assert_allclose(memory.lost["kernel"].mean(0), 0, atol=1e-5)
    assert not memory.lost["bias"].any() and not memory.lost["small"].any()


def test_what_factors_cannot_hold_is_sent_later():
    """The sums of what was sent and of what was meant differ by what is still kept back alone."""
    memory, sent, meant = begin("rank1", first(drawn(0)), 3), 0.0, 0.0
    exchange = mean_of("rank1")
    for seed in range(6):
        delta = drawn(seed)
        mean, memory = exchange(delta, memory)
        sent, meant = sent + mean["kernel"], meant + delta["kernel"].mean(0)
    np.testing.assert_allclose(sent + memory.lost["kernel"].mean(0), meant, atol=1e-4)
    assert np.abs(memory.lost["kernel"]).max() > 0.1


@pytest.mark.fast
def test_rounds_of_the_same_gradient_find_its_best_approximation():
    """Without new information the power iteration converges to the truncated singular value decomposition."""
    matrix = np.asarray(drawn(2, 1)["kernel"].reshape(36, 10))
    memory = low_rank.begin({"w": matrix}, 2, 1)
    step_of = jax.jit(lambda memory: low_rank.low_rank_mean({"w": matrix[None]}, memory, 2))
    for _ in range(200):
        found, memory = step_of(memory._replace(lost={"w": jnp.zeros((1, 36, 10))}))
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    np.testing.assert_allclose(found["w"], (u[:, :2] * s[:2]) @ v[:2], atol=1e-2)


@pytest.mark.fast
def test_bad_settings_are_refused():
    for options, message in [
        ({"fragments": ("head", "**")}, "one fragment"),
        ({"error_feedback": False}, "needs error feedback"),
    ]:
        with pytest.raises(ConfigError, match=message):
            Config(replicas=2, period=4, compression="rank2", **options)
    with pytest.raises(ConfigError, match="3 fragments of 2 modules"):
        local_sgd.strided(toys.params(), 3)


# -- gradients ------------------------------------------------------------------------------------------------------


def trained(config, steps, mesh=None, optimizer=None):
    optimizer = optimizer or toys.sgd(0.05, momentum=0.9)
    found = local_sgd.build(config, partial(step.train_step, toys.loss_fn), optimizer, mesh)
    start = found.create(state.create({"params": toys.params()}, local_sgd.inner_optimizer(optimizer, config, mesh)))
    rows = None
    if mesh is not None:
        start = jax.device_put(start, local_sgd.shardings(start, mesh))
        rows = NamedSharding(mesh, PartitionSpec("replica"))
    driver = Driver(found, compiler_options=toys.QUICK)
    for at in range(steps):
        start, _ = driver(start, jax.device_put(toys.replica_batch(at, config.replicas), rows), toys.ROOT)
    return found, start


def test_factors_of_full_size_are_synchronous_training():
    """The toy's leaves are too small to be worth factors: all are sent whole, so nothing may change."""
    plain = toys.reference(toys.sgd(0.05, momentum=0.9), 3, 8)
    _, current = trained(Config("synchronous", 2, compression="rank4"), 3)
    toys.assert_close(current.params, plain)


def test_gradients_of_few_bits_train_and_every_replica_stays_the_same():
    config = Config("synchronous", 4, compression="sign")
    _, current = trained(config, 5)
    for leaf in jax.tree.leaves(current.inner.params):
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))
    memory = current.inner.opt_state.memory
    assert any(leaf.any() for leaf in jax.tree.leaves(memory)) and memory["hidden"].shape == (4, 1, 3, 4)
    # one bit an entry, and a scale a leaf, to each of the others
    assert payload(current, config).gradient_messages == 2 + 4 + 1 + 4
    assert local_sgd.traffic(current, config, 5).bytes_sent == 5 * 3 * 11


@pytest.mark.parametrize("name", ["int8", "rank1"])
def test_over_devices_they_train_as_on_one(name):
    config, mesh = Config("synchronous", 4, compression=name), make_mesh({"replica": 4, "data": 1})
    found, sharded = trained(config, 3, mesh)
    toys.assert_close(jax.device_get(sharded.params), trained(config, 3)[1].params, 1e-5)
    out = (local_sgd.shardings(sharded, mesh), None)
    batch = jax.device_put(toys.replica_batch(0, 4), NamedSharding(mesh, PartitionSpec("replica")))
    text = jax.jit(found.synchronous_step, out_shardings=out).lower(sharded, batch, toys.ROOT).compile().as_text()
    sent = program_collectives(text, 4)
    if name == "int8":
        assert [one.kind for one in sent] == ["all-gather"] and sent[0].result_bytes == 4 * (12 + 4 + 4 + 4)
    else:
        # head and bias-like leaves whole with the first factors (4 + 3), then the second factors (4)
        assert sum(one.sent for one in sent) == local_sgd.traffic(sharded, config, 1).bytes_sent
        assert {one.kind for one in sent} == {"all-reduce"} and len(sent) == 2


def test_a_state_without_a_memory_is_refused():
    optimizer, config = toys.sgd(), Config("synchronous", 2, compression="int8")
    found = toys.method(config, optimizer)
    with pytest.raises(ConfigError, match="inner_optimizer"):
        Driver(found)(toys.start(found, optimizer), toys.replica_batch(0, 2), toys.ROOT)
