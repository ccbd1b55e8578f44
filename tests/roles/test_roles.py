"""What every leaf is, and along which axes its layer sums: a table of structures, with where each line is from."""

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hyperlab import models, roles, trees
from hyperlab.errors import ConfigError, PatternError

pytestmark = pytest.mark.fast
KEY = jax.random.key(0)
X = jnp.ones((2, 6, 4))  # [batch, position, channel]


class Block(nn.Module):
    bias: bool = True

    @nn.compact
    def __call__(self, x, _=None):
        x = x + nn.MultiHeadDotProductAttention(2, use_bias=self.bias, name="attention")(x, x)
        return nn.LayerNorm(use_bias=self.bias, name="norm")(x + nn.Dense(4, use_bias=self.bias, name="dense")(x)), None


def scanned(body, axis=0, length=3):
    return nn.scan(body, variable_axes={"params": axis}, split_rngs={"params": True}, length=length)


class Stack(nn.Module):
    axis: int = 0
    bias: bool = True
    length: int = 3

    @nn.compact
    def __call__(self, x):
        return scanned(nn.remat(Block), self.axis, self.length)(self.bias, name="blocks")(x, None)[0]


class Blocks(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return scanned(Block)(name="blocks")(x, None)[0], None


class StackOfStacks(nn.Module):
    @nn.compact
    def __call__(self, x):
        return scanned(Blocks, 1, 5)(name="outer")(x, None)[0]


class Each(nn.Module):
    """A dense layer of its own for every position."""

    @nn.compact
    def __call__(self, x):
        layer = nn.vmap(nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=1, out_axes=1)
        return layer(5, name="each")(x)


class Own(nn.Module):
    """Leaves that no layer of flax declares."""

    @nn.compact
    def __call__(self, x):
        weight = self.param("kernel", nn.initializers.normal(), (4, 3))
        return x @ weight * self.param("scale", nn.initializers.ones, (3,))[None, None]


class OwnStack(nn.Module):
    @nn.compact
    def __call__(self, x):
        axes = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
        return nn.vmap(Own, **axes, in_axes=None, axis_size=2)(name="own")(x)


# Linen: a module, and of each leaf its shape, its role and, where it is a matrix, (fan-in, fan-out). Axes of a kernel
# are those that the definition of the layer in flax 0.12.8 (linen/linear.py, attention.py, transforms.py) gives to its
# shape: `DenseGeneral` has [*batch_dims, *axis, *features], `ConvTranspose(transpose_kernel=True)` [*window, features,
# inputs], `ConvLocal` [*positions, window * inputs, features], the attention's query `DenseGeneral((heads, size),
# axis=-1)` and its out `DenseGeneral(features, axis=(-2, -1))`; a lifted layer has one more axis, where `variable_axes`
# says.
LINEN = {
    "dense": (nn.Dense(3), {"kernel": ((4, 3), "kernel in out", (4, 3)), "bias": ((3,), "bias out", None)}),
    "convolution": (
        nn.Conv(5, (3,), use_bias=False),
        {"kernel": ((3, 4, 5), "kernel window in out", (12, 15))},
    ),
    "transposed convolution": (
        nn.ConvTranspose(4, (3,), transpose_kernel=True),
        {"kernel": ((3, 4, 4), "kernel window out in", (12, 12)), "bias": ((4,), "bias out", None)},
    ),
    "local convolution": (
        nn.ConvLocal(5, (3,)),
        {"kernel": ((6, 12, 5), "kernel copy in out", (12, 5)), "bias": ((6, 5), "bias copy out", None)},
    ),
    "several inputs and outputs": (
        nn.DenseGeneral((2, 5), axis=(-2, -1)),
        {"kernel": ((6, 4, 2, 5), "kernel in in out out", (24, 10)), "bias": ((2, 5), "bias out out", None)},
    ),
    "batch dimensions": (
        nn.DenseGeneral(3, axis=-1, batch_dims=(0,)),
        {"kernel": ((2, 4, 3), "kernel copy in out", (4, 3)), "bias": ((2, 3), "bias copy out", None)},
    ),
    "einsum": (
        nn.Einsum((4, 2, 3), "btd,dhk->bthk"),
        {"kernel": ((4, 2, 3), "kernel in out out", (4, 6)), "bias": ((2, 3), "bias out out", None)},
    ),
    "embedding": (nn.Embed(7, 5), {"embedding": ((7, 5), "embedding in out", (7, 5))}),
    "group norm": (
        nn.GroupNorm(2),
        {"scale": ((4,), "scale out", None), "bias": ((4,), "bias out", None)},
    ),
    "weight norm": (
        nn.WeightNorm(nn.Dense(3)),
        {"layer_instance/kernel/scale": ((3,), "scale out", None)},
    ),
    "attention": (
        nn.MultiHeadDotProductAttention(2),
        {
            "query/kernel": ((4, 2, 2), "kernel in out out", (4, 4)),
            "query/bias": ((2, 2), "bias out out", None),
            "out/kernel": ((2, 2, 4), "kernel in in out", (4, 4)),
        },
    ),
    "stack": (
        Stack(),
        {
            "blocks/attention/value/kernel": ((3, 4, 2, 2), "kernel copy in out out", (4, 4)),
            "blocks/attention/out/kernel": ((3, 2, 2, 4), "kernel copy in in out", (4, 4)),
            "blocks/dense/kernel": ((3, 4, 4), "kernel copy in out", (4, 4)),
            "blocks/dense/bias": ((3, 4), "bias copy out", None),
            "blocks/norm/scale": ((3, 4), "scale copy out", None),
        },
    ),
    "stack of as many as there are channels": (
        Stack(length=4),
        {
            "blocks/dense/kernel": ((4, 4, 4), "kernel copy in out", (4, 4)),
            "blocks/norm/bias": ((4, 4), "bias copy out", None),
        },
    ),
    "stack on the last axis": (
        Stack(axis=-1, length=4),
        {
            "blocks/dense/kernel": ((4, 4, 4), "kernel in out copy", (4, 4)),
            "blocks/attention/query/bias": ((2, 2, 4), "bias out out copy", None),
        },
    ),
    "stack of stacks": (
        StackOfStacks(),
        {
            "outer/blocks/attention/query/kernel": ((3, 5, 4, 2, 2), "kernel copy copy in out out", (4, 4)),
            "outer/blocks/norm/scale": ((3, 5, 4), "scale copy copy out", None),
        },
    ),
    "vmap": (Each(), {"each/kernel": ((6, 4, 5), "kernel copy in out", (4, 5))}),
    "leaves of one's own": (
        OwnStack(),
        {
            "own/kernel": ((2, 4, 3), "kernel copy in out", (4, 3)),
            "own/scale": ((2, 3), "scale copy out", None),
        },
    ),
}


def shapes_of(module, x):
    return jax.eval_shape(lambda: module.init(KEY, x))["params"]


def compare(found, leaves, expected, about):
    for path, (shape, role, fans) in expected.items():
        assert leaves[path].shape == shape, (about, path)
        assert str(found[path]) == role, (about, path)
        if fans is not None:
            assert (found[path].fan_in(shape), found[path].fan_out(shape)) == fans, (about, path)


@pytest.mark.parametrize("name", LINEN)
def test_a_linen_layer_says_what_its_leaves_are(name):
    module, expected = LINEN[name]
    x = jnp.zeros((2, 6), jnp.int32) if name == "embedding" else X
    params = shapes_of(module, x)
    compare(roles.of(params, module, x), trees.flatten(params), expected, name)


class Layers(nnx.Module):
    def __init__(self, rngs):
        @nnx.split_rngs(splits=4)
        @nnx.vmap(in_axes=(0,), out_axes=0)
        def stack(rngs):
            return nnx.Linear(4, 4, rngs=rngs)

        @nnx.split_rngs(splits=3)
        @nnx.vmap(in_axes=(0,), out_axes=1)
        def beside(rngs):
            return nnx.Linear(4, 5, rngs=rngs)

        self.stack, self.beside = stack(rngs), beside(rngs)
        self.attention = nnx.MultiHeadAttention(2, 4, 4, decode=False, rngs=rngs)
        self.general = nnx.LinearGeneral((2, 3), (4, 5), axis=(-2, -1), rngs=rngs)
        self.convolution = nnx.Conv(4, 5, (3,), use_bias=False, rngs=rngs)
        self.transposed = nnx.ConvTranspose(4, 4, (3,), transpose_kernel=True, rngs=rngs)
        self.table = nnx.Embed(7, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.adapted = nnx.LoRALinear(4, 5, lora_rank=2, rngs=rngs)
        self.listed = nnx.List([nnx.Linear(4, 3, rngs=rngs)])


# NNX of flax 0.12.8 (nnx/nn/linear.py, attention.py, lora.py): the attributes of a layer say its own shape.
NNX = {
    "stack/kernel": ((4, 4, 4), "kernel copy in out", (4, 4)),
    "stack/bias": ((4, 4), "bias copy out", None),
    "beside/kernel": ((4, 3, 5), "kernel in copy out", (4, 5)),
    "attention/query/kernel": ((4, 2, 2), "kernel in out out", (4, 4)),
    "attention/out/kernel": ((2, 2, 4), "kernel in in out", (4, 4)),
    "general/kernel": ((2, 3, 4, 5), "kernel in in out out", (6, 20)),
    "general/bias": ((4, 5), "bias out out", None),
    "convolution/kernel": ((3, 4, 5), "kernel window in out", (12, 15)),
    "transposed/kernel": ((3, 4, 4), "kernel window out in", (12, 12)),
    "table/embedding": ((7, 4), "embedding in out", (7, 4)),
    "norm/scale": ((4,), "scale out", None),
    "norm/bias": ((4,), "bias out", None),
    "adapted/lora/lora_a": ((4, 2), "kernel in out", (4, 2)),
    "adapted/lora/lora_b": ((2, 5), "kernel in out", (2, 5)),
    "listed/0/kernel": ((4, 3), "kernel in out", (4, 3)),
}


@pytest.mark.parametrize("form", ["factory", "module"])
def test_an_nnx_layer_says_what_its_leaves_are(form):
    module = nnx.eval_shape(lambda: Layers(nnx.Rngs(0)))
    params = nnx.to_pure_dict(nnx.state(module, nnx.Param))
    found = roles.of(params, module if form == "module" else Layers)
    compare(found, trees.flatten(params), NNX, form)


def haiku_net(x):
    x = hk.LayerNorm(-1, True, True)(hk.Linear(5)(x))
    x = hk.MultiHeadAttention(2, 3, w_init=jnp.zeros)(x, x, x)
    x = hk.Conv1DTranspose(5, 3)(hk.Conv1D(6, 3)(x))
    hk.Embed(7, 4)(jnp.zeros((2,), jnp.int32))
    return x


def equinox_net():
    key = iter(jax.random.split(jax.random.key(0), 4))
    return {
        "mlp": eqx.nn.MLP(4, 3, 5, 2, key=next(key)),  # the middle layer is [5, 5]
        "norm": eqx.nn.LayerNorm((4, 3)),
        "rms_norm": eqx.nn.RMSNorm(4, use_bias=False),
        "convolution": eqx.nn.Conv2d(3, 4, 3, key=next(key)),
        "attention": eqx.nn.MultiheadAttention(2, 4, key=next(key)),
        "embedding": eqx.nn.Embedding(7, 4, key=next(key)),
    }


# Bare trees: dm-haiku 0.0.17 (w is [*window, in, out], of a transposed convolution [*window, out, in]), equinox 0.13.8
# (a weight is [out, in, *window], the bias of a convolution [out, 1, 1], a gain is called weight as well).
BARE = {
    "haiku": {
        "linear/w": ((4, 5), "kernel in out", (4, 5)),
        "linear/b": ((5,), "bias out", None),
        "layer_norm/scale": ((5,), "scale out", None),
        "layer_norm/offset": ((5,), "bias out", None),
        "multi_head_attention/query/w": ((5, 6), "kernel in out", (5, 6)),
        "conv1_d/w": ((3, 6, 6), "kernel window in out", (18, 18)),
        "conv1_d_transpose/w": ((3, 5, 6), "kernel window out in", (18, 15)),
        "embed/embeddings": ((7, 4), "embedding in out", (7, 4)),
    },
    "equinox": {
        "mlp/layers/0/weight": ((5, 4), "kernel out in", (4, 5)),
        "mlp/layers/1/weight": ((5, 5), "kernel out in", (5, 5)),
        "mlp/layers/1/bias": ((5,), "bias out", None),
        "norm/weight": ((4, 3), "scale out out", None),
        "norm/bias": ((4, 3), "bias out out", None),
        "rms_norm/weight": ((4,), "scale out", None),
        "convolution/weight": ((4, 3, 3, 3), "kernel out in window window", (27, 36)),
        "attention/query_proj/weight": ((4, 4), "kernel out in", (4, 4)),
        "embedding/weight": ((7, 4), "embedding in out", (7, 4)),
    },
}


@pytest.mark.parametrize("library", BARE)
def test_names_and_siblings_say_what_leaves_are(library):
    if library == "haiku":
        params = jax.eval_shape(hk.transform(haiku_net).init, KEY, X)
    else:
        params = eqx.filter(eqx.filter_eval_shape(equinox_net), lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    compare(roles.of(params), trees.flatten(params), BARE[library], library)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        # a bias says which axes are copies and which outputs
        ({"a/kernel": (3, 4, 4), "a/bias": (3, 4)}, "copy in out"),
        ({"a/kernel": (16, 4, 4), "a/bias": (4, 4)}, "in out out"),
        ({"a/kernel": (2, 3, 4, 4), "a/bias": (2, 3, 4)}, "copy copy in out"),
        ({"a/kernel": (3, 3, 4, 8), "a/bias": (8,)}, "window window in out"),
        ({"a/kernel": (3, 3, 4, 8), "a/bias": (1, 1, 1, 8)}, "window window in out"),
        ({"a/w": (3, 4), "a/b": (3,)}, "out in"),
        # sizes leave two readings: the norm beside it is stacked, or is not
        ({"a/kernel": (4, 4, 4), "a/bias": (4, 4), "norm/scale": (4, 4)}, "copy in out"),
        ({"a/kernel": (4, 4, 4), "a/bias": (4, 4), "norm/scale": (4,)}, "in out out"),
        ({"in/a/kernel": (4, 4, 4), "in/a/bias": (4, 4), "in/norm/scale": (4, 4), "norm/scale": (8,)}, "copy in out"),
        # without a bias: the layer's name, the stack that it is in, the output of an attention
        ({"Conv_0/kernel": (3, 4, 4)}, "window in out"),
        ({"ScanDense_0/kernel": (3, 4, 4)}, "copy in out"),
        ({"a/kernel": (3, 3, 4, 8)}, "window window in out"),
        ({"a/kernel": (2, 3, 3, 4, 8), "norm/scale": (2, 8)}, "copy window window in out"),
        ({"query/kernel": (16, 4, 4), "out/kernel": (4, 4, 16)}, "in out out"),
        ({"out/kernel": (4, 4, 16), "query/kernel": (16, 4, 4)}, "in in out"),
        ({"cls": (1, 1, 8)}, "window in out"),  # where only one axis has more than one place, all readings are one
        # none of it
        ({"ScanConv_0/kernel": (3, 3, 3, 4, 8)}, None),
        ({"a/kernel": (4, 4, 4), "a/bias": (4, 4)}, None),
        ({"a/kernel": (3, 4, 4)}, None),
        ({"a/kernel": (4, 3, 4), "a/bias": (4, 3), "norm/scale": (4, 3)}, None),  # a stack on axis 1
        ({"query/kernel": (4, 4, 4), "out/kernel": (4, 4, 4)}, None),
        ({"a/weight": (4, 4), "a/bias": (4,)}, None),
    ],
)
def test_a_bare_tree_is_read_as_far_as_it_says(shapes, expected):
    params = {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in shapes.items()}
    first = next(iter(shapes))
    role = roles.of(params)[first]
    if expected is not None:
        assert " ".join(role.axes) == expected
        return
    with pytest.raises(ConfigError, match=rf"axes of '{first}' .* may be .*roles=\{{'{first}': "):
        _ = role.reduction
    words = " ".join(["in", *["out"] * (len(shapes[first]) - 1)])
    assert roles.of(params, roles={"**/*": "bias", first: words})[first].inputs == (0,)


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        ({"b/kernel": "in out"}, PatternError, "did you mean 'a/kernel'"),
        ({"a/kernel": "in out"}, ConfigError, r"says 2 axes, its shape \(3, 4, 4\) has 3"),
        ({"a/kernel": "input out out"}, ConfigError, "no axis is called 'input'; did you mean"),
    ],
)
def test_what_is_said_wrongly_is_refused(said, error, message):
    with pytest.raises(error, match=message):
        roles.of({"a/kernel": jax.ShapeDtypeStruct((3, 4, 4), jnp.float32)}, roles=said)


def test_vectors_gains_and_integers():
    params = {"scale": jnp.ones(3), "order": jnp.arange(3), "slope": jnp.ones(()), "table": jnp.zeros((2, 2), jnp.int8)}
    assert {path: role.kind for path, role in roles.of(params).items()} == {
        "scale": "scale",
        "order": "other",
        "slope": "other",
        "table": "other",
    }


IMAGES, SETS = jnp.zeros((1, 16, 16, 1)), jnp.zeros((1, 2, 16, 16, 1))
STANDARD = {
    "unet": (models.UNet((4, 4), normalization="group", groups=2), (IMAGES,)),
    "resnet": (models.CifarResNet(depth=8, width=0.25), (jnp.zeros((1, 32, 32, 3)),)),
    "universeg": (models.UniverSeg((4, 4)), (IMAGES, SETS, SETS)),
    "voxelmorph": (models.VoxelMorph((4, 4), (4, 4)), (IMAGES, IMAGES)),
}


@pytest.mark.parametrize("asked", ["module", "names"])
@pytest.mark.parametrize("name", STANDARD)
def test_ordinary_networks_are_read_by_rank_as_ever(name, asked):
    """Kernels are `[*window, in, out]`, everything else is a vector: by their layers and by names alike."""
    module, inputs = STANDARD[name]
    options = {"train": False} if name == "resnet" else {}
    params = jax.eval_shape(lambda: module.init(KEY, *inputs, **options))["params"]
    found = roles.of(params, module, *inputs, **options) if asked == "module" else roles.of(params)
    for path, leaf in trees.flatten(params).items():
        size, last = int(np.prod(leaf.shape)), path.rpartition("/")[2]
        if len(leaf.shape) > 1:
            assert found[path].kind == "kernel" and found[path].reduction == tuple(range(len(leaf.shape) - 1)), path
            fans = size // leaf.shape[-1], size // leaf.shape[-2]
            assert (found[path].fan_in(leaf.shape), found[path].fan_out(leaf.shape)) == fans, path
        else:
            assert found[path].kind == last and last in ("bias", "scale"), path
