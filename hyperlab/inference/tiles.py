"""Sliding windows: a function of fixed-size windows applied to an image or volume of any size.

Windows overlap, and where they do their outputs are averaged with weights that fall towards a window's border, where a
network sees least of the surroundings. Every call of the function has one static shape, so it is compiled once.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np

from hyperlab.data.resample import as_size, pad_or_crop
from hyperlab.errors import ConfigError, DataError, nearest

WEIGHTINGS = ("gaussian", "constant")
_LEAST_WEIGHT = 1e-3  # of the largest: a corner that one window alone covers must not be divided by next to nothing


def tiled(
    function: Callable,
    image: np.ndarray,
    window: int | Sequence[int],
    *,
    overlap: float = 0.5,
    batch: int = 4,
    weighting: str = "gaussian",
) -> np.ndarray:
    """Applies a function of windows to a whole image.

    An image smaller than the window is padded with zeros, centred, and the result is cut back. The last batch is
    filled up with copies of its last window.

    Args:
      function: from `[batch, *window, channel]` to `[batch, *window, channel']`, any number of output channels. What is
        averaged is what it returns: let it return probabilities, or logits. `jax.jit` it: it is called with one shape.
      image: `[*spatial, channel]`, in two or three dimensions (or any number).
      window: the spatial size that the function takes; one number for all axes, or one for each.
      overlap: the share of a window that its neighbour covers too, from 0 to below 1. Windows are moved together
        until the last one ends at the border, so the real overlap is at least this.
      batch: windows a call.
      weighting: `"gaussian"` (standard deviation an eighth of the window) or `"constant"`.

    Returns:
      float32 `[*spatial, channel']`.

    Raises:
      DataError: a window with another number of axes than the image.
      ConfigError: an overlap outside 0..1, a batch below 1, or an unknown weighting.

    >>> image = np.arange(35, dtype=np.float32).reshape(5, 7, 1)
    >>> doubled = tiled(lambda windows: 2 * windows, image, 4)
    >>> bool(np.allclose(doubled, 2 * image))
    True

    (Isensee et al., 2021, "nnU-Net", doi 10.1038/s41592-020-01008-z.)
    """
    rows = tiled_rows(function, image, window, overlap=overlap, batch=batch, weighting=weighting)
    return pad_or_crop(np.concatenate(list(rows)), image.shape[:-1])


def tiled_rows(
    function: Callable,
    image: np.ndarray,
    window: int | Sequence[int],
    *,
    overlap: float = 0.5,
    batch: int = 4,
    weighting: str = "gaussian",
) -> Iterator[np.ndarray]:
    """What `tiled` gives, as consecutive rows of the first axis: no more than a window's rows are held at once.

    Args:
      function: as for `tiled`, as all that follows.
      image: as well; where it is smaller than the window, rows are those of the padded image.
      window: of the function.
      overlap: of windows.
      batch: windows a call.
      weighting: where windows overlap.

    Yields:
      float32 `[rows, *spatial, channel']`; their rows sum up to those of the image, or to the window's.

    Raises:
      DataError: as `tiled`.
      ConfigError: as `tiled`.

    >>> image = np.arange(35, dtype=np.float32).reshape(7, 5, 1)
    >>> [len(rows) for rows in tiled_rows(lambda windows: windows, image, 4)]
    [1, 2, 4]
    """
    window = as_size(window, image.ndim - 1)
    if batch < 1:
        raise ConfigError(f"batch is {batch}, expected at least 1 window")
    padded = pad_or_crop(image, [max(pair) for pair in zip(image.shape[:-1], window, strict=True)])
    weights = window_weights(window, weighting)[..., None]
    corners = list(product(*(starts(n, w, overlap) for n, w in zip(padded.shape, window, strict=False))))
    places = [tuple(slice(a, a + w) for a, w in zip(corner, window, strict=True)) for corner in corners]
    total: np.ndarray | None = None
    weight, base = np.zeros((window[0], *padded.shape[1:-1], 1), np.float32), 0
    for first in range(0, len(places), batch):
        group = places[first : first + batch]
        filled = [*group, *[group[-1]] * (batch - len(group))]
        outputs = np.asarray(function(np.stack([padded[place] for place in filled])), np.float32)
        if outputs.shape[:-1] != (batch, *window):
            raise DataError(
                f"the function gave {outputs.shape} for windows {(batch, *window, image.shape[-1])}; expected a value "
                "or more for every pixel, channels last"
            )
        if total is None:
            total = np.zeros((*weight.shape[:-1], outputs.shape[-1]), np.float32)
        for (rows, *rest), output in zip(group, outputs, strict=False):
            if done := rows.start - base:  # no later window reaches them
                yield total[:done] / weight[:done]
                for buffer in (total, weight):
                    buffer[:-done], buffer[-done:] = buffer[done:].copy(), 0
                base = rows.start
            total[:, *rest] += weights * output
            weight[:, *rest] += weights
    assert total is not None
    yield total / weight


def tiled_case(
    function: Callable, image: np.ndarray, patch: Sequence[int], *, overlap: float = 0.5, batch: int = 4
) -> np.ndarray:
    """`tiled` for a function of patches that may have an axis less than the image: then planes, which come first.

    Args:
      function: from `[batch, *patch, channel]` to `[batch, *patch, channel']`, such as probabilities.
      image: `[*spatial, channel]`, of as many spatial axes as the patch or of one more.
      patch: its spatial size.
      overlap: of windows.
      batch: windows a call.

    Returns:
      float32 `[*spatial, channel']`.

    >>> planes = np.arange(24, dtype=np.float32).reshape(2, 3, 4, 1)
    >>> bool(np.allclose(tiled_case(lambda patches: patches + 1, planes, (2, 2)), planes + 1))
    True
    """
    window = (1,) * (image.ndim - 1 - len(patch)) + tuple(patch)

    def of_windows(windows: np.ndarray) -> np.ndarray:
        found = np.asarray(function(windows.reshape(batch, *patch, image.shape[-1])))
        return found.reshape(*windows.shape[:-1], found.shape[-1])

    return tiled(of_windows, image, window, overlap=overlap, batch=batch)


def starts(length: int, window: int, overlap: float = 0.5) -> list[int]:
    """Where windows begin along one axis: evenly, the first at 0, the last ending at the border.

    Args:
      length: of the axis, at least `window`.
      window: of the window.
      overlap: the least share of a window that the next one covers too.

    Raises:
      ConfigError: the overlap is outside 0..1, or 1, or the window does not fit.

    >>> starts(10, 4), starts(4, 4), starts(9, 4, overlap=0)
    ([0, 2, 4, 6], [0], [0, 2, 5])
    """
    if not 0 <= overlap < 1:
        raise ConfigError(f"overlap is {overlap}, expected 0 or more and less than 1")
    if not 1 <= window <= length:
        raise ConfigError(f"a window of {window} does not fit a length of {length}")
    step = max(1, int(window * (1 - overlap)))
    steps = -(-(length - window) // step)
    return [index * (length - window) // steps for index in range(steps + 1)] if steps else [0]


def window_weights(window: Sequence[int], weighting: str = "gaussian") -> np.ndarray:
    """How much each pixel of a window counts where windows overlap: float32 `[*window]`, at most 1.

    Raises:
      ConfigError: an unknown weighting.

    >>> window_weights((3,)).round(3)
    array([0.029, 1.   , 0.029], dtype=float32)
    """
    if weighting not in WEIGHTINGS:
        raise ConfigError(f"unknown weighting {weighting!r}; {nearest(weighting, WEIGHTINGS)}")
    weights = np.ones(tuple(window))
    if weighting == "gaussian":
        for axis, n in enumerate(window):
            bell = np.exp(-(((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) / 2)
            weights *= bell.reshape([-1 if each == axis else 1 for each in range(len(window))])
    return np.maximum(weights / weights.max(), _LEAST_WEIGHT).astype(np.float32)


def multiple_of(size: Sequence[int], divisor: int) -> tuple[int, ...]:
    """The smallest size that holds `size` and divides by `divisor` along each axis.

    `hyperlab.data.resample.pad_or_crop` brings an image there, and its result back.

    >>> multiple_of((100, 17), 8)
    (104, 24)
    """
    return tuple(-(-n // divisor) * divisor for n in size)
