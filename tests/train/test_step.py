import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hyperlab import hypernetize, models, pruning
from hyperlab.train import optimizers, state, step
from hyperlab.train.step import Aux, Metric


def linear_loss(params, collections, batch, rngs):
    error = batch["x"] @ params["w"] - batch["y"]
    squares = jnp.square(error.astype(jnp.float32))
    weights = batch.get("weights", jnp.ones(error.shape[0]))[:, None]
    seen = {"stats": {"calls": collections["stats"]["calls"] + 1}} if collections else None
    total = (squares * weights).sum()
    return total / weights.sum(), Aux({"squares": Metric(total, weights.sum())}, seen)


def problem(rows=8, seed=0):
    rng = np.random.default_rng(seed)
    batch = {
        "x": rng.normal(size=(rows, 3)).astype(np.float32),
        "y": rng.normal(size=(rows, 2)).astype(np.float32),
    }
    return jax.tree.map(jnp.asarray, batch)


def fresh(optimizer, collections=None):
    return state.create({"params": {"w": jnp.full((3, 2), 0.1)}, **(collections or {})}, optimizer)


def test_a_step_is_the_update_of_optax_and_counts_itself():
    optimizer = optax.sgd(0.1)
    start, batch = fresh(optimizer, {"stats": {"calls": jnp.zeros((), jnp.int32)}}), problem()
    grads = jax.grad(lambda w: linear_loss({"w": w}, {}, batch, {})[0])(start.params["w"])
    expected = np.asarray(start.params["w"] - 0.1 * grads)
    after, metrics = step.make_train_step(linear_loss, optimizer, grad_norm=True)(start, batch, jax.random.key(0))
    np.testing.assert_allclose(after.params["w"], expected, rtol=1e-6)
    assert int(after.step) == 1 and int(after.collections["stats"]["calls"]) == 1
    np.testing.assert_allclose(metrics["grad_norm"].total, optax.tree.norm(grads), rtol=1e-6)
    assert int(metrics["nonfinite"].total) == 0


@pytest.mark.fast
def test_donation_really_happens():
    optimizer = optax.adam(0.1)
    start = fresh(optimizer)
    pointers = {leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(start) if leaf.size > 1}
    after, _ = step.make_train_step(linear_loss, optimizer)(start, problem(), jax.random.key(0))
    assert start.params["w"].is_deleted() and all(leaf.is_deleted() for leaf in jax.tree.leaves(start.opt_state))
    assert pointers == {leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(after) if leaf.size > 1}


@pytest.mark.fast
@pytest.mark.skipif(jax.default_backend() != "cpu", reason="how much a program needs is another backend's own affair")
@pytest.mark.parametrize(
    "settings", [{"name": "adam"}, {"name": "sgd", "momentum": 0.0}, {"name": "adam", "clip_norm": 1.0}]
)
def test_of_a_large_head_nothing_is_stored_but_parameters_and_moments(settings):
    images = jnp.ones((4, 64))
    model = hypernetize(models.MLP((300,), 10), images, hidden=(16, 64, 128))  # a head of 2.9 million
    variables = jax.eval_shape(model.init, jax.random.key(0))

    def loss(params, collections, batch, keys):
        return jnp.square(model.apply({"params": params}, jnp.array([0.5]), batch)).mean(), Aux()

    optimizer = optimizers.build(settings, variables["params"])
    begun = jax.eval_shape(lambda given: state.create(given, optimizer), variables)
    memory = step.make_train_step(loss, optimizer).lower(begun, images, jax.random.key(0)).compile().memory_analysis()
    held = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(begun))
    assert memory.argument_size_in_bytes + memory.temp_size_in_bytes < 1.1 * held


@pytest.mark.fast
def test_large_leaves_are_updated_as_optax_does_it():
    optimizer, rng = optax.sgd(0.1, momentum=0.9), np.random.default_rng(0)
    params = {"w": jnp.asarray(rng.normal(size=(1024, 1100)), jnp.float32), "b": jnp.ones(1100)}

    def loss(params, collections, batch, keys):
        return jnp.square(batch @ params["w"] + params["b"][None]).mean(), Aux()

    batch = jnp.asarray(rng.normal(size=(4, 1024)), jnp.float32)
    grads = jax.grad(lambda given: loss(given, {}, batch, {})[0])(params)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    expected = jax.device_get(optax.apply_updates(params, updates))
    after, _ = step.make_train_step(loss, optimizer)(
        state.create({"params": params}, optimizer), batch, jax.random.key(0)
    )
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6), after.params, expected)


@pytest.mark.fast
def test_no_second_compilation():
    optimizer = optax.adam(0.1)
    train, current = step.make_train_step(linear_loss, optimizer), fresh(optimizer)
    for index in range(4):
        current, _ = train(current, problem(seed=index), jax.random.key(0))
    assert train._cache_size() == 1


def test_several_steps_in_one_call_equal_single_calls():
    optimizer = optax.adam(0.1)
    batches = [problem(seed=index) for index in range(4)]
    one, single, losses = step.make_train_step(linear_loss, optimizer), fresh(optimizer), []
    for batch in batches:
        single, metrics = one(single, batch, jax.random.key(0))
        losses.append(float(metrics["loss"].total))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)
    four = step.make_train_step(linear_loss, optimizer, steps_per_call=4)
    together, metrics = four(fresh(optimizer), stacked, jax.random.key(0))
    np.testing.assert_allclose(together.params["w"], single.params["w"], rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"].total, losses, rtol=1e-6)
    assert int(together.step) == 4


@pytest.mark.fast
def test_randomness_depends_on_stream_and_step_alone():
    def noisy(params, collections, batch, rngs):
        draws = {name: Metric(jax.random.uniform(key), jnp.ones(())) for name, key in rngs.items()}
        return params["w"].sum(), Aux(draws)

    optimizer = optax.sgd(0.0)
    train = step.make_train_step(noisy, optimizer, streams=("dropout", "gamma"))
    seen, current = [], fresh(optimizer)
    for _ in range(3):
        current, metrics = train(current, problem(), jax.random.key(3))
        seen += [float(metrics["dropout"].total), float(metrics["gamma"].total)]
    assert len(set(seen)) == 6
    later = fresh(optimizer).replace(step=jnp.int32(2))
    _, metrics = train(later, problem(), jax.random.key(3))
    assert float(metrics["gamma"].total) == seen[-1]


@pytest.mark.fast
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_step_that_is_not_finite_says_so(bad):
    optimizer = optax.sgd(0.1)
    batch = problem()
    batch["y"] = batch["y"].at[0, 0].set(bad)
    _, metrics = step.make_train_step(linear_loss, optimizer)(fresh(optimizer), batch, jax.random.key(0))
    assert int(metrics["nonfinite"].total) == 1


def test_bfloat16_computes_low_and_keeps_float32():
    seen = {}

    def loss(params, collections, batch, rngs):
        seen.update(w=params["w"].dtype, x=batch["x"].dtype, weights=batch["weights"].dtype)
        return linear_loss(params, collections, batch, rngs)

    optimizer = optax.adam(0.1)
    batch = {**problem(), "weights": jnp.ones(8)}
    train = step.make_train_step(loss, optimizer, compute_dtype=jnp.bfloat16, cast=("**", "!weights"))
    after, metrics = train(fresh(optimizer), batch, jax.random.key(0))
    assert seen == {"w": jnp.bfloat16, "x": jnp.bfloat16, "weights": jnp.float32}
    assert metrics["loss"].total.dtype == jnp.float32
    assert all(x.dtype in (jnp.float32, jnp.int32) for x in jax.tree.leaves(after))
    full, _ = linear_loss(fresh(optimizer).params, {}, batch, {})
    np.testing.assert_allclose(metrics["loss"].total, full, rtol=2e-2)


@pytest.mark.fast
def test_sums_and_counts_are_exact_over_padded_last_batches():
    def metric_fn(params, collections, batch):
        hits = (batch["value"] > 0.5) * batch["weights"]
        return {"hits": Metric(hits.sum(), batch["weights"].sum())}

    values = np.random.default_rng(0).random(103).astype(np.float32)
    evaluate, current = step.make_eval_step(metric_fn), fresh(optax.sgd(0.1))
    for size in (7, 32, 103, 200):
        padded = np.pad(values, (0, -len(values) % size), constant_values=0.9)
        weights = (np.arange(len(padded)) < len(values)).astype(np.float32)
        batches = [
            {"value": jnp.asarray(v), "weights": jnp.asarray(w)}
            for v, w in zip(padded.reshape(-1, size), weights.reshape(-1, size), strict=True)
        ]
        total = step.accumulate(evaluate, current, batches)
        assert total["hits"].count == 103 and total["hits"].total == (values > 0.5).sum()
        assert step.means(total) == {"hits": (values > 0.5).sum() / 103}


def test_an_evaluation_looks_at_the_stop_flag_before_every_batch():
    class Stop:
        requested = False

    def batches():
        for index in range(5):
            Stop.requested = index == 2
            yield problem()

    evaluate = step.make_eval_step(lambda p, c, b: {"n": Metric(jnp.ones(()), jnp.ones(()))})
    assert step.accumulate(evaluate, fresh(optax.sgd(0.1)), batches(), Stop) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda params: optax.adamw(0.1, weight_decay=0.5),
        lambda params: optimizers.build({"name": "adam", "weight_decay": 0.1, "clip_norm": 1.0}, params),
        lambda params: pruning.masked(optax.sgd(0.1, momentum=0.9)),
    ],
    ids=["adamw", "build", "masked"],
)
def test_what_has_no_gradient_stays_as_it_is(make):
    """Index tables and masks among the parameters: neither differentiated, nor decayed, nor cast."""
    params = {"w": jnp.full((3, 2), 0.1), "order": jnp.array([2, 0, 1]), "on": jnp.array([True, False, True])}

    def loss(params, collections, batch, rngs):
        assert params["order"].dtype == jnp.int32 and params["on"].dtype == bool
        x = jnp.where(params["on"], batch["x"][:, params["order"]], 0)
        return linear_loss({"w": params["w"]}, collections, {**batch, "x": x}, rngs)

    def alone(params, collections, batch, rngs):
        x = jnp.where(np.array([True, False, True]), batch["x"][:, np.array([2, 0, 1])], 0)
        return linear_loss(params, collections, {**batch, "x": x}, rngs)

    found = {}
    for tree, loss_fn in ((params, loss), ({"w": params["w"]}, alone)):
        optimizer, batches = make(tree), jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), problem())
        start = state.create({"params": jax.tree.map(jnp.copy, tree)}, optimizer)
        shapes = jax.tree.map(jnp.shape, start.opt_state)
        with jax.numpy_rank_promotion("allow"):
            train = step.make_train_step(loss_fn, optimizer, grad_norm=True, steps_per_call=3)
            found[len(tree)] = after, metrics = train(start, batches, jax.random.key(0))
        assert jax.tree.map(jnp.shape, after.opt_state) == shapes and not metrics["nonfinite"].total.any()
    (after, metrics), (expected, wanted) = found[3], found[1]
    np.testing.assert_allclose(after.params["w"], expected.params["w"], rtol=1e-6)
    np.testing.assert_allclose(metrics["grad_norm"].total, wanted["grad_norm"].total, rtol=1e-6)
    np.testing.assert_array_equal(after.params["order"], [2, 0, 1])
    np.testing.assert_array_equal(after.params["on"], [True, False, True])
    assert after.params["order"].dtype == jnp.int32 and after.params["on"].dtype == bool
