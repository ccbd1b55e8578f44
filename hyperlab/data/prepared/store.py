"""A prepared set on disk: a folder a case, read by windows by any number of processes.

`<store>/store.json` says everything about the set and is written last; the folder of cases that it names holds for each
`<number>/`: `image` (float32 `[*size, channel]`) and `labels` (`[*size]`) in compressed chunks with checksums,
`places.npy` (voxels to centre patches on) and `case.json`. What is needed only until the store is finished is in
`<store>/.work`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.data.chunked import open_array
from hyperlab.data.prepared.fingerprint import SetFingerprint
from hyperlab.data.prepared.geometry import Placement
from hyperlab.data.prepared.preprocessing import Preprocessing, forward_labels
from hyperlab.data.readers.scan import read_labels
from hyperlab.data.splits import fingerprint, split_by_group
from hyperlab.errors import DataError, MissingExtraError, nearest
from hyperlab.files import read_object

FORM, VERSION = "prepared set of hyperlab", 1
STORE, WORK, CASES = "store.json", ".work", "cases"
_MOST_OPEN = 512  # cases whose places are kept in memory
AGAIN = "run the same hyperlab prepare again"
Window = Sequence[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class StoredCase:
    """What is known of a case without reading it.

    Attributes:
      number: its place in the store.
      name: as the set has it.
      subject: whom it shows.
      group: cases of one group (subject, near-copies) share a split.
      part: `"train"`, or `"test"` where the set says so.
      placement: of the image in its scan; `placement.shape` is the scan's.
      affine: rows of the scan's, from voxels to mm, or None.
      voxels: of each class, in the image.
      images, label: files, from the folder of the set.
      checksums: of the arrays `image`, `labels` and `places`.
    """

    number: int
    name: str
    subject: str
    group: int
    part: str
    placement: Placement
    affine: tuple[tuple[float, ...], ...] | None
    voxels: tuple[int, ...]
    images: tuple[str, ...]
    label: str
    checksums: dict[str, str]

    @property
    def size(self) -> tuple[int, ...]:
        """Of the image, without channels."""
        return self.placement.size

    def to_json(self) -> dict[str, Any]:
        """As what JSON can hold."""
        content = {key: getattr(self, key) for key in self.__dataclass_fields__}
        return {**content, "placement": self.placement.to_json()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "StoredCase":
        """The opposite of `to_json`."""
        fields = {**content, "placement": Placement.from_json(content["placement"])}
        fields["affine"] = None if content["affine"] is None else tuple(map(tuple, content["affine"]))
        for key in ("voxels", "images"):
            fields[key] = tuple(content[key])
        return cls(**fields)


class Store:
    """A finished store; opening it reads one file, and it is pickled as its path.

    Attributes:
      path: of the store.
      preprocessing: what was done to every case, and what undoes it.
      set_fingerprint: what the training cases looked like.
      cases: in the order of the set.
      fingerprint: a hash of the contents, for the record of a run.
      recipe: the options that it was prepared with.
      source: the folder of the set, or its archive, where it was then.
    """

    def __init__(self, path: Path, content: dict[str, Any]):
        self.path, self._folder = path, path / content["folder"]
        self.preprocessing = Preprocessing.from_json(content["preprocessing"])
        self.set_fingerprint = SetFingerprint.from_json(content["set_fingerprint"])
        self.cases = tuple(map(StoredCase.from_json, content["cases"]))
        self.fingerprint: str = content["fingerprint"]
        self.recipe: dict[str, Any] = content["recipe"]
        self.source = Path(content.get("source", ""))
        self._numbers = {case.name: case.number for case in self.cases}
        self._opened: dict[tuple[int, str], Any] = {}
        self._places: dict[int, np.ndarray] = {}

    def __reduce__(self):
        return open_store, (self.path,)

    def __len__(self) -> int:
        return len(self.cases)

    def case(self, which: int | str) -> StoredCase:
        """A case by its number or its name.

        Raises:
          DataError: there is none.
        """
        number = self._numbers.get(which, -1) if isinstance(which, str) else int(which)
        if not 0 <= number < len(self.cases):
            raise DataError(f"{self.path} has no case {which!r}; " + (
                nearest(which, self._numbers) if isinstance(which, str) else f"it has {len(self.cases)}"))  # fmt: skip
        return self.cases[number]

    def read(self, which: int | str, window: Window | None = None) -> tuple[np.ndarray, np.ndarray]:
        """A window of a case; only the chunks that it touches are read.

        Args:
          which: number or name of the case.
          window: where it starts and stops along each axis, by default all. What lies beyond the case is 0 in the
            image and background in the labels: a case smaller than a patch is padded.

        Returns:
          float32 `[*window, channel]` and int32 `[*window]`, places in `preprocessing.classes`.

        Raises:
          DataError: no such case or window; a chunk is damaged.
        """
        case = self.case(which)
        ends = [(0, n) for n in case.size] if window is None else [(int(start), int(stop)) for start, stop in window]
        if len(ends) != len(case.size) or any(start >= stop for start, stop in ends):
            raise DataError(f"window {window} of case {case.name}: expected (start, stop) for {len(case.size)} axes")
        image = np.zeros((*(b - a for a, b in ends), len(self.preprocessing.channels)), np.float32)
        labels = np.zeros(image.shape[:-1], np.int32)
        inside = [(max(a, 0), min(b, n)) for (a, b), n in zip(ends, case.size, strict=True)]
        if all(a < b for a, b in inside):
            there = tuple(slice(a, b) for a, b in inside)
            here = tuple(slice(a - start, b - start) for (a, b), (start, _) in zip(inside, ends, strict=True))
            handles = [self._array(case, what)[there].read() for what in ("image", "labels")]
            for target, handle in zip((image, labels), handles, strict=True):
                try:
                    target[here] = handle.result()
                except Exception as error:  # tensorstore raises what its drivers pass on
                    raise _damaged(self._folder, case, error) from error
        return image, labels

    def mask(self, which: int | str) -> np.ndarray | None:
        """The mask of a case on its scan's own grid, int32 `[*spatial]`, places in `preprocessing.classes`.

        It is read from the set's own files; None where they are not there any more, or are not what the case was
        prepared from.

        Raises:
          DataError: no such case; the case is damaged.
        """
        case, how = self.case(which), self.preprocessing
        root = self.source if self.source.is_dir() else self.source.parent
        try:
            values = read_labels(root / case.label, stack=case.affine is None and len(case.placement.shape) == 3).values
            values = (values > 0).astype(np.int32) if self.recipe["plan"]["foreground"] else values
            same = np.array_equal(forward_labels(values, case.placement, how), self.read(which)[1])
        except (DataError, MissingExtraError):
            return None
        return np.searchsorted(how.values, values).astype(np.int32) if same else None

    def places(self, which: int | str) -> dict[int, np.ndarray]:
        """Voxels to centre patches on: of each class but the first that the case has, int32 `[k, axes]`.

        At most 1,000 of a class, drawn at random. Those of the cases last asked for are kept in memory.

        Raises:
          DataError: no such case; its file is damaged.
        """
        case = self.case(which)
        if case.number not in self._places:
            while len(self._places) >= _MOST_OPEN:
                self._places.pop(next(iter(self._places)))
            try:
                self._places[case.number] = np.load(case_folder(self._folder, case.number) / "places.npy")
            except Exception as error:  # numpy passes on what its header parser raises
                raise _damaged(self._folder, case, error) from error
        rows = self._places[case.number]
        return {int(label): rows[rows[:, 0] == label, 1:] for label in np.unique(rows[:, 0])}

    def split(
        self, validation_fraction: float = 0.2, test_fraction: float = 0.2, seed: int = 0
    ) -> dict[str, list[int]]:
        """Numbers of the cases of `train`, `validation` and `test`, no group in two of them.

        A test part that the set has stays whole: `test_fraction` does not count then, and training cases of a group
        that is in it are left out.

        Raises:
          DataError: a part is empty.
        """
        numbers, test = self._train_and_test()
        shares: tuple[float, ...] = (1 - validation_fraction, validation_fraction)
        if not test:
            shares = (1 - validation_fraction - test_fraction, validation_fraction, test_fraction)
        parts = [*self._cut(numbers, shares, seed), test][:3]
        return dict(zip(("train", "validation", "test"), parts, strict=True))

    def folds(self, count: int = 5, seed: int = 0) -> list[list[int]]:
        """Numbers of the cases of each fold, no group in two of them; cases of a test part are in none.

        Raises:
          DataError: a fold is empty.
        """
        return self._cut(self._train_and_test()[0], (1 / count,) * count, seed)

    def damage(self) -> list[str]:
        """What on disk is not as it was written, in sentences; every array is read."""
        found = []
        for case in self.cases:
            folder = case_folder(self._folder, case.number)
            try:
                arrays = {what: np.asarray(self._array(case, what).read().result()) for what in ("image", "labels")}
                arrays["places"] = np.load(folder / "places.npy")
                changed = [what for what, array in arrays.items() if fingerprint(array) != case.checksums[what]]
            except Exception:  # a damaged file raises anything
                changed = ["files"]
            if changed:
                found.append(f"case {case.name}: {' and '.join(changed)} changed; remove {folder} and {AGAIN}")
        return found

    def _array(self, case: StoredCase, what: str) -> Any:
        if (case.number, what) not in self._opened:
            try:
                self._opened[case.number, what] = open_array(case_folder(self._folder, case.number) / what)
            except Exception as error:
                raise _damaged(self._folder, case, error) from error
        return self._opened[case.number, what]

    def _train_and_test(self) -> tuple[list[int], list[int]]:
        test = [case.number for case in self.cases if case.part == "test"]
        shown = {self.cases[number].group for number in test}
        return [case.number for case in self.cases if case.part != "test" and case.group not in shown], test

    def _cut(self, numbers: list[int], shares: tuple[float, ...], seed: int) -> list[list[int]]:
        groups = np.array([self.cases[number].group for number in numbers])
        parts = split_by_group(np.zeros(len(numbers), np.int32), groups, shares, seed)
        return [[numbers[place] for place in part] for part in parts]


def open_store(path: str | Path) -> Store:
    """Opens a finished store.

    Raises:
      DataError: there is none, it is not finished, or of another version.
      DamagedError: what describes it was changed.
    """
    path = Path(path).expanduser()
    content = described(path)
    if content is None:
        done = sum(1 for _ in path.glob(f"{CASES}-*/[0-9]*"))
        if (path / WORK).is_dir():
            raise DataError(f"{path} is not finished ({done} cases are written); {AGAIN}")
        raise DataError(f"{path} is no prepared set; make one with hyperlab prepare DIR --out {path}")
    return Store(path, content)


def described(path: Path) -> dict[str, Any] | None:
    """The content of `store.json`; None where there is none.

    Raises:
      DataError: it is no store, or of another version.
      DamagedError: it was changed.
    """
    content = read_object(path / STORE, f"remove {path / STORE} and {AGAIN}")
    if content is None:
        return None
    if content.get("form") != FORM:
        raise DataError(f"{path / STORE} is not that of a prepared set; name another folder")
    if content.get("version") != VERSION:
        raise DataError(
            f"{path} is a store of version {content.get('version')}, this hyperlab reads version {VERSION}; prepare "
            "the set again, into another folder or with --overwrite"
        )
    return content


def case_folder(cases: Path, number: int) -> Path:
    """Where a case lies."""
    return cases / f"{number:06d}"


def _damaged(cases: Path, case: StoredCase, error: Exception) -> DataError:
    folder, reason = case_folder(cases, case.number), " ".join(str(error).split())[:160]
    return DataError(f"case {case.name} is damaged ({reason}); remove {folder} and {AGAIN}: the others are kept")
