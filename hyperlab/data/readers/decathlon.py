"""The Medical Segmentation Decathlon: a `dataset.json` that lists the cases by their files."""

import re
from collections import Counter
from pathlib import Path

from hyperlab.data.readers.cases import Case, Layout, Problem, subject_of, visible
from hyperlab.data.readers.descriptions import Description
from hyperlab.data.readers.scan import stem_of
from hyperlab.data.readers.subjects import with_subjects

_NUMBERED = re.compile(r".+_\d{4}")  # a channel of nnU-Net's


def list_decathlon(root: str | Path, subjects: str | None = None) -> Layout:
    """The cases that the `dataset.json` of a Medical Segmentation Decathlon task lists.

    Its `training` is a list of `{"image": ..., "label": ...}` with paths from the folder, `test` a list of
    images, `labels` goes from value to name.

    Args:
      root: the folder.
      subjects: see `hyperlab.data.readers.subjects.with_subjects`.

    Raises:
      DataError: there is no `dataset.json`, it is not JSON or lists no training cases, or a field has another type.
    """
    root = Path(root)
    description = Description(root)
    problems: list[Problem] = []
    cases: list[Case] = []
    entries = description.entries()
    names = _names([(part, Path(image)) for image, _, part in entries])
    times = Counter(image for image, _, _ in entries)
    for (image_name, label_name, part), name in zip(entries, names, strict=True):
        image = root / image_name
        label = None if label_name is None else root / label_name
        absent = [path for path in (image, label) if path is not None and not path.is_file()]
        for path in absent:
            problems.append(
                Problem(name, f"dataset.json names {path}, which does not exist",
                        "bring the file, or take the case out of dataset.json and correct numTraining")
            )  # fmt: skip
        if not absent:
            cases.append(Case(name, (image,), label, subject_of(name), part))
    for image_name, count in times.items():
        if count > 1:
            problems.append(Problem(stem_of(Path(image_name)), f"dataset.json lists {image_name} {count} times",
                                    "list each case once"))  # fmt: skip
    files: dict[tuple[str, str], str] = {}
    for (image_name, _, part), name in zip(entries, names, strict=True):
        other = files.setdefault((part, name), image_name)
        if other != image_name:
            problems.append(
                Problem(name, f"dataset.json lists {other} and {image_name}, two files of one name", "keep one of them")
            )  # fmt: skip
    problems += _shared_masks(entries)
    stated, listed = description.count, sum(part == "train" for _, _, part in entries)
    if stated is not None and stated != listed:
        problems.append(
            Problem("", f"dataset.json states numTraining {stated} and lists {listed} training cases",
                    "correct numTraining", fatal=False)
        )  # fmt: skip
    layout = Layout("decathlon", root, tuple(cases), description.classes(), tuple(problems))
    return with_subjects(layout, subjects)


def _shared_masks(entries: list[tuple[str, str | None, str]]) -> list[Problem]:
    """A row for each mask that the list gives to several images."""
    owners: dict[str, list[str]] = {}
    for image, label, _ in entries:
        if label is not None and image not in owners.setdefault(label, []):
            owners[label].append(image)
    return [
        Problem(stem_of(Path(images[0])), f"dataset.json gives {label} to {len(images)} images: "
                f"{', '.join(images[:3])}", "see whether that is meant", fatal=False)
        for label, images in owners.items() if len(images) > 1
    ]  # fmt: skip


def is_decathlon(root: Path) -> bool:
    """Whether the folder's `dataset.json` lists its cases, by the names that their files have.

    Version 1 of nnU-Net lists `<case>.nii.gz` where the files are `<case>_0000.nii.gz`; that is no such list.

    Raises:
      DataError: there is no `dataset.json`, it is not JSON, or `training` is no list.
    """
    description = Description(root)
    if not description.lists_cases:
        return False
    files = {path.name for path in visible(root / "imagesTr")}
    numbered = any(_NUMBERED.fullmatch(stem_of(Path(name))) for name in files)
    if numbered and not description.has_training:
        return False
    images = [root / image for image, _, part in description.entries() if part == "train"]
    return not any(not image.is_file() and _first_channel(image).is_file() for image in images)


def _first_channel(image: Path) -> Path:
    ending = image.name[len(stem_of(image)) :]
    return image.with_name(f"{stem_of(image)}_0000{ending}")


def _names(images: list[tuple[str, Path]]) -> list[str]:
    """The stems of files, with their folders before where stems recur in a part: `P1/scan` and `P2/scan`."""
    count = Counter((part, stem_of(path)) for part, path in set(images))
    return [
        stem_of(path) if count[part, stem_of(path)] == 1 else f"{path.parent.as_posix()}/{stem_of(path)}"
        for part, path in images
    ]
