"""The fields of a `dataset.json`, as nnU-Net and the Medical Segmentation Decathlon write them, checked one by one."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.errors import DataError

NAME = "dataset.json"
_MOST = np.iinfo(np.int32).max  # of label values


class Description:
    """A `dataset.json` whose fields are checked when they are asked for.

    Args:
      root: the folder that holds it.

    Raises:
      DataError: it is missing, is not JSON, is no object, or has a key twice; from every method, with the name of the
        field: a value of another type or out of range.
    """

    def __init__(self, root: Path):
        self.path = root / NAME
        if not self.path.is_file():
            raise DataError(f"{self.path} does not exist; expected the folder of a data set with {NAME}")
        try:
            # some editors begin UTF-8 with a byte order mark
            content = json.loads(self.path.read_text(encoding="utf-8-sig"), object_pairs_hook=self._pairs)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DataError(f"{self.path} is not JSON: {error}") from error
        if not isinstance(content, dict):
            raise DataError(f"{self.path} holds a {type(content).__name__}, expected an object with labels")
        self._content: dict[str, Any] = content

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the channels, in the order of their numbers: `channel_names`, in version 1 `modality`."""
        field = "channel_names" if "channel_names" in self._content else "modality"
        given = self._content.get(field)
        if field not in self._content or given == {}:
            raise DataError(f"{self.path} has no channel_names; expected for instance {{'0': 'MRI'}}")
        if not isinstance(given, dict) or not all(isinstance(name, str) for name in given.values()):
            raise self._wrong(field, given, "names by their numbers, for instance {'0': 'MRI'}")
        if all(key.isdecimal() for key in given):
            return tuple(given[key] for key in sorted(given, key=int))
        return tuple(given.values())

    @property
    def has_channels(self) -> bool:
        """Whether there is such a field."""
        return bool(self._content.get("channel_names", self._content.get("modality")))

    @property
    def file_ending(self) -> str | None:
        """The ending of all files, with its dot; None in version 1, which has no such field."""
        if "file_ending" not in self._content:
            return None
        ending = self._content["file_ending"]
        if not isinstance(ending, str) or not ending.startswith(".") or len(ending) < 2:
            raise self._wrong("file_ending", ending, "an ending with its dot, for instance '.nii.gz'")
        return ending

    @property
    def count(self) -> int | None:
        """`numTraining`; None where it is left out."""
        if "numTraining" not in self._content:
            return None
        count = self._content["numTraining"]
        if not _is_whole(count) or count < 0:
            raise self._wrong("numTraining", count, "the number of training cases")
        return int(count)

    @property
    def reader(self) -> str | None:
        """`overwrite_image_reader_writer`, the class with which nnU-Net is told to read; None where it chooses."""
        reader = self._content.get("overwrite_image_reader_writer", "None")
        if not isinstance(reader, str):
            raise self._wrong("overwrite_image_reader_writer", reader, "the name of a class, or 'None'")
        return None if reader == "None" else reader

    @property
    def test(self) -> list[Any]:
        """The list of test images, which may be left out."""
        test = self._content.get("test", [])
        if not isinstance(test, list):
            raise self._wrong("test", test, "a list of images, which may be empty")
        return test

    @property
    def lists_cases(self) -> bool:
        """Whether there is a list of training cases."""
        if "training" not in self._content:
            return False
        if not isinstance(self._content["training"], list):
            raise self._wrong("training", self._content["training"], "[{'image': ..., 'label': ...}]")
        return True

    @property
    def has_training(self) -> bool:
        """Whether that list has an entry."""
        return self.lists_cases and bool(self._content["training"])

    def entries(self) -> list[tuple[str, str | None, str]]:
        """Image, label (None of test images without one) and part of each listed case; paths are from the root."""
        if not self.has_training:
            raise DataError(f"{self.path} lists no training cases; expected [{{'image': ..., 'label': ...}}]")
        listed = [(entry, "train") for entry in self._content["training"]]
        listed += [(entry, "test") for entry in self.test]
        return [self._entry(entry, part) for entry, part in listed]

    def places(self) -> dict[str, tuple[list[str], str]] | None:
        """`dataset`: the images and the label of each training case, wherever they lie; None where it is left out.

        nnU-Net 2 takes them instead of `imagesTr` and `labelsTr`; paths are from the root, or begin at it.
        """
        listed = self._content.get("dataset")
        if listed is None:
            return None
        if not isinstance(listed, dict) or not listed:
            raise self._wrong("dataset", listed, "{'case': {'images': [...], 'label': ...}}")
        for name, entry in listed.items():
            images = entry.get("images") if isinstance(entry, dict) else None
            texts = isinstance(images, list) and images and all(isinstance(image, str) for image in images)
            if not texts or not isinstance(entry.get("label"), str):
                raise self._wrong(f"dataset: {name}", entry, "{'images': [...], 'label': ...}")
        return {name: (entry["images"], entry["label"]) for name, entry in listed.items()}

    def classes(self) -> dict[int, str]:
        """The names of the label values, by value; the map goes from name to value, in version 1 the other way."""
        labels = self._content.get("labels")
        if labels is not None and not isinstance(labels, dict):
            raise self._wrong("labels", labels, "{'background': 0, 'organ': 1}")
        if not labels:
            raise DataError(f"{self.path} has no labels; expected for instance {{'background': 0, 'organ': 1}}")
        classes: dict[int, str] = {}
        spellings: dict[str, str] = {}
        for key, value in labels.items():
            number, name = self._label(key, value)
            if number in classes:
                raise DataError(
                    f"{self.path}: labels gives the value {number} to {classes[number]!r} and to {name!r}; give each "
                    "label a value of its own"
                )
            plain = re.sub(r"(?<=\w)[-_\s]+(?=\w)|\s", " ", name.casefold().strip())
            if plain in spellings:
                raise DataError(
                    f"{self.path}: labels names {spellings[plain]!r} and {name!r}, one name in two places; give each "
                    "value a name of its own"
                )
            classes[number], spellings[plain] = name, name
        return dict(sorted(classes.items()))

    def _label(self, key: str, value: Any) -> tuple[int, str]:
        if isinstance(value, list):
            raise DataError(
                f"{self.path}: label {key!r} is the region {value}; regions overlap and cannot be one map, "
                "declare the values themselves"
            )
        if isinstance(value, str) and key.strip().isdecimal():  # version 1
            number, name = int(key), value
        elif _is_whole(value):
            number, name = int(value), key
        else:
            raise DataError(
                f"{self.path}: labels: cannot read the label {key!r}: {value!r}, expected a whole number from 0"
            )
        if not 0 <= number <= _MOST:
            raise DataError(f"{self.path}: labels: {name!r} is {number}, expected a whole number from 0 to {_MOST}")
        return number, name

    def _entry(self, entry: Any, part: str) -> tuple[str, str | None, str]:
        files = {"image": entry} if isinstance(entry, str) and part == "test" else entry
        texts = isinstance(files, dict) and all(isinstance(files.get(key, ""), str) for key in ("image", "label"))
        if not texts or "image" not in files or (part == "train" and "label" not in files):
            field = "training" if part == "train" else "test"
            raise DataError(f"{self.path} lists {entry!r} in {field}, its {part} part, expected an image and a label")
        return files["image"], files.get("label"), part

    def _wrong(self, field: str, value: Any, expected: str) -> DataError:
        return DataError(f"{self.path}: {field} is {value!r}, expected {expected}")

    def _pairs(self, pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
        content: dict[str, Any] = {}
        for key, value in pairs:
            if key in content:
                raise DataError(f"{self.path} has the key {key!r} twice: {content[key]!r} and {value!r}; keep one")
            content[key] = value
        return content


def _is_whole(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
