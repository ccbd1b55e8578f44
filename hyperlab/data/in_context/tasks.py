"""What a binary task is: a name of four parts, and examples that are checked before they are stored."""

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from hyperlab.errors import DataError, nearest

SPLITS = ("train", "validation", "test")


class TaskName(NamedTuple):
    """What a task is; its text form is joined by slashes.

    >>> str(TaskName.parse("wbc/grey/2d/nucleus"))
    'wbc/grey/2d/nucleus'
    """

    dataset: str
    modality: str
    axis: str
    label: str

    @classmethod
    def of(cls, *parts: str) -> "TaskName":
        """A name whose parts are fit for folders: other characters than letters, digits, `.`, `-` become `_`."""
        return cls(*(re.sub(r"[^A-Za-z0-9.-]+", "_", str(part)).strip("_.") or "_" for part in parts))

    @classmethod
    def parse(cls, text: str) -> "TaskName":
        """The name from its text form.

        Raises:
          DataError: there are not four parts.
        """
        parts = text.split("/")
        if len(parts) != len(cls._fields):
            raise DataError(f"{text!r} is no task; expected dataset/modality/axis/label")
        return cls(*parts)

    def __str__(self) -> str:
        return "/".join(self)


@dataclass(frozen=True, eq=False)
class TaskData:
    """The contents of one task before it is stored.

    Attributes:
      name: of the task.
      images: uint8 (255 is 1) or float32 `[n, size, size]` in 0..1.
      labels: the same dtype, `[n, annotators, size, size]`.
      subjects: int `[n]`; examples of one subject share a split.
      splits: one of `SPLITS` for each example.
      cases: the name of each example.
      binary: labels hold 0 and 1 alone.
      recipe: what was done, to be stored with it.
    """

    name: TaskName
    images: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray
    splits: tuple[str, ...]
    cases: tuple[str, ...]
    binary: bool = False
    recipe: dict[str, Any] = field(default_factory=dict)


def check_task(data: TaskData) -> None:
    """Refuses what a study cannot use.

    Raises:
      DataError: no example, lengths or shapes that do not fit, images or labels outside 0..1, labels that are
        neither 0 nor 1 where binary ones are declared, a subject in two splits.
    """
    n = len(data.images)
    if not n:
        raise DataError(f"task {data.name} is empty: no example holds it")
    lengths = {"labels": len(data.labels), "subjects": len(data.subjects), "splits": len(data.splits),
               "cases": len(data.cases)}  # fmt: skip
    for what, length in lengths.items():
        if length != n:
            raise DataError(f"task {data.name}: {length} {what} for {n} images")
    if data.images.ndim != 3 or data.labels.ndim != 4 or data.labels.shape[2:] != data.images.shape[1:]:
        raise DataError(
            f"task {data.name}: images {data.images.shape} and labels {data.labels.shape}, expected [n, height, width] "
            "and [n, annotators, height, width]"
        )
    top = 255 if data.images.dtype == np.uint8 else 1
    for what, array in (("images", data.images), ("labels", data.labels)):
        if array.dtype != data.images.dtype or array.dtype not in (np.uint8, np.float32):
            raise DataError(f"task {data.name}: {what} are {array.dtype}, expected uint8 or float32 of both")
        low, high = float(array.min()), float(array.max())
        if not (low >= 0 and high <= top):  # NaN fails both comparisons
            raise DataError(f"task {data.name}: {what} span {low:g} to {high:g}, expected finite values in 0..{top}")
    if data.binary:
        check_binary(str(data.name), data.labels)
    held: dict[int, str] = {}
    for subject, split in zip(data.subjects.tolist(), data.splits, strict=True):
        if split not in SPLITS:
            raise DataError(f"task {data.name}: unknown split {split!r}; {nearest(split, SPLITS)}")
        if held.setdefault(subject, split) != split:
            raise DataError(f"task {data.name}: subject {subject} is in the splits {held[subject]} and {split}")


def check_binary(what: str, labels: np.ndarray) -> None:
    """Refuses labels that are neither 0 nor 1 (of uint8, 255).

    Raises:
      DataError: another value occurs.
    """
    top = 255 if labels.dtype == np.uint8 else 1
    wrong = (labels != 0) & (labels != top)
    if wrong.any():
        value = float(labels[wrong][0]) / top
        raise DataError(
            f"{what}: {int(wrong.sum())} label values are neither 0 nor 1, for instance {value:.3g}, where binary "
            "labels are needed; build with --labels binary, or threshold at 1/2"
        )
