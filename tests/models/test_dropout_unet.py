"""The U-Net with dropout: a U-Net in its parameters and in evaluation; which blocks drop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab.errors import ConfigError
from hyperlab.models import DropoutUNet, UNet
from hyperlab.uncertainty import stochastic_layers

WIDTHS = (2, 3, 2)
IMAGES = np.random.default_rng(0).random((2, 8, 8, 1), np.float32)
QUICK = {"xla_backend_optimization_level": 0}
BLOCKS = ("encoder_0", "encoder_1", "encoder_2", "decoder_1", "decoder_0")


def shapes(net, images=IMAGES):
    return jax.eval_shape(net.init, jax.random.key(0), images)


@pytest.mark.parametrize("dims", [2, 3])
def test_parameters_are_those_of_the_unet(dims):
    images = np.ones((1, *dims * (8,), 1), np.float32)
    options = {"normalization": "batch", "convs_per_block": 1}
    plain = UNet(WIDTHS, **options)
    for kind in ("spatial", "element", "none"):
        assert shapes(DropoutUNet(WIDTHS, dropout=kind, **options), images) == shapes(plain, images)


def test_without_a_key_it_is_the_unet_and_with_one_it_is_not():
    net, plain = DropoutUNet(WIDTHS, rate=0.5, convs_per_block=1), UNet(WIDTHS, convs_per_block=1)
    variables = jax.jit(plain.init, compiler_options=QUICK)(jax.random.key(0), IMAGES)
    expected = jax.jit(plain.apply, compiler_options=QUICK)(variables, IMAGES)
    np.testing.assert_array_equal(jax.jit(net.apply, compiler_options=QUICK)(variables, IMAGES), expected)
    drawn = jax.jit(lambda key: net.apply(variables, IMAGES, rngs={"dropout": key}), compiler_options=QUICK)
    first, again, other = (drawn(jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other) and not np.allclose(first, expected)


@pytest.mark.parametrize(
    ("options", "blocks"),
    [
        ({}, BLOCKS),
        ({"places": "encoder"}, BLOCKS[:2]),
        ({"places": ("bottleneck",)}, BLOCKS[2:3]),
        ({"places": ("decoder", "bottleneck")}, BLOCKS[2:]),
        ({"first_level": 1}, BLOCKS[1:4]),
        ({"first_level": 1, "places": ("encoder",)}, BLOCKS[1:2]),
        ({"dropout": "none"}, ()),
    ],
)
def test_the_chosen_blocks_drop_after_their_last_activation(options, blocks):
    net = DropoutUNet(WIDTHS, rate=0.25, **options)
    found = stochastic_layers(net, shapes(net), IMAGES)
    assert [layer.path for layer in found] == [f"{block}_dropout" for block in blocks]
    assert {(layer.kind, layer.rate) for layer in found} <= {("spatial", 0.25)}


def test_dropout_comes_last_in_its_block():
    """At a rate near 1, what leaves a block is zero: nothing, such as a bias or a norm, follows."""
    net = DropoutUNet(WIDTHS, rate=1 - 1e-6, places="decoder", normalization="group", convs_per_block=1)
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.5), shapes(net))
    found = jax.jit(net.apply, compiler_options=QUICK)(variables, IMAGES, rngs={"dropout": jax.random.key(1)})
    np.testing.assert_array_equal(found, np.full_like(found, 0.5))  # the classifier's bias


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": "channel"}, "unknown dropout 'channel'"),
        ({"places": "encoders"}, "did you mean 'encoder'"),
        ({"places": ("decoder", "bottle")}, "did you mean 'bottleneck'"),
        ({"rate": 1.0}, "rate 1.0"),
        ({"first_level": 3}, "first_level 3 of a network with 3 levels"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        shapes(DropoutUNet(WIDTHS, **options))
