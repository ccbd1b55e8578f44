"""The width rule: its numbers by hand, what a step does to theta exactly, and steps that do not grow with the width."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import hyperlab as hl
from hyperlab import trees
from hyperlab.errors import ConfigError, ParameterTreeError
from hyperlab.hypernet import ParamSpec
from hyperlab.models import MLP
from hyperlab.studies.stability import width
from hyperlab.train import optimizers

IMAGES = jax.random.normal(jax.random.key(7), (16, 8))
LABELS = jnp.arange(16) % 10
GAMMA = jnp.array([0.3])


def spec(size):
    return ParamSpec.of(jax.eval_shape(MLP((size, size)).init, jax.random.key(0), IMAGES)["params"])


def test_the_rule_by_hand():
    wide, base = spec(64), spec(16)
    kernels = [f"{name}/kernel" for name in ("hidden_0", "hidden_1", "classifier")]
    biases = [f"{name}/bias" for name in ("hidden_0", "hidden_1", "classifier")]
    sgd, adam, start = width.rates(wide, base, "sgd"), width.rates(wide, base, "adam"), width.starts(wide, base)
    assert [sgd[path] for path in kernels] == [4.0, 1.0, 0.25]
    assert [adam[path] for path in kernels] == [1.0, 0.25, 0.25]
    assert [start[path] for path in kernels] == [1.0, 1.0, 0.5]
    assert [sgd[path] for path in biases] == [4.0, 4.0, 1.0]
    assert [adam[path] for path in biases] == [start[path] for path in biases] == [1.0, 1.0, 1.0]
    assert set(width.rates(base, base, "sgd").values()) == set(width.starts(base, base).values()) == {1.0}


def test_a_convolution_goes_by_its_channels():
    of = lambda channels: ParamSpec.of({"kernel": jnp.zeros((3, 3, channels, 2 * channels))})  # noqa: E731
    assert width.rates(of(8), of(2), "adam") == {"kernel": 0.25} and width.rates(of(8), of(2), "sgd") == {"kernel": 1.0}


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ConfigError, match="no width rule for 'lion'"):
        width.rates(spec(8), spec(4), "lion")
    with pytest.raises(ParameterTreeError, match="the base has other leaves: hidden_1"):
        width.rates(spec(8), ParamSpec.of(MLP((4,)).init(jax.random.key(0), IMAGES)["params"]), "sgd")
    model = hl.hypernetize(MLP((8,)), IMAGES, hidden=(4,), head="chunked:64")
    with pytest.raises(ConfigError, match="head is 'chunked:64'"):
        width.groups(model, model, "sgd")


def stepped(model, params, optimizer):
    """Parameters after one step, and the gradient at theta."""

    def loss(params, offset):
        logits = model.apply({"params": params}, GAMMA, IMAGES, offset=offset)
        return optax.softmax_cross_entropy_with_integer_labels(logits, LABELS).mean()

    zeros = {record.path: jnp.zeros(record.shape) for record in model.spec}
    gradient, of_theta = jax.grad(loss, (0, 1))(params, zeros)
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    return optax.apply_updates(params, updates), of_theta


@pytest.mark.parametrize("parametrization", ["additive", "direct"])
def test_a_step_changes_each_leaf_as_a_step_of_its_own_rate_would(parametrization):
    """With frozen features phi, theta moves by -rate m (1 + |phi|^2) times its gradient, m of the leaf."""
    model = hl.hypernetize(MLP((8, 8)), IMAGES, hidden=(), parametrization=parametrization)  # phi: cos and sin
    base = hl.hypernetize(MLP((2, 2)), IMAGES, hidden=(), parametrization=parametrization)
    params = model.init(jax.random.key(0))["params"]
    found, settings = width.rates(model.spec, base.spec, "sgd"), {"name": "sgd", "learning_rate": 0.1, "momentum": 0.0}
    optimizer = optimizers.build({**settings, "groups": width.groups(model, base, "sgd")}, params)
    after, of_theta = stepped(model, params, optimizer)
    old, new = (trees.flatten(model.generate({"params": tree}, GAMMA)["params"]) for tree in (params, after))
    paths = 2.0 if parametrization == "additive" else 1.0  # |phi| is 1
    for path, multiplier in found.items():
        wanted = -0.1 * multiplier * paths * of_theta[path]
        np.testing.assert_allclose(new[path] - old[path], wanted, atol=2e-6, err_msg=path)


def made(size):
    return hl.hypernetize(MLP((size, size)), IMAGES, hidden=(4,), initializer="scale_matched:0.125")


def change(size, name, rule):
    """Root mean square of what three steps at a small rate change of the logits, over four initialisations."""
    model, base = made(size), made(32)
    settings = {"name": name, "learning_rate": 0.01 if name == "sgd" else 0.001, "momentum": 0.0}
    settings |= {"groups": width.groups(model, base, name)} if rule else {}

    def loss(params):
        logits = model.apply({"params": params}, GAMMA, IMAGES)
        return optax.softmax_cross_entropy_with_integer_labels(logits, LABELS).mean()

    def one(key):
        own = hl.hypernet.own_start(MLP((size, size)), jax.random.clone(key), IMAGES)["params"]
        own = width.scaled(own, width.starts(model.spec, base.spec)) if rule else own
        params = first = model.init(key, pretrained=own)["params"]
        optimizer = optimizers.build(settings, params)
        state = optimizer.init(params)
        for _ in range(3):
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            params = optax.apply_updates(params, updates)
        old, new = (model.apply({"params": tree}, GAMMA, IMAGES) for tree in (first, params))
        return jnp.mean(jnp.square(new - old))

    return float(jnp.sqrt(jnp.mean(jax.lax.map(one, jax.random.split(jax.random.key(0), 4)))))


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_steps_by_the_rule_do_not_grow_with_the_width_and_others_do(name):
    ruled, plain = (change(512, name, rule) / change(32, name, rule) for rule in (True, False))
    assert 0.6 < ruled < 1.3
    assert plain > 6


def test_what_is_generated_keeps_its_share_of_theta():
    shares = []
    for size in (16, 256):
        model = hl.hypernetize(nn.Dense(size), jnp.zeros((1, size)), hidden=(64,), initializer="scale_matched:0.25")
        variables = model.init(jax.random.key(0))
        delta = model.delta(variables, GAMMA)["kernel"]
        shares.append(float(jnp.sqrt(jnp.mean(delta**2) / jnp.mean(variables["params"]["theta0"]["kernel"] ** 2))))
    np.testing.assert_allclose(shares, 0.25, rtol=0.2)


def test_the_start_of_a_wide_primary_has_the_scales_of_the_rule():
    own = MLP((64, 64)).init(jax.random.key(3), IMAGES)["params"]
    ruled = trees.flatten(width.scaled(own, width.starts(spec(64), spec(16))))
    for path, leaf in trees.flatten(own).items():
        np.testing.assert_array_equal(ruled[path], leaf / 2 if path == "classifier/kernel" else leaf)


def test_groups_without_a_layer_before_the_head_leave_nothing_over():
    model, base = (hl.hypernetize(nn.Dense(size, use_bias=False), IMAGES, hidden=()) for size in (64, 8))
    groups = width.groups(model, base, "sgd")
    assert [pattern for pattern, _ in groups] == ["hypernet/head/*", "theta0/kernel"]
    optimizers.build({"name": "sgd", "groups": groups}, model.init(jax.random.key(0))["params"])
