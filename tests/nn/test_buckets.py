"""The plan of canvases is the best of all plans, and holds every size."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab.errors import ConfigError
from hyperlab.nn import bucket_of, level_sizes, overhead, plan


def mean_cost(cuts, shape, levels, factors, weights):
    """Mean weighted pixels over a grid of factors, each on the canvas of the smallest cut above it."""
    canvases = {cut: level_sizes(shape, cut, levels) for cut in cuts}
    held = [canvases[min(cut for cut in cuts if cut >= factor)] for factor in factors]
    return np.mean([np.dot(weights, np.prod(sizes, axis=1)) for sizes in held])


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 4, 20)])
def test_no_other_cuts_cost_less(weights):
    shape, levels, high = (8, 5), 3, 0.6
    factors = (np.arange(1000) + 0.5) / 1000 * high
    buckets = plan(shape, levels, 0.0, high, 3, weights=weights)
    ours = mean_cost([b.high for b in buckets], shape, levels, factors, weights)
    steps = {(k + 1e-6) / n for n in range(1, 9) for k in range(1, n)}
    cuts = [step for step in sorted(steps) if step < high]
    best = min(mean_cost([*pair, high], shape, levels, factors, weights) for pair in itertools.combinations(cuts, 2))
    assert ours == pytest.approx(best, rel=5e-3)
    exact = np.mean([np.dot(weights, np.prod(level_sizes(shape, f, levels), axis=1)) for f in factors])
    assert overhead(buckets, weights=weights) == pytest.approx(ours / exact, rel=5e-3)


@pytest.mark.parametrize("levels", [4, 5])
def test_the_reference_count_and_overheads(levels):
    """Measured once for U(0, 0.5) at 128x128: 88 distinct sizes; 4 programs cost 4 to 20 % more, 8 cost 2 to 16 %.

    The cheap end is a network of equal widths, the dear one has widths that double with the level.
    """
    distinct = {level_sizes((128, 128), factor, levels) for factor in np.linspace(1e-4, 0.5, 20001)}
    assert len(distinct) in (88, 89)
    doubling = [4**level for level in range(levels)]
    for programs, cheap, dear in ((4, 1.04, 1.20), (8, 1.02, 1.16)):
        equal = overhead(plan((128, 128), levels, 0.0, 0.5, programs))
        grown = overhead(plan((128, 128), levels, 0.0, 0.5, programs, weights=doubling), weights=doubling)
        assert 1 < equal < cheap and equal < grown < dear
    cuts = [bucket.high for bucket in plan((128, 128), 5, 0.0, 0.5, 4)]
    np.testing.assert_allclose(cuts, [0.2, 0.32, 0.42, 0.5], atol=0.01)


@settings(deadline=None, max_examples=50)
@given(
    shape=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    levels=st.integers(1, 4),
    bounds=st.tuples(st.floats(0, 0.9), st.floats(0.01, 1)),
    programs=st.integers(1, 8),
    draws=st.lists(st.floats(0, 1), min_size=1, max_size=20),
)
def test_every_factor_has_a_bucket_that_holds_its_sizes(shape, levels, bounds, programs, draws):
    low = bounds[0]
    high = low + (1 - low) * bounds[1]
    buckets = plan(shape, levels, low, high, programs)
    assert 1 <= len(buckets) <= programs
    assert (buckets[0].low, buckets[-1].high) == (low, high)
    assert all(a.high == b.low for a, b in itertools.pairwise(buckets))
    assert buckets[-1].canvases == level_sizes(shape, high, levels)
    for factor in [*(high - draw * (high - low) for draw in draws), *(bucket.high for bucket in buckets)]:
        if not low < factor <= high:
            continue
        sizes, bucket = level_sizes(shape, factor, levels), bucket_of(buckets, factor)
        assert np.all(np.array(sizes) <= np.array(bucket.canvases))
        assert bucket.low - 1e-6 <= factor <= bucket.high + 1e-6


def test_more_programs_never_cost_more_and_enough_of_them_cost_nothing():
    costs = [overhead(plan((31, 17), 3, 0.0, 0.5, programs)) for programs in (1, 2, 3, 5, 8, 1000)]
    assert costs == sorted(costs, reverse=True) and costs[-1] == pytest.approx(1, abs=1e-12)


def test_factors_that_are_often_drawn_get_the_finer_cuts():
    uniform, skewed = (plan((64, 64), 4, 0.0, 0.5, 4, rule) for rule in (None, lambda factor: (2 * factor) ** 8))
    assert skewed[0].high > uniform[0].high
    assert overhead(skewed, lambda factor: (2 * factor) ** 8) < overhead(uniform, lambda factor: (2 * factor) ** 8)
    assert overhead(skewed) > overhead(uniform)


def test_factors_by_level_get_the_bucket_of_the_largest_sizes():
    buckets = plan((64, 64), 4, 0.0, 0.5, 4)
    assert bucket_of(buckets, [0.5, 0.1, 0.1]) == buckets[-1]
    assert bucket_of(buckets, [(0.1, 0.1)] * 3) == bucket_of(buckets, 0.1) == buckets[0]


@pytest.mark.parametrize("factor", [0.05, 0.51, [0.3, 0.6, 0.3]])
def test_a_factor_outside_of_the_plan_is_refused(factor):
    with pytest.raises(ConfigError, match="outside the plan's range"):
        bucket_of(plan((64, 64), 4, 0.1, 0.5, 4), factor)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 0.5, "high": 0.5}, "low < high"),
        ({"low": -0.1}, "low < high"),
        ({"high": 1.5}, "low < high"),
        ({"programs": 0}, "at least 1"),
        ({"weights": (1, 2)}, "3 levels"),
        ({"distribution": lambda factor: -factor}, "rises"),
    ],
)
def test_what_makes_no_plan_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        plan(**{"shape": (8, 8), "levels": 3, "low": 0.0, "high": 0.5, "programs": 2, **options})
