"""Optimizer buffers, batch statistics, fragments, low-bit codes, divergence."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import local_sgd_toys as toys
import numpy as np
import optax
import pytest

from hyperlab import trees
from hyperlab.errors import ConfigError, PatternError
from hyperlab.local_sgd import Config, Driver, build, divergence, policies, replicate
from hyperlab.local_sgd.compression import compressed_mean, message_bytes
from hyperlab.local_sgd.packing import mean_over_groups
from hyperlab.train import optimizers
from hyperlab.train.step import Aux

OPTIMIZERS = {
    "sgd": lambda p: optimizers.build({"name": "sgd", "clip_norm": 1.0}, p),
    "adam": lambda p: optimizers.build({"name": "adam", "groups": (("head", {"frozen": True}), ("**", {}))}, p),
    "adamw": lambda p: optax.adamw(optax.cosine_decay_schedule(0.1, 10)),
    "lion": lambda p: optax.lion(0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_reset_begins_buffers_and_their_counters_and_nothing_else(name):
    params = replicate(toys.params(), 2)
    optimizer = OPTIMIZERS[name](toys.params())

    @jax.jit
    def moved(params):
        first = jax.vmap(optimizer.init)(params)
        _, state = jax.vmap(optimizer.update)(jax.tree.map(jnp.ones_like, params), first, params)
        return first, state, policies.reset(optimizer, state, params)

    first, state, found = moved(params)
    found = trees.flatten(found)
    begun, old = trees.flatten(first), trees.flatten(state)
    marks = trees.flatten(policies.buffers(state, params))
    assert any(marks.values())
    for path, leaf in found.items():
        counter = path.endswith("count") and any(
            trees.matches(path[: -len("count")] + "*/**", p) for p in marks if marks[p]
        )
        schedule = name == "adamw" and path.startswith("2/")
        np.testing.assert_array_equal(leaf, begun[path] if (marks[path] or counter) and not schedule else old[path])
    if name == "adamw":
        assert found["0/count"].tolist() == [0, 0] and found["2/count"].tolist() == [1, 1]


def accumulating(every, inner):
    return optax.MultiSteps(inner, every).gradient_transformation()


def masks_of_all(params):
    return jax.tree.map(lambda leaf: True, params)


# Gradients are 1 in every step, so that 12 steps are three updates and move by three times the rate, whatever waits at
# a synchronisation. Of Adam too: its update is the rate, also where its moments begin anew.
ACCUMULATING = {
    "alone": lambda: accumulating(4, optax.sgd(0.1)),
    "in a chain": lambda: optax.chain(optax.clip(5.0), accumulating(4, optax.sgd(0.1)), optax.scale(1.0)),
    "masked": lambda: optax.masked(accumulating(4, optax.sgd(0.1)), masks_of_all),
    "injected": lambda: optax.inject_hyperparams(lambda rate: accumulating(4, optax.sgd(rate)))(rate=0.1),
    "in groups": lambda: optax.partition({"a": accumulating(4, optax.sgd(0.1))}, lambda p: dict.fromkeys(p, "a")),
    "around another": lambda: accumulating(2, accumulating(2, optax.sgd(0.1))),
    "every few steps": lambda: optax.chain(optax.apply_every(4), optax.sgd(0.1 / 4)),
    "with moments": lambda: accumulating(4, optax.adam(0.1)),
}


@pytest.mark.parametrize(("name", "inner_state"), [*((name, "reset") for name in ACCUMULATING), ("alone", "average")])
def test_gradients_that_wait_outlive_a_synchronisation(name, inner_state):
    optimizer = ACCUMULATING[name]()

    def loss(params, collections, batch, keys):
        return (params["x"] * batch).sum(), Aux()

    config = Config("local", replicas=2, period=2, inner_state=inner_state)
    method = toys.method(config, optimizer, loss=loss)
    state = method.create(toys.state.create({"params": {"x": jnp.zeros(1)}}, optimizer))
    driver = Driver(method, compiler_options=toys.QUICK)
    for _ in range(12):
        state, _ = driver(state, jnp.ones((2, 1)), toys.ROOT)
    np.testing.assert_allclose(state.params["x"], [-0.3], rtol=1e-3)


def test_a_reset_begins_the_moments_behind_an_accumulation_and_not_what_waits():
    optimizer, params = accumulating(3, optax.adam(0.1)), replicate({"x": jnp.zeros(2)}, 2)
    state = jax.vmap(optimizer.init)(params)
    for _ in range(4):
        _, state = jax.vmap(optimizer.update)({"x": jnp.ones((2, 2))}, state, params)
    found = policies.reset(optimizer, state, params)
    assert found.mini_step.tolist() == found.gradient_step.tolist() == [1, 1] and found.acc_grads["x"].all()
    assert found.inner_opt_state[0].count.tolist() == [0, 0] and not found.inner_opt_state[0].mu["x"].any()
    assert not any(jax.tree.leaves(policies.buffers(state, params).acc_grads))


COMPLEX = {
    "local": Config("local", replicas=4, period=2, inner_state="average"),
    "diloco": Config("diloco", replicas=4, period=2, inner_state="average", outer_rate=1.0, outer_momentum=0.0),
    "hierarchical": Config("hierarchical", replicas=4, period=2, levels=((1, 2),), inner_state="average"),
    "synchronous": Config("synchronous", replicas=4, inner_state="average"),
}


@pytest.mark.parametrize("kind", COMPLEX)
def test_complex_parameters_keep_both_parts_and_integers_are_left_alone(kind):
    """Gradients are linear in the parameters and batches, so that all replicas together do what plain optax does."""
    optimizer, order = optax.sgd(0.1, momentum=0.9), jnp.array([1, 0])
    x, batches = jnp.array([1 + 1j, 2 - 3j]), jnp.array([[1j, 0], [2.0, 1 - 1j], [0, -1j], [3j, 3.0]])

    def gradient(x, order, batch):
        return jax.grad(lambda value: jnp.square(jnp.abs(value[order] - batch)).mean())(x)

    def make_step(optimizer):
        def step(inner, batch, key):
            grads = {"x": gradient(inner.params["x"], inner.params["order"], batch)}
            updates, opt_state = optimizer.update(grads, inner.opt_state)
            params = {**inner.params, "x": inner.params["x"] + updates["x"]}
            return inner.replace(params=params, opt_state=opt_state), {}

        return step

    method = build(COMPLEX[kind], make_step, optimizer)
    inner = toys.state.create({"params": {"x": x, "order": order}}, optimizer)
    state = method.create(inner.replace(opt_state=optimizer.init({"x": x})))
    assert state.params["x"].dtype == jnp.complex64 and state.params["order"].dtype == order.dtype
    driver, now, opt_state = Driver(method, compiler_options=toys.QUICK), x, optimizer.init(x)
    for _ in range(2):
        state, _ = driver(state, batches, toys.ROOT)
        updates, opt_state = optimizer.update(gradient(now, order, batches.mean(0)), opt_state)
        now = now + updates
    np.testing.assert_allclose(state.params["x"], now, rtol=1e-5)
    assert state.params["order"].tolist() == [1, 0] and state.inner.params["order"].tolist() == [[1, 0]] * 4
    np.testing.assert_allclose(divergence.rows({"x": state.inner.params["x"]})[0, 2:], now.imag, rtol=1e-5)


@pytest.mark.parametrize("name", ["int8", "rank1"])
def test_compression_refuses_complex_parameters(name):
    config = Config("diloco", replicas=2, period=2, compression=name)
    inner = toys.state.create({"params": {"x": jnp.ones((4, 4), jnp.complex64)}}, toys.sgd())
    with pytest.raises(ConfigError, match=f"compression '{name}' is for real numbers, and 'x' is complex64"):
        toys.method(config, toys.sgd()).create(inner)


def test_policies_act_at_a_synchronisation_and_differ_from_each_other_after_it():
    optimizer, traces, ends = toys.sgd(0.05, momentum=0.9), {}, []
    for policy in ("reset", "maintain", "average"):
        method = toys.method(Config(replicas=2, period=2, inner_state=policy), optimizer)
        driver, state = Driver(method, compiler_options=toys.QUICK), toys.start(method, optimizer)
        for at in range(4):
            state, _ = driver(state, toys.replica_batch(at, 2), toys.ROOT)
            if at == 1:
                traces[policy] = jax.tree.leaves(jax.device_get(state.inner.opt_state))
        ends.append(np.asarray(state.params["head"]))
    ends.append(toys.reference(optimizer, 4, 8)["head"])
    assert not any(leaf.any() for leaf in traces["reset"])
    for kept, mean in zip(traces["maintain"], traces["average"], strict=True):
        assert np.abs(kept[0] - kept[1]).max() > 1e-3
        np.testing.assert_allclose(mean, np.stack([kept.mean(0)] * 2), rtol=1e-5, atol=1e-7)
    for i, one in enumerate(ends):
        assert all(np.abs(one - other).max() > 1e-5 for other in ends[:i])


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.BatchNorm(
            use_running_average=False, momentum=0.0, use_fast_variance=False, use_scale=False, use_bias=False
        )(x)


@jax.jit
def statistics(x):
    _, changed = Normed().apply({"params": {}, "batch_stats": {}}, x, mutable=["batch_stats"])
    return changed


def test_combined_batch_statistics_are_those_of_all_rows_also_where_means_are_large():
    x = 1e3 + np.random.default_rng(0).normal(size=(4, 8, 3)).astype(np.float32) * np.arange(1, 5)[:, None, None]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[statistics(jnp.asarray(rows)) for rows in x])
    rows = np.float64(x).reshape(-1, 3)
    center = jax.tree.map(lambda leaf: leaf[0], stacked)
    means = jax.tree.map(lambda leaf: leaf.mean(0), policies.moments(stacked, center))
    norm = policies.combined(means, center)["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(norm["mean"], rows.mean(0), rtol=1e-6)
    np.testing.assert_allclose(norm["var"], rows.var(0), rtol=1e-3)


def stat_loss(params, collections, batch, keys):
    stats = {
        "batch_stats": {"mean": batch["x"].mean(0), "var": batch["x"].var(0)},
        "seen": {"rows": collections["seen"]["rows"] + 4},
    }
    return toys.loss_fn(params, {}, batch, keys)[0], Aux(collections=stats)


@pytest.mark.parametrize("policy", ["share", "keep"])
@pytest.mark.parametrize("kind", ["local", "synchronous"])
def test_collections_of_the_anchor_are_combined_and_those_of_replicas_as_the_policy_says(policy, kind):
    config = Config(kind, replicas=2, period=1, collections=policy)
    method = toys.method(config, toys.sgd(), loss=stat_loss)
    inner = toys.state.create(
        {
            "params": toys.params(),
            "batch_stats": {"mean": jnp.zeros(3), "var": jnp.ones(3)},
            "seen": {"rows": jnp.zeros((), jnp.int32)},
        },
        toys.sgd(),
    )
    state, _ = Driver(method, compiler_options=toys.QUICK)(method.create(inner), toys.replica_batch(0, 2), toys.ROOT)
    x = toys.batch(0, 8)["x"]
    np.testing.assert_allclose(state.collections["batch_stats"]["mean"], x.mean(0), atol=1e-6)
    np.testing.assert_allclose(state.collections["batch_stats"]["var"], x.var(0), atol=1e-5)
    assert state.collections["seen"]["rows"] == 4 and state.collections["seen"]["rows"].dtype == jnp.int32
    own = state.inner.collections["batch_stats"]["mean"]
    expected = [x.mean(0)] * 2 if policy == "share" else [x[:4].mean(0), x[4:].mean(0)]
    np.testing.assert_allclose(own, np.stack(expected), atol=1e-6)
    assert state.variables.keys() == {"params", "batch_stats", "seen"}


def test_fragments_move_their_own_leaves_with_their_own_outer_state():
    config = Config("diloco", 2, period=4, fragments=("head", "**"))
    optimizer = toys.sgd()
    at_two, at_four = toys.run(config, optimizer, 2), toys.run(config, optimizer, 4)
    first = toys.params()
    np.testing.assert_array_equal(at_two.params["head"], first["head"])
    assert np.abs(at_two.params["hidden"] - first["hidden"]).max() > 1e-4
    assert at_two.since.tolist() == [2, 0] and at_four.since.tolist() == [0, 2]
    np.testing.assert_array_equal(at_two.params["hidden"], at_four.params["hidden"])
    assert np.abs(at_four.params["head"] - first["head"]).max() > 1e-4
    assert [leaf.shape for leaf in jax.tree.leaves(at_four.outer[0])] == [(4,)]
    whole = toys.run(config, optimizer, 5, total_steps=5)
    assert whole.since.tolist() == [0, 0] and int(whole.rounds) == 3


def test_groups_agree_between_rounds_and_the_anchor_waits():
    config = Config("hierarchical", 4, period=4, levels=((2, 2),), inner_state="average")
    state = toys.run(config, toys.sgd(0.05, momentum=0.9), 2)
    toys.assert_equal(state.params, toys.params())
    for leaf in (*jax.tree.leaves(state.inner.params), *jax.tree.leaves(state.inner.opt_state)):
        np.testing.assert_array_equal(leaf[0], leaf[1])
        np.testing.assert_array_equal(leaf[2], leaf[3])
        assert np.abs(leaf[0] - leaf[2]).max() > 1e-4
    apart = toys.run(Config("local", 4, period=4), toys.sgd(0.05, momentum=0.9), 2)
    toys.assert_close(state.inner.params, jax.tree.map(lambda v: mean_over_groups(v, 2), apart.inner.params), 1e-3)


@pytest.mark.fast
def test_fragments_that_are_empty_or_leave_something_over_are_refused():
    for fragments, message in [
        (("heads", "**"), "did you mean 'head'"),
        (("head", "head"), "no rule covers|is empty"),
        (("**", "head"), "fragment 'head' is empty"),
    ]:
        config = Config(replicas=2, period=4, fragments=fragments)
        with pytest.raises(PatternError, match=message):
            toys.start(toys.method(config, toys.sgd()), toys.sgd())


@pytest.mark.parametrize("name", ["int8", "sign"])
def test_what_is_rounded_off_is_sent_later(name):
    """With feedback the sums of what was sent and of what was meant differ by the residual alone."""
    random = np.random.default_rng(0)
    residual, sent, meant = {"w": jnp.zeros((2, 3, 3))}, 0.0, 0.0
    for _ in range(5):
        delta = {"w": jnp.asarray(random.normal(size=(2, 3, 3)), jnp.float32)}
        mean, residual = compressed_mean(delta, residual, name)
        sent, meant = sent + mean["w"], meant + delta["w"].mean(0)
    np.testing.assert_allclose(sent + residual["w"].mean(0), meant, atol=1e-5)
    plain, nothing = compressed_mean(delta, None, name)
    assert nothing is None
    if name == "int8":
        step = np.abs(delta["w"]).max() / 127
        np.testing.assert_allclose(plain["w"], delta["w"].mean(0), atol=step / 2)
    else:
        expected = (np.sign(delta["w"]) * np.abs(delta["w"]).mean((1, 2), keepdims=True)).mean(0)
        np.testing.assert_allclose(plain["w"], expected, rtol=1e-5)
    zero, _ = compressed_mean({"w": jnp.zeros((2, 4))}, None, name)
    assert not zero["w"].any()
    assert message_bytes(name, {"a": np.ones(9), "b": np.ones(8)}) == {"int8": 25, "sign": 11}[name]


def test_int8_with_feedback_trains_like_float32():
    plain = toys.run(Config("diloco", 2, 2), toys.sgd(), 8)
    coded = toys.run(Config("diloco", 2, 2, compression="int8"), toys.sgd(), 8)
    toys.assert_close(coded.params, plain.params, 5e-3)
    assert any(leaf.any() for leaf in jax.tree.leaves(coded.residual))


def test_drift_is_zero_for_equal_replicas_and_matches_the_slow_way():
    optimizer = toys.sgd()
    state = toys.run(Config(replicas=3, period=4), optimizer, 3)
    found = {name: float(value) for name, value in jax.jit(divergence.drift)(state).items()}
    rows, anchor = (
        np.float64(divergence.rows(state.inner.params)),
        np.float64(np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(state.anchor)])),
    )
    mean = rows.mean(0)
    far = np.linalg.norm(rows - mean, axis=1) / np.linalg.norm(mean)
    units = (anchor - rows) / np.linalg.norm(anchor - rows, axis=1, keepdims=True)
    assert found["distance_max"] == pytest.approx(far.max(), rel=1e-4)
    assert found["distance_mean"] == pytest.approx(far.mean(), rel=1e-4)
    assert found["cosine"] == pytest.approx(
        np.mean([units[i] @ units[j] for i, j in ((0, 1), (0, 2), (1, 2))]), rel=1e-4
    )
    moved = np.linalg.norm(anchor - rows, axis=1).mean() / np.linalg.norm(anchor)
    assert found["moved"] == pytest.approx(moved, rel=1e-4)
    still = divergence.drift(toys.start(toys.method(Config(replicas=1, period=4), optimizer), optimizer))
    assert float(still["distance_max"]) == float(still["moved"]) == 0 and np.isnan(still["cosine"])


def test_one_replica_after_another_is_the_same_step():
    config = Config("diloco", replicas=3, period=2)
    together, apart = (toys.run(config, toys.sgd(0.05, momentum=0.9), 3, in_turn=turn) for turn in (False, True))
    assert int(apart.step) == 3 and apart.since.tolist() == [1] and int(apart.rounds) == 1
    toys.assert_close(apart.inner.params, together.inner.params)
    toys.assert_close(apart.params, together.params)


def test_random_draws_of_a_replica_do_not_depend_on_how_many_there_are():
    def loss(params, collections, batch, keys):
        return jnp.square(params["x"] - jax.random.normal(keys["dropout"])).mean(), Aux()

    def after(replicas):
        optimizer = toys.sgd(0.5)
        method = toys.method(Config(replicas=replicas, period=4), optimizer, loss=loss)
        state = toys.start(method, optimizer, {"x": jnp.zeros(())})
        return jax.jit(method.local_step)(state, np.zeros((replicas, 1), np.float32), toys.ROOT)[0].inner.params["x"]

    few, many = after(2), after(3)
    np.testing.assert_array_equal(few, many[:2])
    assert len(set(many.tolist())) == 3
