"""Checkpoints of image classifiers, from PyTorch to `hyperlab.models`.

Four layouts of keys are known: the residual networks for CIFAR of akamaster/pytorch_resnet_cifar10 (head `linear`) and
of JJGO/shrinkbench (head `fc`); ResNet-18, 34 and 50 of torchvision; `vgg_bn_drop` and `MnistNet` of JJGO/shrinkbench.
Which one it is, its depth, classes and width follow from keys and shapes. Counters of batches, which are no part of the
network, are left out. Weights keep their licence when they are converted.

Source: the public state dicts of these projects.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab import trees
from hyperlab.errors import ParameterTreeError
from hyperlab.interop.in_context import state_of
from hyperlab.models import CifarResNet, CifarVGG, MnistNet, ResNet
from hyperlab.models.resnet import DEPTHS
from hyperlab.models.vgg import STAGES

StateDict = Mapping[str, Any]
_KINDS = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_COUNTER = ".num_batches_tracked"


class _Layout(NamedTuple):
    """A layout of keys, and the network it belongs to.

    Attributes:
      network: the class.
      options: its options, as far as the keys tell them.
      name_of: the name in keys of a module by its path in ours.
      stem: name of the first convolution.
      channels: of its output at a width of 1.
      head: name of the last layer.
      flattened: name of the convolution whose pixels are flattened into `hidden`; the empty string if there is none.
      side: of the images that the network is for.
    """

    network: Callable[..., Any]
    options: dict[str, Any]
    name_of: Callable[[str], str]
    stem: str
    channels: int
    head: str
    flattened: str = ""
    side: int = 32


def classifier_from_torch(state_dict: StateDict, **options: Any) -> tuple[Any, dict]:
    """A classifier from the state dict of its PyTorch implementation.

    Args:
      state_dict: numpy-convertible arrays by key, or a checkpoint that holds them under `model` or `state_dict`.
        Prefixes `module.` and `_orig_mod.` are left out.
      **options: of the network, for instance `dtype`.

    Returns:
      `(module, variables)`, for `module.apply(variables, images)` with channel-last images, prepared as the checkpoint
      expects them. `variables` holds `params`, and `batch_stats` where there is batch normalisation.

    Raises:
      ParameterTreeError: no known layout, keys that are missing or not expected, or shapes that do not fit; each is
        named.

    >>> shapes = {"conv1": (20, 1, 5, 5), "conv2": (50, 20, 5, 5), "fc1": (500, 800), "fc2": (10, 500)}
    >>> state = {f"{name}.weight": np.ones(shape) for name, shape in shapes.items()}
    >>> module, variables = classifier_from_torch(state | {f"{n}.bias": np.ones(s[0]) for n, s in shapes.items()})
    >>> module.__class__.__name__, variables["params"]["hidden"]["kernel"].shape
    ('MnistNet', (800, 500))
    """
    state = {key: value for key, value in state_of(state_dict).items() if not key.endswith(_COUNTER)}
    layout = _layout(state)
    for name in (layout.stem, layout.head):
        if f"{name}.weight" not in state:
            raise ParameterTreeError(f"missing '{name}.weight' in the state dict of a {layout.network.__name__}")
    if state[f"{layout.stem}.weight"].ndim != 4:
        raise ParameterTreeError(
            f"'{layout.stem}.weight' has shape {state[f'{layout.stem}.weight'].shape}, expected 4 axes"
        )
    out, inputs = np.shape(state[f"{layout.stem}.weight"])[:2]
    classes = np.shape(state[f"{layout.head}.weight"])[0]
    module = layout.network(**{"classes": classes, "width": out / layout.channels, **layout.options, **options})
    images = jax.ShapeDtypeStruct((1, layout.side, layout.side, inputs), jnp.float32)
    expected = jax.eval_shape(module.init, jax.random.key(0), images)
    keys = {path: _key(path, layout.name_of) for path in trees.flatten(expected)}
    missing, unexpected = sorted(set(keys.values()) - set(state)), sorted(set(state) - set(keys.values()))
    if missing or unexpected:
        raise ParameterTreeError(
            f"the state dict is not that of a {_described(module)}: missing {missing}, unexpected {unexpected}"
        )
    leaves = {path: _converted(key, state[key]) for path, key in keys.items()}
    if layout.flattened:
        hidden, channels = "params/hidden/kernel", np.shape(state[f"{layout.flattened}.weight"])[0]
        leaves[hidden] = _channel_last(leaves[hidden], channels)
    trees.check_same(leaves, trees.flatten(expected), "the arrays in the state dict")
    return module, trees.unflatten({path: jnp.asarray(leaf) for path, leaf in leaves.items()}, expected)


# -- the layouts --------------------------------------------------------------------------------------------------


def _layout(state: StateDict) -> _Layout:
    if "features.0.conv.weight" in state:
        names = _vgg_names()
        last = names[f"stage_{len(STAGES) - 1}_conv_{len(STAGES[-1]) - 1}"]
        return _Layout(CifarVGG, {}, names.__getitem__, "features.0.conv", STAGES[0][0], "classifier.5", last)
    if "fc1.weight" in state:
        names = {"conv_0": "conv1", "conv_1": "conv2", "hidden": "fc1", "classifier": "fc2"}
        return _Layout(MnistNet, {}, names.__getitem__, "conv1", 20, "fc2", "conv2", side=28)
    head = "linear" if "linear.weight" in state else "fc"
    blocks = _blocks(state)
    if len(blocks) == 3 and len(set(blocks)) == 1:
        options = {"depth": 6 * blocks[0] + 2}
        return _Layout(CifarResNet, options, lambda path: _resnet_name(path, head), "conv1", 16, head)
    bottleneck = any(re.fullmatch(r"layer\d+\.\d+\.conv3\.weight", key) for key in state)
    for depth, shape in DEPTHS.items():
        if (blocks, bottleneck) == shape:
            return _Layout(ResNet, {"depth": depth}, lambda path: _resnet_name(path, head), "conv1", 64, head)
    kind = "bottlenecks" if bottleneck else "basic blocks"
    raise ParameterTreeError(
        f"no known classifier: layer1, layer2, ... have {blocks} {kind}; expected n, n, n basic blocks (CIFAR), those "
        f"of a ResNet-{sorted(DEPTHS)}, 'features.0.conv.weight' (VGG) or 'fc1.weight' (MnistNet); given "
        f"{sorted(state)[:8]}"
    )


def _blocks(state: StateDict) -> tuple[int, ...]:
    """How many blocks the keys of each stage name: `layer<stage>.<block>.*`."""
    found = {tuple(map(int, m.groups())) for key in state if (m := re.match(r"layer(\d+)\.(\d+)\.", key))}
    stages = max((stage for stage, _ in found), default=0)
    return tuple(max((block + 1 for s, block in found if s == stage), default=0) for stage in range(1, stages + 1))


def _resnet_name(path: str, head: str) -> str:
    names = {"stem": "conv1", "stem_norm": "bn1", "classifier": head}
    if path in names:
        return names[path]
    found = re.fullmatch(r"stage_(\d+)_block_(\d+)/(\w+)", path)
    assert found is not None  # as every other layer of a ResNet
    stage, block, layer = found.groups()
    names = {"shortcut": "downsample.0", "shortcut_norm": "downsample.1"}
    kind, _, index = layer.rpartition("_")
    if layer not in names:
        names[layer] = {"conv": "conv", "norm": "bn"}[kind] + str(int(index) + 1)
    return f"layer{int(stage) + 1}.{block}.{names[layer]}"


def _vgg_names() -> dict[str, str]:
    """Its convolutions are numbered among the dropouts (after all but a stage's last) and the poolings."""
    names, place = {"hidden": "classifier.1", "hidden_norm": "classifier.2", "classifier": "classifier.5"}, 0
    for stage, widths in enumerate(STAGES):
        for index in range(len(widths)):
            names[f"stage_{stage}_conv_{index}"] = f"features.{place}.conv"
            names[f"stage_{stage}_norm_{index}"] = f"features.{place}.bn"
            place += 2
    return names


# -- keys and arrays ----------------------------------------------------------------------------------------------


def _key(path: str, name_of: Callable[[str], str]) -> str:
    module, kind = path.split("/", 1)[1].rsplit("/", 1)
    return f"{name_of(module)}.{_KINDS[kind]}"


def _converted(key: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.ndim not in (1, 2, 4):
        raise ParameterTreeError(f"{key!r} has shape {array.shape}; expected 1, 2 or 4 dimensions")
    # Half precision becomes float32; float64 stays where JAX has it enabled.
    array = array.astype(np.promote_types(array.dtype, np.float32))
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def _channel_last(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A kernel for flattened (channel, pixel), for flattened (pixel, channel)."""
    if len(kernel) % channels:
        raise ParameterTreeError(
            f"{len(kernel)} inputs of the first dense layer are no multiple of {channels} channels"
        )
    return kernel.reshape(channels, -1, kernel.shape[-1]).swapaxes(0, 1).reshape(kernel.shape)


def _described(module: Any) -> str:
    depth = getattr(module, "depth", None)
    return type(module).__name__ + (f" of depth {depth}" if depth else "")
