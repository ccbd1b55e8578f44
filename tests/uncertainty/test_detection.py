import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from hyperlab.errors import ConfigError, DataError
from hyperlab.uncertainty import detection as d

pytestmark = pytest.mark.fast


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=30))
def test_the_area_is_the_share_of_pairs_in_the_right_order(values):
    scores, positives = (np.array(column) for column in zip(*values, strict=True))
    for exact in (True, False):
        found = d.detection(scores * 0.25, positives, exact=exact)
        if not found.defined:
            assert math.isnan(found.auroc) and math.isnan(found.aupr)
            continue
        gaps = scores[positives][:, None] - scores[~positives][None]
        np.testing.assert_allclose(found.auroc, (gaps > 0).mean() + (gaps == 0).mean() / 2)
        np.testing.assert_allclose(found.aupr, metrics.average_precision_score(positives, scores))
        assert found[2:] == (positives.sum(), (~positives).sum())


def test_counted_levels_are_near_the_exact_areas_over_twelve_decades():
    random = np.random.default_rng(0)
    positives = random.random(100_000) < 0.05
    scores = np.exp(random.normal(-12, 4, 100_000) + 3 * positives)
    exact, counted = (d.detection(scores, positives, exact=e) for e in (True, False))
    np.testing.assert_allclose(counted[:2], exact[:2], atol=1e-4)
    np.testing.assert_allclose(d.detection(-scores, positives).auroc, 1 - exact.auroc, atol=1e-4)


def test_only_the_region_counts():
    scores, positives = np.array([[0.1, 0.9], [0.5, np.nan]]), np.array([[False, True], [True, False]])
    mask = np.array([[True, True], [True, False]])
    assert d.detection(scores, positives, mask) == d.Detection(1.0, 1.0, 2, 1)
    with pytest.raises(DataError, match="1 of 4 scores are NaN"):
        d.detection(scores, positives)
    with pytest.raises(DataError, match="expected bool"):
        d.detection([0.1], [1])
    with pytest.raises(DataError, match="the same"):
        d.detection([0.1], [True, False])


def test_shifted_images_have_the_higher_score():
    assert d.shift_detection([1, 2, 3], [4, 5]).auroc == 1
    assert d.shift_detection([1, 2, 3], [1, 2, 3]).auroc == 0.5
    assert not d.shift_detection([1, 2], []).defined


def test_certain_against_accurate():
    uncertainty = np.array([0.1, 0.1, 0.5, 0.9, 0.9, 0.9])
    errors = np.array([False, True, False, False, True, True])
    table = d.certainty_table(uncertainty, errors, 0.5)
    assert table == (2, 1, 1, 2)
    assert (table.accurate_given_certain, table.uncertain_given_inaccurate, table.pavpu) == (2 / 3, 2 / 3, 4 / 6)
    assert math.isnan(d.certainty_table(uncertainty, errors, 0.01).accurate_given_certain)


def test_distances_are_those_to_the_nearest_pixel_of_another_label():
    labels = np.random.default_rng(1).integers(0, 3, (2, 7, 6)) * (np.arange(6) > 2)
    found = d.distance_to_boundary(labels)
    rows, columns = np.indices((7, 6)).reshape(2, -1)
    for image, distance in zip(labels, found, strict=True):
        flat = image.ravel()
        for i in range(flat.size):
            others = flat != flat[i]
            nearest = np.hypot(rows[others] - rows[i], columns[others] - columns[i]).min()
            np.testing.assert_allclose(distance.ravel()[i], nearest, rtol=1e-6)


def test_a_band_is_as_wide_on_both_sides_and_empty_without_a_boundary():
    masks = np.zeros((2, 9, 9), bool)
    masks[0, :, 4:] = True
    assert d.boundary_band(masks, 2)[0].any(0).tolist() == [False, False, True, True, True, True, False, False, False]
    assert not d.boundary_band(masks, 99)[1].any()
    np.testing.assert_allclose(d.distance_to_boundary(masks)[1], math.hypot(9, 9), rtol=1e-6)
    with pytest.raises(ConfigError, match="at least 1"):
        d.boundary_band(masks, 0.5)
