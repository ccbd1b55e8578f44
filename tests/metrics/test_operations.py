import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from hyperlab import nn as layers
from hyperlab.errors import ConfigError
from hyperlab.hypernet import hypernetize
from hyperlab.metrics import operations
from hyperlab.models.unet import UNet
from hyperlab.nn import level_sizes


def of(module, *shape):
    """Counts a Linen module from shapes alone: nothing is allocated, compiled or run."""
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), images)
    return operations.operations(module.apply, variables, images)


@pytest.mark.parametrize(
    ("module", "shape", "macs"),
    [
        (nn.Conv(8, (3, 3)), (1, 10, 12, 4), 10 * 12 * 8 * 4 * 9),
        (nn.Conv(8, (3, 3)), (5, 10, 12, 4), 5 * 10 * 12 * 8 * 4 * 9),
        (nn.Conv(8, (3, 3), padding="VALID"), (1, 10, 12, 4), 8 * 10 * 8 * 4 * 9),
        (nn.Conv(8, (3, 3), strides=2), (1, 11, 12, 4), 6 * 6 * 8 * 4 * 9),
        (nn.Conv(8, (3, 3), kernel_dilation=2), (1, 10, 12, 4), 10 * 12 * 8 * 4 * 9),
        (nn.Conv(8, (3, 3), feature_group_count=2), (1, 10, 12, 4), 10 * 12 * 8 * 2 * 9),
        (nn.Conv(4, (3, 3), feature_group_count=4), (1, 10, 12, 4), 10 * 12 * 4 * 1 * 9),
        (nn.Conv(8, (1, 1)), (1, 10, 12, 4), 10 * 12 * 8 * 4),
        (nn.Conv(8, (5,)), (1, 10, 4), 10 * 8 * 4 * 5),
        (nn.Conv(8, (3, 3, 3)), (1, 5, 6, 7, 4), 5 * 6 * 7 * 8 * 4 * 27),
        (nn.ConvTranspose(8, (2, 2), strides=(2, 2)), (1, 10, 12, 4), 10 * 12 * 4 * 8 * 4),
        (nn.ConvTranspose(8, (3, 3), strides=(2, 1)), (1, 10, 12, 4), 10 * 12 * 4 * 8 * 9),
        (nn.Dense(7), (3, 5), 3 * 5 * 7),
        (nn.DenseGeneral((2, 7), axis=(-2, -1)), (3, 4, 5), 3 * 4 * 5 * 2 * 7),
        (layers.Conv(8, (3, 3)), (2, 10, 12, 4), 2 * 10 * 12 * 8 * 4 * 9),
        (nn.GroupNorm(2), (1, 10, 12, 4), 0),
    ],
)
def test_layers_against_a_table_made_by_hand(module, shape, macs):
    assert of(module, *shape) == (macs, 0)


class Net(nn.Module):
    """Two levels, one convolution each, up-sampling by matrices, concatenated skip, 1x1 head."""

    @nn.compact
    def __call__(self, x):
        top = nn.leaky_relu(nn.Conv(6, (3, 3))(x))
        bottom = nn.leaky_relu(nn.Conv(12, (3, 3))(nn.max_pool(top, (2, 2), (2, 2))))
        rows, columns = (jnp.ones((size, size // 2)) for size in x.shape[1:3])
        up = jnp.einsum("ah,bw,nhwc->nabc", rows, columns, bottom)
        x = nn.leaky_relu(nn.Conv(6, (3, 3))(jnp.concatenate([top, up], -1)))
        return nn.Conv(3, (1, 1))(x)


def test_a_small_unet_by_hand_with_its_interpolation_apart():
    layers = [16 * 20 * 6 * 1 * 9, 8 * 10 * 12 * 6 * 9, 16 * 20 * 6 * 18 * 9, 16 * 20 * 3 * 6]
    result = of(Net(), 1, 16, 20, 1)
    assert result.macs == sum(layers)
    # einsum may take either axis first: rows then columns, or columns then rows
    assert result.other_macs in (16 * 8 * 10 * 12 + 16 * 20 * 10 * 12, 20 * 10 * 8 * 12 + 16 * 20 * 8 * 12)


def custom(f):
    wrapped = jax.custom_jvp(f)
    wrapped.defjvp(lambda primals, tangents: jax.jvp(f, primals, tangents))
    return wrapped


@pytest.mark.parametrize(
    "wrap",
    [
        jax.jit,
        jax.checkpoint,
        lambda f: jax.jit(jax.checkpoint(jax.jit(f))),
        lambda f: lambda w, x: jax.lax.platform_dependent(w, x, cpu=f, default=f),
        lambda f: lambda w, x: jax.lax.cond(x.sum() > 0, f, lambda w, x: jnp.zeros((2, 4)), w, x),
        custom,
        lambda f: jax.vmap(f, (None, 0)),
    ],
)  # fmt: skip
def test_the_walk_enters_what_wraps_a_function(wrap):
    kernel, features = jnp.zeros((3, 4)), jnp.zeros((2, 3))
    assert operations.operations(wrap(lambda w, x: x @ w), kernel, features) == (24, 0)


def test_loops_of_known_length_count_each_turn_and_their_carry_keeps_its_origin():
    kernel, features = jnp.zeros((3, 3)), jnp.zeros((2, 3))

    def scanned(w, x):
        return jax.lax.scan(lambda carry, _: (carry @ w, None), x, None, length=5)[0]

    def fixed(w, x):
        return jax.lax.fori_loop(0, 4, lambda _, carry: carry @ w, x)

    assert operations.operations(scanned, kernel, features) == (5 * 18, 0)
    assert operations.operations(fixed, kernel, features) == (4 * 18, 0)

    def mixed(w, x):  # the carry is free of parameters on its first turn alone
        def turn(carry, _):
            return carry @ w + jnp.ones((2, 2)) @ carry, carry @ carry.T

        return jax.lax.scan(turn, x, None, length=5)

    own, other = 5 * (18 + 2 * 2 * 3), 5 * 2 * 2 * 3
    assert operations.operations(mixed, kernel, features) == (own, other)


def test_a_loop_of_unknown_length_is_refused_by_name_unless_it_multiplies_nothing():
    def repeated(w, x):
        return jax.lax.while_loop(lambda c: c.sum() < 3, lambda c: c @ w, x)

    def halved(w, x):
        return jax.lax.while_loop(lambda c: c.sum() > 3, lambda c: c / 2, x) @ w

    with pytest.raises(ConfigError, match="'while'.*fori_loop"):
        operations.macs(repeated, jnp.zeros((3, 3)), jnp.zeros((2, 3)))
    assert operations.macs(halved, jnp.zeros((3, 3)), jnp.zeros((2, 3))) == 18


def test_parameters_decide_whose_product_it_is():
    w, x = jnp.zeros((3, 3)), jnp.zeros((3, 3))
    own, other = (27, 0), (0, 27)
    assert operations.operations(lambda w, x: (w * 2).T @ x, w, x) == own
    assert operations.operations(lambda w, x: (w * x) @ (w + x), w, x) == own
    assert operations.operations(lambda w, x: jnp.eye(3) @ (w * x), w, x) == other
    assert operations.operations(lambda w, x: x @ x, w, x) == other
    assert operations.operations(lambda w, x: x @ (w * x), w, x) == other
    numbers = ("NWC", "WIO", "NWC")

    def conv(x, k):
        return jax.lax.conv_general_dilated(x[None], k[None], (1,), "SAME", dimension_numbers=numbers)

    assert operations.operations(lambda w, x: conv(x, w), w, x) == own
    assert operations.operations(lambda w, x: conv(x, w * x), w, x) == own
    assert operations.operations(lambda w, x: conv(x * w, jnp.ones((3, 3))), w, x) == other


def test_a_training_step_of_one_convolution_costs_three_times_its_forward_pass():
    module = layers.Conv(8, (3, 3))
    images = jnp.zeros((2, 10, 12, 4))
    variables = module.init(jax.random.key(0), images)
    forward = operations.macs(module.apply, variables, images)

    def step(variables, images):
        return jax.grad(lambda v, x: (module.apply(v, x) ** 2).sum(), argnums=(0, 1))(variables, images)

    assert operations.macs(step, variables, images) == 3 * forward


def test_a_hypernetwork_adds_its_own_dense_layers_and_a_frozen_one_nothing():
    primary, images = nn.Conv(8, (3, 3)), jnp.zeros((2, 10, 12, 4))
    model = hypernetize(primary, images, hidden=(16, 32), encoding="cos_sin")
    variables = jax.eval_shape(model.init, jax.random.key(0))
    theta = jax.eval_shape(primary.init, jax.random.key(0), images)
    own = operations.macs(primary.apply, theta, images)
    generated = 2 * 16 + 16 * 32 + 32 * (9 * 4 * 8 + 8)
    assert operations.operations(model.apply, variables, jnp.zeros(1), images) == (own + generated, 0)


def test_what_nobody_uses_is_not_counted():
    def pair(w, x):
        return x @ w, x @ (w + 1)

    w, x = jnp.zeros((3, 3)), jnp.zeros((2, 3))
    assert operations.macs(pair, w, x) == 36
    assert operations.macs(lambda w, x: jax.jit(pair)(w, x)[0], w, x) == 18


def test_closed_over_variables_are_refused():
    with pytest.raises(ConfigError, match="function\\(variables, \\*inputs\\)"):
        operations.macs(lambda x: x @ jnp.eye(3), jnp.zeros((2, 3)))


# -- U-Nets: the tables of papers ---------------------------------------------------------------------------------


def unet_macs(widths, convs, shape, factor):
    net = UNet(widths=widths, convs_per_block=convs, classes=1)
    images = jax.ShapeDtypeStruct((1, *shape, 1), jnp.float32)
    sizes = level_sizes(shape, factor, len(widths))
    variables = jax.eval_shape(net.init, jax.random.key(0), images)
    return operations.macs(lambda v, x: net.apply(v, x, sizes), variables, images)


def unet_by_hand(widths, convs, shape, factor, classes=1):
    pixels = [math.prod(size) for size in level_sizes(shape, factor, len(widths))]
    taps, total = 3 ** len(shape), pixels[0] * widths[0] * classes
    for level, width in enumerate(widths):
        before = widths[level - 1] if level else 1
        total += pixels[level] * taps * width * (before + (convs - 1) * width)
        if level + 1 < len(widths):
            total += pixels[level] * taps * width * (width + widths[level + 1] + (convs - 1) * width)
    return total


@pytest.mark.parametrize(
    ("widths", "convs", "shape", "factor"),
    [
        ((16, 16, 16, 16), 2, (64, 64), 0.5),
        ((16, 32, 64), 1, (63, 50), 0.31),
        ((8, 12), 3, (20, 21), 1.0),
        ((4, 8, 8), 2, (12, 9, 10), 0.4),
    ],
)
def test_a_unet_with_any_rescaling_factor_by_hand(widths, convs, shape, factor):
    assert unet_macs(widths, convs, shape, factor) == unet_by_hand(widths, convs, shape, factor)


@pytest.mark.parametrize(
    ("widths", "convs", "mega", "relative"),
    [
        ((24,) * 5, 2, 907, {0.1: 0.72, 0.4: 0.88, 0.75: 1.68, 1.0: 3.70}),
        ((16, 32, 64, 128, 256), 2, 1633, {0.1: 0.23, 0.4: 0.56, 0.75: 6.39}),
        ((16, 32, 32, 32, 32), 1, 462, {0.1: 0.49, 0.4: 0.77, 0.75: 2.31}),
    ],
)
def test_costs_relative_to_a_factor_of_one_half_as_they_are_known(widths, convs, mega, relative):
    half = unet_macs(widths, convs, (160, 192), 0.5)
    assert round(half / 1e6) == mega
    for factor, share in relative.items():
        assert unet_macs(widths, convs, (160, 192), factor) / half == pytest.approx(share, abs=0.006)
