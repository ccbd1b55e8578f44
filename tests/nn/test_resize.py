"""Both forms of resizing are numpy's interpolation, axis by axis; and so are their gradients."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab.errors import ConfigError
from hyperlab.nn import check_sizes, level_sizes, mask_canvas, resize_canvas
from hyperlab.nn.resize import resize

CANVASES = {1: ((19,), (13,)), 2: ((11, 9), (7, 12)), 3: ((5, 7, 6), (8, 4, 5))}


def interpolation(size_in, size_out):
    """The matrix `[size_out, size_in]` by the definition: the interpolation of every unit vector, in float64."""
    position = np.clip((np.arange(size_out) + 0.5) * size_in / size_out - 0.5, 0, size_in - 1)
    return np.stack([np.interp(position, np.arange(size_in), unit) for unit in np.eye(size_in)], axis=1)


def slow_resize(images, size):
    for axis, n in enumerate(size, start=1):
        images = np.moveaxis(np.tensordot(interpolation(images.shape[axis], n), images, (1, axis)), 0, axis)
    return images


def slow_gradient(cotangent, size):
    for axis, n in enumerate(size, start=1):
        matrix = interpolation(n, cotangent.shape[axis])
        cotangent = np.moveaxis(np.tensordot(matrix.T, cotangent, (1, axis)), 0, axis)
    return cotangent


def value_and_gradient(function, images, cotangent):
    value, pull = jax.vjp(function, images)
    return value, pull(cotangent)[0]


exact = jax.jit(
    lambda images, cotangent, size: value_and_gradient(lambda x: resize(x, size), images, cotangent),
    static_argnames="size",
)
canvas = jax.jit(
    lambda images, cotangent, size_in, size_out, canvas: value_and_gradient(
        lambda x: resize_canvas(x, size_in, size_out, canvas), images, cotangent
    ),
    static_argnames="canvas",
)


def padded(array, spatial, fill=0.0):
    widths = [(0, 0), *((0, n - m) for n, m in zip(spatial, array.shape[1:-1], strict=True)), (0, 0)]
    return np.pad(array, widths, constant_values=fill)


@st.composite
def cases(draw):
    dims = draw(st.integers(1, 3))
    limits_in, limits_out = CANVASES[dims]
    size_in = tuple(draw(st.integers(1, n)) for n in limits_in)
    size_out = tuple(draw(st.integers(1, n)) for n in limits_out)
    return limits_in, limits_out, size_in, size_out, draw(st.integers(0, 100))


@settings(deadline=None, max_examples=25)
@given(cases())
def test_exact_and_canvas_are_the_definition_and_so_are_their_gradients(case):
    limits_in, limits_out, size_in, size_out, seed = case
    random = np.random.default_rng(seed)
    images = random.normal(size=(2, *size_in, 3)).astype(np.float32)
    cotangent = random.normal(size=(2, *size_out, 3)).astype(np.float32)
    value, gradient = slow_resize(images, size_out), slow_gradient(cotangent, size_in)

    ours = exact(images, cotangent, size_out)
    np.testing.assert_allclose(ours[0], value, atol=2e-6)
    np.testing.assert_allclose(ours[1], gradient, atol=1e-5)
    # What lies outside of the valid region is never read, not even if it is not a number.
    outside = padded(images, limits_in, np.nan), padded(cotangent, limits_out, 7.0)
    ours = canvas(*outside, jnp.array(size_in), jnp.array(size_out), limits_out)
    np.testing.assert_allclose(ours[0], padded(value, limits_out), atol=2e-6)
    np.testing.assert_allclose(ours[1], padded(gradient, limits_in), atol=1e-5)


def test_one_program_serves_every_size_of_a_canvas():
    traces = []

    @jax.jit
    def program(images, size_in, size_out):
        traces.append(1)
        return resize_canvas(images, size_in, size_out, (4, 4))

    for size in itertools.product((1, 3, 4), repeat=2):
        program(jnp.ones((1, 6, 6, 1)), jnp.array([6, 6]), jnp.array(size))
    assert len(traces) == 1


def test_the_values_are_those_of_jax_image():
    images = jax.random.normal(jax.random.key(0), (2, 7, 9, 3))
    for size in ((3, 18), (1, 1)):
        theirs = jax.image.resize(images, (2, *size, 3), "linear", antialias=False)
        np.testing.assert_allclose(resize(images, size), theirs, atol=2e-6)


def test_half_of_an_even_size_is_the_mean_of_blocks():
    images = jax.random.normal(jax.random.key(0), (2, 8, 6, 3))
    np.testing.assert_allclose(resize(images, (4, 3)), images.reshape(2, 4, 2, 3, 2, 3).mean((2, 4)), atol=1e-6)


def test_the_same_size_is_the_identity_and_constants_stay():
    images = jax.random.normal(jax.random.key(0), (1, 5, 4, 2))
    np.testing.assert_array_equal(resize(images, (5, 4)), images)
    same = resize_canvas(images, jnp.array([5, 4]), jnp.array([5, 4]), (5, 4))
    np.testing.assert_array_equal(same, images)
    np.testing.assert_array_equal(resize(jnp.full((1, 5, 1), 0.3), (13,)), jnp.full((1, 13, 1), jnp.float32(0.3)))


def test_sizes_of_their_own_for_each_of_a_stack():
    images = jax.random.normal(jax.random.key(0), (3, 1, 6, 1))
    sizes = jnp.array([[2], [5], [1]])
    stacked = jax.vmap(lambda x, n: resize_canvas(x, jnp.array([6]), n, (5,)))(images, sizes)
    for one, size, result in zip(images, (2, 5, 1), stacked, strict=True):
        np.testing.assert_allclose(result, padded(resize(one, (size,)), (5,)), atol=1e-6)


def test_the_gradient_of_the_gradient():
    images = jax.random.normal(jax.random.key(0), (1, 7, 1))

    def energy(function):
        return jax.grad(lambda x: (jax.grad(lambda y: jnp.sin(function(y)).sum())(x) ** 2).sum())(images)

    matrix = jnp.asarray(interpolation(7, 3), jnp.float32)
    ours, theirs = energy(lambda x: resize(x, (3,))), energy(lambda x: jnp.einsum("oi,bic->boc", matrix, x))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_bfloat16_stays_bfloat16():
    images = jax.random.normal(jax.random.key(0), (1, 8, 6, 2))
    value, gradient = exact(images.astype(jnp.bfloat16), jnp.ones((1, 3, 9, 2), jnp.bfloat16), (3, 9))
    assert value.dtype == gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(value.astype(jnp.float32), resize(images, (3, 9)), atol=0.05)


def test_a_mask_keeps_the_valid_region_alone():
    images = jnp.arange(1.0, 13.0).reshape(1, 3, 4, 1)
    np.testing.assert_array_equal(
        mask_canvas(images, jnp.array([2, 3]))[0, ..., 0], [[1, 2, 3, 0], [5, 6, 7, 0], [0] * 4]
    )


def test_decimal_factors_are_not_rounded_up():
    """The ceiling of a decimal fraction, in exact arithmetic: phi * n in floating point is off by one for some."""
    wrong = 0
    for thousandths, n in itertools.product(range(1, 1001), (63, 100, 128, 160)):
        expected = max(1, -(-thousandths * n // 1000))
        assert level_sizes((n,), thousandths / 1000, 2)[1] == (expected,)
        wrong += math.ceil(thousandths / 1000 * n) != expected
    assert wrong > 0  # else the small number of the definition has no purpose


def test_sizes_by_level_and_by_axis():
    assert level_sizes((64, 48), 0.5, 4) == ((64, 48), (32, 24), (16, 12), (8, 6))
    assert level_sizes((9, 7), [0.5, 1.0, 0.1], 4) == ((9, 7), (5, 4), (5, 4), (1, 1))
    assert level_sizes((9, 7), [(0.5, 1.0)], 2) == ((9, 7), (5, 7))
    assert level_sizes((9, 7), np.float32(0.25), 2) == ((9, 7), (3, 2))
    assert level_sizes((9,), np.array([0.5, 0.5]), 3) == ((9,), (5,), (3,))
    assert level_sizes((9,), (), 1) == ((9,),)


@pytest.mark.parametrize("factor", [0.0, -0.1, 1.001, math.nan, math.inf, [0.5, 0.0], [(0.5, 2.0), (0.5, 0.5)]])
def test_a_factor_outside_its_range_is_refused(factor):
    with pytest.raises(ConfigError, match=r"outside \(0, 1\]"):
        level_sizes((8, 8), factor, 3)


@pytest.mark.parametrize(
    ("shape", "factors", "levels", "message"),
    [
        ((8, 8), [0.5], 3, "1 rescaling factors for 2"),
        ((8, 8), [(0.5, 0.5, 0.5), 0.5], 3, "2 spatial axes"),
        ((8, 0), 0.5, 3, "start at 1"),
        ((), 0.5, 3, "start at 1"),
        ((8,), 0.5, 0, "start at 1"),
    ],
)
def test_what_makes_no_sizes_is_refused(shape, factors, levels, message):
    with pytest.raises(ConfigError, match=message):
        level_sizes(shape, factors, levels)


def test_a_traced_factor_is_refused():
    with pytest.raises(ConfigError, match="on the host"):
        jax.jit(lambda factor: level_sizes((8,), factor, 2))(0.5)


def test_levels_below_the_kernel_are_refused_with_the_factor_that_would_do():
    sizes = level_sizes((64, 64), 0.3, 4)
    with pytest.raises(
        ConfigError, match=r"level 3 .* is \(2, 2\), smaller than 3 .* the smallest factor .* is 0.301"
    ) as error:
        check_sizes(sizes, kernel_size=3)
    smallest = float(str(error.value).split()[-1])
    check_sizes(level_sizes((64, 64), smallest, 4), kernel_size=3)
    with pytest.raises(ConfigError, match="smaller than 3"):
        check_sizes(level_sizes((64, 64), smallest - 0.001, 4), kernel_size=3)
    check_sizes(sizes, kernel_size=3, minimum=1)
    with pytest.raises(ConfigError, match="no factor will do"):
        check_sizes(level_sizes((64, 4), 0.5, 2), kernel_size=5)


def test_sizes_of_another_rank_are_refused():
    images = jnp.ones((1, 4, 4, 1))
    for size in ((2,), (2, 2, 2), (0, 2)):
        with pytest.raises(ConfigError, match="cannot resize"):
            resize(images, size)
    with pytest.raises(ConfigError, match="cannot resize"):
        resize_canvas(images, jnp.array([4, 4]), jnp.array([2]), (2, 2))
