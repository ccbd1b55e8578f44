import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab.registration.losses import (
    SIMILARITIES,
    SMOOTHNESS,
    gradient_penalty,
    local_ncc,
    mean_squared_error,
    objective,
    total_variation,
)


def images(seed, shape=(2, 7, 6, 1)):
    return jnp.asarray(np.random.default_rng(seed).uniform(size=shape), jnp.float32)


def slow_ncc(moved, fixed, window):
    """Every window by itself, zeros beyond the border."""
    reach, result = window // 2, []
    for m, f in zip(np.asarray(moved, np.float64)[..., 0], np.asarray(fixed, np.float64)[..., 0], strict=True):
        m, f = (np.pad(x, reach) for x in (m, f))
        values = []
        for place in itertools.product(*(range(n - 2 * reach) for n in m.shape)):
            cut = tuple(slice(p, p + window) for p in place)
            a, b = m[cut].ravel(), f[cut].ravel()
            cross = (a * b).sum() - a.sum() * b.sum() / a.size
            variances = [(x * x).sum() - x.sum() ** 2 / x.size for x in (a, b)]
            values.append(cross**2 / (variances[0] * variances[1] + 1e-5))
        result.append(-np.mean(values))
    return result


def slow_differences(field, size):
    """The mean over axes of the mean of `size(forward difference)`."""
    field = np.asarray(field, np.float64)
    return np.mean([size(np.diff(field, axis=a)).reshape(len(field), -1).mean(1) for a in range(1, field.ndim - 1)], 0)


@pytest.mark.parametrize(("shape", "window"), [((2, 7, 6, 1), 3), ((2, 9, 8, 1), 5), ((1, 5, 6, 4, 1), 3)])
def test_local_correlation_is_that_of_every_window(shape, window):
    moved, fixed = images(0, shape), images(1, shape)
    np.testing.assert_allclose(local_ncc(moved, fixed, window), slow_ncc(moved, fixed, window), rtol=1e-3)


@given(seed=st.integers(0, 1000), slope=st.floats(0.3, 3), offset=st.floats(-1, 1))
@settings(max_examples=10, deadline=None)
def test_local_correlation_is_between_minus_one_and_zero_and_symmetric(seed, slope, offset):
    moved, fixed = images(seed, (1, 12, 12, 1)), images(seed + 1, (1, 12, 12, 1))
    value = float(local_ncc(moved, fixed, 5)[0])
    assert -1 <= value <= 0
    assert value == pytest.approx(float(local_ncc(fixed, moved, 5)[0]), abs=1e-5)
    # Padding is no part of the invariance: compare where no window reaches the border.
    inner = local_ncc(slope * moved, fixed, 5) - local_ncc(moved, fixed, 5)
    assert abs(float(inner[0])) < 5e-3


def test_mean_squared_error_has_the_factor_of_sigma():
    moved, fixed = images(0), images(1)
    expected = ((np.asarray(moved) - np.asarray(fixed)) ** 2).reshape(2, -1).mean(1)
    np.testing.assert_allclose(mean_squared_error(moved, fixed, 0.05), 400 * expected, rtol=1e-5)
    np.testing.assert_allclose(mean_squared_error(moved, fixed, 1.0), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(2, 5, 4, 2), (2, 4, 3, 5, 3)])
def test_penalties_are_those_of_forward_differences(shape):
    field = images(2, shape)
    np.testing.assert_allclose(gradient_penalty(field, 2), 2 * slow_differences(field, np.square), rtol=1e-5)
    np.testing.assert_allclose(gradient_penalty(field, 1), slow_differences(field, np.square), rtol=1e-5)
    np.testing.assert_allclose(total_variation(field), slow_differences(field, np.abs) / (len(shape) - 2), rtol=1e-5)
    constant = jnp.broadcast_to(field[:, :1, :1], shape) if len(shape) == 4 else jnp.full(shape, 3.0)
    for penalty in SMOOTHNESS.values():
        np.testing.assert_allclose(penalty(constant), 0, atol=1e-12)


@pytest.mark.parametrize("similarity", SIMILARITIES.values(), ids=SIMILARITIES)
def test_similarities_are_finite_with_finite_gradients_and_best_for_equal_images(similarity):
    moved, fixed = images(3), images(4)
    value, gradient = jax.value_and_grad(lambda x: similarity(x, fixed).sum())(moved)
    assert np.isfinite(value) and np.isfinite(gradient).all() and float(jnp.abs(gradient).max()) > 0
    assert (similarity(fixed, fixed) < similarity(moved, fixed)).all()
    assert similarity(moved.astype(jnp.bfloat16), fixed).dtype == jnp.float32
    flat = jax.grad(lambda x: similarity(x, fixed).sum())(jnp.zeros_like(fixed))
    assert np.isfinite(flat).all()


def test_the_objective_is_each_term_alone_at_the_ends():
    terms = jnp.float32(3.0), jnp.float32(5.0)
    assert [float(objective(jnp.float32(w), *terms)) for w in (0.0, 0.5, 1.0)] == [3.0, 4.0, 5.0]
