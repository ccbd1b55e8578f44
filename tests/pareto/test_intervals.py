import math

import numpy as np
import pytest
import scipy.stats

from hyperlab import pareto
from hyperlab.errors import DataError
from hyperlab.metrics import statistics
from hyperlab.pareto.intervals import case_mean


def dice(seeds=5, cases=24, between_seeds=0.0, between_cases=0.1):
    rng = np.random.default_rng(0)
    table = 0.8 + between_cases * rng.normal(size=(1, cases)) + between_seeds * rng.normal(size=(seeds, 1))
    return table + 0.01 * rng.normal(size=(seeds, cases))


def test_each_interval_is_that_of_its_own_units():
    table = dice(between_seeds=0.02)
    result = pareto.spread(table)
    expected = statistics.bootstrap(table.mean(0), np.mean, method="BCa")
    assert result.cases == expected and result.cases == pareto.over_cases(table)
    t = scipy.stats.ttest_1samp(table.mean(1), 0).confidence_interval(0.95)
    np.testing.assert_allclose(result.seeds, [table.mean(), t.low, t.high, 5])
    assert result.seeds == pareto.over_seeds(table)
    assert result.cases.estimate == pytest.approx(table.mean()) == case_mean(table)


def test_the_two_spreads_do_not_mix():
    width = lambda interval: interval.high - interval.low  # noqa: E731
    subjects = pareto.spread(dice(between_seeds=0.0, between_cases=0.1))
    training = pareto.spread(dice(between_seeds=0.1, between_cases=0.0))
    assert width(subjects.cases) > 5 * width(subjects.seeds)
    assert width(training.seeds) > 5 * width(training.cases)


def test_undefined_cases_are_counted_and_cases_defined_in_some_runs_take_part():
    table = dice()
    table[:, 3] = np.nan
    table[1, 5] = np.nan
    result = pareto.spread(table)
    assert result.undefined == 1 and result.cases.n == 23 and result.seeds.n == 5
    kept = np.delete(table, 3, axis=1)
    assert result.cases.estimate == pytest.approx(np.mean(np.nanmean(kept, 0)))
    assert result.seeds.estimate == pytest.approx(np.mean(np.nanmean(kept, 1)))


def test_too_few_units_have_an_estimate_and_no_interval():
    result = pareto.spread(dice(seeds=1, cases=9))
    for interval, n in ((result.cases, 9), (result.seeds, 1)):
        assert interval.n == n and math.isnan(interval.low) and math.isnan(interval.high)
        assert interval.estimate == pytest.approx(dice(seeds=1, cases=9).mean())


def test_an_interval_over_seeds_ends_where_values_do():
    table = np.array([[0.0, 0.1], [0.9, 1.0]])
    free, cut = pareto.over_seeds(table), pareto.over_seeds(table, bounds=(0.0, 1.0))
    assert free.low < 0 < 1 < free.high and cut == (0.5, 0.0, 1.0, 2)
    inside = dice()
    assert pareto.over_seeds(inside, bounds=(-5.0, 5.0)) == pareto.over_seeds(inside)
    one = pareto.over_seeds(dice(seeds=1), bounds=(-5.0, 5.0))
    assert math.isnan(one.low) and math.isnan(one.high)
    with pytest.raises(DataError, match="values hold 1.5, beyond"):
        pareto.over_seeds([[0.5, 1.5]], bounds=(0.0, 1.0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones(3), "\\[seeds, cases\\]"),
        (np.ones((2, 0)), "at least one of each"),
        (np.full((2, 3), np.nan), "absent from all"),
        ([[0.5, 0.6], [np.nan, np.nan]], "runs \\[1\\] have no value"),
        ([[0.5, np.inf]], "infinity"),
    ],
)
def test_tables_that_carry_no_claim_are_refused(values, message):
    for function in (pareto.spread, pareto.over_cases, pareto.over_seeds, case_mean):
        with pytest.raises(DataError, match=message):
            function(values)
