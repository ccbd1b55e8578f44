"""Exact statements about the methods, on small problems."""

import jax
import jax.numpy as jnp
import local_sgd_toys as toys
import numpy as np
import optax
import pytest

from hyperlab.local_sgd import Config, Plan, outer_optimizer, slowmo
from hyperlab.train.step import Aux

LINEAR = {
    "sgd": toys.sgd(0.1),
    "heavy ball": toys.sgd(0.05, momentum=0.9),
    "nesterov": toys.sgd(0.05, momentum=0.9, nesterov=True),
    "coupled decay": optax.chain(optax.add_decayed_weights(0.01), toys.sgd(0.05, momentum=0.9)),
}


@pytest.mark.parametrize("name", LINEAR)
def test_averaging_parameters_at_every_step_is_synchronous_training(name):
    found = toys.run(Config(replicas=4, period=1), LINEAR[name], 5)
    toys.assert_close(found.params, toys.reference(LINEAR[name], 5, 16))


def test_so_it_is_when_momentum_is_averaged_too_and_for_three_replicas():
    found = toys.run(Config(replicas=3, period=1, inner_state="average"), LINEAR["heavy ball"], 5)
    toys.assert_close(found.params, toys.reference(LINEAR["heavy ball"], 5, 12))


def test_synchronous_training_averages_gradients_so_it_is_exact_for_any_optimizer():
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.01))
    found = toys.run(Config("synchronous", replicas=4), optimizer, 5)
    toys.assert_close(found.params, toys.reference(optimizer, 5, 16))
    assert int(found.rounds) == 0 and not found.since.any()


def test_slow_momentum_of_zero_is_local_sgd():
    slow = toys.run(Config("slowmo", 2, 4, learning_rate=0.1, outer_momentum=0.0), toys.sgd(), 8)
    local = toys.run(Config("local", 2, 4), toys.sgd(), 8)
    toys.assert_close(slow.params, local.params)


def test_slow_momentum_at_every_step_is_heavy_ball_also_when_the_rate_changes():
    rate = optax.exponential_decay(0.1, 1, 0.8)
    slow = toys.run(Config("slowmo", 2, 1, learning_rate=rate, outer_momentum=0.7), toys.sgd(rate), 6)
    toys.assert_close(slow.params, toys.reference(toys.sgd(rate, momentum=0.7), 6, 8))


@pytest.mark.parametrize("changes", [False, True])
def test_slow_momentum_is_sgd_with_momentum_only_while_the_rate_is_constant(changes):
    rate = optax.exponential_decay(0.1, 1, 0.8 if changes else 1.0)
    slow = toys.run(Config("slowmo", 2, 2, learning_rate=rate, outer_momentum=0.7), toys.sgd(rate), 6)
    plain = toys.run(Config("local", 2, 2, outer=optax.sgd(1.0, momentum=0.7)), toys.sgd(rate), 6)
    gap = np.abs(slow.params["hidden"] - plain.params["hidden"]).max()
    assert gap > 1e-3 if changes else gap < 1e-6


def test_one_replica_that_goes_half_the_way_back_is_lookahead():
    ahead = toys.run(Config("lookahead", 1, 3, outer_rate=0.5), toys.sgd(), 3)
    toys.assert_close(
        ahead.params, jax.tree.map(lambda a, b: 0.5 * (a + b), toys.params(), toys.reference(toys.sgd(), 3, 4))
    )


def test_outer_sgd_with_rate_one_is_local_sgd():
    outer = toys.run(Config("diloco", 2, 4, outer_rate=1.0, outer_momentum=0.0), optax.adam(0.01), 8)
    toys.assert_close(outer.params, toys.run(Config("local", 2, 4), optax.adam(0.01), 8).params)


def test_nesterov_of_diloco():
    outer, theta = outer_optimizer("diloco"), jnp.zeros(())
    state = outer.init(theta)
    for delta in (1.0, -0.5, 2.0):
        updates, state = outer.update(jnp.float32(delta), state, theta)
        theta = theta + updates
    assert float(theta) == pytest.approx(-4.1188, abs=1e-5)


@pytest.mark.parametrize("period", [1, 3])
def test_replicas_on_the_same_data_stay_equal_and_a_synchronisation_changes_nothing(period):
    def same(at, replicas):
        return jax.tree.map(lambda leaf: np.stack([leaf] * replicas), toys.batch(at, 4))

    found = toys.run(Config(replicas=3, period=period), LINEAR["nesterov"], 6, batches=same)
    for leaf in jax.tree.leaves(found.inner):
        np.testing.assert_array_equal(leaf[0], leaf[1])
        np.testing.assert_array_equal(leaf[0], leaf[2])
    toys.assert_close(found.params, toys.reference(LINEAR["nesterov"], 6, 4))


def quadratic(a, c, rounds=30, period=8):
    """Where local gradient descent on a_i / 2 (x - c_i)^2 ends."""

    def loss(params, collections, batch, keys):
        return (0.5 * batch["a"] * jnp.square(params["x"] - batch["c"])).mean(), Aux()

    data = {"a": np.float32(a)[:, None], "c": np.float32(c)[:, None]}
    config, optimizer = Config(replicas=len(a), period=period), toys.sgd(0.1)
    method = toys.method(config, optimizer, loss=loss)
    round_of = jax.jit(method.round)
    state, batches = (
        toys.start(method, optimizer, {"x": jnp.zeros(())}),
        jax.tree.map(lambda v: np.stack([v] * 8), data),
    )
    for _ in range(rounds):
        state, _ = round_of(state, batches, toys.ROOT)
    return float(state.params["x"])


def test_the_fixed_point_of_unequal_quadratics_is_biased_as_the_formula_says():
    assert quadratic([0.5, 2.0], [1.0, -1.0]) == pytest.approx(-0.42406325, abs=1e-6)
    assert quadratic([1.0, 1.0], [1.0, -3.0]) == pytest.approx(-1.0, abs=1e-6)


def test_the_first_steps_of_post_local_are_synchronous_bit_for_bit_and_then_a_round_begins():
    config = Config("post_local", replicas=2, period=3, synchronous_steps=4)
    post = toys.run(config, LINEAR["nesterov"], 4)
    toys.assert_equal(post.inner, toys.run(Config("synchronous", replicas=2), LINEAR["nesterov"], 4).inner)
    toys.assert_equal(post.inner.params, jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), post.params))
    assert [at for at in range(12) if Plan(config).at(at).fragments] == [6, 9]
    later = toys.run(config, LINEAR["nesterov"], 6)
    assert int(later.rounds) == 0 and int(later.since[0]) == 2
    toys.assert_equal(later.params, post.params)


def test_an_outer_step_moves_the_anchor_to_the_mean_and_not_away_from_it():
    optimizer = toys.sgd()
    method = toys.method(Config(replicas=2, period=1), optimizer)
    state = toys.start(method, optimizer)
    moved = state.replace(inner=state.inner.replace(params=jax.tree.map(lambda leaf: leaf + 1, state.inner.params)))
    toys.assert_close(method.outer_step(moved).params, jax.tree.map(lambda leaf: leaf + 1, state.params))


def test_a_rate_of_zero_at_an_outer_step_of_slow_momentum_averages():
    """A warm-up from 0: the first round's rate is 0 where it begins, and its work must not be lost."""
    rate = optax.linear_schedule(0.0, 0.1, 2)
    slow = toys.run(Config("slowmo", 2, 2, learning_rate=rate), toys.sgd(rate), 4)
    local = toys.run(Config("local", 2, 2), toys.sgd(rate), 2)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slow))
    first = toys.run(Config("slowmo", 2, 2, learning_rate=rate), toys.sgd(rate), 2)
    toys.assert_close(first.params, local.params)
    assert not any(leaf.any() for leaf in jax.tree.leaves(first.outer[0].buffer))


def test_the_buffer_survives_a_rate_of_zero():
    outer = slowmo(1.0, 0.5)
    _, state = outer.update(jnp.ones(2), outer.init(jnp.zeros(2)), learning_rate=0.5)
    updates, after = outer.update(jnp.ones(2), state, learning_rate=0.0)
    assert updates.tolist() == [-1.0, -1.0] and after.buffer.tolist() == state.buffer.tolist() == [2.0, 2.0]
