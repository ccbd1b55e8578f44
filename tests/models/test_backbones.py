"""The published table of ten networks, from shapes alone; every kept fraction and speedup to all printed digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab import trees
from hyperlab.errors import ConfigError
from hyperlab.metrics.operations import macs, macs_per_kernel
from hyperlab.metrics.sparsity import CompressionRatio, highest_compression, layerwise_speedup
from hyperlab.models import CifarResNet, CifarVGG, LeNet300100, MnistNet, ResNet
from hyperlab.models.cifar_resnet import CifarBlock

RATIOS = (2, 4, 8, 16, 32, 64)


def shapes(module, *image):
    images = jax.ShapeDtypeStruct((1, *image), jnp.float32)
    return jax.eval_shape(module.init, jax.random.key(0), images), images


# Parameters, unprunable (normalisation and classifier), ceiling, multiply-accumulates, then for compressions 2, 4, 8,
# 16, 32, 64 the kept fraction and the speedup of a uniform layerwise pruning; fewer where the ceiling is lower.
# MnistNet: the original counter takes every convolution for a padded one (4,397,000, from which its printed speedups
# follow); 2,293,000 is the true count, which is ours. Two ceilings are printed with another last digit (158.9 and
# 247.4) than N / U of the same row has.
TABLE = [
    (
        CifarResNet(20),
        (32, 32, 3),
        269722,
        2026,
        "133.1",
        40551040,
        ".49622 .24432 .11838 .05540 .02392 .00817",
        "2.015 4.093 8.447 18.044 41.782 122.09",
    ),
    (CifarResNet(32), (32, 32, 3), 464154, 2922, "158.8", 68862592, ".49683 .24525 .11946 .05656 .02511 .00939", ""),
    (CifarResNet(44), (32, 32, 3), 658586, 3818, "172.5", 97174144, ".49708 .24563 .11990 .05703 .02560 .00989", ""),
    (
        CifarResNet(56),
        (32, 32, 3),
        853018,
        4714,
        "181.0",
        125485696,
        ".49722 .24583 .12014 .05729 .02587 .01015",
        "2.011 4.068 8.323 17.453 38.652 98.43",
    ),
    (
        CifarResNet(110),
        (32, 32, 3),
        1727962,
        8746,
        "197.6",
        252887680,
        ".49746 .24618 .12055 .05773 .02632 .01062",
        "2.010 4.062 8.295 17.321 37.988 94.16",
    ),
    (
        CifarVGG(10),
        (32, 32, 3),
        14991946,
        14602,
        "1026.7",
        313463808,
        ".49951 .24927 .12415 .06159 .03031 .01467",
        "2.002 4.012 8.054 16.233 32.980 68.11",
    ),
    (CifarVGG(100), (32, 32, 3), 15038116, 60772, "247.5", 313509888, ".49797 .24696 .12145 .05870 .02732 .01163", ""),
    (
        ResNet(18),
        (224, 224, 3),
        11689512,
        522600,
        "22.37",
        1814073344,
        ".47660 .21490 .08405 .01863",
        "2.098 4.649 11.861 52.902",
    ),
    (ResNet(50), (224, 224, 3), 25557032, 2102120, "12.16", 4089184256, ".45519 .18278 .04658", "2.196 5.459 21.251"),
    (MnistNet(), (28, 28, 1), 431080, 5010, "86.0", 2293000, ".49412 .24118 .11471 .05148 .01986 .00405", ""),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{type(row[0]).__name__}-{row[2]}")
def test_the_table(row):
    module, image, parameters, unprunable, ceiling, total, kept, speedups = row
    variables, images = shapes(module, *image)
    leaves = trees.flatten(variables["params"])
    fixed = [path for path in leaves if "norm" in path or path.startswith("classifier/")]
    assert sum(leaf.size for leaf in leaves.values()) == parameters
    assert sum(leaves[path].size for path in fixed) == unprunable
    prunable = parameters - unprunable
    assert f"{highest_compression(parameters, prunable).value:.{len(ceiling.split('.')[1])}f}" == ceiling
    per_kernel = macs_per_kernel(module.apply, variables, images)
    assert sum(per_kernel.values()) == macs(module.apply, variables, images) == total
    fractions = [CompressionRatio(c).kept_of_prunable(parameters, prunable) for c in RATIOS[: len(kept.split())]]
    assert [f"{f.value:.5f}" for f in fractions] == ["0" + printed for printed in kept.split()]
    for f, printed in zip(fractions, speedups.split(), strict=False):
        speedup = layerwise_speedup(f, total, per_kernel["classifier/kernel"])
        assert f"{speedup:.{len(printed.split('.')[1])}f}" == printed
    if len(fractions) < len(RATIOS):
        with pytest.raises(ConfigError, match=f"below {ceiling}"):
            CompressionRatio(RATIOS[len(fractions)]).kept_of_prunable(parameters, prunable)


def test_mnist_net_with_every_convolution_taken_for_a_padded_one():
    variables, images = shapes(MnistNet(), 28, 28, 1)
    per_kernel = macs_per_kernel(MnistNet().apply, variables, images)
    assert per_kernel == {
        "classifier/kernel": 5000,
        "conv_0/kernel": 24 * 24 * 500,
        "conv_1/kernel": 8 * 8 * 25000,
        "hidden/kernel": 400000,
    }
    padded = per_kernel | {"conv_0/kernel": 28 * 28 * 500, "conv_1/kernel": 12 * 12 * 25000}
    assert sum(padded.values()) == 4397000
    printed = "2.021 4.131 8.642 19.028 47.68 192.95"
    for c, expected in zip(RATIOS, printed.split(), strict=True):
        f = CompressionRatio(c).kept_of_prunable(431080, 426070)
        assert f"{layerwise_speedup(f, 4397000, 5000):.{len(expected.split('.')[1])}f}" == expected


def test_lenet_300_100():
    variables, images = shapes(LeNet300100(), 28, 28, 1)
    assert trees.count(variables) == 784 * 300 + 300 + 300 * 100 + 100 + 1000 + 10
    assert macs(LeNet300100().apply, variables, images) == 784 * 300 + 30000 + 1000


@pytest.mark.parametrize("normalization", ["batch", "group", ""])
@pytest.mark.parametrize(
    ("kind", "options", "image"),
    [
        (CifarResNet, {"depth": 8, "width": 0.25}, (8, 8, 1)),
        (CifarVGG, {"stages": ((8, 8), (16,)), "hidden": 12, "width": 0.5}, (8, 8, 1)),
        (ResNet, {"depth": 18, "width": 0.125}, (32, 32, 3)),
        (ResNet, {"depth": 50, "width": 0.125}, (32, 32, 3)),
    ],
)
def test_variants_of_normalisation_and_width(kind, options, image, normalization):
    module = kind(classes=7, normalization=normalization, **options)
    variables, images = shapes(module, *image)
    assert set(variables) == ({"params", "batch_stats"} if normalization == "batch" else {"params"})
    paths = trees.flatten(variables["params"])
    assert any("norm" in path for path in paths) == bool(normalization)
    if not normalization:
        assert all(path.replace("kernel", "bias") in paths for path in paths)
    rngs = {"dropout": jax.random.key(1)}
    logits, changed = jax.eval_shape(lambda v, x: module.apply(v, x, True, rngs=rngs, mutable=True), variables, images)
    assert logits.shape == (1, 7) and logits.dtype == jnp.float32
    assert jax.tree.structure(changed) == jax.tree.structure(variables)


def test_the_shortcut_without_parameters_takes_every_second_pixel_and_pads_channels_on_both_sides():
    images = np.random.default_rng(0).random((1, 5, 6, 4), np.float32)
    block = CifarBlock(8, stride=2, normalization="")
    zeros = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(block.init, jax.random.key(0), images)
    )
    out = np.asarray(block.apply(zeros, images))
    assert out.shape == (1, 3, 3, 8)
    np.testing.assert_array_equal(out[..., 2:6], images[:, ::2, ::2])
    assert not out[..., :2].any() and not out[..., 6:].any()


def test_statistics_move_in_training_alone_with_momentum_and_epsilon_as_in_torch():
    module = CifarVGG(stages=((4,),), hidden=4, dropout=False)
    images = np.random.default_rng(0).random((6, 4, 4, 1), np.float32)
    variables = jax.jit(module.init)(jax.random.key(0), images)
    kernel, before = variables["params"]["stage_0_conv_0"]["kernel"], variables["batch_stats"]["stage_0_norm_0"]
    assert not np.asarray(before["mean"]).any()
    apply = jax.jit(module.apply, static_argnames=("train", "mutable"))
    _, changed = apply(variables, images, train=True, mutable=("batch_stats",))
    conv = jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    expected = 0.1 * np.asarray(conv).mean((0, 1, 2))
    np.testing.assert_allclose(changed["batch_stats"]["stage_0_norm_0"]["mean"], expected, atol=1e-6)
    _, same = apply(variables, images, mutable=("batch_stats",))
    np.testing.assert_array_equal(same["batch_stats"]["stage_0_norm_0"]["mean"], before["mean"])


def test_unknown_depths_and_normalisations_are_refused():
    images, key = jnp.zeros((1, 32, 32, 3)), jax.random.key(0)
    for module, message in [
        (CifarResNet(21), "6n \\+ 2"),
        (ResNet(101), "18, 34, 50"),
        (CifarVGG(normalization="bacth"), "did you mean 'batch'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            jax.eval_shape(module.init, key, images)
