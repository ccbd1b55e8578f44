"""Restarts: in the middle of a round, with another number of replicas, with another period."""

import jax
import jax.numpy as jnp
import local_sgd_toys as toys
import numpy as np
import optax
import pytest

from hyperlab.errors import ConfigError
from hyperlab.local_sgd import Config, Driver, check_boundary, create, resize, split_batch
from hyperlab.train.checkpoints import Checkpoints
from hyperlab.train.loop import fit

OPTIMIZER = toys.sgd(0.05, momentum=0.9)
CONFIG = Config("diloco", replicas=2, period=4, compression="int8")


class Stop:
    """Requested once `at` batches were drawn."""

    def __init__(self, at=None):
        self.at, self.requested = at, False

    def batch(self, at):
        self.requested = at == self.at
        return toys.replica_batch(at, 2)


def trained(stop, folder=None, steps=10):
    method = toys.method(CONFIG, OPTIMIZER)
    options = {"total_steps": steps, "root_key": toys.ROOT, "stop": stop}
    driver = Driver(method, steps, compiler_options=toys.QUICK)
    first = toys.start(method, OPTIMIZER)
    if folder is None:
        return fit(first, driver, stop.batch, **options)
    with Checkpoints(folder) as checkpoints:
        return fit(first, driver, stop.batch, checkpoints=checkpoints, **options)


def test_a_run_that_stops_in_the_middle_of_a_round_goes_on_as_if_it_had_not(tmp_path):
    stopped = trained(Stop(5), tmp_path)
    assert int(stopped.step) == 6 and int(stopped.since[0]) == 2 and int(stopped.rounds) == 1
    # the anchor is that of the round's start, not what could be made of the replicas
    assert not np.allclose(stopped.params["head"], stopped.inner.params["head"].mean(0), atol=1e-4)
    continued, straight = trained(Stop(), tmp_path), trained(Stop())
    assert int(straight.rounds) == 3  # after 4, 8 and the last step
    toys.assert_equal(continued, straight)


@pytest.fixture(scope="module")
def boundary():
    return toys.run(CONFIG, OPTIMIZER, 4)


@pytest.mark.parametrize("replicas", [1, 3])
def test_at_a_boundary_any_number_of_replicas_goes_on_from_the_anchor(boundary, replicas):
    found = resize(boundary, replicas)
    assert found.replicas == replicas
    for name in ("anchor", "outer", "shared", "step", "rounds"):
        toys.assert_equal(getattr(found, name), getattr(boundary, name))
    for leaf, anchor in zip(jax.tree.leaves(found.inner.params), jax.tree.leaves(found.anchor), strict=True):
        np.testing.assert_array_equal(leaf, jnp.stack([anchor] * replicas))
    old, new = jax.tree.leaves(boundary.inner.opt_state), jax.tree.leaves(found.inner.opt_state)
    np.testing.assert_allclose(new[0][0], old[0].mean(0), rtol=1e-6)


def test_the_resized_state_trains(boundary):
    config = Config("diloco", replicas=3, period=2, compression="int8")
    driver, state = Driver(toys.method(config, OPTIMIZER), compiler_options=toys.QUICK), resize(boundary, 3)
    for at in (4, 5):
        state, _ = driver(state, toys.replica_batch(at, 3), toys.ROOT)
    assert int(state.rounds) == 2 and int(state.step) == 6


@pytest.mark.fast
def test_another_number_of_replicas_in_the_middle_of_a_round_is_refused_with_the_way_out():
    method = toys.method(CONFIG, OPTIMIZER)
    middle = toys.start(method, OPTIMIZER).replace(step=jnp.int32(3), since=jnp.array([3]))
    with pytest.raises(ConfigError, match=r"3 steps into a round of 2 replicas.*continue with 2 .*outer_step\(state\)"):
        resize(middle, 4)
    check_boundary(middle.since, 2, 2)
    check_boundary([0, 0], 2, 4)
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        resize(middle, 0)
    with pytest.raises(ConfigError, match="the state has 2 replicas, the method 3"):
        Driver(toys.method(Config("diloco", 3, 4, compression="int8"), OPTIMIZER))(middle, None, toys.ROOT)


@pytest.mark.fast
def test_a_state_that_missed_a_synchronisation_is_refused():
    method = toys.method(CONFIG, OPTIMIZER)
    state = toys.start(method, OPTIMIZER).replace(step=jnp.int32(5), since=jnp.array([5]))
    with pytest.raises(ConfigError, match=r"\[5\] steps past .* it would be \[1\]: it was trained with another period"):
        Driver(method)(state, None, toys.ROOT)


@pytest.mark.fast
def test_batches_that_do_not_fit_the_replicas_are_refused():
    with pytest.raises(ConfigError, match=r"'x' \(10, 2\): 10 rows do not divide by 4 replicas; a batch of 8 or 12"):
        split_batch({"x": np.ones((10, 2))}, 4)
    with pytest.raises(ConfigError, match="0 rows do not divide by 4 replicas; a batch of 4 would"):
        split_batch({"x": np.float32(1)}, 4)
    method = toys.method(CONFIG, OPTIMIZER)
    with pytest.raises(ConfigError, match=r"no leading axis of 2 replicas; local_sgd.split_batch"):
        method.local_step(toys.start(method, OPTIMIZER), toys.batch(0, 8), toys.ROOT)


@pytest.mark.fast
def test_an_inner_state_without_its_parts_is_refused():
    with pytest.raises(ConfigError, match="'EmptyState' has no 'params'|EmptyState has no 'params'"):
        create(optax.EmptyState(), CONFIG)
