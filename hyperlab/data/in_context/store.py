"""A store of binary tasks on disk: one zarr group a task, read at random by any number of processes.

`<store>/<size>/<data set>/<modality>/<axis>/<label>` is a group of zarr version 3 with the arrays `images` and
`labels`; its attributes hold everything else. An example is one compressed chunk with a checksum, and the chunks of an
array lie in one file. The attributes are written last: a group without them was interrupted, and is made again.
"""

import json
import os
import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.data.chunked import open_array, write_array
from hyperlab.data.in_context.tasks import TaskData, TaskName, check_task
from hyperlab.data.splits import fingerprint
from hyperlab.errors import DataError, nearest
from hyperlab.files import write_atomically

UNIT = np.float32(1 / 255)  # a product is the same in numpy and in XLA, a quotient is not
_MOST_NAMED = 8


def write_task(root: str | Path, data: TaskData, twin: Path | None = None) -> Path:
    """Writes one task; what was there under its name is replaced.

    Args:
      root: the store, which is made if there is none.
      data: the contents.
      twin: the folder of a task; where its images are the same, the files are shared by hard links.

    Returns:
      The folder of the group.

    Raises:
      DataError: see `check_task`.
    """
    check_task(data)
    folder = task_folder(root, data.images.shape[-1], data.name)
    shutil.rmtree(folder, ignore_errors=True)
    images, labels = data.images[..., None], data.labels[..., None]
    if labels.shape[1] == 1:
        labels = labels[:, 0]
    arrays = {"images": images, "labels": labels}
    digests = [fingerprint(image) for image in images]
    shared = (
        twin is not None and _attributes(twin)["digests"] == digests and _linked(twin / "images", folder / "images")
    )
    for what, array in arrays.items():
        if not (shared and what == "images"):
            write_array(folder / what, array, (1, *array.shape[1:]))
    scale = 255 if labels.dtype == np.uint8 else 1
    attributes = {
        "name": list(data.name),
        "annotators": data.labels.shape[1],
        "binary": data.binary,
        "cases": list(data.cases),
        "subjects": np.asarray(data.subjects).tolist(),
        "splits": list(data.splits),
        "shares": (data.labels.mean((1, 2, 3), dtype=np.float64) / scale).tolist(),
        "digests": digests,
        "checksums": {what: fingerprint(array) for what, array in arrays.items()},
        "recipe": data.recipe,
    }
    write_json(folder / "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": attributes})
    return folder


def task_folder(root: str | Path, size: int, name: TaskName) -> Path:
    """Where a task lies in a store."""
    return Path(root) / str(size) / Path(*name)


def is_finished(folder: Path, recipe: dict[str, Any]) -> bool:
    """Whether a task was written to its end.

    Raises:
      DataError: it was, by another recipe.
    """
    if not (folder / "zarr.json").is_file():
        return False
    found = _attributes(folder)["recipe"]
    for key in sorted(recipe.keys() | found.keys()):
        if recipe.get(key) != found.get(key):
            raise DataError(
                f"{folder} was built with {key} {found.get(key)}, now {recipe.get(key)} is asked for; "
                "use another --out, another --name, or --overwrite"
            )
    return True


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file so that it is there whole or not at all."""
    write_atomically(path, json.dumps(content))


class Rows:
    """The examples of an array on disk as float32 in 0..1; indexing reads what is asked for and nothing else."""

    def __init__(self, folder: Path, what: str):
        self._path = folder / what
        self._what = what

    def __getstate__(self):
        return {"_path": self._path, "_what": self._what}  # a handle does not survive a process; it is opened again

    @cached_property
    def _array(self):
        try:
            return open_array(self._path)
        except Exception as error:  # tensorstore raises what its drivers pass on
            raise DataError(f"{self._path} cannot be opened ({_short(error)}); build the task again") from error

    @property
    def shape(self) -> tuple[int, ...]:
        """`[n, (annotators,) height, width, 1]`."""
        return tuple(self._array.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def raw(self, index) -> np.ndarray:
        """What is stored, uint8 or float32.

        Raises:
          DataError: a chunk is damaged, or the index is out of range.
        """
        try:
            return np.asarray(self._array[index].read().result())
        except IndexError as error:
            raise DataError(f"{self._path} has {len(self)} examples, not number {index}") from error
        except Exception as error:
            raise DataError(
                f"{self._path}: example {index} is damaged ({_short(error)}); the others stay readable, "
                "hyperlab data build --verify lists all damage"
            ) from error

    def __getitem__(self, index) -> np.ndarray:
        values = self.raw(index)
        return values.astype(np.float32) * UNIT if values.dtype == np.uint8 else values


class StoredTask:
    """One task of a store: `images` and `labels` (`Rows`), and what is known of each example.

    Attributes:
      name: of the task.
      folder: where it lies.
      annotators: how many marked each example; with more than one, labels are `[n, annotators, height, width, 1]`.
      binary: whether labels hold 0 and 1 alone.
      cases, subjects, splits, shares, digests: arrays `[n]`: name, subject, split, share of the plane that is labelled,
        hash of the image.
      recipe: what was done to the raw data.
    """

    def __init__(self, folder: Path, attributes: dict[str, Any]):
        self.folder = folder
        self.name = TaskName(*attributes["name"])
        self.annotators, self.binary = attributes["annotators"], attributes["binary"]
        self.cases, self.splits = np.array(attributes["cases"]), np.array(attributes["splits"])
        self.subjects = np.array(attributes["subjects"], np.int32)
        self.shares, self.digests = np.array(attributes["shares"]), np.array(attributes["digests"])
        self.recipe, self._checksums = attributes["recipe"], attributes["checksums"]
        self.images, self.labels = Rows(folder, "images"), Rows(folder, "labels")

    def __len__(self) -> int:
        return len(self.cases)

    def damage(self) -> list[str]:
        """What is wrong on disk, in sentences: examples that cannot be read, or contents that changed."""
        found = []
        for what, rows in (("images", self.images), ("labels", self.labels)):
            try:
                changed = fingerprint(rows.raw(slice(None))) != self._checksums[what]
            except DataError:
                broken = [index for index in range(len(self)) if not _readable(rows, index)]
                named = ", ".join(map(str, broken[:_MOST_NAMED])) + (", ..." if len(broken) > _MOST_NAMED else "")
                found.append(f"task {self.name}: {len(broken)} of {len(self)} {what} are damaged: examples {named}")
                continue
            if changed:
                found.append(f"task {self.name}: the {what} are not those that were written (checksum)")
        return found


class TaskStore:
    """The tasks of a store by name; opening reads no array, and a store is pickled as its path.

    Args:
      path: the store.
      size: side of the planes, where the store holds several.

    Raises:
      DataError: no store is there, it holds no finished task, or none or several of the size.

    `TaskStore(path)["wbc/grey/2d/nucleus"].images[3]` is one image, float32 `[size, size, 1]`.
    """

    def __init__(self, path: str | Path, size: int | None = None):
        self.path = Path(path).expanduser()
        sizes = sorted(int(entry.name) for entry in self.path.glob("*") if entry.name.isdigit())
        if not sizes:
            raise DataError(f"{self.path} holds no tasks; make them with hyperlab data build --out {path}")
        if size is None and len(sizes) > 1:
            raise DataError(f"{self.path} holds planes of {', '.join(map(str, sizes))} pixels; say which size")
        self.size = sizes[0] if size is None else size
        if self.size not in sizes:
            raise DataError(f"{self.path} holds no planes of {size} pixels; valid: {', '.join(map(str, sizes))}")
        folders = sorted(file.parent for file in (self.path / str(self.size)).glob("*/*/*/*/images"))
        tasks = [StoredTask(folder, _attributes(folder)) for folder in folders if (folder / "zarr.json").is_file()]
        self._tasks = {task.name: task for task in tasks}
        self.unfinished = tuple("/".join(f.parts[-4:]) for f in folders if not (f / "zarr.json").is_file())
        if not tasks:
            raise DataError(f"{self.path} holds no finished task; run the same build command again")

    def __reduce__(self):
        return TaskStore, (self.path, self.size)

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[TaskName]:
        return iter(self._tasks)

    def __getitem__(self, name: TaskName | str) -> StoredTask:
        name = TaskName.parse(name) if isinstance(name, str) else name
        if name not in self._tasks:
            raise DataError(f"unknown task {str(name)!r}; {nearest(str(name), map(str, self._tasks))}")
        return self._tasks[name]

    @property
    def datasets(self) -> tuple[str, ...]:
        """The names of the data sets, in order."""
        return tuple(sorted({name.dataset for name in self._tasks}))

    def damage(self) -> list[str]:
        """Everything that is wrong on disk, in sentences; empty where nothing is."""
        return [sentence for task in self._tasks.values() for sentence in task.damage()]


def _attributes(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "zarr.json").read_text())["attributes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / 'zarr.json'} is damaged ({_short(error)}); remove the folder, build again") \
            from error  # fmt: skip


def _linked(source: Path, target: Path) -> bool:
    try:
        shutil.copytree(source, target, copy_function=os.link)
    except OSError:  # a file system without links
        shutil.rmtree(target, ignore_errors=True)
        return False
    return True


def _readable(rows: Rows, index: int) -> bool:
    try:
        rows.raw(index)
    except DataError:
        return False
    return True


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
