"""Checkpoints of UniverSeg and Tyche, from PyTorch to `hyperlab.models`.

Their keys are `enc_blocks.<i>` and `dec_blocks.<i>`, each with `cross.cross_conv`, `target.vmapped.conv`,
`support.vmapped.conv` and in Tyche `meanconv.vmapped.conv`, and `out_conv.conv`. Channels are concatenated in the
same order here, so that kernels are transposed and nothing else. Weights keep their licence when they are converted;
that of UniverSeg's is for research alone.

Source: the state dicts of the released networks, arXiv 2304.06131 and arXiv 2401.13650.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab import trees
from hyperlab.errors import ParameterTreeError
from hyperlab.models import Tyche, UniverSeg

StateDict = Mapping[str, Any]
_LAYERS = {"cross": "cross.cross_conv", "meanconv": "meanconv.vmapped.conv"}
_LAYERS |= {"target": "target.vmapped.conv", "support": "support.vmapped.conv"}
_HEAD = "out_conv.conv"
_CONTAINERS = ("model", "state_dict")
_PREFIXES = re.compile(r"(?:module\.|_orig_mod\.)+")


def universeg_from_torch(state_dict: StateDict, **options: Any) -> tuple[UniverSeg, dict]:
    """UniverSeg from the state dict of its PyTorch implementation.

    Args:
      state_dict: numpy-convertible arrays by key, or a checkpoint that holds them under `model` or `state_dict`.
        Prefixes `module.` and `_orig_mod.` are left out; width and depth follow from the shapes.
      **options: of `hyperlab.models.UniverSeg`, for instance `support_chunk`.

    Returns:
      `(module, params)`, for `module.apply({"params": params}, target, support_images, support_labels)`.

    Raises:
      ParameterTreeError: keys that are missing or not expected, or shapes that do not fit; each is named.

    >>> kernels = {"enc_blocks.0.cross.cross_conv": (4, 3, 3, 3), "enc_blocks.0.target.vmapped.conv": (4, 4, 3, 3)}
    >>> kernels |= {"enc_blocks.0.support.vmapped.conv": (4, 4, 3, 3), "out_conv.conv": (1, 4, 1, 1)}
    >>> state = {f"{name}.weight": np.ones(shape) for name, shape in kernels.items()}
    >>> module, params = universeg_from_torch(state | {f"{name}.bias": np.ones(s[0]) for name, s in kernels.items()})
    >>> module.encoder, params["head"]["kernel"].shape
    (((4, 4),), (1, 1, 4, 1))
    """
    return _from_torch(UniverSeg, ("cross", "target", "support"), state_dict, options)


def tyche_from_torch(state_dict: StateDict, **options: Any) -> tuple[Tyche, dict]:
    """Tyche, the variant with stochasticity in training, from the state dict of its PyTorch implementation.

    Args:
      state_dict: as for `universeg_from_torch`.
      **options: of `hyperlab.models.Tyche`, for instance `support_chunk`.

    Returns:
      `(module, params)`, for `module.apply({"params": params}, target, noise, support_images, support_labels)`.
      The order of these is not that of the PyTorch module.

    Raises:
      ParameterTreeError: as for `universeg_from_torch`.

    >>> tyche_from_torch({"out_conv.conv.weight": np.ones((1, 4, 1, 1))})
    Traceback (most recent call last):
    hyperlab.errors.ParameterTreeError: no block in the state dict: ...
    """
    return _from_torch(Tyche, ("cross", "meanconv", "target", "support"), state_dict, options)


def _from_torch(network: type, layers: tuple[str, ...], state_dict: StateDict, options: dict) -> tuple[Any, dict]:
    state = state_of(state_dict)
    counts = {side: _blocks(state, side) for side in ("enc", "dec")}
    if not counts["enc"]:
        raise ParameterTreeError(f"no block in the state dict: expected enc_blocks.<i>.*, given {_shown(state)}")
    counts["dec"] = max(counts["dec"], counts["enc"] - 1)
    blocks = [(side, index) for side, count in counts.items() for index in range(count)]
    names = {f"{side}_{i}/{layer}": f"{side}_blocks.{i}.{_LAYERS[layer]}" for side, i in blocks for layer in layers}
    names["head"] = _HEAD
    kinds = {"kernel": "weight", "bias": "bias"}
    keys = {f"{path}/{kind}": f"{name}.{kinds[kind]}" for path, name in names.items() for kind in kinds}
    missing, unexpected = sorted(set(keys.values()) - set(state)), sorted(set(state) - set(keys.values()))
    if missing or unexpected:
        raise ParameterTreeError(
            f"the state dict is not {network.__name__}'s with {counts['enc']} encoder blocks: "
            f"missing {missing}, unexpected {unexpected}"
        )
    params = {path: _converted(key, state[key]) for path, key in keys.items()}
    widths = {side: [_widths(params, side, index) for index in range(count)] for side, count in counts.items()}
    module = network(**{"encoder": widths["enc"], "decoder": widths["dec"], **options})
    trees.check_same(params, trees.flatten(_expected(module)), "the parameters in the state dict")
    return module, trees.nest(params)


def state_of(checkpoint: StateDict) -> dict[str, np.ndarray]:
    """The arrays by key, wherever the checkpoint holds them, without prefixes.

    Raises:
      ParameterTreeError: it is no mapping from names to arrays of real numbers, or keys differ by a prefix alone.
    """
    if not isinstance(checkpoint, Mapping) or not all(isinstance(key, str) for key in checkpoint):
        shown = "keys that are no text" if isinstance(checkpoint, Mapping) else f"a {type(checkpoint).__name__}"
        raise ParameterTreeError(f"a state dict maps names to arrays, given {shown}; save model.state_dict()")
    for name in _CONTAINERS:
        if isinstance(checkpoint.get(name), Mapping):
            return state_of(checkpoint[name])
    state = {_PREFIXES.sub("", key, count=1) if _PREFIXES.match(key) else key: v for key, v in checkpoint.items()}
    if len(state) < len(checkpoint):
        raise ParameterTreeError(f"keys of the state dict differ by their prefix alone: {_shown(checkpoint)}")
    return {key: _real(key, value) for key, value in state.items()}


def _real(key: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except Exception as error:  # whatever the array of another library refuses
        raise ParameterTreeError(f"{key!r} is a {type(value).__name__} that is no array: {error}") from error
    # bfloat16 and its like are of kind V, and floating point all the same
    if array.dtype.kind not in "biuf" and not jnp.issubdtype(array.dtype, jnp.floating):
        raise ParameterTreeError(f"{key!r} holds {array.dtype} values, expected real numbers; save model.state_dict()")
    return array


def _blocks(state: StateDict, side: str) -> int:
    found = [re.match(rf"{side}_blocks\.(\d+)\.", key) for key in state]
    return max((int(match[1]) + 1 for match in found if match), default=0)


def _converted(key: str, value: Any) -> jax.Array:
    array = np.asarray(value)
    if array.ndim != (4 if key.endswith("weight") else 1):
        raise ParameterTreeError(f"{key!r} has shape {array.shape}; weights have 4 dimensions and biases 1")
    # Half precision becomes float32; float64 stays where JAX has it enabled.
    array = array.astype(np.promote_types(array.dtype, np.float32))
    return jnp.asarray(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array)


def _widths(params: dict[str, jax.Array], side: str, index: int) -> tuple[int, int]:
    cross, target = (params[f"{side}_{index}/{layer}/bias"].shape[0] for layer in ("cross", "target"))
    return cross, target


def _expected(module: Any) -> dict:
    """Shapes of the parameters of a network for images of one channel."""
    side = 2 ** (len(module.encoder) - 1)
    images = jax.ShapeDtypeStruct((1, 1, side, side, 1), jnp.float32)
    target = (images, images) if isinstance(module, Tyche) else (jax.ShapeDtypeStruct((1, side, side, 1), jnp.float32),)
    return jax.eval_shape(module.init, jax.random.key(0), *target, images, images)["params"]


def _shown(state: StateDict) -> list[str]:
    return sorted(state)[:8]
