"""Draws written out are those of JAX, to the bit, whatever the key, the range and the transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab import prng
from hyperlab.nn import Dropout

pytestmark = pytest.mark.fast

SHAPES = [(1,), (5, 7), (4, 33, 17, 3), (), (0, 3), (300, 1000)]
KINDS = {
    "uniform": lambda of, key, shape: of.uniform(key, shape),
    "of a range": lambda of, key, shape: of.uniform(key, shape, minval=-1.5, maxval=0.3),
    "normal": lambda of, key, shape: of.normal(key, shape),
    "keys": lambda of, key, shape: jax.random.key_data(of.split(key, shape)),
    "rare": lambda of, key, shape: of.bernoulli(key, 0.1, shape),
    "often": lambda of, key, shape: of.bernoulli(key, 0.8, shape),
    "never": lambda of, key, shape: of.bernoulli(key, 0.0, shape),
    "always": lambda of, key, shape: of.bernoulli(key, 1.0, shape),
}


def same(one, two):
    assert one.dtype == two.dtype and one.shape == two.shape
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_draws_are_those_of_jax(shape, kind):
    for seed in (0, 7, 2**31):
        same(*(KINDS[kind](of, jax.random.key(seed), shape) for of in (prng, jax.random)))


@pytest.mark.parametrize("make", [lambda: jax.random.key(3, impl="rbg"), lambda: jax.random.PRNGKey(3)])
@pytest.mark.parametrize("kind", ["uniform", "normal", "rare"])
def test_other_keys_are_left_to_jax(make, kind):
    same(*(KINDS[kind](of, make(), (9, 9)) for of in (prng, jax.random)))
    for derive in (lambda of: of.split(make()), lambda of: of.fold_in(make(), 5)):
        assert (derive(prng) == derive(jax.random)).all()


def test_other_numbers_are_left_to_jax():
    for draw in ("uniform", "normal"):
        same(*(getattr(of, draw)(jax.random.key(0), (9,), jnp.bfloat16) for of in (prng, jax.random)))


@pytest.mark.parametrize("data", [0, 3, 2**32 - 1, np.int32(7), jnp.uint32(9)])
def test_a_key_and_a_number(data):
    one, two = (of.fold_in(jax.random.key(5), data) for of in (prng, jax.random))
    assert one == two
    one, two = (jax.vmap(of.fold_in, (None, 0))(jax.random.key(5), jnp.arange(4)) for of in (prng, jax.random))
    assert (one == two).all()


@pytest.mark.parametrize("kind", KINDS)
def test_many_keys(kind):
    keys = jax.random.split(jax.random.key(1), 5)
    same(*(jax.vmap(lambda key, of=of: KINDS[kind](of, key, (4, 6)))(jax.random.clone(keys))
           for of in (prng, jax.random)))  # fmt: skip


def test_rates_and_ranges_that_are_values():
    key = jax.random.key(2)
    traced = jax.jit(lambda key, rate: prng.bernoulli(key, rate, (99,)))(jax.random.clone(key), 0.37)
    same(traced, jax.random.bernoulli(jax.random.clone(key), 0.37, (99,)))
    limits = jnp.array([-2.0, 5.0])
    traced = jax.jit(lambda key, limits: prng.uniform(key, (99,), jnp.float32, *limits))(jax.random.clone(key), limits)
    same(traced, jax.random.uniform(jax.random.clone(key), (99,), jnp.float32, *limits))


def test_the_cipher_gives_the_published_answers():
    """Of Random123's table of known answers for threefry2x32 of 20 rounds."""
    words = [jnp.uint32(word) for word in (0x13198A2E, 0x03707344, 0x243F6A88, 0x85A308D3)]
    assert [int(word) for word in prng.threefry(*words)] == [0xC4923A9C, 0x483DF7A0]
    full = [jnp.uint32(0xFFFFFFFF)] * 4
    assert [int(word) for word in prng.threefry(*full)] == [0x1CB996FC, 0xBB002BE7]


def test_of_single_activations_no_mask_is_stored():
    images = jnp.ones((2, 64, 64, 32))
    layer, key = Dropout("element", 0.2), jax.random.key(0)
    program = jax.jit(lambda key, x: layer.apply({}, x, rngs={"dropout": key})).lower(key, images).compile()
    assert program.memory_analysis().temp_size_in_bytes < images.nbytes / 100
