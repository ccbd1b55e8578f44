"""What lies between scans and a network that was trained on patches of a prepared set, with numpy alone.

Lies as `prepared_set.py` beside `predict.py`, which calls it. A scan is cut to what is not empty, each channel is
normalised, and the box is brought to the spacing of the set; what is found in it goes back the same way.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np


def predict(network: Any, values: np.ndarray, spacing: Any, resampled: Callable) -> tuple[np.ndarray, np.ndarray]:
    """Labels int32 `[*spatial]` and probabilities `[*spatial, class]` of a scan.

    Args:
      network: of `predict.py`; its `tiled` takes images of any size.
      values: `[*spatial, channel]`, as the file holds them.
      spacing: mm along each axis, or None where nobody knows.
      resampled: of `predict.py`.
    """
    how, across = network.how["set"], network.how["axis"]
    *whole, channels = values.shape
    if channels != len(how["channels"]):
        raise ValueError(f"the scan has {channels} channels, the network was trained on {len(how['channels'])}")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError("the scan holds values that are not finite (NaN or infinite)")
    axes = list(range(len(whole)))
    for axis in reversed(range(len(whole))):
        if len(axes) > how["axes"] and whole[axis] == 1:
            axes.remove(axis)
    if len(axes) != how["axes"]:
        raise ValueError(f"the scan is {whole}; the network was trained on scans of {how['axes']} axes")
    shape = [whole[axis] for axis in axes]
    values = values.reshape(*shape, channels)
    occupied = (values != 0).any(-1)
    window = box_of(occupied)
    box, occupied = values[window], occupied[window]
    size = list(box.shape[:-1])
    if how["spacing"] is not None:
        if spacing is None:
            raise ValueError(f"nobody knows the spacing of the scan, which is brought to {how['spacing']} mm")
        steps = zip(size, [spacing[axis] for axis in axes], how["spacing"], strict=True)
        size = [max(1, math.floor(n * step / aim + 0.5)) for n, step, aim in steps]
    inside = filled(occupied) if how["masked"] else None
    each = [normalised(box[..., k], channel, inside) for k, channel in enumerate(how["channels"])]
    image = np.concatenate([resampled(one[..., None], size) for one in each], -1)
    if across is None:
        answer = network.tiled(image)
    else:
        answer = np.stack([network.tiled(plane) for plane in np.moveaxis(image, across, 0)], across)
    found = np.zeros((*shape, answer.shape[-1]), np.float32)
    found[..., 0] = 1  # outside the box it is background
    found[window] = resampled(answer, box.shape[:-1])
    labels = np.array(how["values"], np.int32)[found.argmax(-1)]
    return labels.reshape(whole), found.reshape(*whole, -1)


def box_of(occupied: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that holds everything that is true; all where nothing is."""
    ends = []
    for axis, n in enumerate(occupied.shape):
        places = np.flatnonzero(occupied.any(tuple(other for other in range(occupied.ndim) if other != axis)))
        ends.append(slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, n))
    return tuple(ends)


def filled(occupied: np.ndarray) -> np.ndarray:
    """What is true or enclosed by it: emptiness spreads from the border along axes until nothing changes."""
    empty = ~occupied
    outside = np.zeros_like(empty)
    for axis in range(empty.ndim):
        for end in (0, -1):
            index = (slice(None),) * axis + (end,)
            outside[index] = empty[index]
    before = -1
    while before != (before := int(np.count_nonzero(outside))):
        for axis in range(empty.ndim):
            reached, free = np.moveaxis(outside, axis, 0), np.moveaxis(empty, axis, 0)
            for place in range(1, len(free)):
                reached[place] |= reached[place - 1] & free[place]
            for place in reversed(range(len(free) - 1)):
                reached[place] |= reached[place + 1] & free[place]
    return ~outside


def normalised(values: np.ndarray, channel: "dict[str, Any]", inside: "np.ndarray | None") -> np.ndarray:
    """One channel on its scale, float32."""
    x, scheme = np.array(values, np.float32), channel["scheme"]
    if scheme == "rgb_to_0_1":
        if x.min() < 0 or x.max() > 255:
            raise ValueError(f"channel {channel['name']!r} spans {x.min():g} to {x.max():g}, expected 0 to 255")
        return x / np.float32(255)
    if scheme == "rescale_to_0_1":
        x -= x.min()
        return x / max(x.max(), np.float32(1e-8))
    if scheme == "ct":
        x = np.clip(x, np.float32(channel["low"]), np.float32(channel["high"]))
        return (x - np.float32(channel["mean"])) / np.float32(max(channel["deviation"], 1e-8))
    if scheme == "z_score":
        of = (x if inside is None else x[inside]).astype(np.float64)
        mean, deviation = (float(of.mean()), float(of.std())) if of.size else (0.0, 0.0)
        x = (x - np.float32(mean)) / np.float32(max(deviation, 1e-8))
        return x if inside is None else np.where(inside, x, np.float32(0))
    return x
