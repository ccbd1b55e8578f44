"""Raw cases of data sets, in the form that standardisation takes: files as they are, with subjects and annotators."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.data.in_context.standardize import RawCase, grey
from hyperlab.data.layouts import LAYOUTS, case_problems, detect, picture_white, read_label, refuse
from hyperlab.data.problems import scale_problems
from hyperlab.data.readers.cases import Case, Layout, subject_of
from hyperlab.data.readers.descriptions import Description
from hyperlab.data.readers.images import read_image, read_mask
from hyperlab.data.readers.nifti import read_nifti
from hyperlab.data.readers.scan import read_labels, read_npz
from hyperlab.data.segmentation import children_of
from hyperlab.errors import DataError, nearest

_MOST_LABELS = 64  # more values without declared names are instances


@dataclass(frozen=True)
class RawSource:
    """A data set whose cases are read one by one, by any process.

    Attributes:
      name: of the data set.
      entries: what `read` takes, one for each case.
      read: a function of a module, from an entry to a `RawCase`.
      names: of the cases.
      subjects: whom each case shows; cases of one subject share a split.
      modalities: name of each channel, or of each case's one channel where `modality_of` says which.
      kinds: `"ct"`, `"mr"` or `"other"` for each modality.
      labels: name of each label value that is a task.
      modality_of: number of the modality of each case, where cases have one channel and modalities differ.
      official_test: whether each case belongs to a published test split, or None.
      sections: place of each case in a stack of sections, or None.
      find_copies: near-copies of one image share a split, too.
    """

    name: str
    entries: tuple[Any, ...]
    read: Callable[[Any], RawCase]
    names: tuple[str, ...]
    subjects: tuple[str, ...]
    modalities: tuple[str, ...] = ("grey",)
    kinds: tuple[str, ...] = ("other",)
    labels: dict[int, str] = field(default_factory=dict)
    modality_of: tuple[int, ...] | None = None
    official_test: tuple[bool, ...] | None = None
    sections: tuple[int, ...] | None = None
    find_copies: bool = True


def wbc(root: Path, name: str = "wbc", subset: int = 1) -> RawSource:
    """White blood cells (see `hyperlab.data.segmentation.wbc`), grey."""
    folder = root / f"Dataset {subset}" if (root / f"Dataset {subset}").is_dir() else root
    paths = _found(folder, "*.bmp", f"expected the folder that holds 'Dataset {subset}'")
    names = tuple(path.stem for path in paths)
    entries = tuple((path, path.with_suffix(".png")) for path in paths)
    return RawSource(name, entries, _read_wbc, names, names, labels={1: "cytoplasm", 2: "nucleus"})


def dsb2018_nuclei(root: Path, name: str = "dsb2018_nuclei") -> RawSource:
    """Nuclei of the 2018 Data Science Bowl; fluorescence and stained tissue are two modalities."""
    import pandas as pd

    if not (root / "index.csv").is_file():
        raise DataError(f"{root / 'index.csv'} does not exist; expected a table with the columns id and kind")
    table = pd.read_csv(root / "index.csv").sort_values("id")
    names = tuple(table["id"])
    kinds = tuple(sorted(table["kind"].unique(), reverse=True))
    entries = tuple((root / "images" / f"{one}.png", root / "labels" / f"{one}.png") for one in names)
    return RawSource(
        name, entries, _read_foreground, names, names, kinds, ("other",) * len(kinds), {1: "nucleus"},
        modality_of=tuple(kinds.index(kind) for kind in table["kind"]),
    )  # fmt: skip


def isbi2012_membrane(root: Path, name: str = "isbi2012_membrane", tiles: int = 2) -> RawSource:
    """Membranes in electron microscopy; each section is cut into `tiles` x `tiles`, splits are blocks of sections."""
    paths = sorted((root / "train" / "image").glob("*.png"), key=lambda path: int(path.stem))
    if not paths:
        raise DataError(f"{root / 'train' / 'image'} holds no *.png section")
    places = [(row, column) for row in range(tiles) for column in range(tiles)]
    cut = [(path, place) for path in paths for place in places]
    sections = tuple(int(path.stem) for path, _ in cut)
    return RawSource(
        name, tuple((path, root / "train" / "label" / path.name, place, tiles) for path, place in cut), _read_tile,
        tuple(f"{path.stem}[{place[0]},{place[1]}]" for path, place in cut), tuple(map(str, sections)),
        labels={1: "membrane"}, sections=sections, find_copies=False,
    )  # fmt: skip


def brain_t1_ptbp(root: Path, name: str = "brain_t1_ptbp") -> RawSource:
    """Brain tissue in four slices of each of 60 scans, normalised together; scans of one child share a split."""
    path = root / "slices.npz"
    arrays = read_npz(path)
    names = tuple(str(one) for one in arrays["subject"])
    labels = {1: "cerebrospinal_fluid", 2: "grey_matter", 3: "white_matter", 4: "deep_grey_matter"}
    children = tuple(str(child) for child in children_of(arrays["image"]))
    entries = tuple((path, scan) for scan in range(len(names)))
    return RawSource(name, entries, _read_stack, names, children, ("t1",), ("mr",), labels, find_copies=False)


def chasedb1(root: Path, name: str = "chasedb1") -> RawSource:
    """Vessels of the retina, grey, marked by two annotators; the last 8 images are the published test split."""
    folder = root / "CHASEDB1" if (root / "CHASEDB1").is_dir() else root
    paths = _found(folder, "Image_*.jpg", "expected the folder that holds 'CHASEDB1'")
    names = tuple(path.stem for path in paths)
    subjects = tuple(map(subject_of, names))
    entries = tuple((path, *(folder / f"{path.stem}_{grader}.png" for grader in ("1stHO", "2ndHO"))) for path in paths)
    test = tuple(int(subject.rpartition("_")[2]) > 10 for subject in subjects)
    return RawSource(
        name, entries, _read_foreground, names, subjects, labels={1: "vessel"}, official_test=test, find_copies=False
    )


def chasedb1_patches(root: Path, name: str = "chasedb1_patches", tiles: int = 5) -> RawSource:
    """The same vessels at a scale at which they stay visible: each image is cut into `tiles` x `tiles`."""
    whole = chasedb1(root, name)
    places = [(row, column) for row in range(tiles) for column in range(tiles)]
    official = whole.official_test
    cut = [(image, place) for image in range(len(whole.names)) for place in places]
    return dataclasses.replace(
        whole,
        entries=tuple((whole.entries[image], place, tiles) for image, place in cut),
        read=_read_patch,
        names=tuple(f"{whole.names[image]}[{row},{column}]" for image, (row, column) in cut),
        subjects=tuple(whole.subjects[image] for image, _ in cut),
        official_test=None if official is None else tuple(official[image] for image, _ in cut),
    )


def msd_hippocampus(root: Path, name: str = "msd_hippocampus") -> RawSource:
    """Hippocampus head and body in MRI volumes; both sides of one scan share a split."""
    tail = "Tr" if (root / "imagesTr").is_dir() else ""
    paths = _found(root / f"images{tail}", "hippocampus_*.nii*", "expected 'images' beside 'labels'")
    names = tuple(path.name.split(".")[0] for path in paths)
    entries = tuple((path, root / f"labels{tail}" / path.name) for path in paths)
    labels = {1: "anterior", 2: "posterior"}
    return RawSource(name, entries, _read_volume, names, tuple(map(subject_of, names)), ("mri",), ("mr",), labels)


def by_layout(
    root: Path,
    name: str,
    layout: str = "auto",
    modality: str | None = None,
    masks: str | None = None,
    mask_suffix: str | None = None,
) -> RawSource:
    """Cases of a folder in one of the layouts of `hyperlab.data.layouts`.

    Args:
      root: the folder or archive.
      name: of the data set.
      layout: `"auto"`, or the layout's name.
      modality: `"ct"`, `"mr"` or `"other"`; by default what `dataset.json` says of each channel, else `"other"`.
      masks, mask_suffix: which folder, or which of several files of an image, is the mask; see `layouts.detect`.

    Raises:
      DataError: the folder is of another layout, or of none.
    """
    if layout in ("auto", "folder"):
        found = (detect if layout == "auto" else LAYOUTS[layout])(root, masks=masks, mask_suffix=mask_suffix)
    elif masks is not None or mask_suffix is not None:
        raise DataError(f"masks and mask_suffix are for plain folders, not for the layout {layout!r}")
    else:
        found = LAYOUTS[layout](root)
    refuse(found.root, list(found.problems))
    cases = [case for case in found.cases if case.label is not None]
    if not cases:
        raise DataError(f"{root} holds no case with a mask")
    modalities = _channel_names(found.root, cases[0])
    kinds = tuple(modality or _kind(channel) for channel in modalities)
    labels, instances = _label_names(found, cases)
    test = tuple(case.part == "test" for case in cases)
    return RawSource(
        name,
        tuple((case, instances) for case in cases),
        _read_case,
        tuple(case.name for case in cases),
        tuple(case.subject for case in cases),
        modalities,
        kinds,
        labels,
        official_test=test if any(test) and not all(test) else None,
    )


SOURCES: dict[str, Callable[..., RawSource]] = {
    "wbc": wbc, "dsb2018_nuclei": dsb2018_nuclei, "isbi2012_membrane": isbi2012_membrane,
    "brain_t1_ptbp": brain_t1_ptbp, "chasedb1": chasedb1, "chasedb1_patches": chasedb1_patches,
    "msd_hippocampus": msd_hippocampus,
}  # fmt: skip


def open_source(
    root: str | Path,
    layout: str = "auto",
    name: str | None = None,
    modality: str | None = None,
    masks: str | None = None,
    mask_suffix: str | None = None,
) -> RawSource:
    """A data set by the name of its folder or of its layout.

    Args:
      root: the folder, or an archive.
      layout: one of `SOURCES` or `hyperlab.data.layouts.LAYOUTS`; `"auto"`: the set that the folder is named after,
        else the layout that its files show.
      name: of the data set; by default the folder's.
      modality: see `by_layout`, like `masks` and `mask_suffix`.

    Raises:
      DataError: the folder does not exist; an unknown layout.
    """
    root = Path(root).expanduser()
    if not root.exists():
        raise DataError(f"{root} does not exist")
    if layout == "auto" and root.name in SOURCES:
        layout = root.name
    if layout in SOURCES:
        if masks is not None or mask_suffix is not None:
            raise DataError(f"masks and mask_suffix are for plain folders; the set {layout!r} knows its masks")
        return SOURCES[layout](root, name or layout)
    if layout != "auto" and layout not in LAYOUTS:
        raise DataError(f"unknown layout {layout!r}; {nearest(layout, ['auto', *SOURCES, *LAYOUTS])}")
    return by_layout(root, name or root.name.split(".")[0], layout, modality, masks, mask_suffix)


def _read_wbc(entry) -> RawCase:
    image, mask = read_image(entry[0]), read_mask(entry[1])
    # a few masks hold stray grey values between the three levels
    return RawCase(grey(image), np.digitize(mask, (64, 192))[None])


def _read_foreground(entry) -> RawCase:
    image_path, *mask_paths = entry
    image = read_image(image_path)
    masks = [read_mask(path) > 0 for path in mask_paths]
    return RawCase(grey(image) if image.shape[-1] == 3 else image, np.stack(masks).astype(np.int32))


_retina = lru_cache(maxsize=1)(_read_foreground)  # the patches of one image follow one another


def _read_patch(entry) -> RawCase:
    whole, place, tiles = entry
    case = _retina(whole)
    part = _part(case.labels.shape[-2:], place, tiles)
    return RawCase(case.image[part], case.labels[:, *part])


def _read_tile(entry) -> RawCase:
    image_path, mask_path, place, tiles = entry
    image, mask = read_image(image_path), read_mask(mask_path)
    mask = 2 * mask.astype(int) < max(int(mask.max()), 1)  # the membrane is black, cells are white
    part = _part(mask.shape, place, tiles)
    return RawCase(image[part], mask[part][None].astype(np.int32))


def _part(shape: tuple[int, ...], place: tuple[int, int], tiles: int) -> tuple[slice, slice]:
    """The pixels of one of `tiles` x `tiles` equal parts; what is left over at the far borders is in none."""
    height, width = (n // tiles for n in shape)
    row, column = place
    return np.s_[row * height : (row + 1) * height, column * width : (column + 1) * width]


_stacks = lru_cache(maxsize=1)(read_npz)  # one archive holds all scans


def _read_stack(entry) -> RawCase:
    path, scan = entry
    arrays = _stacks(path)
    return RawCase(arrays["image"][scan][..., None], arrays["label"][scan][None].astype(np.int32), stack=True)


def _read_volume(entry) -> RawCase:
    scan, mask = read_nifti(entry[0]), read_labels(entry[1])
    return RawCase(scan.values[..., None], mask.values[None], scan.spacing)


def _label_names(layout: Layout, cases: list[Case]) -> tuple[dict[int, str], bool]:
    """Names of the label values, and whether the values number instances of one foreground."""
    if layout.classes is not None:
        return {value: text for value, text in layout.classes.items() if value and text != "ignore"}, False
    found: set[int] = set()
    of_case: list[tuple[Case, set[int]]] = []
    for case in cases:
        mask = read_label(case)
        values = set() if mask is None else set(np.unique(mask.values).tolist())
        found |= values
        of_case.append((case, values))
        if len(found) > _MOST_LABELS:
            return {1: "foreground"}, True
    refuse(layout.root, scale_problems(of_case))
    return {value: f"value_{value}" for value in sorted(found) if value > 0}, False


def _read_case(entry) -> RawCase:
    case, instances = entry
    problems, image, mask = case_problems(case, None)
    refuse(case.images[0], problems)
    assert image is not None and mask is not None  # else it were refused
    values = image.values
    if values.shape[-1] == 3 and (image.white or picture_white(image)):
        values = grey(values)
    kept = tuple(n for n in mask.values.shape if n > 1)
    labels = mask.values
    if instances:
        labels = (labels > 0).astype(np.int32)
    spacing = image.spacing and tuple(
        step for step, n in zip(image.spacing, mask.values.shape, strict=False) if n > 1
    )  # fmt: skip
    return RawCase(values.reshape(*kept, values.shape[-1]), labels.reshape(1, *kept), spacing)


def _channel_names(root: Path, case: Case) -> tuple[str, ...]:
    path = root / "dataset.json"
    if path.is_file():
        description = Description(root)
        if description.has_channels:
            return description.channels
    channels = _read_case((case, False)).image.shape[-1]
    return ("image",) if channels == 1 else tuple(f"channel_{channel}" for channel in range(channels))


def _kind(channel: str) -> str:
    """The kind of a modality by its name in `dataset.json`.

    >>> [_kind(name) for name in ("CT", "MRI", "T1w", "ultrasound")]
    ['ct', 'mr', 'mr', 'other']
    """
    if re.search(r"\bct\b", channel, re.IGNORECASE):
        return "ct"
    return "mr" if re.search(r"mri?\b|\bt[12]|flair|\badc\b|\bdwi\b", channel, re.IGNORECASE) else "other"


def _found(folder: Path, pattern: str, expected: str) -> list[Path]:
    paths: Sequence[Path] = sorted(folder.glob(pattern))
    if not paths:
        raise DataError(f"{folder} holds no {pattern}; {expected}")
    return list(paths)
