import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab.data import resample as r
from hyperlab.errors import DataError

pytestmark = pytest.mark.fast
lengths = st.integers(1, 23)


def slow_linear(values, size):
    """The definition, for one axis: a triangle about each new centre, clamped by its own weights."""
    source, step = len(values), max(len(values) / size, 1)
    out = []
    for i in range(size):
        centre = (i + 0.5) * source / size - 0.5
        weights = [max(0.0, 1 - abs(centre - j) / step) for j in range(source)]
        out.append(sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights))
    return np.array(out)


@settings(deadline=None)
@given(lengths, lengths, st.integers(0, 99))
def test_one_axis_is_the_definition(source, size, seed):
    values = np.random.default_rng(seed).random(source)
    np.testing.assert_allclose(r.resample_image(values[:, None], (size,))[:, 0], slow_linear(values, size), atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(lengths, lengths), min_size=1, max_size=3), st.integers(0, 99))
def test_axes_are_independent_values_stay_in_range_and_constants_stay(axes, seed):
    shape, size = zip(*axes, strict=True)
    image = np.random.default_rng(seed).random((*shape, 2)).astype(np.float32)
    new = r.resample_image(image, size)
    assert new.shape == (*size, 2) and new.dtype == np.float32
    assert image.min() - 1e-6 <= new.min() and new.max() <= image.max() + 1e-6
    np.testing.assert_allclose(r.resample_image(np.full_like(image, 0.3), size), 0.3, rtol=1e-6)
    flipped = r.resample_image(np.flip(image, 0), size)
    np.testing.assert_allclose(flipped, np.flip(new, 0), atol=1e-6)
    slow = np.apply_along_axis(slow_linear, 0, image, size[0])
    one_axis = r.resample_image(image, (size[0], *shape[1:]))
    np.testing.assert_allclose(one_axis, slow, atol=1e-6)


def test_upsampling_equals_scipy_inside():
    from scipy.ndimage import map_coordinates

    image = np.random.default_rng(0).random((6, 9))
    points = np.meshgrid(*((np.arange(m) + 0.5) * n / m - 0.5 for n, m in ((6, 13), (9, 20))), indexing="ij")
    expected = map_coordinates(image, points, order=1, mode="nearest")
    np.testing.assert_allclose(r.resample_image(image[..., None], (13, 20))[..., 0], expected, atol=1e-6)


@given(lengths, lengths)
def test_labels_take_the_nearest_pixel_and_no_new_value_arises(source, size):
    labels = np.arange(source) * 7
    new = r.resample_labels(labels, (size,))
    centres = (np.arange(size) + 0.5) * source / size - 0.5
    distance = np.abs(new / 7 - centres)
    assert np.all(distance <= 0.5 + 1e-9) and set(new) <= set(labels)
    assert np.all(np.diff(new) >= 0)


def test_same_size_is_the_identity():
    image = np.random.default_rng(0).random((5, 6, 2), np.float32)
    np.testing.assert_array_equal(r.resample_image(image, (5, 6)), image)
    np.testing.assert_array_equal(r.resample_labels(image[..., 0], (5, 6)), image[..., 0])
    np.testing.assert_array_equal(r.pad_or_crop(image, (5, 6)), image)


@given(lengths, lengths, lengths)
def test_padding_and_cropping_keep_the_middle(n, m, other):
    array = np.arange(1, n * other + 1).reshape(n, other)
    new = r.pad_or_crop(array, (m, other), value=-1)
    assert new.shape == (m, other)
    if m >= n:
        start = (m - n) // 2
        np.testing.assert_array_equal(new[start : start + n], array)
        assert np.sum(new == -1) == (m - n) * other
        np.testing.assert_array_equal(r.pad_or_crop(new, (n, other)), array)  # cutting undoes filling
    else:
        np.testing.assert_array_equal(new, array[(n - m) // 2 :][:m])


def test_unit_range():
    image = np.array([[[3.0, 5.0], [7.0, 5.0], [5.0, 5.0]]])
    np.testing.assert_allclose(r.unit_range(image)[..., 0], [[0, 1, 0.5]])
    np.testing.assert_array_equal(r.unit_range(image)[..., 1], 0)  # constant
    np.testing.assert_allclose(r.unit_range(image, joint=True)[0, :, 1], 0.5)
    outlier = np.concatenate([np.linspace(0, 1, 999), [1e6]])[:, None]
    clipped = r.unit_range(outlier, 0.5, 99.5)
    assert clipped.max() == 1 and clipped.min() == 0 and 0.45 < np.median(clipped) < 0.55
    assert clipped.dtype == np.float32
    with np.errstate(all="raise"):
        r.unit_range(np.arange(6, dtype=np.uint8).reshape(2, 3, 1))


@pytest.mark.parametrize("size", [0, -3, (4,), (4, 5, 6), (4, 2.5)])
def test_sizes_that_are_none(size):
    with pytest.raises(DataError, match="expected 2 whole numbers of at least 1"):
        r.as_size(size, 2)
