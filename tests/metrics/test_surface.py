import math

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab.errors import ConfigError, DataError
from hyperlab.metrics import surface as s


def box(shape, *bounds):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(low, high) for low, high in bounds)] = True
    return mask


def blobs(seed, dims=2):
    rng = np.random.default_rng(seed)
    shape = (14, 11) if dims == 2 else (7, 8, 6)
    smooth = (scipy.ndimage.gaussian_filter(rng.normal(size=shape), 1.5) for _ in range(2))
    return [values > np.quantile(values, 0.7) for values in smooth] + [tuple(rng.uniform(0.4, 3.0, dims))]


def slow_surface(mask):
    """Pixel by pixel: a face-connected neighbour is missing, or lies outside of the image."""
    places = []
    for place in np.argwhere(mask):
        for axis in range(mask.ndim):
            for step in (-1, 1):
                other = place.copy()
                other[axis] += step
                if not 0 <= other[axis] < mask.shape[axis] or not mask[tuple(other)]:
                    places.append(tuple(place))
    return np.array(sorted(set(places)), float)


def slow_metrics(first, second, spacing, tolerance):
    """All pairs of surface pixels."""
    a, b = slow_surface(first) * spacing, slow_surface(second) * spacing
    pairs = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    forth, back = pairs.min(1), pairs.min(0)
    both = np.concatenate([forth, back])
    larger = max(np.percentile(forth, 95), np.percentile(back, 95))
    return np.percentile(both, 95), larger, both.mean(), (both <= tolerance).mean()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 3]))
def test_all_four_equal_those_of_all_pairs_of_surface_pixels(seed, dims):
    first, second, spacing = blobs(seed, dims)
    np.testing.assert_allclose(
        s.surface_metrics(first, second, spacing, 1.5), slow_metrics(first, second, spacing, 1.5), rtol=1e-9
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_invariances(seed):
    first, second, spacing = blobs(seed)
    base = np.array(s.surface_metrics(first, second, spacing, 1.5))
    np.testing.assert_allclose(s.surface_metrics(second, first, spacing, 1.5), base, rtol=1e-12)
    np.testing.assert_allclose(s.surface_metrics(first.T, second.T, spacing[::-1], 1.5), base, rtol=1e-12)
    np.testing.assert_allclose(s.surface_metrics(first[::-1], second[::-1], spacing, 1.5), base, rtol=1e-12)
    padded = [np.pad(mask, 3) for mask in (first, second)]  # the border is background either way
    np.testing.assert_allclose(s.surface_metrics(*padded, spacing, 1.5), base, rtol=1e-12)
    larger = s.surface_metrics(first, second, np.multiply(2, spacing), 3.0)
    np.testing.assert_allclose(larger, base * [2, 2, 2, 1], rtol=1e-12)


def test_a_mask_and_itself_are_at_distance_zero():
    first = blobs(0)[0]
    assert s.surface_metrics(first, first) == (0, 0, 0, 1)


def test_a_single_pixel_is_its_own_surface_and_the_spacing_scales_each_axis():
    first, second = box((9, 9), (2, 3), (2, 3)), box((9, 9), (5, 6), (6, 7))
    assert s.surface_metrics(first, second) == (5, 5, 5, 0)
    assert s.surface_metrics(first, second, (2.0, 0.5), 6.0) == (math.hypot(6, 2),) * 3 + (0,)
    deep = box((4, 5, 6), (0, 1), (0, 1), (0, 1)), box((4, 5, 6), (2, 3), (3, 4), (5, 6))
    assert s.surface_metrics(*deep, (1.0, 1.0, 1.2), 7.0) == (7, 7, 7, 1)  # 2, 3 and 6 mm


def test_a_square_shifted_along_an_axis():
    first, second = box((12, 12), (2, 7), (2, 7)), box((12, 12), (2, 7), (4, 9))
    # Of 16 surface pixels, the two long sides have 3 in common with the other surface, and one each 1 and 2 away from
    # it. The outer short side is 2 away; the inner one lies in the other square, 1, 2 and 1 away from its sides.
    forth, back = s.surface_distances(first, second)
    assert sorted(forth) == sorted(back) == [0] * 6 + [1] * 4 + [2] * 6
    result = s.surface_metrics(first, second)
    assert result == (2, 2, 1, 10 / 16)
    assert s.surface_metrics(first, second, (1.0, 0.3), 0.6).nsd == 1.0  # two times 0.3 is within 0.6


def test_two_slabs_are_their_gap_apart_in_mm():
    first, second = box((8, 8, 8), (1, 2), (0, 8), (0, 8)), box((8, 8, 8), (5, 6), (0, 8), (0, 8))
    result = s.surface_metrics(first, second, (2.5, 1.0, 1.0), 10.0)
    assert result == (10, 10, 10, 1)
    assert s.surface_metrics(first, second, (2.5, 1.0, 1.0), 9.99).nsd == 0


@pytest.mark.parametrize("gap", [4, 10])
def test_concentric_circles_are_the_difference_of_their_radii_apart(gap):
    y, x = np.mgrid[-45:46, -45:46]
    radius = np.hypot(y, x)
    result = s.surface_metrics(radius <= 30, radius <= 30 + gap)
    np.testing.assert_allclose(result[:3], gap, atol=0.75)
    assert s.surface_metrics(radius <= 30, radius <= 30 + gap, tolerance=gap + 1).nsd == 1


def test_pooled_and_larger_percentile_are_two_numbers():
    first, second = box((40, 40), (2, 38), (2, 38)), box((40, 40), (2, 38), (2, 38))
    second[20, 39] = True  # few pixels far away: they vanish among all, and less so within their own surface
    far = box((40, 60), (2, 4), (2, 4))
    near = far | box((40, 60), (2, 3), (30, 31))
    pooled, larger, _, _ = s.surface_metrics(near, far)
    assert larger > pooled > 0
    assert s.surface_metrics(first, second).hd95_max == 0


def test_empty_masks():
    empty, full = np.zeros((6, 8), bool), box((6, 8), (1, 3), (1, 3))
    assert np.isnan(s.surface_metrics(empty, empty)).all()
    assert np.isnan(s.surface_metrics(empty, empty, one_empty="diagonal")).all()
    for pair in ((empty, full), (full, empty)):
        result = s.surface_metrics(*pair)
        assert np.isnan(result[:3]).all() and result.nsd == 0
        assert s.surface_metrics(*pair, one_empty="diagonal") == (10, 10, 10, 0)
        assert s.surface_metrics(*pair, (1.0, 0.5), one_empty="diagonal")[:3] == (math.hypot(6, 4),) * 3


def test_each_case_and_class_is_that_of_its_masks():
    rng = np.random.default_rng(0)
    predictions, labels = rng.integers(0, 3, (2, 4, 9, 8))
    spacing = rng.uniform(0.5, 2, (4, 2))
    result = s.per_class(predictions, labels, 4, spacing=spacing, tolerance=0.8)
    assert all(part.shape == (4, 3) for part in result)
    for case in range(4):
        for k in (1, 2):
            one = s.surface_metrics(predictions[case] == k, labels[case] == k, spacing[case], 0.8)
            np.testing.assert_array_equal([part[case, k - 1] for part in result], one)
    assert np.isnan(np.array(result)[:, :, 2]).all()  # class 3 is nowhere
    shared = s.per_class(predictions, labels, 4, spacing=(2.0, 1.0))
    np.testing.assert_array_equal(shared, s.per_class(predictions, labels, 4, spacing=np.tile((2.0, 1.0), (4, 1))))
    pixels = s.per_class(predictions, labels, 4)
    np.testing.assert_array_equal(pixels, s.per_class(predictions, labels, 4, spacing=(1.0, 1.0)))


def test_mistakes_are_named():
    mask = box((4, 4), (1, 2), (1, 2))
    for arguments, error, message in [
        ((mask, mask[:3]), DataError, "\\(4, 4\\), label \\(3, 4\\)"),
        ((mask.astype(int), mask), DataError, "prediction is int64.*per_class"),
        ((mask, mask, (1.0,)), DataError, "expected 2 positive numbers"),
        ((mask, mask, (1.0, 0.0)), DataError, "positive"),
        ((mask, mask, (1.0, np.nan)), DataError, "positive"),
        ((mask, mask, None, -1.0), ConfigError, "tolerance is -1.0"),
    ]:
        with pytest.raises(error, match=message):
            s.surface_metrics(*arguments)
    with pytest.raises(ConfigError, match="valid: 'diagonal', 'nan'"):
        s.surface_metrics(mask, mask, one_empty="inf")
    with pytest.raises(DataError, match="spacing has shape \\(3,\\)"):
        s.per_class(np.zeros((2, 4, 4), int), np.zeros((2, 4, 4), int), 2, spacing=(1.0, 1.0, 1.0))
