import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics

from hyperlab.errors import DataError
from hyperlab.metrics.metric import Metric
from hyperlab.uncertainty import proper, temperature

RANDOM = np.random.default_rng(0)
PROBABILITIES = RANDOM.dirichlet(np.ones(2), (2, 5, 6)).astype(np.float32)
LABELS = RANDOM.integers(0, 2, (2, 5, 6))
MASK = RANDOM.random((2, 5, 6)) < 0.5


def test_scores_are_those_of_scikit_learn_over_pooled_pixels():
    nll, brier = (
        function(jnp.asarray(PROBABILITIES), jnp.asarray(LABELS), jnp.asarray(MASK))
        for function in (proper.nll, proper.brier_over_classes)
    )
    p, y = PROBABILITIES[MASK].astype(float), LABELS[MASK]
    pooled = Metric(nll.total.sum(), nll.count.sum()).finish()
    np.testing.assert_allclose(pooled, metrics.log_loss(y, p / p.sum(-1, keepdims=True)), rtol=1e-5)
    pooled = Metric(brier.total.sum(), brier.count.sum()).finish()
    np.testing.assert_allclose(pooled, 2 * metrics.brier_score_loss(y, p[:, 1]), rtol=1e-5)


def test_a_certain_error_costs_sixteen_nats_and_an_empty_region_nothing():
    probabilities, labels = jnp.array([[[0.0, 1.0]], [[0.0, 1.0]]]), jnp.array([[0], [0]])
    score = proper.nll(probabilities, labels, jnp.array([[True], [False]]))
    np.testing.assert_allclose(score.total, [-np.log(1e-7), 0], rtol=1e-5)
    assert score.count.tolist() == [1, 0] and np.isnan(score.finish()[1])


def test_overlap_with_nothing_predicted_and_nothing_to_find():
    probabilities = jax.nn.one_hot(jnp.array([[0, 0, 0], [0, 1, 1], [0, 0, 0]]), 2)
    found = proper.overlap(probabilities, jnp.array([[0, 1, 1], [0, 0, 1], [0, 0, 0]]))
    np.testing.assert_allclose(found.dice[:, 0], [0, 2 / 3, np.nan], rtol=1e-6)
    np.testing.assert_allclose(found.iou[:, 0], [0, 1 / 2, np.nan])
    np.testing.assert_allclose(found.precision[:, 0], [np.nan, 1 / 2, np.nan])
    np.testing.assert_allclose(found.recall[:, 0], [0, 1, np.nan])


def test_fitted_temperatures_undo_a_known_sharpening():
    random = np.random.default_rng(1)
    logits = random.normal(size=(1, 4000, 1)) * 2
    labels = (random.random(4000) < 1 / (1 + np.exp(-logits[0, :, 0]))).astype(int)
    samples = temperature.fit_samples(3 * logits, labels)
    np.testing.assert_allclose(samples.value, 3, rtol=0.12)
    assert samples.nll_after < samples.nll_before and not samples.at_edge and samples.pixels == 4000
    sharp = np.asarray(temperature.tempered_samples(3 * logits, 1.0))
    mean = temperature.fit_mean(sharp, labels)
    np.testing.assert_allclose(mean.value, samples.value, rtol=1e-2)  # one sample: both are the same
    assert (samples.of, mean.of) == ("samples", "mean")


def test_the_fit_is_the_best_of_a_grid_and_nothing_but_the_region_counts():
    logits = 4 * np.random.default_rng(2).normal(size=(3, 2, 20, 3))
    labels, mask = np.random.default_rng(3).integers(0, 3, (2, 20)), np.zeros((2, 20), bool)
    mask[0] = True
    fitted = temperature.fit_samples(logits, labels, mask)
    losses = [
        float(proper.nll(temperature.tempered_samples(logits[:, 0], t), jnp.asarray(labels[0])).finish().mean())
        for t in np.geomspace(0.06, 19, 40)
    ]
    assert fitted.pixels == 20 and fitted.nll_after <= min(losses) + 1e-5


def test_a_network_that_is_always_right_has_no_temperature():
    assert temperature.fit_mean(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1])).at_edge
    with pytest.raises(DataError, match="no pixel"):
        temperature.fit_mean(np.array([[0.9, 0.1]]), np.array([0]), np.array([False]))
    with pytest.raises(DataError, match="expected"):
        temperature.fit_samples(np.zeros((2, 3, 1)), np.zeros(4, int))


def test_a_draw_of_pixels_is_of_the_stated_size_and_repeatable():
    first, second, other = (temperature.fit_mean(PROBABILITIES, LABELS, pixels=30, seed=seed) for seed in (0, 0, 1))
    assert first == second and first.pixels == 30 and other.value != first.value
