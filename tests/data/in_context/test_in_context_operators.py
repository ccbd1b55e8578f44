"""The operators give the numbers that were measured on the published code, and agree with slow obvious versions."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from hyperlab.data.in_context import operators as eager

# one program for each shape: op by op, each small operation would be compiled by itself
operators = types.SimpleNamespace(
    affine_points=jax.jit(eager.affine_points, static_argnums=0),
    elastic_points=jax.jit(eager.elastic_points, static_argnames="faithful"),
    **{
        name: jax.jit(getattr(eager, name))
        for name in ("brightness_contrast", "gaussian_blur", "sample", "sharpness", "sobel_edges", "sobel_magnitude")
    },
)


def picture(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


def impulse(n=11):
    return np.zeros((n, n), np.float32) + (np.arange(n * n).reshape(n, n) == n * n // 2)


def test_contrast_multiplies_about_zero_and_both_clip():
    image = jnp.array([[0.8, 0.2]])
    np.testing.assert_allclose(operators.brightness_contrast(image, 0.0, 1.5, True), [[1.0, 0.3]], atol=1e-6)
    np.testing.assert_allclose(operators.brightness_contrast(image, 0.0, 1.5, False), [[1.0, 0.3]], atol=1e-6)
    # .8 - .1 times 1.2 against .8 * 1.2 - .1; the first is clipped between the two
    np.testing.assert_allclose(operators.brightness_contrast(image, -0.1, 1.2, False), [[0.84, 0.12]], atol=1e-6)
    np.testing.assert_allclose(operators.brightness_contrast(image, -0.1, 1.5, True), [[0.9, 0.2]], atol=1e-6)


def test_sharpness():
    smoothed = np.zeros((11, 11))
    smoothed[4:7, 4:7] = 1 / 13
    smoothed[5, 5] = 5 / 13
    np.testing.assert_allclose(operators.sharpness(impulse(), 0.0), smoothed, atol=1e-6)
    image = picture(2, 7, 9)
    np.testing.assert_allclose(operators.sharpness(image, 1.0), image, atol=1e-6)
    sharp = np.asarray(operators.sharpness(image, 5.0))
    np.testing.assert_array_equal(sharp[:, [0, -1]], image[:, [0, -1]])  # the border keeps its values
    np.testing.assert_array_equal(sharp[:, :, [0, -1]], image[:, :, [0, -1]])
    assert sharp.min() == 0 and sharp.max() == 1


@pytest.mark.parametrize("sigmas", [(0.1, 1.1), (0.7, 0.7)])
def test_blur_is_a_reflected_gaussian_of_five_taps(sigmas):
    image = picture(2, 8, 10)
    expected = image
    for axis, sigma in zip((1, 2), sigmas, strict=True):
        weights = np.exp(-0.5 * (np.arange(-2, 3) / sigma) ** 2)
        expected = scipy.ndimage.correlate1d(expected, weights / weights.sum(), axis, mode="mirror")
    np.testing.assert_allclose(operators.gaussian_blur(image, *sigmas), expected, atol=1e-6)
    if sigmas == (0.1, 1.1):  # the published code: nothing along the height
        response = np.asarray(operators.gaussian_blur(impulse(), *sigmas))
        assert np.delete(response, 5, axis=0).max() < 1e-12 and response[5, 4] > 0.2


def test_sobel_of_a_square():
    square = np.zeros((9, 9), np.float32)
    square[3:6, 3:6] = 1
    magnitude = np.asarray(operators.sobel_magnitude(square))
    np.testing.assert_allclose(magnitude[2, 2], 0.1768, atol=1e-3)
    np.testing.assert_allclose(magnitude.max(), 0.5303, atol=1e-3)
    np.testing.assert_allclose(magnitude[0, 0], 0.001, atol=1e-5)
    edges = np.asarray(operators.sobel_edges(square))
    assert edges.min() == 0 and edges.max() == 1 and len(np.unique(edges.round(3))) > 2  # soft
    rows = scipy.ndimage.sobel(square, 0, mode="nearest") / 8
    columns = scipy.ndimage.sobel(square, 1, mode="nearest") / 8
    np.testing.assert_allclose(magnitude, np.sqrt(rows**2 + columns**2 + 1e-6), atol=1e-6)
    assert (operators.sobel_edges(np.zeros((5, 5), np.float32)) == 0).all()


def test_sampling_outside_is_zero():
    images = picture(3, 6, 7)
    rng = np.random.default_rng(1)
    rows, columns = rng.uniform(-3, 9, (6, 7)), rng.uniform(-3, 10, (6, 7))
    framed = np.pad(images, ((0, 0), (4, 4), (4, 4)))
    expected = [scipy.ndimage.map_coordinates(one, (rows + 4, columns + 4), order=1) for one in framed]
    actual = operators.sample(images, rows.astype(np.float32), columns.astype(np.float32))
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_affine():
    image = picture(1, 8, 8)
    turned = operators.sample(image, *operators.affine_points((8, 8), 90.0, 1.0, 0.0, 0.0))
    np.testing.assert_allclose(turned, np.rot90(image, 1, (1, 2)), atol=1e-5)
    moved = np.asarray(operators.sample(image, *operators.affine_points((8, 8), 0.0, 1.0, 2.0, -1.0)))
    np.testing.assert_allclose(moved[0, 2:, :-1], image[0, :-2, 1:], atol=1e-6)
    assert (moved[0, :2] == 0).all() and (moved[0, :, -1] == 0).all()
    disc = (np.hypot(*(np.mgrid[:33, :33] - 16)) < 10)[None].astype(np.float32)
    small = operators.sample(disc, *operators.affine_points((33, 33), 0.0, 0.8, 0.0, 0.0))
    np.testing.assert_allclose(small.sum() / disc.sum(), 0.64, atol=0.02)


def test_elastic_points_against_a_filter_of_63_taps():
    noise = np.random.default_rng(0).uniform(-1, 1, (2, 40, 30)).astype(np.float32)
    weights = np.exp(-0.5 * (np.arange(-31, 32) / 6.0) ** 2)
    weights /= weights.sum()
    filtered = noise
    for axis in (1, 2):
        filtered = scipy.ndimage.correlate1d(filtered, weights, axis, mode="constant")
    rows, columns = operators.elastic_points(noise, 6.0, 2.0, faithful=False)
    np.testing.assert_allclose(np.asarray(rows) - np.arange(40)[:, None], 2 * filtered[0] * 20, atol=1e-4)
    np.testing.assert_allclose(np.asarray(columns) - np.arange(30), 2 * filtered[1] * 15, atol=1e-4)


def test_elastic_without_noise():
    image = np.ones((1, 12, 12), np.float32)
    still = jnp.zeros((2, 12, 12))
    np.testing.assert_allclose(
        operators.sample(image, *operators.elastic_points(still, 6.0, 1.0, faithful=False)), image
    )
    # the published grid reaches from border to border, so that the outermost pixels are read half outside
    rows, columns = operators.elastic_points(still, 6.0, 1.0, faithful=True)
    np.testing.assert_allclose(columns[0, [0, -1]], [-0.5, 11.5], atol=1e-5)
    faded = operators.sample(image, rows, columns)
    np.testing.assert_allclose([faded[0, 0, 0], faded[0, 0, 5], faded[0, 5, 5]], [0.25, 0.5, 1.0], atol=1e-5)
