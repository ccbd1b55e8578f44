"""What `predict` is given: which files are one scan, which mask is its, and whether a network can take them at all."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from hyperlab.data.readers.cases import Case, visible
from hyperlab.data.readers.images import SUFFIXES, depth_of
from hyperlab.data.readers.mask_words import is_tail, says_mask
from hyperlab.data.readers.nifti import nifti_channels
from hyperlab.data.readers.scan import is_readable, stem_of, suffix_of
from hyperlab.data.readers.spacings import gives_spacing
from hyperlab.errors import DataError, nearest

_NUMBERED = re.compile(r"(.+)_(\d{4})")


def cases_of(images: Path, labels: Path | None, channels: int | None) -> list[Case]:
    """The scans of a folder by name, with their masks where labels are given; headers alone are read.

    Files `<case>_0000`, `<case>_0001`, ... are the channels of one scan, as nnU-Net names them, where all files are
    named so. A mask has the name of its scan, perhaps with a tail that only masks have (`_mask`, `_seg`).

    Args:
      images: the folder.
      labels: the folder of masks, or None.
      channels: that the network was trained on; None: any.

    Raises:
      DataError: no folder, no image, two files of one name, other channels than those of the training, a mask that has
        no image, or no mask at all.
    """
    paths = _readable(images, "--images")
    numbered = {path: _NUMBERED.fullmatch(stem_of(path)) for path in paths}
    grouped: dict[str, list[Path]] = {}
    for path, found in numbered.items():
        grouped.setdefault(found[1] if found and all(numbered.values()) else stem_of(path), []).append(path)
    if not all(numbered.values()) and (twice := next((name for name, each in grouped.items() if len(each) > 1), None)):
        raise DataError(f"--images {images} holds several files named {twice!r}; are masks among them? move them away")
    cases = [_case(name, sorted(each)) for name, each in sorted(grouped.items())]
    if channels is not None:
        _check_channels(cases, channels)
    return cases if labels is None else _with_masks(cases, _readable(labels, "--labels"), labels)


def _check_channels(cases: list[Case], channels: int) -> None:
    for case in cases:
        held = sum(_channels(path, channels) for path in case.images)
        if held != channels:
            files = ", ".join(path.name for path in case.images)
            raise DataError(
                f"{case.name} has {held} channel{'s' * (held > 1)} ({files}); the network was trained on {channels}"
            )


def _readable(folder: Path, option: str) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{option} {folder} is no folder")
    paths = [path for path in visible(folder) if path.is_file() and is_readable(path)]
    if not paths:
        raise DataError(f"{option} {folder} holds no images; readable are .nii, .nii.gz, .npy, {', '.join(SUFFIXES)}")
    return paths


def _case(name: str, paths: list[Path]) -> Case:
    beside = paths[0].with_name(f"{name}.json")
    spacing = beside if suffix_of(paths[0]) in (".tif", ".tiff") and gives_spacing(beside) else None
    return Case(name, tuple(paths), None, name, spacing_files=(spacing, None))


def _channels(path: Path, expected: int) -> int:
    """From the header alone; of an array its last axis where it has more than three, or as many as are expected."""
    suffix = suffix_of(path)
    if suffix in SUFFIXES:
        return depth_of(path).channels
    if suffix in (".nii", ".nii.gz"):
        return nifti_channels(path)
    try:
        shape = np.load(path, mmap_mode="r").shape
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} is no array of NumPy ({error}); write it again") from error
    return shape[-1] if len(shape) > 3 or (len(shape) == 3 and shape[-1] == expected) else 1


def _with_masks(cases: list[Case], masks: list[Path], folder: Path) -> list[Case]:
    names = [case.name for case in cases]
    found: dict[str, Path] = {}
    for path in masks:
        stem = stem_of(path)
        fitting = [name for name in names if stem == name or (stem.startswith(name) and _tail(stem[len(name) :]))]
        if not fitting:
            missing = [stem_of(one) for one in masks if not any(stem_of(one).startswith(name) for name in names)]
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise DataError(f"--labels {folder}: {path.name} has no image{more}; {nearest(stem, names)}")
        name = max(fitting, key=len)
        if name in found:
            raise DataError(f"--labels {folder}: {found[name].name} and {path.name} are both masks of {name}; keep one")
        found[name] = path
    return [replace(case, label=found.get(case.name)) for case in cases]


def _tail(text: str) -> bool:
    return says_mask(text) or is_tail(text)
