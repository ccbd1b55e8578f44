"""A folder of examples, images with masks, and the images beside them: what a network is shown of a user's files."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from hyperlab.data.layouts import Layout, case_problems, detect, picture_white, refuse
from hyperlab.data.problems import colour_problems, scale_problems
from hyperlab.data.readers.cases import Problem, visible
from hyperlab.data.readers.scan import Scan, is_readable, read_scan, stem_of, suffix_of
from hyperlab.data.resample import unit_range
from hyperlab.errors import DataError

_MOST_CLASSES = 32  # more values are instances


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


def load_image(path: Path, normalize: str, dims: int | None = None) -> np.ndarray:
    """Grey values of a file in 0..1: float32 `[*spatial]`, colours averaged, planes of one voxel as images.

    Among images (`dims` is 2), an array `[height, width, channel]` of a `.npy` file is one in colours.
    """
    scan = read_scan(path)
    if dims == 2 and suffix_of(path) == ".npy" and scan.values.ndim == 4 and scan.values.shape[2] in (3, 4):
        scan = replace(scan, values=scan.values[..., 0])
    return grey(scan, str(path), normalize)


def load_support(
    folder: Path, normalize: str, binary: bool, masks: str | None = None, mask_suffix: str | None = None
):  # fmt: skip
    """Images, label maps, and the label values that occur, background left out.

    Raises:
      DataError: no pairs, damaged files, or masks that look like instances.
    """
    cases = detect(folder, masks, mask_suffix)
    coloured = []
    # images without a mask are to be segmented, and no examples; those whose name another file has are a problem
    unlabelled = {stem_of(path) for path in _without_mask(cases)} - {stem_of(path) for path in cases.aside}
    problems: list[Problem] = [problem for problem in cases.problems if problem.case not in unlabelled]
    images, labels, values_of = [], [], []
    for case in cases.cases:
        if case.label is None:
            continue
        found, image, mask = case_problems(case, cases.classes)
        problems += found
        if image is None or mask is None:
            continue
        values_of.append((case, np.unique(mask.values).tolist()))
        coloured.append((case, mask.colours))
        images.append(grey(image, str(case.images[0]), normalize))
        labels.append((mask.values > 0).astype(np.int32) if binary else mask.values)
        labels[-1] = labels[-1].squeeze() if images[-1].ndim < labels[-1].ndim else labels[-1]
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
    return images, labels, tuple(values)


def grey(image: Scan, name: str, normalize: str) -> np.ndarray:
    """Grey values of a scan in 0..1: float32 `[*spatial]`, colours averaged, planes of one voxel as images.

    Raises:
      DataError: they are not finite.
    """
    values = image.values
    if not np.isfinite(values).all():
        raise DataError(f"{name} holds values that are not finite (NaN or infinite); mend the file")
    grey = values.astype(np.float32).mean(-1)
    grey = grey[..., 0] if grey.ndim == 3 and grey.shape[-1] == 1 else grey
    if normalize == "auto" and (white := picture_white(image)) is not None:
        return grey / np.float32(white)
    limits = (0, 100) if normalize == "min_max" else (0.5, 99.5)
    return unit_range(grey[..., None], *limits)[..., 0]
