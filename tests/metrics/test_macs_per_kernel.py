"""Whose multiply-accumulates they are: every count against hand values."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from hyperlab.errors import ConfigError
from hyperlab.hypernet import hypernetize
from hyperlab.metrics.operations import macs, macs_per_kernel

pytestmark = pytest.mark.fast


def shapes(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def of(module, *shape, **options):
    inputs = shapes(*shape)
    variables = jax.eval_shape(module.init, jax.random.key(0), inputs)
    return macs_per_kernel(module.apply, variables, inputs, **options)


@pytest.mark.parametrize(
    ("module", "shape", "count"),
    [
        (nn.Conv(8, (3, 3), feature_group_count=2), (1, 10, 12, 4), 120 * 9 * 2 * 8),
        (nn.Conv(4, (3, 3), feature_group_count=4), (1, 10, 12, 4), 120 * 9 * 1 * 4),
        (nn.Conv(8, (3, 3), strides=2, padding=1), (1, 11, 12, 4), 6 * 6 * 9 * 4 * 8),
        (nn.Conv(8, (5, 5), padding="VALID"), (1, 28, 28, 1), 24 * 24 * 25 * 8),
        (nn.ConvTranspose(8, (2, 2), strides=(2, 2)), (1, 10, 12, 4), 120 * 4 * 4 * 8),
        (nn.ConvTranspose(8, (3, 3), strides=(2, 1), transpose_kernel=True), (1, 10, 12, 4), 120 * 9 * 4 * 8),
        (nn.Dense(7), (1, 6, 5), 6 * 5 * 7),
        (nn.DenseGeneral((2, 7), axis=(-2, -1)), (1, 3, 4, 5), 3 * 4 * 5 * 2 * 7),
        (nn.Einsum((5, 7), "bti,io->bto"), (1, 6, 5), 6 * 5 * 7),
    ],
)
def test_layers_by_hand(module, shape, count):
    assert of(module, *shape) == {"kernel": count}
    assert of(module, 4, *shape[1:], examples=4) == {"kernel": count}


def test_output_positions_times_entries():
    counts = of(nn.Sequential([nn.Conv(6, (3, 3), strides=2), nn.Conv(6, (3, 3), feature_group_count=3)]), 1, 8, 8, 2)
    assert counts == {"layers_0/kernel": 16 * (9 * 2 * 6), "layers_1/kernel": 16 * (9 * 2 * 6)}


@pytest.mark.parametrize(
    "form",
    [
        lambda w, m: w * m,
        lambda w, m: jnp.where(m, w, 0),
        lambda w, m: jax.jit(lambda w: jnp.where(m, w, 0))(w),
        lambda w, m: (w.T.reshape(-1) * m.T.reshape(-1)).reshape(w.T.shape).T.astype(jnp.bfloat16),
        lambda w, m: jax.lax.stop_gradient(-w) / 3,
        lambda w, m: jnp.concatenate([w])[None][0],
    ],
)
def test_a_kernel_keeps_its_name_through_masks_and_forms(form):
    mask = jnp.eye(5, 7, dtype=bool)
    variables = {"params": {"w": shapes(5, 7)}, "masks": {"w": shapes(5, 7, dtype=bool)}}
    closed_over = macs_per_kernel(lambda v, x: x @ form(v["params"]["w"], mask), variables, shapes(1, 5))
    assert closed_over == {"w": 35}
    carried = macs_per_kernel(lambda v, x: x @ form(v["params"]["w"], v["masks"]["w"]), variables, shapes(1, 5))
    assert carried == {"w": 35}


def test_slices_of_one_kernel_add_up():
    def split(params, x):
        first, second = jnp.split(params["w"], 2, axis=1)
        return (x @ first) @ second.T

    assert macs_per_kernel(split, {"w": shapes(5, 8)}, shapes(1, 5)) == {"w": 5 * 8}


def test_a_weight_norm_scale_is_not_the_kernel():
    def scaled(params, x):
        return x @ (params["w"] * params["scale"][None])

    assert macs_per_kernel(scaled, {"w": shapes(5, 7), "scale": shapes(7)}, shapes(1, 5)) == {"w": 35}


def test_each_use_of_a_shared_kernel_counts_and_loops_count_their_turns():
    class Tied(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            embed = nn.Embed(11, 4, name="embed")
            return embed.attend(nn.Dense(4, name="dense")(embed(tokens)))

    tokens = shapes(1, 6, dtype=jnp.int32)
    variables = jax.eval_shape(Tied().init, jax.random.key(0), tokens)
    assert macs_per_kernel(Tied().apply, variables, tokens) == {
        "dense/kernel": 6 * 4 * 4,
        "embed/embedding": 6 * 4 * 11,
    }

    def loop(params, x):
        def turn(x, w):
            return x @ w @ params["shared"], None

        return jax.lax.scan(turn, x, params["stack"])[0]

    params = {"shared": shapes(3, 3), "stack": shapes(5, 3, 3)}
    assert macs_per_kernel(loop, params, shapes(1, 3)) == {"shared": 5 * 9, "stack": 5 * 9}


def test_attention_is_in_the_total_and_belongs_to_no_parameter():
    module, length, width = nn.MultiHeadDotProductAttention(2), 6, 8
    inputs = shapes(1, length, width)
    variables = jax.eval_shape(module.init, jax.random.key(0), inputs)
    counts = macs_per_kernel(module.apply, variables, inputs)
    assert counts == {f"{name}/kernel": length * width * width for name in ("key", "out", "query", "value")}
    assert macs(module.apply, variables, inputs) - sum(counts.values()) == 2 * length**2 * width


def test_generated_kernels_belong_to_no_parameter_but_the_hypernetworks_do():
    primary, images = nn.Conv(8, (3, 3)), jnp.zeros((2, 10, 12, 4))
    model = hypernetize(primary, images, hidden=(16,))
    variables = jax.eval_shape(model.init, jax.random.key(0))
    counts = macs_per_kernel(model.apply, variables, jnp.zeros(1), images)
    assert all(path.startswith("hypernet/") for path in counts)
    assert sum(counts.values()) == 2 * 16 + 16 * (9 * 4 * 8 + 8)


def test_a_count_that_does_not_divide_is_refused():
    with pytest.raises(ConfigError, match="'w' do not divide by 3 examples"):
        macs_per_kernel(lambda p, x: x @ p["w"], {"w": shapes(5, 7)}, shapes(2, 5), examples=3)
