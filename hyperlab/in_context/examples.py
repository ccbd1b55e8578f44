"""A folder of examples, images with masks, and the images beside them: what a network is shown of a user's files."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hyperlab.data.layouts import Layout, case_problems, detect, picture_white, refuse
from hyperlab.data.problems import colour_problems, scale_problems
from hyperlab.data.readers.cases import Problem, visible
from hyperlab.data.readers.scan import Scan, is_readable, read_scan, stem_of, suffix_of
from hyperlab.data.resample import unit_range
from hyperlab.errors import DataError

_MOST_CLASSES = 32  # more values are instances


class Support(NamedTuple):
    """Examples of a folder.

    Attributes:
      images: float32 in 0..1, `[*spatial]`, or with `colours` `[*spatial, channel]`.
      labels: int32 `[*spatial]`.
      values: label values that occur, background left out.
      subjects: whom each shows, as its name or the folder says.
      paths: of the images.
    """

    images: list[np.ndarray]
    labels: list[np.ndarray]
    values: tuple[int, ...]
    subjects: list[str]
    paths: list[Path]


def without_mask(folder: Path, masks: str | None = None, mask_suffix: str | None = None) -> list[Path]:
    """The images of a folder of examples that have no mask yet, by name; `masks` and `mask_suffix` as for `detect`.

    Raises:
      DataError: there is none, or the folder holds no pairs, or it does not say which files are the masks.
    """
    layout = detect(folder, masks, mask_suffix)
    paths = _without_mask(layout)
    if not paths:
        refuse(folder, [problem for problem in layout.problems if not problem.case])
        raise DataError(f"--support {folder}: every image has a mask; say with --images DIR what to segment")
    return paths


def _without_mask(layout: Layout) -> list[Path]:
    labelled = [case for case in layout.cases if case.label is not None]
    known = {path for case in labelled for path in (*case.images, case.label, *case.more_labels)} | {*layout.aside}
    beside = {path.parent for case in layout.cases for path in case.images}
    return sorted(path for part in beside for path in visible(part) if is_readable(path) and path not in known)


def load_image(path: Path, normalize: str, dims: int | None = None, colours: bool = False) -> np.ndarray:
    """Values of a file in 0..1; see `pixels`.

    Among images (`dims` is 2), an array `[height, width, channel]` of a `.npy` file is one in colours.
    """
    scan = read_scan(path)
    if dims == 2 and suffix_of(path) == ".npy" and scan.values.ndim == 4 and scan.values.shape[2] in (3, 4):
        scan = replace(scan, values=scan.values[..., 0])
    return pixels(scan, str(path), normalize, colours)


def load_support(
    folder: Path, normalize: str, binary: bool, masks: str | None = None, mask_suffix: str | None = None,
    colours: bool = False,
) -> Support:  # fmt: skip
    """The examples of a folder.

    Args:
      folder: of images and masks.
      normalize: see `pixels`.
      binary: whether all that is not 0 in a mask is 1.
      masks, mask_suffix: which folder, or which of several files of an image, is the mask; see `detect`.
      colours: whether channels are kept.

    Raises:
      DataError: no pairs, damaged files, or masks that look like instances.
    """
    cases = detect(folder, masks, mask_suffix)
    coloured = []
    # images without a mask are to be segmented, and no examples; those whose name another file has are a problem
    unlabelled = {stem_of(path) for path in _without_mask(cases)} - {stem_of(path) for path in cases.aside}
    problems: list[Problem] = [problem for problem in cases.problems if problem.case not in unlabelled]
    images, labels, values_of, taken = [], [], [], []
    for case in cases.cases:
        if case.label is None:
            continue
        found, image, mask = case_problems(case, cases.classes)
        problems += found
        if image is None or mask is None:
            continue
        values_of.append((case, np.unique(mask.values).tolist()))
        coloured.append((case, mask.colours))
        taken.append(case)
        images.append(pixels(image, str(case.images[0]), normalize, colours))
        labels.append((mask.values > 0).astype(np.int32) if binary else mask.values)
        labels[-1] = labels[-1].squeeze() if images[-1].ndim - colours < labels[-1].ndim else labels[-1]
    if cases.classes is None and not binary:
        problems += scale_problems(values_of)
    problems += [] if binary else colour_problems(coloured)
    refuse(folder, problems)
    if not images:
        raise DataError(f"--support {folder} holds no image with a mask")
    values = sorted({int(value) for label in labels for value in np.unique(label)} - {0})
    if not values:
        raise DataError(f"--support {folder}: all masks are empty; at least one must show what to segment")
    if len(values) > _MOST_CLASSES:
        raise DataError(
            f"--support {folder}: the masks hold {len(values)} values; are they maps of instances? --binary makes "
            "everything above 0 one class, --classes names a few"
        )
    return Support(images, labels, tuple(values), [case.subject for case in taken], [case.images[0] for case in taken])


def pixels(image: Scan, name: str, normalize: str, colours: bool = False) -> np.ndarray:
    """Values of a scan in 0..1, planes of one voxel as images.

    Args:
      image: of a file.
      name: of it, for messages.
      normalize: `auto` divides pictures of up to 8 bits by their white, and brings all else to the range between its
        percentiles .5 and 99.5, as `percentiles` does with all; `min_max`: between its extremes.
      colours: keep the channels; else their mean is taken.

    Returns:
      float32 `[*spatial]`; with `colours`, `[*spatial, channel]`. Colours of a picture are stretched alike, channels of
      a volume each by itself.

    Raises:
      DataError: they are not finite.
    """
    values = image.values
    if not np.isfinite(values).all():
        raise DataError(f"{name} holds values that are not finite (NaN or infinite); mend the file")
    values = values.astype(np.float32) if colours else values.astype(np.float32).mean(-1, keepdims=True)
    values = values[:, :, 0] if values.ndim == 4 and values.shape[2] == 1 else values
    if normalize == "auto" and (white := picture_white(image)) is not None:
        values = values / np.float32(white)
    else:
        low, high = (0, 100) if normalize == "min_max" else (0.5, 99.5)
        values = unit_range(values, low, high, joint=values.ndim == 3)
    return values if colours else values[..., 0]
