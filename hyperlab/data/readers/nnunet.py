"""nnU-Net's raw data: a `dataset.json` that says which channels and labels there are, and files by their names."""

import os
import re
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hyperlab.data.readers.cases import Case, Layout, Problem, subject_of, visible
from hyperlab.data.readers.descriptions import Description
from hyperlab.data.readers.images import SUFFIXES, depth_of
from hyperlab.data.readers.nifti import nifti_channels
from hyperlab.data.readers.scan import is_readable, stem_of, suffix_of
from hyperlab.data.readers.spacings import gives_spacing
from hyperlab.data.readers.subjects import with_subjects
from hyperlab.errors import DataError, nearest

# the readers of nnunetv2 2.8.1; what they read is read here by the files' endings
_READERS = ("NaturalImage2DIO", "SimpleITKIO", "Tiff3DIO", "NibabelIO", "NibabelIOWithReorient",
            "SimpleITKIOWithReorient")  # fmt: skip
_NUMBERED = re.compile(r"(.+)_(\d{4})")


def list_nnunet(root: str | Path, subjects: str | None = None) -> Layout:
    """The cases of nnU-Net's raw layout.

    `dataset.json` holds `channel_names`, `labels` (name to value), `numTraining` and `file_ending`; images are
    `imagesTr/<case>_0000.ext`, one file for each channel or several channels in a file (RGB), masks
    `labelsTr/<case>.ext`; `imagesTs` and `labelsTs` hold test cases. Beside TIFF files, `<case>.json` may hold the
    spacing. Where `dataset.json` has a field `dataset`, it names the files of each training case. Version 1
    (`modality`, labels from value to name, perhaps a list `training`) is read as well. Files that are no images are
    passed over.

    Args:
      root: the folder.
      subjects: see `hyperlab.data.readers.subjects.with_subjects`.

    Raises:
      DataError: there is no `dataset.json`, it is not JSON or misses a field, or a field has another type.
    """
    root = Path(root)
    description = Description(root)
    channels, classes = len(description.channels), description.classes()
    problems: list[Problem] = []
    ending, _ = description.file_ending, description.test  # of version 1; the folders say which cases there are
    if ending is None:
        ending = _usual_ending(root / "imagesTr")
        problems.append(Problem("", f"{description.path} has no file_ending (version 1?)",
                                f'add "file_ending": "{ending}"', fatal=False))  # fmt: skip
    places = description.places()
    cases = (
        _part(root, "Tr", "train", ending, channels, problems) if places is None
        else _listed(root, places, ending, channels, problems)
    )  # fmt: skip
    cases += _part(root, "Ts", "test", ending, channels, problems)
    if list(classes) != list(range(len(classes))):
        problems.append(
            Problem("", f"dataset.json declares the labels {', '.join(map(str, classes))}, expected 0, 1, 2, ...",
                    "renumber masks and map (hyperlab.data.load renumbers what it reads)", fatal=False)
        )  # fmt: skip
    count, stated = sum(case.part == "train" for case in cases), description.count
    if stated is not None and stated != count:
        problems.append(
            Problem("", f"dataset.json states numTraining {stated}, imagesTr holds {count} complete cases",
                    "correct numTraining, or bring the missing cases", fatal=False)
        )  # fmt: skip
    if description.reader is not None and description.reader not in _READERS:
        problems.append(
            Problem("", f"dataset.json names the reader {description.reader!r} in overwrite_image_reader_writer, which "
                    "is not known here; files are read by their endings",
                    f"look at what is read ({nearest(description.reader, _READERS)})", fatal=False)
        )  # fmt: skip
    return with_subjects(Layout("nnunet", root, tuple(cases), classes, tuple(problems)), subjects)


def _usual_ending(images: Path) -> str:
    """The ending that most images have."""
    counts = Counter(suffix_of(path) for path in visible(images) if is_readable(path))
    return max(counts, key=lambda ending: (counts[ending], ending == ".nii.gz"), default=".nii.gz")


def _part(root: Path, ending_of_folder: str, part: str, ending: str, channels: int, problems: list[Problem]):
    """The cases of `imagesTr` and `labelsTr`, or of the same for test cases; what is missing goes to `problems`."""
    images, labels = root / f"images{ending_of_folder}", root / f"labels{ending_of_folder}"
    found = _numbered(images, ending, problems)
    if not found and part == "train" and not any(map(is_readable, visible(images))):
        problems.append(Problem("", f"{images} {'is empty' if images.is_dir() else 'does not exist'}",
                                "put <case>_0000.ext files there"))  # fmt: skip
    masks = {_lower_ending(path, ending): path for path in visible(labels) if path.is_file()}
    cases = []
    for name, files in found.items():
        label = masks.get(f"{name}{ending.lower()}")
        complete = _check_channels(name, images, files, ending, channels, problems)
        if label is None and (part == "train" or labels.is_dir()):
            problems.append(Problem(name, f"{labels / f'{name}{ending}'} does not exist",
                                    "bring the mask, or remove the image"))  # fmt: skip
        elif complete:
            paths = tuple(files[channel] for channel in sorted(files))
            case = Case(name, paths, label, subject_of(name), part, channels=channels)
            cases.append(replace(case, spacing_files=_spacing_files(case, problems)))
    for key, path in masks.items():
        if key.removesuffix(ending.lower()) in found or not is_readable(path):
            continue
        twin = masks.get(f"{stem_of(path)}{ending.lower()}")
        if twin not in (None, path):
            problems.append(_two_files(stem_of(path), twin, path))
        else:
            problems.append(Problem(stem_of(path), f"{path} has no image in {images.name}",
                                    "bring the image, or remove the mask"))  # fmt: skip
    return cases


def _listed(root: Path, places: dict[str, tuple[list[str], str]], ending: str, channels: int, problems: list[Problem]):
    """The training cases whose files `dataset.json` names one by one."""
    cases = []
    for name, (images, label) in places.items():
        *paths, mask = (root / os.path.expandvars(file) for file in (*images, label))
        absent = [path for path in (*paths, mask) if not path.is_file()]
        problems += [
            Problem(name, f"dataset.json names {path}, which does not exist", "bring the file, or take the case out")
            for path in absent
        ]
        if not absent and _check_channels(name, paths[0].parent, dict(enumerate(paths)), ending, channels, problems):
            case = Case(name, tuple(paths), mask, subject_of(name), channels=channels)
            cases.append(replace(case, spacing_files=_spacing_files(case, problems)))
    return cases


def _numbered(images: Path, ending: str, problems: list[Problem]) -> dict[str, dict[int, Path]]:
    """The files `<case>_<channel>.ext` of a folder, by case and channel."""
    found: dict[str, dict[int, Path]] = {}
    others = []
    for path in visible(images):
        if not path.is_file():
            continue
        name = _lower_ending(path, ending)
        match = _NUMBERED.fullmatch(name.removesuffix(ending.lower())) if name.endswith(ending.lower()) else None
        if match is None:
            others.append(path)
            continue
        first = found.setdefault(match[1], {}).setdefault(int(match[2]), path)
        if first != path:
            problems.append(_two_files(match[1], first, path))
    for path in filter(is_readable, others):
        match = _NUMBERED.fullmatch(stem_of(path))
        twin = found.get(match[1], {}).get(int(match[2])) if match else None
        if match and twin is not None:
            problems.append(_two_files(match[1], twin, path))
        else:
            problems.append(
                Problem(stem_of(path), f"{path} is not named <case>_<channel>{ending}",
                        f"rename it, for instance to {stem_of(path)}_0000{ending}")
            )  # fmt: skip
    return found


def _two_files(case: str, one: Path, other: Path) -> Problem:
    return Problem(case, f"{one} and {other} are two files of one name", "keep one of them")


def _lower_ending(path: Path, ending: str) -> str:
    """The name of a file, with its ending in lower case where it is `ending` in any case."""
    if path.name.lower().endswith(ending.lower()):
        return path.name[: -len(ending)] + ending.lower()
    return path.name


def _check_channels(
    name: str, images: Path, files: dict[int, Path], ending: str, channels: int, problems: list[Problem]
) -> bool:
    """Whether a case has its channels: a file for each, or files that hold several (RGB) and together as many."""
    absent = [channel for channel in range(channels) if channel not in files]
    if absent and list(files) == list(range(len(files))) and sum(map(_channels_in, files.values())) == channels:
        absent = []
    for channel in absent:
        problems.append(Problem(name, f"{images / f'{name}_{channel:04d}{ending}'} does not exist",
                                f"every case needs its {channels} channels"))  # fmt: skip
    for channel in sorted(set(files) - set(range(channels))):
        problems.append(Problem(name, f"{files[channel]} is a channel that channel_names does not name",
                                "name it in dataset.json, or remove the file"))  # fmt: skip
    return not absent and max(files) < channels


def _channels_in(path: Path) -> int:
    """The channels that a file holds, from its header; a file that cannot be read has one, and is read later."""
    if suffix_of(path) in SUFFIXES:
        with suppress(DataError):
            return depth_of(path).channels
    if suffix_of(path) in (".nii", ".nii.gz"):
        with suppress(DataError):
            return nifti_channels(path)
    return 1


def _spacing_files(case: Case, problems: list[Problem]) -> tuple[Path | None, Path | None]:
    """The JSON files beside TIFF images and masks, which hold the spacing of both or of neither."""
    if suffix_of(case.images[0]) not in (".tif", ".tiff"):
        return None, None
    places = [folder / f"{case.name}.json" for folder in (case.images[0].parent, case.label and case.label.parent)
              if folder]  # fmt: skip
    there = [place if place.is_file() and gives_spacing(place) else None for place in places]
    for place, file in zip(places, there, strict=True):
        if file is None and place.is_file():
            problems.append(
                Problem(case.name, f"{place} lies beside a TIFF file and gives no spacing; it is passed over",
                        'write {"spacing": [...]} with one number an axis, or move it away', fatal=False)
            )  # fmt: skip
    if any(there) and not all(there):
        missing = next(place for place, file in zip(places, there, strict=True) if file is None)
        problems.append(
            Problem(case.name, f"{next(filter(None, there))} gives a spacing, and {missing} gives none: nnU-Net "
                    "takes 1 for each axis there", "bring the file for image and mask, or for neither", fatal=False)
        )  # fmt: skip
    image, mask, *_ = (*there, None)
    return image, mask
