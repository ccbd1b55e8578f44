"""The two layouts around a `dataset.json`: nnU-Net's raw data and the Medical Segmentation Decathlon."""

import json
import re
from pathlib import Path

from hyperlab.data.readers.cases import Case, Layout, Problem, subject_of, visible
from hyperlab.data.readers.scan import is_readable, stem_of, suffix_of
from hyperlab.errors import DataError


def list_nnunet(root: str | Path) -> Layout:
    """The cases of nnU-Net's raw layout.

    `dataset.json` holds `channel_names`, `labels` (name to value), `numTraining` and `file_ending`; images are
    `imagesTr/<case>_0000.ext`, one file for each channel, masks `labelsTr/<case>.ext`; `imagesTs` and
    `labelsTs` hold test cases. Version 1 (`modality`, labels from value to name) is read as well.

    Raises:
      DataError: there is no `dataset.json`, or it is not JSON or misses a field.
    """
    root = Path(root)
    description = _description(root)
    channels = description.get("channel_names", description.get("modality"))
    if not isinstance(channels, dict) or not channels:
        raise DataError(f"{root / 'dataset.json'} has no channel_names; expected for instance {{'0': 'MRI'}}")
    classes = _classes(root, description)
    problems: list[Problem] = []
    ending = description.get("file_ending")
    if ending is None:
        found = sorted({suffix_of(path) for path in visible(root / "imagesTr") if is_readable(path)})
        ending = found[0] if found else ".nii.gz"
        problems.append(Problem("", f"{root / 'dataset.json'} has no file_ending (version 1?)",
                                f'add "file_ending": "{ending}"', fatal=False))  # fmt: skip
    cases = _part(root, "Tr", "train", ending, len(channels), problems)
    cases += _part(root, "Ts", "test", ending, len(channels), problems)
    if list(classes) != list(range(len(classes))):
        problems.append(
            Problem("", f"dataset.json declares the labels {', '.join(map(str, classes))}, expected 0, 1, 2, ...",
                    "renumber masks and map (hyperlab.data.load renumbers what it reads)", fatal=False)
        )  # fmt: skip
    count = sum(case.part == "train" for case in cases)
    stated = description.get("numTraining")
    if stated is not None and stated != count:
        problems.append(
            Problem("", f"dataset.json states numTraining {stated}, imagesTr holds {count} complete cases",
                    "correct numTraining, or bring the missing cases", fatal=False)
        )  # fmt: skip
    return Layout("nnunet", root, tuple(cases), classes, tuple(problems))


def list_decathlon(root: str | Path) -> Layout:
    """The cases that the `dataset.json` of a Medical Segmentation Decathlon task lists.

    Its `training` is a list of `{"image": ..., "label": ...}` with paths from the folder, `test` a list of
    images, `labels` goes from value to name.

    Raises:
      DataError: there is no `dataset.json`, or it is not JSON or lists no training cases.
    """
    root = Path(root)
    description = _description(root)
    entries = description.get("training")
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{root / 'dataset.json'} lists no training cases; expected [{{'image': ..., 'label': ...}}]")
    problems, cases, missing = [], [], []
    listed = [(entry, "train") for entry in entries] + [(entry, "test") for entry in description.get("test", [])]
    for entry, part in listed:
        files = {"image": entry} if isinstance(entry, str) else entry
        if not isinstance(files, dict) or "image" not in files or (part == "train" and "label" not in files):
            raise DataError(
                f"{root / 'dataset.json'} lists {entry!r} in its {part} part, expected an image and a label"
            )
        image = root / files["image"]
        label = root / files["label"] if "label" in files else None
        absent = [path for path in (image, label) if path is not None and not path.is_file()]
        missing += absent
        name = stem_of(image)
        for path in absent:
            problems.append(
                Problem(name, f"dataset.json names {path}, which does not exist",
                        "bring the file, or take the case out of dataset.json and correct numTraining")
            )  # fmt: skip
        if not absent:
            cases.append(Case(name, (image,), label, subject_of(name), part))
    stated = description.get("numTraining")
    if stated is not None and stated != len(entries):
        problems.append(
            Problem("", f"dataset.json states numTraining {stated} and lists {len(entries)} training cases",
                    "correct numTraining", fatal=False)
        )  # fmt: skip
    return Layout("decathlon", root, tuple(cases), _classes(root, description), tuple(problems))


def is_decathlon(root: Path) -> bool:
    """Whether the folder's `dataset.json` lists its cases."""
    return isinstance(_description(root).get("training"), list)


def _description(root: Path) -> dict:
    path = root / "dataset.json"
    if not path.is_file():
        raise DataError(f"{path} does not exist; expected the folder of a data set with dataset.json")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if not isinstance(description, dict):
        raise DataError(f"{path} holds a {type(description).__name__}, expected an object with labels")
    return description


def _classes(root: Path, description: dict) -> dict[int, str]:
    """The names of the declared label values; both directions of the map are in use."""
    labels = description.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise DataError(f"{root / 'dataset.json'} has no labels; expected for instance {{'background': 0, 'organ': 1}}")
    classes = {}
    for key, value in labels.items():
        if isinstance(value, (list, tuple)):
            raise DataError(
                f"{root / 'dataset.json'}: label {key!r} is the region {value}; regions overlap and cannot be one map, "
                "declare the values themselves"
            )
        try:
            number, name = (int(key), str(value)) if isinstance(value, str) else (int(value), str(key))
        except (TypeError, ValueError) as error:
            raise DataError(f"{root / 'dataset.json'}: cannot read the label {key!r}: {value!r}") from error
        classes[number] = name
    return dict(sorted(classes.items()))


def _part(root: Path, ending_of_folder: str, part: str, ending: str, channels: int, problems: list[Problem]):
    """The complete cases of `imagesTr` or `imagesTs`; what is incomplete becomes a problem."""
    images, labels = root / f"images{ending_of_folder}", root / f"labels{ending_of_folder}"
    files = [path for path in visible(images) if path.is_file()]
    if not files and part == "train":
        problems.append(Problem("", f"{images} {'is empty' if images.is_dir() else 'does not exist'}",
                                "put <case>_0000.ext files there"))  # fmt: skip
    pattern = re.compile(r"(.+)_(\d{4})" + re.escape(ending) + "$")
    found: dict[str, dict[int, Path]] = {}
    for path in files:
        match = pattern.match(path.name)
        if match:
            found.setdefault(match[1], {})[int(match[2])] = path
        else:
            problems.append(
                Problem(stem_of(path), f"{path} is not named <case>_<channel>{ending}",
                        f"rename it, for instance to {stem_of(path)}_0000{ending}")
            )  # fmt: skip
    cases = []
    for name, files_of_case in found.items():
        label = labels / f"{name}{ending}"
        absent = sorted(set(range(channels)) - set(files_of_case))
        surplus = sorted(set(files_of_case) - set(range(channels)))
        for channel in absent:
            problems.append(Problem(name, f"{images / f'{name}_{channel:04d}{ending}'} does not exist",
                                    f"every case needs its {channels} channels"))  # fmt: skip
        for channel in surplus:
            problems.append(Problem(name, f"{files_of_case[channel]} is a channel that channel_names does not name",
                                    "name it in dataset.json, or remove the file"))  # fmt: skip
        if not label.is_file() and (part == "train" or labels.is_dir()):
            problems.append(Problem(name, f"{label} does not exist", "bring the mask, or remove the image"))
            absent.append(-1)
        if not absent:
            paths = tuple(files_of_case[channel] for channel in range(channels))
            cases.append(Case(name, paths, label if label.is_file() else None, subject_of(name), part))
    for path in visible(labels):
        if path.is_file() and path.name.removesuffix(ending) not in found:
            problems.append(Problem(stem_of(path), f"{path} has no image in {images.name}",
                                    "bring the image, or remove the mask"))  # fmt: skip
    return cases
