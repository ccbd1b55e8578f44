"""Pruned weights are exactly zero after every step of every optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hyperlab import pruning
from hyperlab.errors import ParameterTreeError
from hyperlab.train import optimizers

RANDOM = np.random.default_rng(0)
# names that end each other: the moment of a/kernel is not that of kernel
PARAMS = {
    "a": {"kernel": jnp.asarray(RANDOM.normal(size=(3, 2)), jnp.float32), "bias": jnp.ones(2)},
    "kernel": jnp.asarray(RANDOM.normal(size=(3, 2)), jnp.float32),
}
TARGET = jax.tree.map(lambda leaf: jnp.asarray(RANDOM.normal(size=leaf.shape), jnp.float32), PARAMS)
MASKS = pruning.masks("random", PARAMS, 2.0, key=0, prunable=["**"])
DENSE = pruning.dense(PARAMS)
GROUPED = {"name": "adamw", "learning_rate": 0.1, "weight_decay": 0.1, "clip_norm": 1.0}
GROUPED["groups"] = (("a/**", {"weight_decay": 0.0}), ("**", {}))
OPTIMIZERS = {
    "sgd": lambda: optax.sgd(0.1),
    "nesterov": lambda: optax.sgd(0.1, momentum=0.9, nesterov=True),
    "adam": lambda: optax.adam(0.1),
    "adamw": lambda: optax.adamw(0.1, weight_decay=0.1),
    "lion": lambda: optax.lion(0.1),
    "rmsprop": lambda: optax.rmsprop(0.1, momentum=0.9),
    "lamb": lambda: optax.lamb(0.1),
    "adafactor": lambda: optax.adafactor(0.1),
    "clipped": lambda: optax.chain(optax.clip_by_global_norm(0.1), optax.adam(0.1)),
    "noisy": lambda: optax.noisy_sgd(0.1, key=jax.random.key(0)),
    "groups": lambda: optimizers.build(GROUPED, PARAMS),
}


def gradients(params):
    return jax.tree.map(lambda p, t: p - t, params, TARGET)


def stepper(optimizer):
    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(gradients(params), state, params)
        return optax.apply_updates(params, updates), state

    return step


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pruned_weights_stay_zero_though_the_moments_are_retained(name):
    optimizer = pruning.masked(OPTIMIZERS[name]())
    step = stepper(optimizer)
    params, state = PARAMS, optimizer.init(PARAMS)
    for _ in range(3):
        params, state = step(params, state)
    assert not any(np.any(leaf == 0) for leaf in jax.tree.leaves(params))
    state = pruning.set_masks(state, MASKS)  # moments retained, stored weights not yet zeroed
    for _ in range(3):
        params, state = step(params, state)
        assert pruning.agree(params, MASKS)
    assert step._cache_size() == 1, "new masks compiled the step again"
    free = jax.tree.map(lambda leaf, mask: leaf[mask], params, MASKS)
    assert all(np.all(leaf != 0) for leaf in jax.tree.leaves(free))


def test_what_is_kept_trains_as_if_the_rest_were_not_there():
    """Also with clipping by the global norm, to which pruned weights do not count."""
    optimizer = pruning.masked(OPTIMIZERS["clipped"](), MASKS)
    step, params = stepper(optimizer), pruning.apply(PARAMS, MASKS)
    small = jax.tree.map(lambda leaf, mask: leaf[mask], params, MASKS)
    target = jax.tree.map(lambda leaf, mask: leaf[mask], TARGET, MASKS)
    state, inner = optimizer.init(params), OPTIMIZERS["clipped"]()
    small_state = inner.init(small)
    for _ in range(3):
        params, state = step(params, state)
        updates, small_state = inner.update(jax.tree.map(jnp.subtract, small, target), small_state, small)
        small = optax.apply_updates(small, updates)
    for leaf, mask, alone in zip(*map(jax.tree.leaves, (params, MASKS, small)), strict=True):
        np.testing.assert_allclose(leaf[mask], alone, rtol=1e-5)


def test_all_true_masks_change_nothing():
    plain, wrapped = OPTIMIZERS["adamw"](), pruning.masked(OPTIMIZERS["adamw"]())
    grads = gradients(PARAMS)
    expected = plain.update(grads, plain.init(PARAMS), PARAMS)[0]
    jax.tree.map(np.testing.assert_array_equal, wrapped.update(grads, wrapped.init(PARAMS), PARAMS)[0], expected)


def test_moments_of_regrown_weights_start_at_zero_and_no_others():
    for name in ("nesterov", "adam", "groups"):
        optimizer = pruning.masked(OPTIMIZERS[name]())
        params, state = PARAMS, optimizer.init(PARAMS)
        params, state = stepper(optimizer)(params, state)
        before = jax.tree.leaves(state.inner)
        masks = {"a": dict(MASKS["a"]), "kernel": DENSE["kernel"]}
        state = pruning.set_masks(state, masks)
        for was, now in zip(before, jax.tree.leaves(state.inner), strict=True):
            np.testing.assert_array_equal(was, now)  # pruning alone resets nothing
        back = {"a": dict(DENSE["a"]), "kernel": DENSE["kernel"]}
        state = pruning.set_masks(state, back)
        changed = 0
        for (keys, now), was in zip(jax.tree_util.tree_leaves_with_path(state.inner), before, strict=True):
            path = jax.tree_util.keystr(keys, simple=True, separator="/")
            if path.endswith("a/kernel"):
                changed += 1
                np.testing.assert_array_equal(now, np.where(MASKS["a"]["kernel"], was, 0))
            elif not path.endswith("a/bias"):
                np.testing.assert_array_equal(now, was)
        assert changed == (1 if name == "nesterov" else 2)
        jax.tree.map(np.testing.assert_array_equal, pruning.masks_of(state), back)


def test_masks_in_a_larger_state_and_in_mixed_precision():
    optimizer = optax.chain(pruning.masked(optax.sgd(0.1)), optax.identity())
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), PARAMS)
    state = pruning.set_masks({"opt": optimizer.init(params), "step": 0}, MASKS)
    updates, _ = optimizer.update(gradients(params), state["opt"], params)
    assert pruning.agree(optax.apply_updates(params, updates), MASKS)


def test_bad_input():
    optimizer = pruning.masked(optax.sgd(0.1))
    with pytest.raises(ParameterTreeError, match="needs params"):
        optimizer.update(PARAMS, optimizer.init(PARAMS))
    with pytest.raises(ParameterTreeError, match="unexpected 'b'"):
        pruning.masked(optax.sgd(0.1), {"b": np.ones(2, bool)}).init(PARAMS)
    with pytest.raises(ParameterTreeError, match="found 0"):
        pruning.set_masks(optax.sgd(0.1).init(PARAMS), MASKS)
