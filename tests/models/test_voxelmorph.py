import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab import trees
from hyperlab.errors import ConfigError
from hyperlab.hypernet import hypernetize
from hyperlab.models.voxelmorph import PUBLISHED, SMALL, VoxelMorph, displacement_of
from hyperlab.nn.spatial_transformer import compose, folding

TINY = {"encoder": (2, 3), "decoder": (3, 3), "integration_steps": 2}


def convolutions(widths, window):
    """Parameters of `(in, out)` convolutions, by hand: weights and biases."""
    return sum(window * a * b + b for a, b in widths)


# (in, out) of each layer: an encoder level's skip joins after the doubling that brings the decoder to its grid.
HALF = [(2, 16), (16, 32), (32, 32), (32, 32)]
HALF += [(32, 32), (64, 32), (64, 32), (64, 32), (32, 32), (32, 16), (16, 16)]
FULL = [*HALF[:8], (48, 32), (32, 16), (16, 16)]
TABLE = [
    (VoxelMorph(), 2, [*HALF, (16, 2)]),
    (VoxelMorph(field_downsize=1), 2, [*FULL, (16, 2)]),
    (VoxelMorph(), 3, [*HALF, (16, 3)]),
    (VoxelMorph(**SMALL), 2, [(2, 8), (8, 16), (16, 16), (16, 16), (32, 16), (32, 16), (16, 8), (8, 2)]),
]


@pytest.mark.parametrize(("model", "dims", "layers"), TABLE)
def test_parameters_are_those_counted_by_hand(model, dims, layers):
    images = jnp.zeros((1, *[32] * dims, 1))
    shapes = jax.eval_shape(model.init, jax.random.key(0), images, images)
    assert trees.count(shapes) == convolutions(layers, 3**dims)
    assert PUBLISHED["encoder"] == (16, 32, 32, 32) and PUBLISHED["decoder"] == (32, 32, 32, 32, 32, 16, 16)


@pytest.mark.parametrize(("size", "downsize"), [((13, 9), 1), ((5, 7, 6), 2)])
def test_any_size_gives_a_field_of_that_size_that_starts_near_the_identity(size, downsize):
    model = VoxelMorph(**TINY, field_downsize=downsize)
    moving, fixed = jax.random.uniform(jax.random.key(0), (2, 2, *size, 1))
    result, variables = jax.jit(model.init_with_output)(jax.random.key(1), moving, fixed)
    padded = [-(-n // 4) * 4 for n in size]
    assert result.displacement.shape == (2, *size, len(size)) and result.displacement.dtype == jnp.float32
    assert result.velocity.shape == (2, *(n // downsize for n in padded), len(size))
    assert 0 < float(jnp.abs(result.displacement).max()) < 1e-3
    kernel = variables["params"]["flow"]["kernel"]
    assert 0.5e-5 < float(jnp.std(kernel)) < 2e-5 and not variables["params"]["flow"]["bias"].any()


def test_a_whole_shift_of_both_images_shifts_the_field():
    """Convolutions, pooling and the doubling keep shifts by the coarsest stride, away from the borders."""
    model, rng = VoxelMorph(**TINY | {"integration_steps": 0}), np.random.default_rng(0)
    wide = jnp.asarray(rng.uniform(size=(2, 1, 72, 8, 1)), jnp.float32)
    first, second = wide[:, :, 4:68], wide[:, :, :64]
    variables = model.init(jax.random.key(1), *first)
    variables["params"]["flow"]["kernel"] *= 1e5
    apply = jax.jit(model.apply)
    one, other = apply(variables, *first).displacement, apply(variables, *second).displacement
    assert float(jnp.abs(one).max()) > 0.05
    np.testing.assert_allclose(one[:, 24:36], other[:, 28:40], atol=1e-5)


def test_the_negative_velocity_gives_the_inverse():
    rng = np.random.default_rng(0)
    velocity = jnp.asarray(rng.standard_normal((1, 4, 4, 2)), jnp.float32)
    velocity = jax.image.resize(velocity, (1, 16, 16, 2), "cubic")
    forward, backward = (displacement_of(sign * velocity, (32, 32)) for sign in (1, -1))
    residual = compose(forward, backward)[:, 6:-6, 6:-6]
    assert float(jnp.abs(forward).max()) > 2 and float(jnp.abs(residual).max()) < 0.25
    assert float(folding(forward)[0]) == 0


def test_half_precision_keeps_float32_parameters_and_fields():
    model, images = VoxelMorph(**TINY, dtype=jnp.bfloat16), jnp.ones((1, 8, 8, 1))
    result, variables = model.init_with_output(jax.random.key(0), images, images)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    assert result.displacement.dtype == result.velocity.dtype == jnp.float32


def test_as_a_hypermorph_the_flow_layer_stays_ordinary():
    images = jnp.zeros((1, 8, 8, 1))
    model = hypernetize(VoxelMorph(**TINY), images, images, select=("**", "!flow/**"), hidden=(4,))
    variables = model.init(jax.random.key(0))
    assert list(variables["params"]["primary"]) == ["flow"]
    assert all(not record.path.startswith("flow") for record in model.spec)
    displacements = [model.apply(variables, jnp.array([x]), images + 1, images).displacement for x in (0.0, 1.0)]
    assert displacements[0].shape == (1, 8, 8, 2) and not np.array_equal(*displacements)


@pytest.mark.parametrize(
    ("options", "shapes", "message"),
    [
        ({}, [(1, 8, 8, 1), (1, 8, 6, 1)], "of the same shape"),
        ({}, [(1, 8, 1), (1, 8, 1)], "2 or 3 spatial axes"),
        ({"decoder": (4,)}, [(1, 8, 8, 1)] * 2, "at least one width for each"),
        ({"field_downsize": 4}, [(1, 8, 8, 1)] * 2, "expected 1 or 2"),
    ],
)
def test_what_does_not_fit_is_refused(options, shapes, message):
    with pytest.raises(ConfigError, match=message):
        VoxelMorph(**TINY | options).init(jax.random.key(0), *map(jnp.zeros, shapes))
