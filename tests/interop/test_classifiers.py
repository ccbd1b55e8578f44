"""Layouts of keys written down from the projects' module trees, not from the converter."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from scipy import signal

from hyperlab import trees
from hyperlab.errors import ParameterTreeError
from hyperlab.interop import classifier_from_torch


def norm(name, channels):
    arrays = {key: (channels,) for key in ("weight", "bias", "running_mean", "running_var")}
    return {f"{name}.{key}": shape for key, shape in (arrays | {"num_batches_tracked": ()}).items()}


def linear(name, out, inputs):
    return {f"{name}.weight": (out, inputs), f"{name}.bias": (out,)}


def cifar_resnet(depth, head="linear", width=16, classes=10, images=3):
    shapes = {"conv1.weight": (width, images, 3, 3)} | norm("bn1", width)
    before = width
    for stage in (1, 2, 3):
        out = width * 2 ** (stage - 1)
        for block in range((depth - 2) // 6):
            name = f"layer{stage}.{block}"
            shapes |= {f"{name}.conv1.weight": (out, before, 3, 3), f"{name}.conv2.weight": (out, out, 3, 3)}
            shapes |= norm(f"{name}.bn1", out) | norm(f"{name}.bn2", out)
            before = out
    return shapes | linear(head, classes, before)


def resnet(blocks, bottleneck, width=64, classes=1000):
    shapes, before = {"conv1.weight": (width, 3, 7, 7)} | norm("bn1", width), width
    for stage, count in enumerate(blocks):
        inner = width * 2**stage
        out = inner * (4 if bottleneck else 1)
        for block in range(count):
            name = f"layer{stage + 1}.{block}"
            layers = [(inner, before, 1), (inner, inner, 3), (out, inner, 1)]
            for index, (o, i, k) in enumerate(layers if bottleneck else [(inner, before, 3), (inner, inner, 3)]):
                shapes |= {f"{name}.conv{index + 1}.weight": (o, i, k, k)} | norm(f"{name}.bn{index + 1}", o)
            if before != out or (stage and not block):
                shapes |= {f"{name}.downsample.0.weight": (out, before, 1, 1)} | norm(f"{name}.downsample.1", out)
            before = out
    return shapes | linear("fc", classes, before)


def vgg(width=64, classes=10):
    shapes, before, place = {}, 3, 0
    for multiple, count in [(1, 2), (2, 2), (4, 3), (8, 3), (8, 3)]:
        for index in range(count):
            out = width * multiple
            shapes |= {f"features.{place}.conv.weight": (out, before, 3, 3), f"features.{place}.conv.bias": (out,)}
            shapes |= norm(f"features.{place}.bn", out)
            before = out
            place += 1 + (index + 1 < count)  # a dropout follows
        place += 1  # the pooling
    return (
        shapes
        | linear("classifier.1", before, before)
        | norm("classifier.2", before)
        | linear("classifier.5", classes, before)
    )


def mnist_net():
    shapes = {"conv1.weight": (20, 1, 5, 5), "conv1.bias": (20,), "conv2.weight": (50, 20, 5, 5), "conv2.bias": (50,)}
    return shapes | linear("fc1", 500, 800) | linear("fc2", 10, 500)


def zeros(shapes):
    return {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}


def drawn(shapes):
    """Random arrays, with positive variances."""
    generator = np.random.default_rng(0)
    draw = {
        True: lambda shape: generator.uniform(0.5, 1.5, shape),
        False: lambda shape: generator.normal(0, 0.3, shape),
    }
    return {key: np.asarray(draw["running_var" in key](shape), np.float32) for key, shape in shapes.items()}


def applied(module, variables, images):
    logits = jax.jit(module.apply)(variables, np.moveaxis(images, 1, -1))
    return np.asarray(logits)


@pytest.mark.parametrize(
    ("shapes", "kind", "options", "parameters"),
    [
        (cifar_resnet(20), "CifarResNet", {"depth": 20, "classes": 10}, 269722),
        (cifar_resnet(56, "fc"), "CifarResNet", {"depth": 56}, 853018),
        (cifar_resnet(20, classes=100), "CifarResNet", {"classes": 100}, 269722 + 90 * 65),
        (resnet((2, 2, 2, 2), False), "ResNet", {"depth": 18, "classes": 1000}, 11689512),
        (resnet((3, 4, 6, 3), True), "ResNet", {"depth": 50}, 25557032),
        (resnet((3, 4, 6, 3), False, width=16, classes=5), "ResNet", {"depth": 34, "width": 0.25, "classes": 5}, None),
        (vgg(), "CifarVGG", {"classes": 10, "width": 1.0}, 14991946),
        (vgg(classes=100), "CifarVGG", {"classes": 100}, 15038116),
        (mnist_net(), "MnistNet", {"classes": 10}, 431080),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_layouts_are_recognised_and_complete(shapes, kind, options, parameters):
    module, variables = classifier_from_torch(zeros(shapes))
    assert type(module).__name__ == kind
    assert {name: getattr(module, name) for name in options} == options
    counted = sum(np.prod(shape, dtype=int) for key, shape in shapes.items() if "running" not in key and shape)
    assert trees.count(variables["params"]) == counted == (parameters or counted)


def test_containers_prefixes_and_half_precision():
    state = drawn(cifar_resnet(8, width=4))
    module, variables = classifier_from_torch(state)
    halves = {f"module.{key}": value.astype(np.float16) for key, value in state.items()}
    same, rounded = classifier_from_torch({"state_dict": halves, "best_prec1": 91.7})
    assert same == module
    for path, leaf in trees.flatten(rounded).items():
        assert leaf.dtype == np.float32
        np.testing.assert_allclose(leaf, trees.flatten(variables)[path], rtol=1e-3, atol=1e-4)


def convolved(images, kernel, stride, padding):
    """Cross-correlation of NCHW images, one pair of channels after the other."""
    padded = np.pad(images, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    out = [
        [sum(signal.correlate2d(i, k, "valid") for i, k in zip(image, filters, strict=True)) for filters in kernel]
        for image in padded
    ]
    return np.array(out)[:, :, ::stride, ::stride]


def normalized(x, state, name, epsilon=1e-5):
    mean, var, scale, bias = (
        state[f"{name}.{key}"].reshape(1, -1, *[1] * (x.ndim - 2))
        for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(var + epsilon) * scale + bias


def test_a_cifar_resnet_gives_what_a_slow_forward_pass_gives():
    state = drawn(cifar_resnet(8, width=4))
    images = np.random.default_rng(1).normal(size=(2, 3, 9, 9)).astype(np.float32)
    x = np.maximum(normalized(convolved(images, state["conv1.weight"], 1, 1), state, "bn1"), 0)
    for stage in (1, 2, 3):
        name, stride = f"layer{stage}.0", 1 if stage == 1 else 2
        y = convolved(x, state[f"{name}.conv1.weight"], stride, 1)
        y = np.maximum(normalized(y, state, f"{name}.bn1"), 0)
        y = normalized(convolved(y, state[f"{name}.conv2.weight"], 1, 1), state, f"{name}.bn2")
        sides = (y.shape[1] - x.shape[1]) // 2
        x = np.maximum(y + np.pad(x[:, :, ::stride, ::stride], [(0, 0), (sides, sides), (0, 0), (0, 0)]), 0)
    expected = x.mean((2, 3)) @ state["linear.weight"].T + state["linear.bias"]
    np.testing.assert_allclose(applied(*classifier_from_torch(state), images), expected, rtol=1e-4, atol=1e-4)


def test_a_bottleneck_makes_the_image_smaller_in_its_3x3_convolution():
    state = drawn(resnet((3, 4, 6, 3), True, width=2, classes=3))
    module, variables = classifier_from_torch(state)
    paths = trees.flatten(variables)
    block, names = "stage_1_block_0", {"conv_0": "conv1", "conv_1": "conv2", "conv_2": "conv3"}
    for ours, theirs in {**names, "shortcut": "downsample.0"}.items():
        kernel = state[f"layer2.0.{theirs}.weight"]
        np.testing.assert_array_equal(paths[f"params/{block}/{ours}/kernel"], kernel.transpose(2, 3, 1, 0))
    calls = []

    def record(next_fun, args, kwargs, context):
        out = next_fun(*args, **kwargs)
        calls.append(("/".join(context.module.path), args[0].shape, getattr(out, "shape", None)))
        return out

    with nn.intercept_methods(record):
        jax.eval_shape(module.apply, variables, jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32))
    shapes = {path: (before[1], after[1]) for path, before, after in calls if path.startswith(f"{block}/")}
    assert [shapes[f"{block}/conv_{i}"] for i in range(3)] == [(16, 16), (16, 8), (8, 8)]
    assert shapes[f"{block}/shortcut"] == (16, 8)


def test_mnist_net_flattens_channels_as_the_checkpoint_did():
    state = drawn(mnist_net())
    images = np.random.default_rng(1).normal(size=(1, 1, 28, 28)).astype(np.float32)
    x = images
    for name in ("conv1", "conv2"):
        x = np.maximum(convolved(x, state[f"{name}.weight"], 1, 0) + state[f"{name}.bias"].reshape(1, -1, 1, 1), 0)
        x = x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2).max((3, 5))
    x = np.maximum(x.reshape(1, -1) @ state["fc1.weight"].T + state["fc1.bias"], 0)
    expected = x @ state["fc2.weight"].T + state["fc2.bias"]
    np.testing.assert_allclose(applied(*classifier_from_torch(state), images), expected, rtol=1e-4, atol=1e-3)


def test_missing_and_unexpected_keys_are_listed():
    state = zeros(cifar_resnet(8, width=4))
    without = {key: value for key, value in state.items() if key != "layer2.0.bn1.running_var"}
    with pytest.raises(ParameterTreeError, match="CifarResNet of depth 8: missing .'layer2.0.bn1.running_var'"):
        classifier_from_torch(without)
    with pytest.raises(ParameterTreeError, match="unexpected .'layer1.0.conv3.bias'"):
        classifier_from_torch(state | {"layer1.0.conv3.bias": np.zeros(3)})
    with pytest.raises(ParameterTreeError, match="no known classifier"):
        classifier_from_torch({"encoder.weight": np.zeros(3)})
    with pytest.raises(ParameterTreeError, match="missing 'linear.weight'|missing 'fc.weight'"):
        classifier_from_torch({key: value for key, value in state.items() if not key.startswith("linear")})
    with pytest.raises(ParameterTreeError, match="stage_0_block_0/conv_0/kernel"):
        classifier_from_torch(state | {"layer1.0.conv1.weight": np.zeros((4, 4, 5, 5))})
