import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab.errors import ConfigError, DataError
from hyperlab.inference import multiple_of, starts, tiled, window_weights

pytestmark = pytest.mark.fast


def image_of(shape, seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


@pytest.mark.parametrize("weighting", ["gaussian", "constant"])
@pytest.mark.parametrize(
    ("shape", "window"),
    [((37, 23), 8), ((16, 16), (16, 16)), ((5, 40), 8), ((3, 5), 8), ((9, 14, 11), (4, 8, 6)), ((7,), 3)],
)
def test_a_pointwise_function_gives_what_it_gives_on_the_whole_image(shape, window, weighting):
    image = image_of((*shape, 2))
    function = lambda x: np.stack([x[..., 0] * x[..., 1], np.sin(3 * x[..., 0]), np.full(x.shape[:-1], 7.0)], -1)  # noqa: E731
    result = tiled(function, image, window, weighting=weighting, batch=3)
    assert result.shape == (*shape, 3) and result.dtype == np.float32
    np.testing.assert_allclose(result, function(image), rtol=2e-6, atol=1e-6)  # constant and identity included
    np.testing.assert_allclose(tiled(lambda x: x, image, window, weighting=weighting), image, atol=1e-6)


def test_one_program_for_any_image_and_the_last_batch_is_filled_up():
    shapes = []

    @jax.jit
    def function(windows):
        shapes.append(windows.shape)
        return 2 * windows

    for shape in ((20, 9), (8, 8), (31, 30), (4, 50)):
        image = image_of((*shape, 1))
        np.testing.assert_allclose(tiled(function, image, 8, batch=4), 2 * image, rtol=1e-6)
    assert shapes == [(4, 8, 8, 1)]


def test_overlapping_outputs_are_averaged_by_their_weights():
    """A function of the place in the window shows the weights themselves."""
    place = np.arange(4.0, dtype=np.float32)
    ramp = lambda x: np.broadcast_to(place[None, :, None], x.shape)  # noqa: E731
    weights, expected, total = window_weights((4,)), np.zeros(10), np.zeros(10)
    for start in starts(10, 4, 0.5):
        expected[start : start + 4] += weights * place
        total[start : start + 4] += weights
    np.testing.assert_allclose(tiled(ramp, np.zeros((10, 1), np.float32), 4)[:, 0], expected / total, rtol=1e-5)
    # the centre of a window outweighs the border of its neighbours
    assert weights[1] == weights[2] == 1 and weights[0] < 0.4


def test_the_borders_of_windows_where_a_convolution_errs_hardly_count():
    image = image_of((40, 33, 1))
    kernel = jnp.ones((3, 3, 1, 1)) / 9
    blur = jax.jit(lambda x: jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME",
                                                          dimension_numbers=("NHWC", "HWIO", "NHWC")))  # fmt: skip
    whole = blur(image[None])[0]
    border = lambda weighting: np.abs(tiled(blur, image, 16, weighting=weighting) - whole)[1:-1, 1:-1].mean()  # noqa: E731
    assert border("gaussian") < 0.1 * border("constant")


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
def test_windows_cover_an_axis_evenly_to_its_ends(overlap):
    for length in range(5, 40):
        begin = starts(length, 5, overlap)
        assert begin[0] == 0 and begin[-1] == length - 5 and begin == sorted(set(begin))
        assert max(np.diff(begin), default=0) <= max(1, int(5 * (1 - overlap)))


def test_weights_and_sizes():
    weights = window_weights((7, 8))
    np.testing.assert_array_equal(weights, weights[::-1, ::-1])
    assert weights.max() == 1 and weights.min() == np.float32(1e-3)
    assert multiple_of((1, 16, 17), 8) == (8, 16, 24)


def test_refusals():
    image = image_of((10, 10, 1))
    with pytest.raises(ConfigError, match="overlap is 1.0"):
        tiled(lambda x: x, image, 4, overlap=1.0)
    with pytest.raises(ConfigError, match="batch is 0"):
        tiled(lambda x: x, image, 4, batch=0)
    with pytest.raises(ConfigError, match="unknown weighting 'gauss'; did you mean 'gaussian'"):
        tiled(lambda x: x, image, 4, weighting="gauss")
    with pytest.raises(DataError, match="expected 2 whole numbers"):
        tiled(lambda x: x, image, (4, 4, 4))
    with pytest.raises(DataError, match=r"the function gave \(4, 2, 2, 1\) for windows \(4, 4, 4, 1\)"):
        tiled(lambda x: x[:, ::2, ::2], image, 4)
    with pytest.raises(ConfigError, match="a window of 8 does not fit a length of 4"):
        starts(4, 8)
