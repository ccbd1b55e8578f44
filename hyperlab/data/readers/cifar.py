"""CIFAR-10 in the forms in which it is passed on: pickles, binary records, image files by class, sheets of images.

The official files come as pickles for Python (`data_batch_1` ... `data_batch_5`, `test_batch`) or as binary records
(the same names with `.bin`). Others pass the images on as files, `train/<class>/...` and `test/<class>/...` in folders
or zip archives; or lossless as sheets, one image a row. A pickle can run any code when it is opened, so these are
opened by a reader that knows arrays and nothing else.
"""

import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hyperlab.data.readers.image_folder import as_colours
from hyperlab.data.readers.images import read_raster
from hyperlab.data.readers.pictures import read_picture
from hyperlab.errors import DataError, nearest, reading

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32
FORMS = ("auto", "pickle", "binary", "files", "sheets")
_PIXELS = 3 * SIDE * SIDE
_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
_SUFFIXES = (".jpg", ".jpeg", ".png")


class Images(NamedTuple):
    """Labelled images.

    Attributes:
      images: uint8 `[n, 32, 32, 3]`.
      labels: int32 `[n]`, places in `CLASSES`.
    """

    images: np.ndarray
    labels: np.ndarray


def read_cifar10(root: str | Path, form: str = "auto") -> tuple[Images, Images | None, str]:
    """Reads the images below a folder.

    Args:
      root: holds the files, or a folder `cifar-10-batches-py`, `cifar-10-batches-bin` or `cifar10` that does.
      form: `pickle`, `binary`, `files` or `sheets`; `auto` is the first of the first three that is there.

    Returns:
      Training images, test images (None of sheets, which have none), and the form.

    Raises:
      DataError: nothing is found; a file is truncated or of another format; a class is unknown.
    """
    if form not in FORMS:
        raise DataError(f"form is {form!r}; {nearest(form, FORMS)}")
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; expected one with the files of CIFAR-10")
    folders = [root, *(root / name for name in ("cifar-10-batches-py", "cifar-10-batches-bin", "cifar10"))]
    readers = {"pickle": _pickles, "binary": _binaries, "files": _files, "sheets": _sheets}
    for name in FORMS[1:4] if form == "auto" else (form,):
        for folder in folders:
            found = readers[name](folder) if folder.is_dir() else None
            if found is not None:
                return *found, name
    held = ", ".join(sorted(entry.name for entry in root.iterdir())[:12]) or "nothing"
    raise DataError(
        f"no CIFAR-10 in {root} (form {form!r}): expected data_batch_1 ... test_batch, the same with .bin, or "
        f"train/<class> and test/<class> as folders or zip archives; it holds: {held}"
    )


# -- the official files -------------------------------------------------------------------------------------------


class _ArraysOnly(pickle.Unpickler):
    """Opens pickles of arrays; anything else that a pickle asks for is refused."""

    _KNOWN = {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._KNOWN:
            raise DataError(f"the pickle asks for {module}.{name}; expected arrays alone: not a file of CIFAR-10")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _pickles(folder: Path) -> tuple[Images, Images] | None:
    if not (folder / "test_batch").is_file():
        return None
    return _joined([_pickle(folder / name) for name in _TRAIN]), _pickle(folder / "test_batch")


def _pickle(path: Path) -> Images:
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    with path.open("rb") as file:
        try:
            content = _ArraysOnly(file, encoding="bytes").load()
        except Exception as error:  # what NumPy's constructors raise, too
            raise DataError(f"{path} is no pickle of CIFAR-10, or truncated: {error}") from error
    if not isinstance(content, dict) or not {b"data", b"labels"} <= set(content):
        raise DataError(f"{path} has no b'data' and b'labels'; is it a batch of CIFAR-10?")
    with reading(path):
        data, labels = np.asarray(content[b"data"]), np.asarray(content[b"labels"])
    return _planes(path, data, labels)


def _binaries(folder: Path) -> tuple[Images, Images] | None:
    if not (folder / "test_batch.bin").is_file():
        return None
    return _joined([_binary(folder / f"{name}.bin") for name in _TRAIN]), _binary(folder / "test_batch.bin")


def _binary(path: Path) -> Images:
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    content = np.frombuffer(path.read_bytes(), np.uint8)
    if not len(content) or len(content) % (1 + _PIXELS):
        raise DataError(f"{path} holds {len(content)} bytes, expected a multiple of {1 + _PIXELS}: it is truncated")
    records = content.reshape(-1, 1 + _PIXELS)
    return _planes(path, records[:, 1:], records[:, 0])


def _planes(path: Path, data: np.ndarray, labels: np.ndarray) -> Images:
    """Rows of three colour planes, as the official files have them."""
    if data.ndim != 2 or data.shape[1] != _PIXELS or data.dtype != np.uint8 or len(labels) != len(data):
        raise DataError(
            f"{path} holds {data.dtype} {data.shape} and {len(labels)} labels, expected uint8 [n, {_PIXELS}] and n"
        )
    return _checked(path, data.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1), labels)


# -- image files --------------------------------------------------------------------------------------------------


def _files(folder: Path) -> tuple[Images, Images] | None:
    parts = []
    for part in ("train", "test"):
        archives = sorted(folder.glob(f"*{part}*.zip"))
        if (folder / part).is_dir():
            parts.append(_decoded(folder / part, _from_folder(folder / part)))
        elif archives:
            parts.append(_decoded(archives[0], _from_archive(archives[0], part)))
        else:
            return None
    return parts[0], parts[1]


def _from_folder(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    for path in sorted(folder.glob("*/*")):
        if path.suffix.lower() in _SUFFIXES:
            yield path.parent.name, str(path), path.read_bytes()


def _from_archive(path: Path, part: str) -> Iterator[tuple[str, str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                found = re.fullmatch(rf"(?:.*/)?{part}/([^/]+)/[^/]+", name)
                if found and name.lower().endswith(_SUFFIXES):
                    yield found[1], f"{path}: {name}", archive.read(name)
    except zipfile.BadZipFile as error:
        raise DataError(f"{path} is no zip archive, or truncated: {error}") from error


def _decoded(path: Path, files: Iterator[tuple[str, str, bytes]]) -> Images:
    images, labels = [], []
    for kind, name, content in files:
        if kind not in CLASSES:
            raise DataError(f"{name}: class {kind!r}; {nearest(kind, CLASSES)}")
        image = as_colours(name, read_picture(name, content))
        if image.shape != (SIDE, SIDE, 3):
            raise DataError(f"{name} is {image.shape[1]}x{image.shape[0]}, expected {SIDE}x{SIDE} pixels")
        images.append(image)
        labels.append(CLASSES.index(kind))
    if not images:
        raise DataError(f"{path} holds no images in folders of the classes {', '.join(CLASSES)}")
    return _checked(path, np.stack(images), np.array(labels))


# -- sheets -------------------------------------------------------------------------------------------------------


def _sheets(folder: Path) -> tuple[Images, None] | None:
    sheets, tables = sorted(folder.glob("cifar10_batch_*.png")), sorted(folder.glob("cifar10_batch_*labels.npy"))
    if not sheets or not tables:
        return None
    rows = []
    for path in sheets:
        sheet = as_colours(path, read_raster(path))
        if sheet.shape[1] != SIDE * SIDE:
            raise DataError(f"{path} is {sheet.shape[1]} pixels wide, expected {SIDE * SIDE}: one image a row")
        rows.append(sheet.reshape(-1, SIDE, SIDE, 3))
    images = np.concatenate(rows)
    with reading(tables[0]), tables[0].open("rb") as opened:
        labels = np.lib.format.read_array(opened, allow_pickle=False)
    if labels.ndim != 1 or len(images) != len(labels):
        raise DataError(f"{folder}: sheets of {len(images)} images, but labels {labels.shape} in {tables[0].name}")
    return _checked(folder, images, labels), None


def _joined(parts: list[Images]) -> Images:
    return Images(*map(np.concatenate, zip(*parts, strict=True)))


def _checked(path: Path, images: np.ndarray, labels: np.ndarray) -> Images:
    if labels.dtype.kind not in "iu":
        raise DataError(f"{path} has labels of the type {labels.dtype}, expected whole numbers")
    outside = labels[(labels < 0) | (labels >= len(CLASSES))]
    if len(outside):
        raise DataError(f"{path} has label {outside[0]}, expected 0 to {len(CLASSES) - 1}")
    return Images(np.ascontiguousarray(images, np.uint8), labels.astype(np.int32))
