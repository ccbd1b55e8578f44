import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab.errors import ConfigError
from hyperlab.nn import spatial_transformer as st_nn
from hyperlab.nn.spatial_transformer import (
    compose,
    coordinates,
    folding,
    integrate,
    jacobian_determinant,
    resize_field,
    warp,
    warp_labels,
)

SHAPES = [(7,), (5, 4, 6), (1, 5)]


def smooth_field(seed, shape, amplitude, sigma=3.0):
    """A smooth random field that fades towards the border; its largest displacement is `amplitude` voxels."""
    noise = np.random.default_rng(seed).standard_normal((*shape, len(shape)))
    field = scipy.ndimage.gaussian_filter(noise, (*[sigma] * len(shape), 0), mode="wrap")
    for axis, n in enumerate(shape):
        fade = np.sin(np.pi * (np.arange(n) + 0.5) / n)
        field *= fade.reshape([-1 if i == axis else 1 for i in range(len(shape) + 1)])
    return jnp.asarray((amplitude * field / np.abs(field).max())[None], jnp.float32)


def by_scipy(image, field, border, order):
    """The obvious slow version: scipy at every displaced coordinate."""
    points = np.moveaxis(np.asarray(coordinates(image.shape[:-1])) + np.asarray(field), -1, 0)
    mode = {"clamp": "nearest", "zero": "constant"}[border]
    if border == "zero":  # scipy's constant mode cuts off at the last voxel; padding gives the fall to zero
        image = np.pad(image, [(2, 2)] * (image.ndim - 1) + [(0, 0)])
        points = points + 2
    return np.stack(
        [scipy.ndimage.map_coordinates(image[..., c], points, order=order, mode=mode) for c in range(image.shape[-1])],
        -1,
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("border", st_nn.BORDERS)
@pytest.mark.parametrize("method", st_nn.METHODS)
def test_the_identity_leaves_every_image_as_it_is(shape, border, method):
    images = jax.random.normal(jax.random.key(0), (2, *shape, 3))
    np.testing.assert_array_equal(
        warp(images, jnp.zeros((2, *shape, len(shape))), border=border, method=method), images
    )


@pytest.mark.parametrize("border", st_nn.BORDERS)
@pytest.mark.parametrize("method", st_nn.METHODS)
@pytest.mark.parametrize("shift", [(1, 0), (0, -2), (-3, 2), (9, 9)])
def test_whole_shifts_are_rolled_slices(shift, border, method):
    image = np.random.default_rng(0).standard_normal((6, 7, 2)).astype(np.float32)
    moved = warp(
        image[None], jnp.broadcast_to(jnp.array(shift, jnp.float32), (1, 6, 7, 2)), border=border, method=method
    )
    wide = np.pad(image, [(10, 10), (10, 10), (0, 0)], mode="edge" if border == "clamp" else "constant")
    np.testing.assert_array_equal(moved[0], wide[10 + shift[0] : 16 + shift[0], 10 + shift[1] : 17 + shift[1]])


@pytest.mark.parametrize("shape", [(8, 7), (5, 6, 7)])
def test_a_linear_image_is_sampled_exactly_along_an_affine_field(shape):
    """Linear sampling reproduces linear functions: image a.x + b at A x + t is a.(A x + t) + b inside the grid."""
    rng = np.random.default_rng(1)
    dims, grid = len(shape), np.asarray(coordinates(shape))
    slope, matrix = rng.standard_normal(dims), np.eye(dims) + 0.1 * rng.standard_normal((dims, dims))
    target = grid @ matrix.T + 0.3
    moved = warp(jnp.asarray((grid @ slope + 2)[None, ..., None]), jnp.asarray((target - grid)[None], jnp.float32))
    inside = ((target >= 0) & (target <= np.array(shape) - 1)).all(-1)
    assert inside.mean() > 0.3
    np.testing.assert_allclose(moved[0, ..., 0][inside], (target @ slope + 2)[inside], atol=2e-5)
    expected = np.linalg.det(matrix)
    np.testing.assert_allclose(jacobian_determinant(jnp.asarray((target - grid)[None])), expected, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**16), which=st.sampled_from([(9,), (6, 5), (4, 5, 3)]), border=st.sampled_from(st_nn.BORDERS)
)
def test_values_are_those_of_scipy(seed, which, border):
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((*which, 2)).astype(np.float32)
    field = rng.uniform(-4, 4, (*which, len(which))).astype(np.float32)
    linear = warp(image[None], field[None], border=border)[0]
    np.testing.assert_allclose(linear, by_scipy(image, field, border, 1), atol=1e-5)
    labels = rng.integers(0, 4, which)
    moved = warp_labels(jnp.asarray(labels[None]), field[None], border=border)[0]
    if border == "clamp":
        np.testing.assert_array_equal(moved, by_scipy(labels[..., None], field, border, 0)[..., 0])
    one_hot = np.eye(4, dtype=np.float32)[labels]
    shares = by_scipy(one_hot, field, border, 1)
    if border == "zero":
        shares[..., 0] += 1 - shares.sum(-1)
    moved = np.asarray(
        warp_labels(jnp.asarray(labels[None]), field[None], border=border, method="linear", classes=4)[0]
    )
    chosen = np.take_along_axis(shares, moved[..., None], -1)[..., 0]
    np.testing.assert_allclose(chosen, shares.max(-1), atol=1e-5)


@pytest.mark.parametrize(("shape", "border"), [((6, 5), "clamp"), ((6, 5), "zero"), ((4, 3, 5), "clamp")])
def test_gradients_are_those_of_finite_differences(shape, border):
    rng = np.random.default_rng(2)
    images = jnp.asarray(rng.standard_normal((1, *shape, 2)), jnp.float32)
    # Fractions stay away from whole coordinates, where linear sampling has a kink.
    field = rng.integers(-2, 3, (1, *shape, len(shape))) + rng.uniform(0.2, 0.8, (1, *shape, len(shape)))
    field = jnp.asarray(field, jnp.float32)
    weights = jnp.asarray(rng.standard_normal((1, *shape, 2)), jnp.float32)

    @jax.jit
    def value(images, field):
        return jnp.vdot(warp(images, field, border=border), weights)

    of_images, of_field = jax.jit(jax.grad(value, (0, 1)))(images, field)
    for index in rng.choice(field.size, 12, replace=False):
        step = jnp.zeros(field.size).at[index].set(0.1).reshape(field.shape)
        slope = (value(images, field + step) - value(images, field - step)) / 0.2
        assert float(of_field.ravel()[index]) == pytest.approx(float(slope), abs=2e-4)
    direction = jnp.asarray(rng.standard_normal(images.shape), jnp.float32)  # the value is linear in the images
    np.testing.assert_allclose(jnp.vdot(of_images, direction), value(direction, field), rtol=1e-4)


def test_the_field_alone_is_differentiated_without_a_scatter():
    images, field = jnp.ones((1, 6, 5, 1)), jnp.full((1, 6, 5, 2), 0.3)

    def primitives(argument):
        jaxpr = jax.make_jaxpr(jax.grad(lambda i, u: warp(i, u).sum(), argument))(images, field)
        return str(jaxpr)

    assert "scatter" in primitives(0) and "scatter" not in primitives(1)


@pytest.mark.parametrize("shape", [(24, 20), (12, 14, 10)])
def test_warping_by_a_composition_is_warping_twice(shape):
    grid = np.asarray(coordinates(shape))
    image = jnp.asarray(np.sin(grid @ np.linspace(0.1, 0.2, len(shape))), jnp.float32)[None, ..., None]
    first, second = smooth_field(0, shape, 1.5), smooth_field(1, shape, 1.5)
    inside = (slice(None), *[slice(3, -3)] * len(shape))
    twice, at_once = jax.jit(lambda: (warp(warp(image, first), second), warp(image, compose(first, second))))()
    assert float(jnp.abs(twice - image)[inside].max()) > 0.1
    np.testing.assert_allclose(at_once[inside], twice[inside], atol=0.02)


@pytest.mark.parametrize("shape", [(32, 28), (16, 18, 14)])
def test_integration_gives_a_diffeomorphism_whose_inverse_is_that_of_the_negative_velocity(shape):
    velocity = smooth_field(3, shape, 3.0, sigma=4.0)
    flow = jax.jit(integrate)
    forward, backward = flow(velocity), flow(-velocity)
    inside = (slice(None), *[slice(2, -2)] * len(shape))
    assert float(jnp.abs(forward).max()) > 2.5
    for one, other in ((forward, backward), (backward, forward)):
        residual = compose(one, other)[inside]
        assert float(jnp.abs(residual).max()) < 0.1
        assert float(jnp.sqrt(jnp.mean(residual**2))) < 0.02
    assert float(folding(forward)[0]) == 0


def test_integration_follows_the_exponential_of_a_linear_velocity():
    """v(x) = a (x - c) flows to phi(x) = c + exp(a) (x - c)."""
    grid, rate = coordinates((33,))[None], -0.4
    expected = (np.exp(rate) - 1) * (grid - 16)
    np.testing.assert_allclose(integrate(rate * (grid - 16), 7), expected, atol=0.02)
    np.testing.assert_allclose(integrate(rate * (grid - 16), 10), expected, atol=0.003)


def test_a_field_comes_to_another_grid_with_its_displacements():
    coarse = coordinates((4, 6))[None] * 0.25
    fine = resize_field(coarse, (8, 18))
    assert fine.shape == (1, 8, 18, 2)
    # Half-pixel centres: fine voxel i lies at (i + 0.5) / ratio - 0.5 of the coarse grid, clamped to it.
    rows = np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 3) * 0.25 * 2
    columns = np.clip((np.arange(18) + 0.5) / 3 - 0.5, 0, 5) * 0.25 * 3
    np.testing.assert_allclose(fine[0, ..., 0], np.broadcast_to(rows[:, None], (8, 18)), atol=1e-5)
    np.testing.assert_allclose(fine[0, ..., 1], np.broadcast_to(columns, (8, 18)), atol=1e-5)
    assert resize_field(coarse, (4, 6)) is coarse


def test_folding_counts_the_cells_that_turn_over():
    field = jnp.zeros((1, 5, 4, 2)).at[0, 2, 1, 0].set(-1.5)  # one voxel jumps over its upper neighbour
    determinant = np.asarray(jacobian_determinant(field))[0]
    assert (determinant <= 0).sum() == 1 and determinant[1, 1] == pytest.approx(-0.5)
    assert float(folding(field)[0]) == pytest.approx(1 / 12)
    volume = jnp.zeros((1, 3, 3, 3, 3)).at[0, 1, 1, 1, 2].set(-1.0)
    assert float(folding(volume)[0]) == pytest.approx(1 / 8)


def test_half_precision_images_are_placed_in_float32():
    image = jnp.arange(400.0).reshape(1, 400, 1).astype(jnp.bfloat16)
    moved = warp(image, jnp.ones((1, 400, 1), jnp.bfloat16))
    assert moved.dtype == jnp.bfloat16
    np.testing.assert_array_equal(moved[0, :-1], image[0, 1:])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: warp(jnp.ones((1, 4, 4, 1)), jnp.ones((1, 4, 4, 3))), "one component for each"),
        (lambda: warp(jnp.ones((1, 4, 4, 1)), jnp.ones((1, 2, 4, 2))), "resize_field"),
        (lambda: warp(jnp.ones((1, 4, 1)), jnp.ones((1, 4, 1)), border="zeros"), "did you mean 'zero'"),
        (lambda: warp(jnp.ones((1, 4, 1)), jnp.ones((1, 4, 1)), method="cubic"), "valid: 'linear', 'nearest'"),
        (lambda: warp_labels(jnp.ones((1, 4), int), jnp.ones((1, 4, 1)), method="linear"), "classes"),
        (lambda: integrate(jnp.ones((1, 4, 1)), -1), "0 or more"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
