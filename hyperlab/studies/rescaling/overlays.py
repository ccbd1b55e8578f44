"""Test images with their truth and what a network makes of them at the compared factors, large enough to judge."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hyperlab.data.resample import pad_or_crop
from hyperlab.report import figures
from hyperlab.train.units import UnitFiles

UNIT = "overlays"  # the unit that holds the strips, one for each factor
PANELS = ("image", "truth", "prediction", "errors")  # of a strip, from left to right
CASES = 3  # at most, one below the other
COLOURS = np.array([[0, 0, 0], [230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [204, 121, 167]], np.uint8)
WRONG = np.array([213, 40, 40], np.uint8)
_ACROSS, _INCHES = 3, 2.3  # factors beside each other; a panel, about 230 pixels of the page


class Shown(NamedTuple):
    """One case: its panels, uint8 `[height, width, 3]`; predictions and errors by the name of their factor."""

    image: np.ndarray
    truth: np.ndarray
    predictions: dict[str, np.ndarray]
    errors: dict[str, np.ndarray]


def strip(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, axis: int | None = None) -> np.ndarray:
    """One row of four pictures, uint8 `[height, 4 width, 3]`: image, truth, prediction, errors in red.

    Args:
      image: `[height, width, channel]`, or a volume, of which the slice with the most truth is shown.
      truth: int, the labels.
      prediction: int, the predicted labels.
      axis: of a volume, across which slices are; by default the last one.
    """
    if truth.ndim == 3 and axis is None:
        axis = 2
    if truth.ndim == 3:
        shown = int(np.argmax((truth > 0).sum(tuple(other for other in range(3) if other != axis))))
        image, truth, prediction = (values.take(shown, axis) for values in (image, truth, prediction))
    image = image.mean(-1, keepdims=True)
    if image.min() < 0 or image.max() > 1:  # of other values than 0..1 all are shown
        image = (image - image.min()) / max(float(np.ptp(image)), 1e-6)
    grey = np.repeat((255 * image).astype(np.uint8), 3, -1)
    wrong = np.where((truth != prediction)[..., None], WRONG, grey)
    return np.concatenate([grey, COLOURS[truth % len(COLOURS)], COLOURS[prediction % len(COLOURS)], wrong], 1)


def of_one_size(strips: list[np.ndarray]) -> list[np.ndarray]:
    """Strips of cases of many sizes, whose panels are centred in the largest of each side."""
    height = max(len(strip) for strip in strips)
    width = max(strip.shape[1] for strip in strips) // len(PANELS)
    cut = [np.split(strip, len(PANELS), 1) for strip in strips]
    return [np.concatenate([pad_or_crop(panel, (height, width)) for panel in panels], 1) for panels in cut]


def read(folder: Path) -> dict[str, np.ndarray]:
    """The strips that a study kept, by the name of their factor; none where it kept no network."""
    files = UnitFiles(Path(folder) / "units")
    if not files.path(UNIT).exists():
        return {}
    _, found = files.finished(UNIT)
    return {name.removeprefix("factor_"): strips for name, strips in found.items()}


def cases(strips: dict[str, np.ndarray], count: int) -> list[Shown]:
    """The panels of each case, cut from strips `[cases * height, 4 width, 3]` of `count` cases."""
    parts = {
        name: [np.split(row, len(PANELS), 1) for row in np.split(strip, count, 0)] for name, strip in strips.items()
    }
    first = next(iter(parts.values()))
    return [
        Shown(
            first[case][0],
            first[case][1],
            {name: rows[case][2] for name, rows in parts.items()},
            {name: rows[case][3] for name, rows in parts.items()},
        )
        for case in range(count)
    ]


def figure(shown: list[Shown], names: tuple[str, ...], classes: tuple[str, ...]) -> Any:
    """Each case in a pair of rows: image above truth, and beside them prediction above errors at every factor.

    Args:
      shown: of `cases`.
      names: of the cases; an empty one is left out.
      classes: names of the foreground classes, for the legend.
    """
    factors = list(shown[0].predictions)
    pairs = -(-len(factors) // _ACROSS)  # a fourth factor begins another pair of rows
    columns = 1 + min(len(factors), _ACROSS)
    height, width = shown[0].image.shape[:2]
    made, axes = figures.grid(
        2 * pairs * len(shown), columns, width=_INCHES, height=_INCHES * min(height / width, 2.0) + 0.25
    )
    table = axes.reshape(len(shown), pairs, 2, columns)
    for one in axes:
        one.set_axis_off()
    for case, one in enumerate(shown):
        name = names[case] if case < len(names) else ""
        _panel(table[case, 0, 0, 0], one.image, f"{name}\nimage" if name else "image")
        _panel(table[case, 0, 1, 0], one.truth, "truth")
        for place, factor in enumerate(factors):
            pair, column = place // _ACROSS, 1 + place % _ACROSS
            _panel(table[case, pair, 0, column], one.predictions[factor], f"prediction, phi {factor}")
            share = (one.errors[factor] == WRONG).all(-1).mean()  # the rest is grey
            _panel(table[case, pair, 1, column], one.errors[factor], f"errors, {share:.1%} of pixels")
    _legend(made, classes)
    return made


def _panel(axes: Any, picture: np.ndarray, title: str) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(title, fontsize=9)


def _legend(made: Any, classes: tuple[str, ...]) -> None:
    from matplotlib.patches import Patch

    named = [*zip(COLOURS[1:], classes, strict=False), (WRONG, "wrong")]
    handles = [Patch(color="#" + bytes(colour).hex(), label=name) for colour, name in named]
    made.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
