"""Adam at half of its memory: where it is Adam, how far it is from it elsewhere, and what it keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hyperlab.errors import ConfigError
from hyperlab.train import optimizers, settings
from hyperlab.train.lean_adam import Factors, scale_by_lean_adam

pytestmark = pytest.mark.fast
SHAPES = {"head": (6, 40), "stack": (3, 5, 8), "bias": (40,)}


def params():
    return {name: jnp.ones(shape) for name, shape in SHAPES.items()}


def run(optimizer, gradients):
    state = optimizer.init(params())
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params())
    return updates, state


def gradients(steps, seed=0):
    """Outer products along directions that stay, with lengths and signs that change."""
    rng = np.random.default_rng(seed)
    sides = {name: [rng.uniform(0.5, 2, n) for n in shape] for name, shape in SHAPES.items()}
    for _ in range(steps):
        length = rng.uniform(-2, 2)
        yield {
            "head": jnp.asarray(length * np.multiply.outer(*sides["head"]), jnp.float32),
            "stack": jnp.asarray(length * np.einsum("a,b,c->abc", *sides["stack"]), jnp.float32),
            "bias": jnp.asarray(length * sides["bias"][0], jnp.float32),
        }


def test_it_is_adam_where_squared_gradients_are_of_rank_one():
    ours, _ = run(scale_by_lean_adam(least=100), gradients(9))
    theirs, _ = run(optax.scale_by_adam(), gradients(9))
    np.testing.assert_allclose(ours["bias"], theirs["bias"], rtol=1e-5)
    for name in ("head", "stack"):  # to the rounding of a first moment in bfloat16
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0.05, atol=0.01)
        assert float(jnp.abs(theirs[name]).max()) > 0.1


def test_any_squared_gradients_keep_their_means():
    rng = np.random.default_rng(1)
    given = [
        {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in SHAPES.items()} for _ in range(5)
    ]
    _, state = run(scale_by_lean_adam(b2=0.9, least=100), given)
    exact = np.zeros(SHAPES["head"])
    for one in given:
        exact = 0.9 * exact + 0.1 * np.square(one["head"])
    np.testing.assert_allclose(state.nu["head"].rows, exact.mean(1), rtol=1e-5)
    np.testing.assert_allclose(state.nu["head"].columns, exact.mean(0), rtol=1e-5)


def test_what_is_kept_is_half_of_adam():
    big = {"head": jax.ShapeDtypeStruct((128, 10_000), jnp.float32)}

    def size(settings):
        optimizer = optimizers.build(settings, big)
        state = jax.eval_shape(optimizer.init, big)
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((big, state)))

    assert size({"name": "lean_adam"}) <= 0.55 * size({"name": "adam"})
    state = jax.eval_shape(scale_by_lean_adam().init, big)
    assert isinstance(state.nu["head"], Factors) and state.mu["head"].dtype == jnp.bfloat16


def test_zero_gradients_move_nothing():
    updates, _ = run(scale_by_lean_adam(least=100), [jax.tree.map(jnp.zeros_like, params())] * 2)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(updates))


def test_it_has_a_name_in_every_study_and_no_nesterov():
    assert settings.OPTIMIZER.names == optimizers.NAMES
    with pytest.raises(ConfigError, match="nesterov is True, which lean_adam does not have"):
        optimizers.build({"name": "lean_adam", "nesterov": True}, params())


def test_it_clips_schedules_and_groups_as_all_do():
    groups = (("bias", {"frozen": True}), ("**", {"learning_rate_multiplier": 2.0}))
    recipe = {"schedule": {"name": "warmup_cosine", "warmup_steps": 1, "total_steps": 5}, "clip_norm": 0.5}
    pair = [optimizers.build({"name": name, "groups": groups, **recipe}, params()) for name in ("lean_adam", "adam")]
    (ours, _), (theirs, _) = (run(optimizer, gradients(3)) for optimizer in pair)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), ours, theirs)  # all leaves are small here
