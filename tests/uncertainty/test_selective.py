import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab.errors import ConfigError, DataError
from hyperlab.uncertainty import selective as s
from hyperlab.uncertainty.resampling import interval

pytestmark = pytest.mark.fast


def test_the_known_example():
    curve = s.risk_coverage([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1])
    np.testing.assert_allclose(curve.risk, [0, 0, 1 / 3, 1 / 2])
    np.testing.assert_allclose(s.aurc(curve), 0.208333, atol=1e-6)
    np.testing.assert_allclose(s.aurc(s.risk_coverage([4, 3, 2, 1], [0, 0, 1, 1])), 0.791667, atol=1e-6)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=12))
def test_ties_are_the_mean_over_their_orders(values):
    uncertainty, errors = (np.array(column, float) for column in zip(*values, strict=True))
    random, risks = np.random.default_rng(0), []
    for _ in range(3000):
        order = np.lexsort((random.random(len(errors)), uncertainty))
        risks.append(np.cumsum(errors[order]) / np.arange(1, len(errors) + 1))
    curve = s.risk_coverage(uncertainty, errors)
    np.testing.assert_allclose(curve.risk, np.mean(risks, 0), atol=0.06)
    moved = random.permutation(len(errors))
    np.testing.assert_allclose(s.risk_coverage(uncertainty[moved], errors[moved]).risk, curve.risk, atol=1e-12)
    np.testing.assert_allclose(curve.risk[-1], errors.mean())


def test_an_order_that_knows_nothing_has_the_error_rate_and_the_best_one_the_known_area():
    errors = np.arange(20_000) % 5 == 0
    np.testing.assert_allclose(s.aurc(s.risk_coverage(np.zeros(20_000), errors)), 0.2)
    np.testing.assert_allclose(s.aurc(s.oracle(errors)), 0.2 + 0.8 * np.log(0.8), atol=1e-4)
    np.testing.assert_allclose(s.excess_aurc(s.oracle(errors), errors), 0)
    np.testing.assert_allclose(s.augrc(s.oracle(errors)), 0.02, atol=1e-4)  # r^2 / 2


def test_points_of_the_curve():
    curve = s.risk_coverage([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 0])
    assert s.coverage_at_risk(curve, 0.25) == 1 and s.coverage_at_risk(curve, 0.1) == 0.25
    assert s.coverage_at_risk(s.risk_coverage([0.1], [1]), 0.5) == 0
    assert s.risk_at_coverage(curve, 0.5) == 0.5 and s.risk_at_coverage(curve, 0.51) == 1 / 3
    with pytest.raises(ConfigError, match="coverage is 0"):
        s.risk_at_coverage(curve, 0)


def test_dice_over_the_images_that_are_kept():
    curve = s.dice_coverage([0.3, 0.1, 0.2], [0.2, 1.0, 0.6])
    np.testing.assert_allclose(curve.mean_dice, [1, 0.8, 0.6])
    np.testing.assert_allclose(curve.coverage, [1 / 3, 2 / 3, 1])


def test_a_threshold_is_the_best_of_all_that_can_be():
    random = np.random.default_rng(0)
    for _ in range(30):
        uncertainty, dice = random.integers(0, 6, 12) / 4, random.uniform(0.7, 1, 12)
        chosen = s.choose_threshold(uncertainty, dice)
        possible = [u for u in uncertainty if dice[uncertainty <= u].mean() >= 0.9]
        assert chosen.value == (max(possible) if possible else -math.inf)
        assert chosen.coverage == (uncertainty <= chosen.value).mean()


def test_nothing_is_accepted_where_no_threshold_reaches_the_target():
    chosen = s.choose_threshold([0.1, 0.2], [0.5, 0.6])
    assert (chosen.value, chosen.coverage) == (-math.inf, 0.0) and math.isnan(chosen.mean_dice)
    result = s.accept([0.1, 0.2], [0.95, 0.5], chosen)
    assert result.coverage.estimate == 0 and math.isnan(result.mean_dice.estimate) and math.isnan(result.below.estimate)
    assert result.oracle_coverage == 0.5 and math.isnan(result.oracle_mean_dice)


def test_what_a_threshold_does_on_other_images():
    random = np.random.default_rng(1)
    dice = random.uniform(0.6, 1, 200)
    uncertainty = 1 - dice + random.normal(0, 0.05, 200)
    chosen = s.choose_threshold(uncertainty[:100], dice[:100])
    dice[150] = np.nan
    result = s.accept(uncertainty[100:], dice[100:], chosen)
    known = ~np.isnan(dice[100:])
    kept = (uncertainty[100:] <= chosen.value) & known
    assert result.excluded == 1 and result.coverage.n == 99
    np.testing.assert_allclose(result.coverage.estimate, kept.sum() / 99)
    np.testing.assert_allclose(result.mean_dice.estimate, dice[100:][kept].mean())
    np.testing.assert_allclose(result.below.estimate, (dice[100:][kept] < 0.9).mean())
    for one in (result.coverage, result.mean_dice, result.below):
        assert one.low < one.estimate < one.high
    assert result.random_mean_dice < result.mean_dice.estimate <= result.oracle_mean_dice
    assert result.oracle_below <= result.below.estimate <= result.random_below
    assert s.accept(uncertainty[100:], dice[100:], chosen) == result


def test_only_one_axis_without_nan_is_taken():
    with pytest.raises(DataError, match="flatten"):
        s.risk_coverage(np.zeros((2, 2)), np.zeros((2, 2)))
    with pytest.raises(DataError, match="NaN"):
        s.risk_coverage([np.nan], [0])
    with pytest.raises(DataError, match="at least one"):
        s.choose_threshold([0.1], [np.nan])


def test_few_units_have_an_estimate_and_no_interval():
    found = interval(lambda values: values.mean(-1), np.arange(9.0))
    assert found.estimate == 4 and math.isnan(found.low) and found.n == 9
    with pytest.raises(DataError, match="one value a unit"):
        interval(lambda a, b: a.mean(-1), np.arange(9.0), np.arange(8.0))


def test_an_interval_covers_a_mean_as_often_as_it_says():
    random = np.random.default_rng(2)
    hits = 0
    for _ in range(200):
        found = interval(lambda values: values.mean(-1), random.normal(size=40), resamples=400)
        hits += found.low <= 0 <= found.high
    assert 0.88 <= hits / 200 <= 0.99
