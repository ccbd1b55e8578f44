"""Which size every level has: one law, against a slow version of it, and the exact places where a size changes."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab.errors import ConfigError
from hyperlab.nn import Pyramid, bucket_of, level_sizes, overhead, plan, plan_for


def slow_sizes(shape, levels, powers, full_at, factor):
    """Axis by axis and step by step, in words of the docstring."""
    columns = []
    for axis, n in enumerate(shape):
        power = powers[axis] if powers else 1
        column = [n]
        if full_at is not None:
            share = factor / full_at
            column.append(n if share >= 1 else max(1, math.ceil(n * share**power - 1e-6)))
        for _ in range(levels - 1):
            column.append(max(1, math.ceil(column[-1] * factor**power - 1e-6)))
        columns.append(column)
    return tuple(zip(*columns, strict=True))


POWERS = st.sampled_from([0, 0.5, 1, 2])
LAWS = st.integers(1, 3).flatmap(
    lambda dims: st.tuples(
        st.tuples(*[st.integers(1, 20)] * dims),
        st.integers(1, 4),
        st.just(()) | st.tuples(*[POWERS] * dims).filter(any),
        st.none() | st.floats(0.05, 1),
    )
)


@settings(deadline=None, max_examples=60)
@given(LAWS, st.lists(st.floats(1e-3, 1), min_size=1, max_size=8))
def test_sizes_are_those_of_the_slow_version_and_rise_with_the_factor(law, factors):
    pyramid = Pyramid(*law)
    found = [pyramid.sizes(factor) for factor in sorted(factors)]
    assert found == [slow_sizes(*law, factor) for factor in sorted(factors)]
    assert all(np.all(np.array(a) <= np.array(b)) for a, b in itertools.pairwise(found))
    assert all(len(sizes) == pyramid.levels + pyramid.first for sizes in found)


@settings(deadline=None, max_examples=40)
@given(LAWS, st.floats(0, 0.8), st.floats(0.05, 1), st.integers(0, 2**32 - 1))
def test_pieces_are_exactly_where_a_size_changes(law, low, share, seed):
    high, pyramid = low + (1 - low) * share, Pyramid(*law)
    ends, sizes = pyramid.pieces(low, high)
    assert ends == sorted(ends) and ends[-1] == high and len(ends) == len(sizes) and sizes[-1] == pyramid.sizes(high)
    for start, end, held in zip([low, *ends], ends, sizes, strict=False):
        inside = np.random.default_rng(seed).uniform(start, end, 3) if end - start > 1e-12 else []
        assert all(slow_sizes(*law, float(factor)) == held for factor in inside if start < factor < end)


def test_no_piece_is_two():
    """Sizes differ from one piece to the next, and every size on a fine grid is one of them."""
    for law in [((30, 17), 3, (), 0.5), ((12, 12, 9), 3, (1, 1, 0.5), None), ((9, 8), 2, (0, 1), 0.3)]:
        ends, sizes = Pyramid(*law).pieces(0.0, 0.5)
        same = [b - a for a, b, one, two in zip(ends, ends[1:], sizes, sizes[1:], strict=False) if one == two]
        assert not same
        grid = {slow_sizes(*law, factor) for factor in np.linspace(1e-5, 0.5, 40_001)}
        assert grid <= set(sizes)


def test_the_plain_law_is_that_of_level_sizes():
    pyramid = Pyramid((31, 17), 3)
    for factors in (0.3, [0.5, 0.1], [(0.5, 1.0), (0.2, 0.1)]):
        assert pyramid.sizes(factors) == level_sizes((31, 17), factors, 3)
    assert plan_for(pyramid, 0.0, 0.5, 3) == plan((31, 17), 3, 0.0, 0.5, 3)


def test_at_the_largest_factor_a_rescaled_network_is_the_ordinary_one_and_beyond_it_keeps_its_images():
    pyramid = Pyramid((48, 40), 4, full_at=0.5)
    for factor in (0.5, 0.8, 1.0):
        assert pyramid.sizes(factor) == ((48, 40), *level_sizes((48, 40), factor, 4))


def test_an_axis_of_power_zero_is_never_resized():
    sizes = Pyramid((32, 32, 7), 3, powers=(1, 1, 0), full_at=0.5).sizes(0.1)
    assert [size[2] for size in sizes] == [7] * 4 and sizes[1][:2] == (7, 7)


@pytest.mark.parametrize(
    "law", [((32, 20), 3, (), 0.5), ((16, 16, 6), 3, (1, 1, 0.5), None), ((16, 16, 6), 2, (1, 1, 0), 0.5)]
)
def test_every_factor_has_a_bucket_that_holds_its_sizes_at_less_than_one_canvas_costs(law):
    pyramid = Pyramid(*law)
    buckets = plan_for(pyramid, 0.0, 0.5, 3)
    assert len(buckets) == 3 and buckets[-1].canvases == pyramid.sizes(0.5)
    for factor in [*np.linspace(0.001, 0.5, 200), *(bucket.high for bucket in buckets)]:
        bucket = bucket_of(buckets, float(factor))
        assert np.all(np.array(pyramid.sizes(float(factor))) <= np.array(bucket.canvases))
        assert bucket.low - 1e-6 <= factor <= bucket.high + 1e-6
    costs = [overhead(plan_for(pyramid, 0.0, 0.5, programs)) for programs in (1, 3, 10_000)]
    assert costs[0] > costs[1] > costs[2] == pytest.approx(1, abs=1e-12)


def test_the_best_cuts_of_a_rescaled_network_are_no_worse_than_any_on_a_grid():
    pyramid, weights = Pyramid((12, 9), 2, full_at=0.6), (0, 3, 5)
    grid = (np.arange(1500) + 0.5) / 1500 * 0.6

    def mean_cost(cut):
        low, high = (np.dot(weights, np.prod(pyramid.sizes(end), axis=1)) for end in (cut, 0.6))
        return np.where(grid <= cut, low, high).mean()

    (cut, _), ends = (b.high for b in plan_for(pyramid, 0.0, 0.6, 2, weights=weights)), pyramid.pieces(0.0, 0.6)[0]
    assert mean_cost(cut) <= min(map(mean_cost, ends)) * (1 + 2e-3)


def test_too_small_images_are_refused_with_the_smallest_factor_that_will_do():
    pyramid = Pyramid((48, 32), 3, full_at=0.5)
    with pytest.raises(ConfigError, match=r"factor 0.03 .*\(3, 2\).*the smallest factor that will do is 0.032"):
        pyramid.check([0.5, 0.03])
    pyramid.check([0.032])
    Pyramid((48, 32), 3).check([0.01])
    with pytest.raises(ConfigError, match="no factor will do"):
        Pyramid((48, 2), 3).check([0.5])


@pytest.mark.parametrize(
    ("law", "message"),
    [
        ({"powers": (1,)}, "powers .1.0,. for 2 spatial axes"),
        ({"powers": (1, -1)}, "below 0"),
        ({"powers": (0, 0)}, "one is above it"),
        ({"powers": (1, math.nan)}, "below 0"),
        ({"full_at": 0.0}, "in .0, 1."),
        ({"full_at": 1.5}, "1.5"),
        ({"levels": 0}, "start at 1"),
        ({"shape": ()}, "start at 1"),
    ],
)
def test_what_is_no_law_is_refused(law, message):
    with pytest.raises(ConfigError, match=message):
        Pyramid(**{"shape": (8, 8), "levels": 3, **law})
