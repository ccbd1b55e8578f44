"""Counts are exact and ties are broken by order."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab.pruning import keep

pytestmark = pytest.mark.fast


@given(st.integers(1, 10**9), st.integers(1, 1000), st.integers(1, 1000))
def test_count_is_that_of_a_quantile_of_distinct_scores(size, a, b):
    fraction = Fraction(min(a, b), max(a, b))
    expected = size - math.ceil((1 - fraction) * (size - 1))
    assert keep.count(float(fraction), size) == expected
    assert -1 <= expected - fraction * size <= 1


@given(st.integers(1, 10**8), st.data())
def test_a_fraction_gives_the_count_back(size, data):
    kept = data.draw(st.integers(0, size))
    assert keep.count(kept / size, size) == kept


def slow(scores, kept):
    """By sorting pairs: largest first, then by position."""
    flat = np.concatenate([s.ravel() for s in scores]).tolist()
    best = sorted(range(len(flat)), key=lambda i: (-flat[i], i))[: max(kept, 0)]
    return [i in set(best) for i in range(len(flat))]


@settings(max_examples=60)
@given(st.lists(st.lists(st.integers(-2, 3), min_size=1, max_size=8), min_size=1, max_size=4), st.integers(-1, 40))
def test_largest_keeps_exact_counts_and_what_comes_first(lists, kept):
    scores = [np.array(values, np.float32) for values in lists]
    masks = keep.largest(scores, kept)
    assert [m.shape for m in masks] == [s.shape for s in scores]
    assert np.concatenate(masks).tolist() == slow(scores, kept)
    sized = keep.largest_within(scores, [1] * len(scores), max(kept, 1))
    assert np.concatenate(sized).tolist() == slow(scores, max(kept, 1))


def test_order_is_row_major_whatever_the_memory_is():
    scores = np.zeros((3, 4), np.float32)
    expected = keep.largest([scores], 5)[0]
    assert expected.ravel()[:5].all() and not expected.ravel()[5:].any()
    np.testing.assert_array_equal(keep.largest([np.asfortranarray(scores)], 5)[0], expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_lines_keep_their_own_best(axis):
    scores = np.random.default_rng(0).integers(0, 4, (4, 5, 6)).astype(np.float32)
    mask = np.moveaxis(keep.largest_along(scores, 2, axis), axis, -1)
    lines = np.moveaxis(scores, axis, -1)
    for index in np.ndindex(lines.shape[:-1]):
        assert mask[index].tolist() == slow([lines[index]], 2)


def test_units_of_unequal_sizes_come_closest_to_the_budget():
    scores, sizes = [np.array([5.0, 1.0]), np.array([4.0, 3.0])], [10, 4]
    for budget, kept in [(1, 10), (11, 10), (13, 14), (15, 14), (17, 18), (99, 28)]:
        masks = keep.largest_within(scores, sizes, budget)
        assert sum(int(m.sum()) * size for m, size in zip(masks, sizes, strict=True)) == kept


@pytest.mark.parametrize("size, fraction, kept", [(10, 0.3, 3), (100, 0.25, 25), (1001, 0.1, 101)])
def test_rules_agree_on_distinct_scores(size, fraction, kept):
    scores = [np.random.default_rng(size).permutation(size).astype(np.float32)]
    by_quantile, exact = keep.above_quantile(scores, fraction)[0], keep.largest(scores, keep.count(fraction, size))[0]
    assert by_quantile.sum() == kept
    np.testing.assert_array_equal(by_quantile, exact)


def test_rules_differ_where_scores_are_equal():
    same = [np.ones(10, np.float32)]
    assert keep.above_quantile(same, 0.2)[0].all()
    assert keep.largest(same, keep.count(0.2, 10))[0].tolist() == [True, True] + [False] * 8
    zeros = [np.array([0.0] * 9 + [1.0], np.float32)]
    assert keep.above_quantile(zeros, 0.2)[0].all()
    assert keep.above_quantile([np.zeros(64, np.float32)], 0.1)[0].all()
