"""The smaller network is the masked one: outputs, parameters and multiply-accumulates."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab import pareto, trees
from hyperlab.errors import ConfigError, ParameterTreeError
from hyperlab.metrics.compression import measure
from hyperlab.metrics.operations import macs, macs_per_kernel
from hyperlab.models import CifarResNet, CifarVGG, ConvNet, LeNet300100, MnistNet, ResNet, UNet
from hyperlab.pruning.channel_choice import channel_scores, choose_channels
from hyperlab.pruning.channels import ChannelGroup, Member, channel_groups
from hyperlab.pruning.slim import channel_masks, slim, slim_apply


class Decoder(nn.Module):
    """Transposed convolutions, with their kernels either way round, and a layer used twice."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.ConvTranspose(6, (2, 2), strides=(2, 2))(x))
        x = nn.relu(nn.ConvTranspose(5, (3, 3), transpose_kernel=True)(x))
        shared = nn.Conv(5, (3, 3), name="shared")
        return nn.Conv(2, (1, 1))(shared(nn.tanh(shared(x))))


NETWORKS = {
    "lenet_300_100": (LeNet300100(width=0.05), (6, 6, 1)),
    "mnist_net": (MnistNet(width=0.2), (28, 28, 1)),
    "conv_net": (ConvNet((4, 6)), (8, 8, 1)),
    "vgg": (CifarVGG(stages=((4, 6), (8,)), hidden=10), (8, 8, 3)),
    "cifar_resnet_20": (CifarResNet(20, width=0.25), (8, 8, 3)),
    "cifar_resnet_without_normalisation": (CifarResNet(8, width=0.25, normalization=""), (8, 8, 3)),
    "resnet_18": (ResNet(18, width=0.0625, classes=5), (32, 32, 3)),
    "unet": (UNet(widths=(4, 6), classes=2), (8, 8, 1)),
    "decoder": (Decoder(), (4, 4, 3)),
}


def compiled(function):
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def drawn(module, *image):
    """Random values everywhere, also in statistics and biases."""
    images = jax.ShapeDtypeStruct((1, *image), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), images)
    generator = np.random.default_rng(0)
    fan = {path: max(1, leaf.size // leaf.shape[-1]) for path, leaf in trees.flatten(shapes).items()}
    leaves = {
        path: generator.uniform(0.5, 1.5, leaf.shape)
        if path.endswith(("var", "scale"))
        else generator.normal(0, (2 / fan[path]) ** 0.5 if leaf.ndim > 1 else 0.3, leaf.shape)
        for path, leaf in trees.flatten(shapes).items()
    }
    return trees.unflatten({path: np.asarray(leaf, np.float32) for path, leaf in leaves.items()}, shapes), images


@pytest.mark.parametrize("name", NETWORKS)
def test_the_slim_network_is_the_masked_one(name):
    module, image = NETWORKS[name]
    variables, images = drawn(module, *image)
    groups = channel_groups(module.apply, variables, images)
    generator = np.random.default_rng(1)
    kept = {g.name: generator.permutation(g.channels) < max(1, round(0.6 * g.channels)) for g in groups}
    masks = channel_masks(variables, groups, kept)
    small = slim(variables, groups, kept)
    masked = jax.tree.map(lambda leaf, mask: np.where(mask, leaf, 0), variables, masks)
    x, apply = generator.normal(size=(2, *image)).astype(np.float32), compiled(module.apply)
    expected = np.asarray(apply(masked, x))
    np.testing.assert_allclose(compiled(slim_apply(module))(small, x), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(expected - np.asarray(apply(variables, x))).max() > 1e-2
    counted = measure(variables["params"], masks["params"], macs=macs_per_kernel(module.apply, variables, images))
    assert counted.nonzero == trees.count(small["params"]) < counted.parameters
    assert counted.nonzero_macs == macs(slim_apply(module), small, images) < counted.macs


def test_bottlenecks_keep_their_shortcuts_where_widths_become_equal():
    module, images = ResNet(50, width=0.03125, classes=5), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    variables = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(module.init, jax.random.key(0), images)
    )
    groups = channel_groups(module.apply, variables, images)
    kept = {g.name: np.arange(g.channels) < 2 for g in groups}  # input and output of the first stage: 2 channels
    small = slim(variables, groups, kept)
    counted = measure(
        variables["params"],
        channel_masks(variables, groups, kept)["params"],
        macs=macs_per_kernel(module.apply, variables, images),
    )
    assert counted.nonzero_macs == macs(slim_apply(module), small, images)


def test_a_slim_network_trains_and_keeps_its_statistics():
    module, image = NETWORKS["vgg"]
    variables, images = drawn(module, *image)
    groups = channel_groups(module.apply, variables, images)
    kept = {g.name: np.arange(g.channels) < 2 for g in groups}
    small, apply = slim(variables, groups, kept), slim_apply(module)

    def loss(params, x):
        given = {"params": params, "batch_stats": small["batch_stats"]}
        rngs = {"dropout": jax.random.key(0)}
        logits, changed = apply(given, x, train=True, mutable=["batch_stats"], rngs=rngs)
        return logits.sum(), changed

    gradient, changed = jax.eval_shape(jax.grad(loss, has_aux=True), small["params"], images)
    trees.check_same(gradient, small["params"], "the gradient")
    trees.check_same(changed["batch_stats"], small["batch_stats"], "the statistics")


def test_a_slim_network_is_exported_as_an_ordinary_one(tmp_path):
    pytest.importorskip("flatbuffers")
    module, image = NETWORKS["lenet_300_100"]
    variables, images = drawn(module, *image)
    groups = channel_groups(module.apply, variables, images)
    small = slim(variables, groups, {g.name: np.arange(g.channels) < 2 for g in groups})
    pareto.export(tmp_path / "small", slim_apply(module), small, images, formats=("program",), platforms=("cpu",))
    exported = pareto.load(tmp_path / "small")
    assert exported.card["parameters"] == trees.count(small)
    assert exported.card["macs"] == macs(slim_apply(module), small, images)
    x = np.random.default_rng(2).normal(size=(3, *image)).astype(np.float32)
    np.testing.assert_allclose(exported.call(x), slim_apply(module)(small, x), rtol=1e-5, atol=1e-6)


def test_slim_apply_is_the_module_itself_where_nothing_was_removed():
    module, image = NETWORKS["lenet_300_100"]
    variables, _ = drawn(module, *image)
    x = np.ones((2, *image), np.float32)
    np.testing.assert_array_equal(slim_apply(module)(variables, x), module.apply(variables, x))


# -- scores and choice --------------------------------------------------------------------------------------------

A, B = np.array([[3.0, 1.0, 2.0, 4.0]]), np.array([[1.0], [0.0], [-1.0], [2.0]])
PARAMS = {"a": A, "b": B, "bias": np.full(4, 100.0)}
PLACES = np.arange(4)[:, None]
GROUP = ChannelGroup("a", (Member("a", 1, PLACES), Member("b", 0, PLACES), Member("bias", 0, PLACES)))


@pytest.mark.fast
def test_scores_sum_over_all_kernels_of_a_group():
    np.testing.assert_allclose(channel_scores(PARAMS, [GROUP])["a"], [4, 1, 3, 6])
    np.testing.assert_allclose(channel_scores(PARAMS, [GROUP], "l2")["a"], np.sqrt([10, 1, 5, 20]))
    with pytest.raises(ConfigError, match="'a' are not finite"):
        channel_scores(PARAMS | {"b": B * np.nan}, [GROUP])
    with pytest.raises(ConfigError, match="norm 'l3'"):
        channel_scores(PARAMS, [GROUP], "l3")


@pytest.mark.fast
@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize(("compression", "left"), [(1, 4), (1.2, 3), (4 / 3, 3), (1.4, 2), (4, 1)])
def test_as_few_channels_go_as_the_target_takes(compression, left, scope):
    kept = choose_channels(PARAMS, [GROUP], channel_scores(PARAMS, [GROUP]), compression=compression, scope=scope)
    np.testing.assert_array_equal(kept["a"], np.argsort(np.argsort([4, 1, 3, 6])) >= 4 - left)


def test_targets_are_reached_and_not_by_one_channel_more_than_needed():
    module, image = NETWORKS["cifar_resnet_20"]
    variables, images = drawn(module, *image)
    params = variables["params"]
    groups = channel_groups(module.apply, variables, images)
    scores = channel_scores(variables, groups)
    per_kernel = macs_per_kernel(module.apply, variables, images)
    for scope in ("layer", "global"):
        for target in ({"compression": 2.0}, {"speedup": 1.7, "macs": per_kernel}):
            kept = choose_channels(params, groups, scores, scope=scope, **target)
            found = measure(params, channel_masks(variables, groups, kept)["params"], macs=per_kernel)
            reached = found.ratio.value if "compression" in target else found.theoretical_speedup
            assert 1.0 <= reached / next(iter(target.values())) < 1.1
            if scope == "layer":
                shares = [chosen.mean() for chosen in kept.values()]
                assert max(shares) - min(shares) <= 0.25


@pytest.mark.fast
def test_a_speedup_counts_products_that_belong_to_no_kernel():
    macs_of = {"a": 40, "b": 40}
    kept = choose_channels(PARAMS, [GROUP], {"a": np.arange(4)}, speedup=1.5, macs=macs_of, total_macs=120)
    assert kept["a"].sum() == 2  # 120 / (40 + 40)


@pytest.mark.fast
def test_bad_input_is_named():
    scores = {"a": np.arange(4)}
    with pytest.raises(ConfigError, match="expected 1 to 4,.*keeps 1"):
        choose_channels(PARAMS, [GROUP], scores, compression=5)
    with pytest.raises(ConfigError, match="expected 1 to 2,.*keeps 2"):
        choose_channels(PARAMS, [GROUP], scores, compression=3, minimum=2)
    with pytest.raises(ConfigError, match="one of the first two"):
        choose_channels(PARAMS, [GROUP], scores)
    with pytest.raises(ConfigError, match="without macs"):
        choose_channels(PARAMS, [GROUP], scores, speedup=2)
    with pytest.raises(ConfigError, match="no channel group"):
        choose_channels(PARAMS, [], scores, compression=2)
    with pytest.raises(ParameterTreeError, match="'c' in macs"):
        choose_channels(PARAMS, [GROUP], scores, speedup=2, macs={"c": 3})
    with pytest.raises(ConfigError, match="no channel group 'aa'"):
        slim(PARAMS, [GROUP], {"aa": np.ones(4, bool)})
    with pytest.raises(ConfigError, match="expected bools \\(4,\\)"):
        slim(PARAMS, [GROUP], {"a": np.ones(4)})
    with pytest.raises(ConfigError, match="nothing is kept of 'a'"):
        channel_masks(PARAMS, [GROUP], {"a": np.zeros(4, bool)})
    with pytest.raises(ParameterTreeError, match="4 places on axis 1 of 'a'"):
        slim(PARAMS | {"a": A[:, :3]}, [GROUP], {"a": np.ones(4, bool)})


def test_the_smaller_network_is_exported_as_an_ordinary_one(tmp_path):
    pytest.importorskip("flatbuffers", reason="the extra `export` is not installed")
    module, image = NETWORKS["mnist_net"]
    variables, images = drawn(module, *image)
    groups = channel_groups(module.apply, variables, images)
    kept = choose_channels(variables["params"], groups, channel_scores(variables, groups), compression=2.0)
    small, apply = slim(variables, groups, kept), slim_apply(module)
    read = pareto.load(pareto.export(tmp_path / "small", apply, small, images, formats=("program",)))
    assert read.card["parameters"] == trees.count(small) < 0.6 * trees.count(variables)
    example = np.random.default_rng(1).random((3, *image), np.float32)
    np.testing.assert_allclose(read.call(example), compiled(apply)(small, example), rtol=1e-4, atol=1e-5)
