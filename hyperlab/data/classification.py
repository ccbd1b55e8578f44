"""Sets with one class an image: the digits that scikit-learn brings, the IDX sets, and CIFAR-10."""

from pathlib import Path

import numpy as np

from hyperlab.data.readers import cifar
from hyperlab.data.readers.idx import find_file, read_idx
from hyperlab.data.source import Source
from hyperlab.data.splits import Split, duplicate_groups
from hyperlab.errors import DataError

_FASHION = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
_DIGITS = tuple("0123456789")


def digits() -> Source:
    """1,797 digits of 8x8 pixels, embedded in scikit-learn."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = images.astype(np.uint8).reshape(-1, 8, 8, 1)
    return Source(_examples(images, labels), _DIGITS, top=16)


def mnist(root: str | Path) -> Source:
    """The handwritten digits: 60,000 and 10,000 images of 28x28 pixels, IDX files."""
    return _idx("MNIST", root, _DIGITS)


def fashion_mnist(root: str | Path) -> Source:
    """Ten kinds of clothes in the format of MNIST."""
    return _idx("FashionMNIST", root, _FASHION)


def cifar10(root: str | Path, form: str = "auto") -> Source:
    """Ten classes of photographs, 32x32 pixels in colour: the official files, image files by class, or sheets.

    Args:
      root: see `readers.cifar.read_cifar10`.
      form: `auto`, `pickle`, `binary`, `files` or `sheets`. Sheets have no test split of their own.
    """
    train, test, found = cifar.read_cifar10(root, form)
    if test is None:
        return Source(_examples(*train), cifar.CLASSES, top=255, notes=("Lossless images without a test split.",))
    images = np.concatenate([train.images, test.images])
    labels = np.concatenate([train.labels, test.labels])
    notes: tuple[str, ...] = ()
    if found == "files" or len(train.labels) != 50_000:
        notes = (
            f"{len(train.labels)} training and {len(test.labels)} test images, read from {found}: not comparable with "
            "numbers published for CIFAR-10.",
        )
    return Source(
        _examples(images, labels), cifar.CLASSES, top=255, official_test=np.arange(len(labels)) >= len(train.labels),
        validation_fraction=0.1, notes=notes, copies="identical to a test image",
    )  # fmt: skip


def _idx(inside: str, root: str | Path, classes: tuple[str, ...]) -> Source:
    root = Path(root).expanduser()  # a shell leaves the ~ of --config.data.root=~/data alone
    name = {"MNIST": "mnist", "FashionMNIST": "fashion_mnist"}[inside]
    folders = [root, root / name, root / inside / "raw"]
    arrays = {}
    for part in ("train", "t10k"):
        for kind, rank in (("images", 3), ("labels", 1)):
            names = [f"{part}-{kind}-idx{rank}-ubyte", f"{part}-{kind}.idx{rank}-ubyte"]
            path = find_file(folders, names)
            folders = [path.parent]  # files of two folders are never mixed
            array = read_idx(path)
            if array.ndim != rank or array.dtype != np.uint8:
                raise DataError(f"{path} holds {array.dtype} of shape {array.shape}, expected uint8 of rank {rank}")
            arrays[part, kind] = array
        images, labels = arrays[part, "images"], arrays[part, "labels"]
        if len(images) != len(labels):
            raise DataError(f"{folders[0]}: {len(images)} {part} images but {len(labels)} {part} labels")
    train_shape, test_shape = (arrays[part, "images"].shape[1:] for part in ("train", "t10k"))
    if train_shape != test_shape:
        raise DataError(f"{folders[0]}: train images are {train_shape}, t10k images {test_shape}")
    images = np.concatenate([arrays["train", "images"], arrays["t10k", "images"]])[..., None]
    labels = np.concatenate([arrays["train", "labels"], arrays["t10k", "labels"]])
    official_test = np.arange(len(labels)) >= len(arrays["train", "labels"])
    return Source(
        _examples(images, labels), classes, top=255, official_test=official_test, validation_fraction=1 / 12,
        copies="identical to a test image",
    )  # fmt: skip


def _examples(images: np.ndarray, labels: np.ndarray) -> Split:
    index = np.arange(len(labels), dtype=np.int32)
    return Split(images, labels.astype(np.int32), duplicate_groups(images), index)
