import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss

from hyperlab.metrics import Metric
from hyperlab.metrics import classification as c

# Compiled once for each shape, which is also how the studies call them; jit against eager is a test of its own.
OF_ONE = {f.__name__: jax.jit(f) for f in (c.accuracy, c.nll, c.brier, c.ece)}
OF_SAMPLES = {f.__name__: jax.jit(f) for f in (c.disagreement, c.mutual_information)}


def draw(seed=0, n=200, classes=5, samples=None):
    rng = np.random.default_rng(seed)
    leading = (n,) if samples is None else (samples, n)
    probabilities = rng.dirichlet(np.full(classes, 0.4), leading).astype(np.float32)
    return jnp.asarray(probabilities), jnp.asarray(rng.integers(0, classes, n))


def add(first, second):
    return jax.tree.map(jnp.add, first, second)


def slow_ece(probabilities, labels, bins=15):
    """Bin by bin with loops, as the definition reads."""
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    error = 0.0
    for m in range(1, bins + 1):
        held = (confidence > np.float32((m - 1) / bins)) & (confidence <= np.float32(m / bins))
        if held.any():
            error += held.mean() * abs(correct[held].mean() - confidence[held].mean())
    return error


# -- values -------------------------------------------------------------------------------------------------------


def test_hand_computed_values():
    probabilities = jnp.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.25, 0.5, 0.25], [0.0, 0.0, 1.0]])
    labels = jnp.array([0, 1, 1, 2])
    values = {name: float(metric(probabilities, labels).finish()) for name, metric in OF_ONE.items()}
    brier = (0.09 + 0.04 + 0.01) + (0.01 + 0.81 + 0.64) + (0.0625 + 0.25 + 0.0625) + 0
    # four bins of one example each: |1 - .7|, |0 - .8|, |1 - .5|, |1 - 1|
    expected = {
        "accuracy": 0.75,
        "nll": -np.log([0.7, 0.1, 0.5, 1.0]).mean(),
        "brier": brier / 4,
        "ece": (0.3 + 0.8 + 0.5 + 0.0) / 4,
    }
    assert values == pytest.approx(expected, rel=1e-6)


def test_against_scikit_learn():
    probabilities, labels = draw()
    np.testing.assert_allclose(
        c.finish(OF_ONE["accuracy"](probabilities, labels)),
        accuracy_score(labels, probabilities.argmax(1)),
        rtol=1e-6,
    )
    exact = np.asarray(probabilities, np.float64)
    exact /= exact.sum(1, keepdims=True)
    np.testing.assert_allclose(
        c.finish(OF_ONE["nll"](probabilities, labels)), log_loss(labels, exact, labels=range(5)), rtol=1e-5
    )
    two, of_two = draw(1, classes=2)
    np.testing.assert_allclose(
        c.finish(OF_ONE["brier"](two, of_two)), 2 * brier_score_loss(of_two, two[:, 1]), rtol=1e-5
    )


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31))
def test_ece_equals_the_definition_bin_by_bin(seed):
    probabilities, labels = draw(seed, n=40)
    value = c.finish(OF_ONE["ece"](probabilities, labels))
    np.testing.assert_allclose(value, slow_ece(probabilities, labels), atol=1e-5)


@pytest.mark.fast
def test_an_edge_of_a_bin_belongs_to_the_bin_below():
    at_edge = jnp.array([[3 / 15] * 5, [1.0, 0, 0, 0, 0], [3 / 15 + 1e-6, 0.2, 0.2, 0.2, 0.2]])
    counts = OF_ONE["ece"](at_edge, jnp.zeros(3, int)).count
    np.testing.assert_array_equal(np.flatnonzero(counts), [2, 3, 14])


def test_ece_of_calibrated_predictions_is_small_and_of_confident_guesses_is_the_gap():
    probabilities, _ = draw(2, 20000, 10)
    labels = jax.random.categorical(jax.random.key(0), jnp.log(probabilities))
    assert c.finish(OF_ONE["ece"](probabilities, labels)) < 0.02
    sure = jax.nn.one_hot(jnp.zeros(1000, int), 10)
    labels = jax.random.randint(jax.random.key(1), (1000,), 0, 10)
    np.testing.assert_allclose(c.finish(OF_ONE["ece"](sure, labels)), 1 - (labels == 0).mean(), rtol=1e-6)


@pytest.mark.parametrize(("samples", "classes"), [(1, 3), (2, 2), (5, 3), (9, 4)])
def test_disagreement_counts_pairs_one_by_one(samples, classes):
    probabilities, _ = draw(samples, 50, classes, samples)
    chosen = np.asarray(probabilities).argmax(-1)
    pairs = list(itertools.combinations(range(samples), 2))
    expected = np.mean([chosen[a] != chosen[b] for a, b in pairs]) if pairs else 0.0
    value = c.finish(OF_SAMPLES["disagreement"](probabilities))
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_mutual_information_is_the_mean_divergence_from_the_mean(seed):
    samples, classes = 6, 4
    probabilities, _ = draw(seed, 20, classes, samples)
    exact = np.asarray(probabilities, np.float64)
    divergence = scipy.stats.entropy(exact, np.broadcast_to(exact.mean(0), exact.shape), axis=-1)
    value = float(c.finish(OF_SAMPLES["mutual_information"](probabilities)))
    np.testing.assert_allclose(value, divergence.mean(), rtol=1e-4, atol=1e-6)
    assert -1e-6 <= value <= np.log(min(samples, classes)) + 1e-6


def test_one_sample_has_no_disagreement_and_no_information():
    probabilities, _ = draw(samples=1)
    assert all(c.finish(metric(probabilities)) == 0 for metric in OF_SAMPLES.values())
    np.testing.assert_array_equal(c.predictive(probabilities), probabilities[0])


def test_predictive_is_the_mean_over_samples_in_float32():
    probabilities, _ = draw(samples=4)
    mean = c.predictive(probabilities.astype(jnp.bfloat16))
    assert mean.dtype == jnp.float32 and mean.shape == (200, 5)
    np.testing.assert_allclose(mean, probabilities.mean(0), atol=5e-3)


# -- what can go wrong --------------------------------------------------------------------------------------------


def test_a_nan_row_is_wrong_for_the_accuracy_and_hides_in_no_other_metric():
    probabilities, labels = draw(n=4)
    broken = probabilities.at[1, 3].set(jnp.nan)
    for label in range(5):  # argmax alone would point at the NaN, and call it right where that is the label
        row = OF_ONE["accuracy"](broken[1:2], jnp.array([label]))
        assert (row.total, row.count) == (0, 1)
    for name in ("nll", "brier", "ece"):
        assert np.isnan(OF_ONE[name](broken, labels).finish()), name
    samples = jnp.stack([probabilities, broken])
    for name, metric in OF_SAMPLES.items():
        assert np.isnan(metric(samples).finish()), name


def test_an_underflowed_probability_costs_87_nats():
    value = c.finish(OF_ONE["nll"](jnp.array([[1.0, 0.0]]), jnp.array([1])))
    np.testing.assert_allclose(value, 126 * np.log(2), rtol=1e-6)


def test_nothing_counted_is_nan():
    probabilities, labels = draw(n=3)
    for metric in OF_ONE.values():
        assert np.isnan(c.finish(metric(probabilities, labels, jnp.zeros(3))))


# -- sums and counts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OF_ONE)
def test_batches_add_up_and_padding_does_not_count(name):
    metric = OF_ONE[name]
    probabilities, labels = draw(3, n=60)
    whole = metric(probabilities, labels)
    padded = jnp.concatenate([probabilities[30:], jnp.full((10, 5), jnp.nan)])
    first = metric(probabilities[:30], labels[:30])
    parts = add(first, metric(padded, jnp.pad(labels[30:], (0, 10)), jnp.where(jnp.arange(40) < 30, 1.0, 0.0)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), parts, whole)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(parts))


@pytest.mark.parametrize("name", OF_SAMPLES)
def test_batches_of_samples_add_up_and_padding_does_not_count(name):
    metric = OF_SAMPLES[name]
    probabilities, _ = draw(4, n=50, samples=3)
    whole = metric(probabilities)
    padded = jnp.concatenate([probabilities[:, 30:], jnp.full((3, 10, 5), jnp.nan)], 1)
    parts = add(metric(probabilities[:, :30]), metric(padded, jnp.where(jnp.arange(30) < 20, 1.0, 0.0)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), parts, whole)


@pytest.mark.parametrize("name", [*OF_ONE, *OF_SAMPLES])
def test_jit_equals_eager_and_vmap_over_runs_equals_a_loop(name):
    runs = [draw(seed, 30, samples=None if name in OF_ONE else 3) for seed in range(3)]

    def value(probabilities, labels):
        metric = getattr(c, name)
        return metric(probabilities, labels) if name in OF_ONE else metric(probabilities)

    eager = [value(*run) for run in runs]
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7)
    jax.tree.map(close, jax.jit(value)(*runs[0]), eager[0])
    stacked = jax.vmap(value)(*map(jnp.stack, zip(*runs, strict=True)))
    jax.tree.map(close, stacked, jax.tree.map(lambda *leaves: jnp.stack(leaves), *eager))
    # finishing a stack of runs keeps their axis
    close(c.finish(stacked), [c.finish(one) for one in eager])


def test_a_metric_is_a_mean_that_is_not_divided_yet():
    assert float(add(Metric(3.0, 4.0), Metric(2.0, 4.0)).finish()) == 0.625
