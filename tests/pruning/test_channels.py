"""Which channels meet: by hand on small functions, and what must not be removed."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab.errors import ConfigError
from hyperlab.models import CifarResNet, MnistNet, ResNet
from hyperlab.pruning.channels import channel_groups

pytestmark = pytest.mark.fast


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def of(function, params, *inputs):
    """Members by group, each `(path, axis, repeats)`."""
    groups = channel_groups(function, params, *inputs)
    return {g.name: {(m.path, m.axis, m.places.shape[1]) for m in g.members} for g in groups}


def of_module(module, *image):
    images = shape(1, *image)
    variables = jax.eval_shape(module.init, jax.random.key(0), images)
    return channel_groups(module.apply, variables, images)


TWO = {"a": shape(3, 4), "b": shape(4, 2)}
CHAIN = {"a": {("a", 1, 1), ("b", 0, 1)}}
X = shape(5, 3)


@pytest.mark.parametrize(
    "between",
    [
        lambda h: h,
        jax.nn.gelu,
        jax.jit(lambda h: jax.checkpoint(jnp.sin)(h) * 2),
        lambda h: h.T.T[None][0],
        lambda h: jnp.where(h > 0, h, 0.1 * h).astype(jnp.bfloat16).astype(jnp.float32),
        lambda h: h - h.mean(0, keepdims=True),
        lambda h: jax.lax.platform_dependent(h, cpu=jnp.tanh, default=jnp.tanh),
        lambda h: jnp.concatenate([h, h])[:5],
        lambda h: jnp.pad(h, ((1, 0), (0, 0)))[::-1][:5],
    ],
)
def test_what_leaves_channels_apart(between):
    assert of(lambda p, x: between(x @ p["a"]) @ p["b"], TWO, X) == CHAIN


@pytest.mark.parametrize(
    "between",
    [
        lambda h: jax.nn.softmax(h),
        lambda h: h - h.mean(-1, keepdims=True),
        lambda h: h[:, ::-1],
        lambda h: jnp.pad(h[:, :2], ((0, 0), (1, 1))),
        lambda h: jnp.cumsum(h, -1),
        lambda h: jnp.sort(h, -1),
        lambda h: h @ jnp.ones((4, 4)),
        lambda h: h * jnp.arange(4.0)[None],
        lambda h: h.reshape(5, 2, 2).reshape(5, 4),
        lambda h: h.reshape(5, 4, 1).reshape(5, 4),
        lambda h: h[:, np.array([1, 0, 2, 3])],
        lambda h: jax.lax.scan(lambda c, _: (c * 2, None), h, None, length=2)[0],
        lambda h: jnp.concatenate(jnp.split(h, 2, -1), -1),
    ],
)
def test_what_mixes_channels_or_is_written_for_their_number_keeps_them(between):
    assert of(lambda p, x: between(x @ p["a"]) @ p["b"], TWO, X) == {}


def test_inputs_and_outputs_stay():
    assert of(lambda p, x: x @ p["a"], {"a": shape(3, 4)}, X) == {}
    assert of(lambda p, x: (x @ p["a"] @ p["b"], x @ p["a"]), TWO, X) == {}


def test_added_layers_lose_the_same_channels_and_joined_ones_their_own():
    params = {"a": shape(3, 4), "b": shape(3, 4), "c": shape(4, 2), "scale": shape(4)}

    def added(p, x):
        return (x @ p["a"] * p["scale"][None] + x @ p["b"]) @ p["c"]

    assert of(added, params, X) == {"a": {("a", 1, 1), ("b", 1, 1), ("c", 0, 1), ("scale", 0, 1)}}

    def joined(p, x):
        return jnp.concatenate([x @ p["a"], x @ p["b"]], -1) @ p["c"]

    groups = channel_groups(joined, params | {"c": shape(8, 2)}, X)
    assert [g.name for g in groups] == ["a", "b"]
    for group, first in zip(groups, (0, 4), strict=True):
        (reader,) = [m for m in group.members if m.path == "c"]
        np.testing.assert_array_equal(reader.places[:, 0], first + np.arange(4))


def test_a_flattened_channel_has_a_place_for_each_pixel():
    groups = of_module(MnistNet(width=0.1), 28, 28, 1)
    assert [g.name for g in groups] == ["params/conv_0/kernel", "params/conv_1/kernel", "params/hidden/kernel"]
    (reader,) = [m for m in groups[1].members if m.path == "params/hidden/kernel"]
    np.testing.assert_array_equal(reader.places, np.arange(5)[:, None] + 5 * np.arange(16))


def test_shared_kernels_are_one_member_and_a_loop_of_channels_closes():
    params = {"a": shape(3, 4), "w": shape(4, 4), "b": shape(4, 2)}
    groups = of(lambda p, x: jnp.tanh(jnp.tanh(x @ p["a"]) @ p["w"]) @ p["w"] @ p["b"], params, X)
    assert groups == {"a": {("a", 1, 1), ("w", 0, 1), ("w", 1, 1), ("b", 0, 1)}}


def test_attention_keeps_what_its_scores_sum_over():
    class Attention(nn.Module):
        @nn.compact
        def __call__(self, x):
            query, key, value = (nn.Dense(4, name=name)(x) for name in ("query", "key", "value"))
            weights = jax.nn.softmax(query @ key.swapaxes(-1, -2) / 2)
            return nn.Dense(2, name="out")(weights @ value)

    assert [g.name for g in of_module(Attention(), 6, 3)] == ["params/value/kernel"]


@pytest.mark.parametrize(
    ("layer", "found"),
    [
        (lambda: nn.BatchNorm(True), True),
        (lambda: nn.GroupNorm(2), False),
        (lambda: nn.GroupNorm(8), False),
        (lambda: nn.LayerNorm(), False),
        (lambda: nn.Conv(8, (3, 3), feature_group_count=8), False),
    ],
)
def test_layers_between_two_convolutions(layer, found):
    net = nn.Sequential([nn.Conv(8, (3, 3)), layer(), nn.relu, nn.Conv(2, (3, 3))])
    names = [g.name for g in of_module(net, 6, 6, 3)]
    assert names == (["params/layers_0/kernel"] if found else [])


def test_shortcuts_that_pad_keep_the_stream_and_those_with_a_kernel_let_it_go():
    names = {g.name for g in of_module(CifarResNet(20, width=0.25), 8, 8, 3)}
    assert names == {f"params/stage_{s}_block_{b}/conv_0/kernel" for s in range(3) for b in range(3)}
    groups = {g.name: g for g in of_module(ResNet(18, width=0.125), 32, 32, 3)}
    assert len(groups) == 8 + 4  # one inside each block, one stream a stage
    stream = {m.path for m in groups["params/stage_1_block_0/conv_1/kernel"].members}
    assert {"params/stage_1_block_0/shortcut/kernel", "params/stage_1_block_1/conv_1/kernel"} <= stream
    assert "batch_stats/stage_1_block_1/norm_1/var" in stream


def test_effects_and_unused_parameters_do_no_harm():
    def function(p, x):
        jax.debug.print("{}", x.sum())
        return x @ p["a"] @ p["b"]

    assert of(function, TWO | {"unused": shape(4, 4)}, X) == CHAIN


def test_a_function_without_inputs_is_refused():
    with pytest.raises(ConfigError, match="function\\(variables, \\*inputs\\)"):
        channel_groups(lambda p: p["a"].T @ p["a"], {"a": shape(3, 4)})
