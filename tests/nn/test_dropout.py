"""Dropout of channels and of activations: what is shared, how much is dropped, and when."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom

from hyperlab.errors import ConfigError
from hyperlab.nn import Dropout

QUICK = {"xla_backend_optimization_level": 0}
SHAPES = [(40, 3, 2, 50), (40, 2, 1, 3, 50), (40, 4, 50)]


def dropped(kind, rate, x, seed=0):
    program = jax.jit(Dropout(kind, rate).apply, compiler_options=QUICK)
    return np.asarray(program({}, jnp.asarray(x), rngs={"dropout": jax.random.key(seed)}))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_channel_is_kept_or_dropped_as_a_whole_in_any_number_of_dimensions(shape):
    found = dropped("spatial", 0.2, np.ones(shape, np.float32))
    pixels = found.reshape(shape[0], -1, shape[-1])
    first = pixels[:, 0]
    np.testing.assert_array_equal(pixels, np.broadcast_to(first[:, None], pixels.shape))
    assert set(np.unique(found)) == {0, np.float32(1.25)}
    low, high = binom.interval(0.9999, first.size, 0.2)
    assert low <= (first == 0).sum() <= high


def test_single_activations_are_dropped_independently():
    found = dropped("element", 0.3, np.ones((10, 5, 4, 10), np.float32))
    low, high = binom.interval(0.9999, found.size, 0.3)
    assert low <= (found == 0).sum() <= high
    assert (found != found[:, :1, :1]).any()


@pytest.mark.parametrize("kind", ["spatial", "element"])
def test_the_mean_over_draws_is_the_input(kind):
    x = np.random.default_rng(0).normal(size=(2, 2, 2, 3)).astype(np.float32)
    layer, draws = Dropout(kind, 0.4), 4000
    keys = jax.random.split(jax.random.key(1), draws)
    mean = jax.jit(jax.vmap(lambda key: layer.apply({}, x, rngs={"dropout": key})), compiler_options=QUICK)(keys).mean(
        0
    )
    error = np.abs(x) * np.sqrt(0.4 / 0.6 / draws)
    assert (np.abs(mean - x) < 5 * error).all()


def test_without_a_key_or_a_rate_or_a_kind_nothing_is_dropped():
    x = jnp.arange(12.0).reshape(1, 2, 2, 3)
    np.testing.assert_array_equal(Dropout("spatial", 0.5).apply({}, x), x)
    for kind, rate in (("none", 0.5), ("spatial", 0.0), ("element", 0.0)):
        np.testing.assert_array_equal(dropped(kind, rate, x), x)


def test_the_dtype_stays():
    assert dropped("spatial", 0.5, jnp.ones((1, 2, 2, 3), jnp.bfloat16)).dtype == jnp.bfloat16


def test_unknown_kinds_and_rates_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'element'"):
        Dropout("elements", 0.1)
    for rate in (1.0, -0.1):
        with pytest.raises(ConfigError, match="from 0 up to"):
            Dropout("spatial", rate)
