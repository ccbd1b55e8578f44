import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hyperlab.errors import ConfigError, PatternError
from hyperlab.train import optimizers, schedules, state

PARAMS = {
    "theta0": {"kernel": jnp.full((2, 2), 0.5), "bias": jnp.full(2, 0.3)},
    "hypernet": {"head": {"kernel": jnp.full((2, 3), -0.2)}},
}
GRADS = jax.tree.map(lambda x: x * 2 + 0.1, PARAMS)


def run(optimizer, steps=3, params=PARAMS):
    opt_state = optimizer.init(params)
    for _ in range(steps):
        updates, opt_state = optimizer.update(GRADS, opt_state, params)
        params = optax.apply_updates(params, updates)
    return params


def assert_close(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), one, other)


@pytest.mark.parametrize(
    ("config", "reference"),
    [
        ({"name": "sgd", "learning_rate": 0.1, "momentum": 0.0}, optax.sgd(0.1)),
        ({"name": "sgd", "learning_rate": 0.1, "nesterov": True}, optax.sgd(0.1, momentum=0.9, nesterov=True)),
        ({"name": "adam", "learning_rate": 0.1}, optax.adam(0.1)),
        ({"name": "adamw", "learning_rate": 0.1, "weight_decay": 0.01}, optax.adamw(0.1, weight_decay=0.01)),
        (
            {"name": "adam", "learning_rate": 0.1, "clip_norm": 0.5},
            optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.1)),
        ),
        (
            {"learning_rate": 0.1, "schedule": {"name": "warmup_cosine", "warmup_steps": 1, "total_steps": 5}},
            optax.adam(optax.warmup_cosine_decay_schedule(0.0, 0.1, 1, 5)),
        ),
    ],
)
def test_equal_to_optax(config, reference):
    assert_close(run(optimizers.build(config, PARAMS)), run(reference))


@pytest.mark.parametrize(("warmup", "steps"), [(0.0, 7), (0.2, 10), (0.1, 3)])
def test_a_schedule_of_any_length_is_that_of_its_length(warmup, steps):
    settings = {"name": "adam", "learning_rate": 0.1, "clip_norm": 0.5}
    known = {"name": "warmup_cosine", "warmup_steps": round(warmup * steps), "total_steps": steps}
    expected = optimizers.build({**settings, "schedule": known}, PARAMS)
    optimizer = optimizers.build(optimizers.recipe({"name": "adam", "schedule": "cosine", "warmup": warmup,
                                                    "clip": 0.5}, learning_rate=0.1), PARAMS)  # fmt: skip
    update = jax.jit(optimizer.update)
    ours, theirs = schedules.with_length(optimizer.init(PARAMS), steps), expected.init(PARAMS)
    for _ in range(steps + 2):  # beyond the end the rate stays at zero
        one, ours = update(GRADS, ours, PARAMS)
        other, theirs = expected.update(GRADS, theirs, PARAMS)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-9), one, other)
    with pytest.raises(ConfigError, match="0 steps"):
        schedules.with_length(ours, 0)


def test_a_schedule_whose_length_nobody_set_does_not_train():
    optimizer = optimizers.build({"schedule": {"name": "warmup_cosine", "warmup": 0.1}}, PARAMS)
    updates, _ = optimizer.update(GRADS, optimizer.init(PARAMS), PARAMS)
    assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(updates))


def test_groups_have_rates_decays_and_freezing_of_their_own():
    groups = (
        ("theta0/bias", {"frozen": True}),
        ("theta0/**", {"learning_rate": 0.5, "weight_decay": 0.1}),
        ("**", {"learning_rate_multiplier": 3.0}),
    )
    config = {"name": "sgd", "momentum": 0.0, "learning_rate": 0.1, "groups": groups}
    after = run(optimizers.build(config, PARAMS), steps=1)
    assert (after["theta0"]["bias"] == PARAMS["theta0"]["bias"]).all()
    kernel = PARAMS["theta0"]["kernel"]
    np.testing.assert_allclose(after["theta0"]["kernel"], kernel - 0.5 * (GRADS["theta0"]["kernel"] + 0.1 * kernel))
    head = PARAMS["hypernet"]["head"]["kernel"] - 0.3 * GRADS["hypernet"]["head"]["kernel"]
    np.testing.assert_allclose(after["hypernet"]["head"]["kernel"], head, rtol=1e-6)


def test_frozen_gradients_do_not_count_in_the_clipped_norm():
    config = {"name": "sgd", "momentum": 0.0, "learning_rate": 1.0, "clip_norm": 1e-3}
    after = run(optimizers.build({**config, "groups": (("theta0/**", {"frozen": True}), ("**", {}))}, PARAMS), steps=1)
    moved = jax.tree.map(lambda a, b: a - b, after, PARAMS)
    np.testing.assert_allclose(optax.tree.norm(moved), 1e-3, rtol=1e-3)
    assert (moved["theta0"]["kernel"] == 0).all()


def test_a_stack_of_runs_has_one_rate_each():
    optimizer = optimizers.build({"name": "adam"}, PARAMS)
    rates = jnp.array([0.0, 0.1, 0.2])

    @jax.vmap
    def after(rate):
        made = optimizers.with_learning_rate(state.create({"params": PARAMS}, optimizer), rate)
        updates, _ = optimizer.update(GRADS, made.opt_state, made.params)
        return optax.apply_updates(made.params, updates)

    stack = after(rates)
    for index, rate in enumerate(rates):
        assert_close(jax.tree.map(lambda leaf, index=index: leaf[index], stack), run(optax.adam(float(rate)), steps=1))


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"name": "adamm"}, ConfigError, "adam"),
        ({"learning_rat": 1.0}, ConfigError, "learning_rate"),
        ({"groups": (("theta/**", {}), ("**", {}))}, PatternError, "theta0/kernel"),
        ({"groups": (("theta0/**", {}),)}, PatternError, "no rule covers 'hypernet/head/kernel'"),
        ({"groups": (("**", {}), ("theta0/**", {}))}, PatternError, "gets no parameter"),
        ({"groups": (("**", {"freeze": True}),)}, ConfigError, "frozen"),
        ({"schedule": {"name": "cosine"}}, ConfigError, "warmup_cosine"),
        ({"schedule": {"name": "warmup_cosine", "warmup_steps": 5, "total_steps": 5}}, ConfigError, "5 and 5"),
    ],
)
def test_mistakes_are_named(config, error, message):
    with pytest.raises(error, match=message.replace("*", r"\*")):
        optimizers.build(config, PARAMS)


def test_another_optimizer_has_no_rate_to_set():
    with pytest.raises(ConfigError, match="hyperparams/learning_rate"):
        optimizers.with_learning_rate(optax.sgd(0.1).init(PARAMS), 0.2)
