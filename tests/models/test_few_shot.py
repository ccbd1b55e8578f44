"""The few-shot rivals of in-context networks: both are called alike, use their support set, and learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hyperlab.errors import ConfigError
from hyperlab.models.few_shot import Prototypes, SqueezeGuided

MODULES = {"squeeze": SqueezeGuided((4, 4)), "prototypes": Prototypes((4, 4))}
KEY = jax.random.key(0)
TARGET = jax.random.uniform(jax.random.key(1), (2, 8, 6, 1))
IMAGES = jax.random.uniform(jax.random.key(2), (2, 3, 8, 6, 1))
LABELS = (IMAGES > 0.5).astype(jnp.float32)


@pytest.fixture(params=MODULES)
def module(request):
    return MODULES[request.param]


def outputs(module, params, *inputs):
    return jax.jit(module.apply)({"params": params}, *inputs)


def test_the_order_of_the_support_and_its_repetition_do_not_matter_but_its_labels_do(module):
    params = jax.jit(module.init)(KEY, TARGET, IMAGES, LABELS)["params"]
    found = outputs(module, params, TARGET, IMAGES, LABELS)
    assert found.shape == TARGET.shape and found.dtype == jnp.float32
    np.testing.assert_allclose(outputs(module, params, TARGET, IMAGES[:, ::-1], LABELS[:, ::-1]), found, atol=2e-5)
    twice = [jnp.concatenate([part, part], 1) for part in (IMAGES, LABELS)]
    np.testing.assert_allclose(outputs(module, params, TARGET, *twice), found, atol=2e-5)
    assert jnp.abs(outputs(module, params, TARGET, IMAGES, 1 - LABELS) - found).max() > 1e-3


def test_a_task_that_the_support_alone_tells_is_learnt(module):
    """Whether the left or the right half is the foreground is known from the support set only."""
    params = jax.jit(module.init)(KEY, TARGET, IMAGES, LABELS)["params"]
    optimizer = optax.adam(0.01)

    def loss(params, key):
        side_key, noise_key = jax.random.split(key)
        side = jax.random.bernoulli(side_key, 0.5, (8, 1, 1, 1, 1))
        left = jnp.broadcast_to(jnp.arange(6)[:, None] < 3, (8, 4, 8, 6, 1))
        images = 0.5 * left + 0.5 * jax.random.uniform(noise_key, left.shape)
        labels = (left == side).astype(jnp.float32)
        logits = module.apply({"params": params}, images[:, 0], images[:, 1:], labels[:, 1:])
        return optax.losses.sigmoid_binary_cross_entropy(logits, labels[:, 0]).mean()

    @jax.jit
    def train(params):
        def step(carry, key):
            params, state = carry
            value, gradient = jax.value_and_grad(loss)(params, key)
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, updates), state), value

        keys = jax.random.split(jax.random.key(3), 150)
        return jax.lax.scan(step, (params, optimizer.init(params)), keys)[1]

    values = train(params)
    # 0.69 is the best without a look at the support set
    assert np.isfinite(values).all() and values[-10:].mean() < 0.6


def test_a_support_without_foreground_gives_finite_logits_and_gradients(module):
    params = jax.jit(module.init)(KEY, TARGET, IMAGES, LABELS)["params"]

    def total(params):
        return module.apply({"params": params}, TARGET, IMAGES, jnp.zeros_like(LABELS)).sum()

    value, gradient = jax.jit(jax.value_and_grad(total))(params)
    assert jnp.isfinite(value) and all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize(
    ("target", "support", "message"),
    [((2, 7, 6, 1), (2, 3, 7, 6, 1), "2 divides"), ((2, 8, 6, 1), (2, 0, 8, 6, 1), "at least one"),
     ((2, 8, 6, 1), (2, 3, 8, 8, 1), "expected")],
)  # fmt: skip
def test_inputs_that_do_not_fit_are_refused(module, target, support, message):
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(module.init, KEY, jnp.zeros(target), jnp.zeros(support), jnp.zeros(support))
