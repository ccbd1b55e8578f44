"""Norms of trees, and whether all their numbers are finite."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hyperlab.norms import all_finite, global_norm
from hyperlab.train.optimizers import clip_by_global_norm

pytestmark = pytest.mark.fast

SHAPES = {"scalar": (), "vector": (7,), "matrix": (5, 3), "kernel": (3, 3, 4, 2), "empty": (0, 4)}


def tree(dtype=np.float32):
    rng = np.random.default_rng(0)
    return {name: jnp.asarray(rng.normal(size=shape), dtype) for name, shape in SHAPES.items()}


def test_the_norm_is_that_of_all_numbers():
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree())])
    np.testing.assert_allclose(jax.jit(global_norm)(tree()), np.linalg.norm(flat), rtol=1e-6)
    np.testing.assert_allclose(global_norm({"z": jnp.array([[3 + 4j, 12j]])}), 13.0, rtol=1e-6)
    assert global_norm({}) == 0


def test_many_numbers_of_half_a_precision_lose_nothing():
    ones = {"a": jnp.ones((2**9, 2**9), jnp.bfloat16)}
    assert global_norm(ones).dtype == jnp.float32 and float(global_norm(ones)) == 2**9


@pytest.mark.parametrize("name", [name for name in SHAPES if name != "empty"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_one_number_that_is_not_finite_is_found(name, value):
    given = tree()
    assert bool(all_finite(given))
    last = (-1,) * given[name].ndim
    assert not bool(jax.jit(all_finite)(given | {name: given[name].at[last].set(value)}))


def test_infinities_do_not_cancel():
    assert not bool(all_finite({"a": jnp.array([[jnp.inf], [-jnp.inf]])}))


def test_a_stack_is_measured_one_by_one():
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), tree())
    one = float(global_norm(tree()))
    np.testing.assert_allclose(jax.vmap(global_norm)(stacked), [one, 2 * one], rtol=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 1e3])
def test_clipping_is_that_of_optax(scale):
    gradients = jax.tree.map(lambda leaf: scale * leaf, tree())
    ours, theirs = clip_by_global_norm(0.5), optax.clip_by_global_norm(0.5)
    found, expected = (clip.update(gradients, clip.init(gradients))[0] for clip in (ours, theirs))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)


def test_clipping_keeps_what_is_small_enough_to_the_last_bit_and_spreads_nan():
    gradients, clip = tree(), clip_by_global_norm(1e6)
    kept, _ = clip.update(gradients, clip.init(gradients))
    jax.tree.map(np.testing.assert_array_equal, kept, gradients)
    broken, _ = clip.update({**gradients, "vector": gradients["vector"].at[0].set(jnp.nan)}, clip.init(gradients))
    assert np.isnan(broken["matrix"]).all()
