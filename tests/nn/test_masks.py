"""Masks written out are those of JAX, to the bit, whatever the key, the probability and the transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab.nn import Dropout
from hyperlab.nn.masks import bernoulli, threefry

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("shape", [(1,), (5, 7), (4, 33, 17, 3), (), (0, 3), (300, 1000)])
@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 0.8, 1.0])
def test_the_draws_are_those_of_jax(shape, probability):
    for seed in (0, 7, 2**31):
        one, two = (draw(jax.random.key(seed), probability, shape) for draw in (bernoulli, jax.random.bernoulli))
        assert one.dtype == bool
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("make", [lambda: jax.random.key(3, impl="rbg"), lambda: jax.random.PRNGKey(3)])
def test_other_keys_are_left_to_jax(make):
    np.testing.assert_array_equal(bernoulli(make(), 0.3, (9, 9)), jax.random.bernoulli(make(), 0.3, (9, 9)))


def test_many_keys_and_rates_that_are_values():
    keys = jax.random.split(jax.random.key(1), 5)
    one, two = (jax.vmap(lambda key, draw=draw: draw(key, 0.3, (4, 6)))(jax.random.clone(keys))
                for draw in (bernoulli, jax.random.bernoulli))  # fmt: skip
    np.testing.assert_array_equal(one, two)
    traced = jax.jit(lambda key, rate: bernoulli(key, rate, (99,)))(jax.random.key(2), 0.37)
    np.testing.assert_array_equal(traced, jax.random.bernoulli(jax.random.key(2), 0.37, (99,)))


def test_the_cipher_gives_the_published_answers():
    """Of Random123's table of known answers for threefry2x32 of 20 rounds."""
    words = [jnp.uint32(word) for word in (0x13198A2E, 0x03707344, 0x243F6A88, 0x85A308D3)]
    assert [int(word) for word in threefry(*words)] == [0xC4923A9C, 0x483DF7A0]
    full = [jnp.uint32(0xFFFFFFFF)] * 4
    assert [int(word) for word in threefry(*full)] == [0x1CB996FC, 0xBB002BE7]


def test_of_single_activations_no_mask_is_stored():
    images = jnp.ones((2, 64, 64, 32))
    layer, key = Dropout("element", 0.2), jax.random.key(0)
    program = jax.jit(lambda key, x: layer.apply({}, x, rngs={"dropout": key})).lower(key, images).compile()
    assert program.memory_analysis().temp_size_in_bytes < images.nbytes / 100
