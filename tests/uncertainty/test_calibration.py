import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab.errors import ConfigError, DataError
from hyperlab.metrics import classification
from hyperlab.uncertainty import calibration as c
from hyperlab.uncertainty import reliability as r

CONFIDENCE = np.array([[0.55, 0.65, 0.95, 0.85]], np.float32)
CORRECT = np.array([[True, False, True, True]])
binned = jax.jit(r.equal_width, static_argnames="bins")


def slow_errors(confidence, correct, mask, bins):
    """The definitions, one bin after the other."""
    confidence, correct = confidence[mask].astype(float), correct[mask]
    gaps, shares, chances = [], [], []
    for k in range(bins):
        inside = (confidence > k / bins) & (confidence <= (k + 1) / bins) | ((k == 0) & (confidence == 0))
        if inside.any():
            accuracy = correct[inside].mean()
            gaps.append(abs(accuracy - confidence[inside].mean()))
            shares.append(inside.mean())
            chances.append(accuracy * (1 - accuracy) / max(inside.sum() - 1, 1))
    gaps, shares = np.array(gaps), np.array(shares)
    return {
        "expected": (shares * gaps).sum(),
        "rms": np.sqrt((shares * gaps**2).sum()),
        "average": gaps.mean(),
        "maximum": gaps.max(),
        "debiased_l2": np.sqrt(max((shares * (gaps**2 - chances)).sum(), 0)),
    }


def test_the_known_example():
    errors = [c.expected_calibration_error(binned(CONFIDENCE, CORRECT, bins=bins)) for bins in (10, 1)]
    np.testing.assert_allclose(np.ravel(errors), [0.325, 0], atol=1e-6)
    np.testing.assert_allclose(c.expected_calibration_error(r.equal_mass(CONFIDENCE, CORRECT, bins=2)), 0.1, atol=1e-6)


def test_every_error_is_its_definition_in_every_image_and_pooled():
    random = np.random.default_rng(0)
    confidence = random.random((3, 8, 9)).astype(np.float32)
    correct, mask = random.random((3, 8, 9)) < confidence**2, random.random((3, 8, 9)) < 0.7
    images = binned(confidence, correct, mask, bins=7)
    for name, each in c.all_errors(images).items():
        for i in range(3):
            np.testing.assert_allclose(each[i], slow_errors(confidence[i], correct[i], mask[i], 7)[name], atol=1e-6)
    for name, together in c.all_errors(r.pooled(images)).items():
        np.testing.assert_allclose(together, slow_errors(confidence, correct, mask, 7)[name], atol=1e-6)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=24, max_size=24), st.integers(0, 2**31))
def test_bins_lose_nothing_and_order_does_not_matter(values, seed):
    confidence, correct = (np.array(column).reshape(1, 24) for column in zip(*values, strict=True))
    confidence = confidence.astype(np.float32)
    order = np.random.default_rng(seed).permutation(24)
    sums, moved = (binned(confidence[:, o], correct[:, o], bins=5) for o in (np.arange(24), order))
    assert int(sums.count.sum()) == 24 and int(sums.correct.sum()) == correct.sum()
    np.testing.assert_array_equal(sums.count, moved.count)
    np.testing.assert_allclose(sums.confidence, moved.confidence, atol=1e-5)
    mass, other = (r.equal_mass(confidence[:, o], correct[:, o], bins=5) for o in (np.arange(24), order))
    assert mass.count.sum() == 24 and np.ptp(mass.count) <= 1
    for first, second in zip(mass, other, strict=True):  # ties across a cut too
        np.testing.assert_allclose(first, second, atol=1e-9)


def test_it_is_the_error_of_the_classification_metric():
    random = np.random.default_rng(1)
    probabilities = random.dirichlet(np.ones(3), (1, 200)).astype(np.float32)
    labels = random.integers(0, 3, (1, 200))
    ours = c.expected_calibration_error(binned(*r.top_label(probabilities, labels), bins=15))
    theirs = classification.ece(jnp.asarray(probabilities[0]), jnp.asarray(labels[0])).finish()
    np.testing.assert_allclose(ours[0], theirs, atol=1e-6)


def test_a_calibrated_network_tends_to_zero_and_few_pixels_look_worse_than_they_are():
    random = np.random.default_rng(2)
    found = {}
    for n in (100, 10_000):
        confidence = random.random((40, n)).astype(np.float32)
        images = binned(confidence, random.random((40, n)) < confidence, bins=10)
        errors = c.all_errors(images)
        found[n] = [float(np.mean(errors[name])) for name in ("rms", "debiased_l2")]
    # by chance alone the squared error is sum_k (n_k / n) p (1 - p) / n_k = bins / n / 6
    np.testing.assert_allclose([found[n][0] for n in found], [np.sqrt(10 / n / 6) for n in found], rtol=0.1)
    assert all(debiased < 0.6 * biased for biased, debiased in found.values())


def test_sums_of_millions_do_not_drift():
    confidence = np.full((1, 2048, 2048), 0.99993, np.float32)
    sums = binned(confidence, np.ones(confidence.shape, bool), bins=4)
    np.testing.assert_allclose(sums.confidence[0, -1] / confidence.size, 0.99993, atol=5e-5)  # one by one: 1.0


def test_a_nan_counts_unless_it_is_masked():
    confidence, mask = np.array([[0.2, np.nan, 0.7, 0.9]], np.float32), np.array([[True, False, True, True]])
    assert np.isnan(c.expected_calibration_error(binned(confidence, CORRECT, ~mask | mask, bins=4)))[0]
    assert np.isfinite(c.expected_calibration_error(binned(confidence, CORRECT, mask, bins=4)))[0]
    with pytest.raises(DataError, match="1 of 4 confidences are NaN"):
        r.equal_mass(confidence, CORRECT)
    assert r.equal_mass(confidence, CORRECT, mask, bins=2).count.tolist() == [1, 2]


def test_an_empty_region_has_no_error():
    nothing = np.zeros((1, 4), bool)
    for sums in (binned(CONFIDENCE, CORRECT, nothing, bins=4), r.equal_mass(CONFIDENCE, CORRECT, nothing, bins=4)):
        assert np.asarray(sums.count).sum() == 0
        assert all(np.isnan(error).all() for error in c.all_errors(sums).values())


def test_a_cut_through_equal_confidences_shares_them():
    random = np.random.default_rng(4)
    confidence, correct = random.integers(1, 5, 50) / 4, random.random(50) < 0.5
    mean = {value: correct[confidence == value].mean() for value in set(confidence)}
    parts = np.split(np.sort(confidence), np.arange(1, 7) * 50 // 7)
    sums = r.equal_mass(confidence, correct, bins=7)
    np.testing.assert_allclose(sums.correct, [sum(mean[value] for value in part) for part in parts])
    np.testing.assert_allclose(sums.confidence, [part.sum() for part in parts])
    assert r.equal_mass([0.5], [True], bins=3).count.sum() == 1


def test_marginal_asks_of_one_class_and_top_label_of_the_largest():
    probabilities, labels = np.array([[[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]], np.float32), np.array([[1, 2]])
    confidence, correct = r.top_label(jnp.asarray(probabilities), labels)
    np.testing.assert_allclose(confidence, [[0.5, 0.7]])
    assert correct.tolist() == [[False, True]]
    confidence, truth = r.marginal(jnp.asarray(probabilities), labels, 1)
    np.testing.assert_allclose(confidence, [[0.3, 0.2]])
    assert truth.tolist() == [[True, False]]
    with pytest.raises(ConfigError, match=r"0\.\.2"):
        r.marginal(jnp.asarray(probabilities), labels, 3)
    with pytest.raises(DataError, match="spatial"):
        r.top_label(jnp.asarray(probabilities), labels[0])


def test_the_table_names_what_every_number_is():
    random = np.random.default_rng(3)
    probabilities = random.dirichlet(np.ones(2), (2, 30)).astype(np.float32)
    labels = random.integers(0, 2, (2, 30))
    labels[1] = 0
    rows = c.calibration_table(probabilities, labels, {"image": None, "foreground": labels > 0}, bins=5)
    keys = [(row["question"], row["region"], row["binning"], row["aggregation"]) for row in rows]
    assert len(rows) == len(set(keys)) == 12
    at = dict(zip(keys, rows, strict=True))
    assert at["top_label", "foreground", "equal_width", "image_mean"]["images"] == 1
    assert at["top_label", "image", "equal_width", "pooled"]["pixels"] == 60
    images = binned(*r.marginal(jnp.asarray(probabilities), labels, 1), bins=5)
    row = at["marginal_1", "image", "equal_width", "image_mean"]
    np.testing.assert_allclose(row["expected"], np.mean(c.expected_calibration_error(images)), atol=1e-6)


def test_zero_bins_are_refused():
    for function in (r.equal_width, r.equal_mass):
        with pytest.raises(ConfigError, match="at least 1"):
            function(CONFIDENCE, CORRECT, bins=0)
