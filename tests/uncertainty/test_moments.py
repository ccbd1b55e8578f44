"""Moments and maps: values known by hand, equality with the stacked samples, and identities that hold for any."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import entr

from hyperlab.errors import DataError
from hyperlab.uncertainty import Moments, entropy, from_stacked, init, maps, merge, probabilities, update

QUICK = {"xla_backend_optimization_level": 0}
FOLD = jax.jit(
    lambda start, samples: jax.lax.scan(lambda m, p: (update(m, p), None), start, samples)[0], compiler_options=QUICK
)
MERGE, MAPS, STACKED = (jax.jit(function, compiler_options=QUICK) for function in (merge, maps, from_stacked))


def of_class_1(*values):
    """Samples `[T, 1, 2]` of one pixel of one image."""
    p = np.array(values, np.float32)[:, None]
    return jnp.asarray(np.stack([1 - p, p], -1))


def drawn(seed, count=7, classes=3, sharpness=3.0):
    logits = np.random.default_rng(seed).normal(0, sharpness, (count, 2, 3, classes))
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)


def slow(samples):
    """The definitions, in float64, of samples that are all there."""
    p = samples.astype(np.float64)
    mean, variance = p.mean(0), p.var(0).sum(-1)
    total, aleatoric = entr(mean).sum(-1), entr(p).sum(-1).mean(0)
    votes = np.eye(p.shape[-1])[p.argmax(-1)].sum(0)
    within = np.stack([np.diag(q) - np.outer(q, q) for q in p.reshape(-1, p.shape[-1])])
    within = np.trace(within, axis1=1, axis2=2).reshape(p.shape[:-1]).mean(0)
    return mean, total, aleatoric, total - aleatoric, variance, within, 1 - votes.max(-1) / len(p)


def values(found):
    return [float(leaf[0]) for leaf in found[1:]]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        # total, aleatoric, epistemic; variances are of both classes, so twice those of one; variation ratio
        ((0.1, 0.9), (0.693147, 0.325083, 0.368064, 0.32, 0.18, 0.5)),
        ((0.5, 0.5), (0.693147, 0.693147, 0, 0, 0.5, 0)),
        ((0.0, 1.0), (0.693147, 0, 0.693147, 0.5, 0, 0.5)),
        ((0.3,), (0.610864, 0.610864, 0, 0, 0.42, 0)),
        ((1.0, 1.0, 1.0), (0, 0, 0, 0, 0, 0)),
    ],
)
def test_values_known_by_hand(samples, expected):
    for moments in (STACKED(of_class_1(*samples)), FOLD(init((1, 2)), of_class_1(*samples))):
        np.testing.assert_allclose(values(MAPS(moments)), expected, atol=2e-6)
        assert np.isfinite(values(MAPS(moments))).all()


def test_of_one_sample_all_that_is_epistemic_is_exactly_0():
    found = MAPS(FOLD(init((2, 3, 3)), jnp.asarray(drawn(0, count=1))))
    for value in (found.epistemic, found.variance, found.variation_ratio):
        assert not value.any()


@pytest.mark.parametrize("classes", [2, 5])
def test_maps_are_their_definitions(classes):
    samples = drawn(1, classes=classes)
    found = MAPS(STACKED(samples))
    for name, value, expected in zip(found._fields, found, slow(samples), strict=True):
        np.testing.assert_allclose(value, expected, atol=2e-6, err_msg=name)


def assert_same(first: Moments, second: Moments, atol=2e-6):
    for name, a, b in zip(Moments._fields, first, second, strict=True):
        np.testing.assert_allclose(a, b, atol=atol, err_msg=name)


@settings(deadline=None, max_examples=15, derandomize=True)
@given(
    seed=st.integers(0, 10**6), split=st.sampled_from([0, 1, 5, 7]), sharpness=st.sampled_from([0.0, 0.1, 3.0, 100.0])
)
def test_running_merged_and_stacked_moments_agree_in_any_order(seed, split, sharpness):
    samples = drawn(seed, sharpness=sharpness)
    stacked, empty = STACKED(samples), init(samples.shape[1:])
    assert_same(FOLD(empty, samples), stacked)
    parts = [FOLD(empty, part) if len(part) else empty for part in (samples[:split], samples[split:])]
    assert_same(MERGE(*parts), stacked)
    assert_same(MERGE(*reversed(parts)), stacked)
    assert_same(FOLD(empty, samples[::-1]), stacked)

    found = jax.device_get(MAPS(stacked))
    assert (found.epistemic >= 0).all() and (found.epistemic <= np.log(3) + 1e-6).all()
    np.testing.assert_allclose(found.total, found.aleatoric + found.epistemic, atol=2e-6)
    whole = (found.mean * (1 - found.mean)).sum(-1)
    np.testing.assert_allclose(whole, found.variance + found.aleatoric_variance, atol=2e-6)


def test_a_small_spread_round_a_large_mean_is_not_lost():
    """Means of squares would give 0 or less here: 1e-5 of spread is 1e-10 of variance, beside 0.81."""
    p = (0.9 + 1e-5 * np.random.default_rng(0).normal(size=500)).astype(np.float32)
    expected = 2 * p.astype(np.float64).var()
    found = MAPS(FOLD(init((1, 2)), of_class_1(*p))).variance[0]
    # 1 - p rounds at 6e-8, on deviations of 1e-5
    np.testing.assert_allclose(found, expected, rtol=0.03)


def test_bfloat16_is_accumulated_in_float32():
    samples = jnp.asarray(drawn(2, count=200), jnp.bfloat16)
    moments = FOLD(init(samples.shape[1:]), samples)
    assert all(leaf.dtype == jnp.float32 for leaf in moments)
    assert_same(moments, STACKED(samples.astype(jnp.float32)), atol=2e-4)


def test_a_single_logit_is_two_classes_and_a_temperature_divides_it():
    logits = np.array([[-200.0], [-1.0], [0.0], [30.0]], np.float32)
    found = probabilities(jnp.asarray(logits))
    np.testing.assert_allclose(found, jax.nn.softmax(np.concatenate([0 * logits, logits], -1)), atol=1e-6)
    assert np.isfinite(entropy(found)).all()
    np.testing.assert_allclose(probabilities(jnp.asarray(logits), 2.0), probabilities(jnp.asarray(logits / 2)))


def test_no_sample_is_refused():
    with pytest.raises(DataError, match=r"\(0, 1, 2\)"):
        from_stacked(jnp.zeros((0, 1, 2)))
