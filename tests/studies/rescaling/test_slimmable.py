"""The slimmable arm: narrow networks within a wide one, and steps that train one of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab import trees
from hyperlab.models import UNet
from hyperlab.nn import plan
from hyperlab.studies.rescaling import ARMS, Cell, networks, programs, slimmable
from hyperlab.studies.rescaling.arms import cells_of, widths_of
from hyperlab.studies.rescaling.results import points_of

IMAGES = jax.random.normal(jax.random.key(1), (2, 9, 8, 2))
NETS = {
    "concat": UNet((5, 8, 6), 3, 2),
    "add": UNet((5, 9, 4), 3, 1, skip="add"),
    "none": UNet((4, 6), 3, 2, skip="none"),
    "multiplied": UNet((4, 6, 3), 3, 1, width_multiplier=2),
}


def drawn(net):
    random, shapes = np.random.default_rng(0), jax.eval_shape(net.init, jax.random.key(0), IMAGES)["params"]
    return jax.tree.map(lambda leaf: jnp.asarray(random.normal(0, 0.4, leaf.shape), leaf.dtype), shapes)


def silenced(params, narrow):
    """The wide network with zeros for all channels that the narrow one has not: they add nothing anywhere."""
    few = jax.eval_shape(narrow.init, jax.random.key(0), IMAGES)["params"]
    return {
        layer: {name: leaf.at[..., few[layer][name].shape[-1] :].set(0) for name, leaf in leaves.items()}
        for layer, leaves in params.items()
    }


@pytest.mark.parametrize("width", [0.25, 0.6])
@pytest.mark.parametrize("name", NETS)
def test_the_narrow_network_is_the_wide_one_with_its_last_channels_silent(name, width):
    net, params = NETS[name], drawn(NETS[name])
    narrow = net.clone(width_multiplier=net.width_multiplier * width)
    assert narrow.features < net.features
    slim = slimmable.slim(params, net, width)
    assert jax.tree.map(jnp.shape, slim) == jax.tree.map(
        jnp.shape, jax.eval_shape(narrow.init, jax.random.key(0), IMAGES)["params"]
    )
    logits = jax.jit(narrow.apply)({"params": slim}, IMAGES)
    expected = jax.jit(net.apply)({"params": silenced(params, narrow)}, IMAGES)
    np.testing.assert_allclose(logits, expected, atol=2e-5)


@pytest.mark.parametrize("name", NETS)
def test_at_width_one_nothing_changes(name):
    params = drawn(NETS[name])
    same = slimmable.slim(params, NETS[name], 1.0)
    assert jax.tree.structure(same) == jax.tree.structure(params)
    assert all(map(np.array_equal, jax.tree.leaves(same), jax.tree.leaves(params)))


def test_a_projection_that_the_narrow_network_lacks_is_left_out():
    net = UNet((8, 9), 2, 1, skip="add")
    narrow = slimmable.narrower(net, 0.25)
    slim = slimmable.slim(drawn(net), net, 0.25)
    assert "project_0" not in slim and narrow.features == (2, 2)
    assert jax.jit(narrow.apply)({"params": slim}, IMAGES).shape == (2, 9, 8, 2)


def test_group_norm_goes_along():
    net = UNet((4, 6), 2, 1, normalization="group", groups=2)
    slim = slimmable.slim(drawn(net), net, 0.5)
    assert slim["decoder_0_norm_0"]["scale"].shape == (2,) and slim["encoder_1_norm_0"]["bias"].shape == (3,)
    assert jax.jit(slimmable.narrower(net, 0.5).apply)({"params": slim}, IMAGES).shape == (2, 9, 8, 2)


def test_the_gradient_of_what_is_cut_off_is_zero():
    net, params = NETS["concat"], drawn(NETS["concat"])
    narrow = slimmable.narrower(net, 0.5)

    def loss(slim):
        return jnp.sin(narrow.apply({"params": slim}, IMAGES)).mean()

    whole = jax.jit(jax.grad(lambda params: loss(slimmable.slim(params, net, 0.5))))(params)
    kept, alone = slimmable.slim(whole, net, 0.5), jax.jit(jax.grad(loss))(slimmable.slim(params, net, 0.5))
    for path, leaf in trees.flatten(kept).items():
        np.testing.assert_allclose(leaf, trees.flatten(alone)[path], atol=1e-6)
        assert np.any(leaf)
        assert np.count_nonzero(leaf) == np.count_nonzero(trees.flatten(whole)[path])


def test_every_width_is_drawn_as_often_as_the_others_whenever_it_is_asked():
    draws = np.array([slimmable.drawn(3, 5, step) for step in range(3000)])
    np.testing.assert_allclose(np.bincount(draws) / 3000, 1 / 3, atol=0.04)
    assert slimmable.drawn(3, 5, 77) == draws[77]
    assert any(slimmable.drawn(3, 6, step) != draws[step] for step in range(20))


def test_one_network_at_the_largest_factor_has_all_widths():
    config = type("Config", (), {"factors": (0.2, 0.5), "widths": (0.75, 0.25)})
    (cell,) = cells_of("slimmable", config)
    assert cell == Cell("slimmable", 0.5) and widths_of(cell, config) == [0.25, 0.75, 1.0]
    assert widths_of(Cell("width", 0.5, 0.25), config) == [0.25]


def test_programs_of_all_widths_train_the_same_parameters():
    """Under plain descent a narrow step moves leading channels alone, a wide one moves all; two programs, one state."""
    net, images = UNet((4, 4), 2, 1), np.asarray(IMAGES[..., :1])
    examples = programs.Examples(images, (images[..., 0] > 0).astype(np.int32))
    example = jax.ShapeDtypeStruct((1, 9, 8, 1), jnp.float32)
    buckets = plan((9, 8), 2, 0.0, 0.5, programs=1)
    narrow, wide = (
        programs.Programs(
            networks.build(ARMS["slimmable"], net, example, low=0.0, high=0.5, width=width), {"name": "sgd"}, buckets, 2
        )
        for width in (0.5, 1.0)
    )
    assert wide.network.primary.features == (4, 4) and narrow.network.primary.features == (2, 2)
    current = wide.start(jax.random.key(0), 1.0, 4)
    seen = [jax.tree.map(np.asarray, current.params)]
    for one in (narrow, wide):
        current, _ = one.step(current, examples, one.batch((0.5,), np.arange(2)), 0.5, jax.random.key(0))
        seen.append(jax.tree.map(np.asarray, current.params))
    moved = [jax.tree.map(lambda a, b: a != b, *pair) for pair in zip(seen, seen[1:], strict=False)]
    first = moved[0]["encoder_1_conv_0"]["kernel"]
    assert first[..., :2, :2].any() and not first[..., 2:, :].any() and not first[..., 2:].any()
    assert moved[1]["encoder_1_conv_0"]["kernel"][..., 2:, 2:].any()


def test_points_of_folders_from_before_are_at_the_width_of_their_network():
    factors = {"factors": np.array([0.5, 0.5])}
    assert points_of(Cell("width", 0.5, 0.25), factors) == [(0.5, 0.25)] * 2
    assert points_of(Cell("slimmable", 0.5), {**factors, "widths": np.array([0.25, 1.0])}) == [(0.5, 0.25), (0.5, 1.0)]
