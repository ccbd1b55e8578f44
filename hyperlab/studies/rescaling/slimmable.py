"""One U-Net for several widths: the narrower ones are the leading channels of the widest.

Source: Yu, Yang, Xu, Yang and Huang, Slimmable Neural Networks (2018), arXiv 1812.08928. There, a step trains every
width, and each has batch statistics of its own; here a step trains one width, as a step of the other arms trains one
factor, and there are no batch statistics.
"""

from typing import Any

import jax.numpy as jnp

from hyperlab.data.splits import philox
from hyperlab.models import UNet

Params = dict[str, dict[str, Any]]
_STREAM = 4  # of the words that decide the width of a step


def drawn(widths: int, seed: int, step: int) -> int:
    """Which of so many widths a step trains, each as often as the others: a function of seed and step alone."""
    return int(philox(seed, step, _STREAM).random_raw(1)[0]) * widths >> 64


def narrower(primary: UNet, width: float) -> UNet:
    """The same U-Net with its channels multiplied."""
    return primary.clone(width_multiplier=primary.width_multiplier * width)


def slim(params: Params, primary: UNet, width: float) -> Params:
    """The parameters of a narrower U-Net within those of a wider one: the leading channels of every layer.

    Where skips are concatenated, a decoder's input has two parts, and these are the leading channels of both.

    Args:
      params: of `primary`.
      primary: the wide one.
      width: multiplies its channels, in (0, 1].

    Returns:
      Parameters of `narrower(primary, width)`. A projection that the narrow one has no need of is left out.

    >>> import jax, jax.numpy as jnp
    >>> net, images = UNet((4, 8)), jnp.ones((1, 8, 8, 1))
    >>> small = slim(net.init(jax.random.key(0), images)["params"], net, 0.5)
    >>> small["decoder_0_conv_0"]["kernel"].shape, small["classifier"]["kernel"].shape
    ((3, 3, 6, 2), (1, 1, 2, 2))
    >>> narrower(net, 0.5).apply({"params": small}, images).shape
    (1, 8, 8, 2)
    """
    wide, narrow = primary.features, narrower(primary, width).features
    result: Params = {}
    for name, leaves in params.items():
        inputs, output = _channels(name, primary.skip)
        parts, outputs = [(wide[k], narrow[k]) for k in inputs], None if output is None else narrow[output]
        if name.startswith("project") and narrow[inputs[0]] == outputs:
            continue
        result[name] = {leaf: _leading(array, parts, outputs) for leaf, array in leaves.items()}
    return result


def _channels(layer: str, skip: str) -> tuple[list[int], int | None]:
    """The levels whose channels, one after the other, come into a layer (none: the images'), and that of its own."""
    kind, *rest = layer.split("_")  # encoder_0_conv_1, decoder_0_norm_0, project_0, classifier
    if kind == "classifier":
        return [0], None
    level = int(rest[0])
    if kind == "project":
        return [level + 1], level
    if rest[-1] != "0":
        return [level], level
    if kind == "encoder":
        return ([level - 1] if level else []), level
    return {"concat": [level, level + 1], "add": [level], "none": [level + 1]}[skip], level


def _leading(array: Any, inputs: list[tuple[int, int]], outputs: int | None) -> Any:
    """An array `[..., out]` or `[*window, in, out]` with the first channels alone: (all, kept) of each part of `in`."""
    array = array[..., :outputs]
    if array.ndim == 1 or not inputs:
        return array
    kept, begin = [], 0
    for count, few in inputs:
        kept.append(array[..., begin : begin + few, :])
        begin += count
    return jnp.concatenate(kept, axis=-2) if len(kept) > 1 else kept[0]
