"""Archives of arrays: `.npz` files with images and labels."""

from pathlib import Path

import numpy as np

from hyperlab.data.readers.cases import Case, Layout, visible
from hyperlab.data.readers.scan import IMAGE_KEYS, LABEL_KEYS, SUBJECT_KEYS, archive_array, suffix_of
from hyperlab.errors import DataError


def list_npz(root: str | Path) -> Layout:
    """The cases of an archive with arrays `image` (`[n, *spatial]` or `[n, *spatial, channel]`) and `label`.

    Labels are `[n, *spatial]`; beside channels they may have a last axis of one entry.

    An array `subject` `[n]` says which cases belong together.

    Args:
      root: the `.npz` file, or a folder that holds one.

    Raises:
      DataError: there is not one archive, it cannot be read, or its arrays are no images and labels that fit together.
    """
    root = Path(root)
    path = root
    if root.is_dir():
        archives = [entry for entry in visible(root) if suffix_of(entry) == ".npz"]
        if len(archives) != 1:
            raise DataError(f"{root} holds {len(archives)} .npz archives, expected one; name the file itself")
        path = archives[0]
    images, labels = _array(path, IMAGE_KEYS), _array(path, LABEL_KEYS)
    if images is None or labels is None:
        raise DataError(f"{path} needs an array {' or '.join(IMAGE_KEYS)} and one {' or '.join(LABEL_KEYS[:4])}")
    _check(path, images, labels)
    subjects = _array(path, SUBJECT_KEYS)
    if subjects is not None and subjects.shape != (len(images),):
        given = len(subjects) if subjects.ndim == 1 else f"an array {subjects.shape} of"
        raise DataError(f"{path}: {given} subjects for {len(images)} images")
    width = len(str(len(images) - 1))
    names = [f"{path.stem}[{index:0{width}d}]" for index in range(len(images))]
    cases = [
        Case(name, (path,), path, name if subjects is None else str(subjects[index]), index=index)
        for index, name in enumerate(names)
    ]
    whose = "as each case is one" if subjects is None else "by the archive's array of subjects"
    return Layout("npz", root, tuple(cases), whose=whose)


def _array(path: Path, keys: tuple[str, ...]) -> np.ndarray | None:
    """The one array of an archive that has one of several names, or None."""
    found = {key: array for key in keys if (array := archive_array(path, (key,))) is not None}
    if len(found) > 1:
        raise DataError(f"{path} holds {' and '.join(found)}, expected one of them; leave out what is not meant")
    return next(iter(found.values()), None)


def _check(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    for what, array in (("images", images), ("labels", labels)):
        if array.dtype.kind not in "biuf":
            raise DataError(f"{path}: {what} are {array.dtype}, expected real numbers (no text, no complex numbers)")
        if array.ndim < 3:
            raise DataError(f"{path}: {what} are {array.shape}, expected [n, height, width] or more axes")
    if len(images) != len(labels) or images.ndim - labels.ndim not in (0, 1):
        raise DataError(
            f"{path}: images are {images.shape}, labels {labels.shape}; expected as many labels as images and one "
            "label for every pixel"
        )
    if not len(images):
        raise DataError(f"{path} holds no case")
    if not images.size or not labels.size:
        raise DataError(f"{path}: images are {images.shape}, labels {labels.shape}; they hold no pixel")
    most = np.iinfo(np.int32).max
    extremes = [value for value in (labels.min(), labels.max()) if np.isfinite(value)]
    beyond = [value for value in extremes if abs(int(value)) > most]
    if beyond:
        raise DataError(f"{path}: labels reach {int(beyond[0])}, expected whole numbers up to {most}")
