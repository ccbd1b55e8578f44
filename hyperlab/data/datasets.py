"""The data sets of the studies by name, each loaded into three splits that do not leak."""

import contextlib
import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from hyperlab.data import classification, generic, parasites, segmentation, shapes
from hyperlab.data.layouts import recognise
from hyperlab.data.prepared import open_store
from hyperlab.data.source import Source, cut
from hyperlab.data.splits import Splits
from hyperlab.errors import ConfigError, DataError, nearest
from hyperlab.seeds import check_seed

SETS: dict[str, Callable[..., Source]] = {
    "digits": classification.digits,
    "mnist": classification.mnist,
    "fashion_mnist": classification.fashion_mnist,
    "cifar10": classification.cifar10,
    "shapes": shapes.shapes,
    "parasites": parasites.parasites,
    "wbc": segmentation.wbc,
    "dsb2018_nuclei": segmentation.dsb2018_nuclei,
    "isbi2012_membrane": segmentation.isbi2012_membrane,
    "brain_t1_ptbp": segmentation.brain_t1_ptbp,
    "chasedb1": segmentation.chasedb1,
    "msd_hippocampus": segmentation.msd_hippocampus,
    "msd_hippocampus_3d": segmentation.msd_hippocampus_3d,
    "nnunet": generic.nnunet,
    "decathlon": generic.decathlon,
    "folder": generic.folder,
    "npz": generic.npz,
    "oasis": generic.oasis,
    "camus": generic.camus,
}
STORE = "store"  # the name of a prepared set, see `data.patched`
_OF_IMAGES, _OF_PIXELS = (classification,), (shapes, parasites, segmentation, generic)  # what classes are of, by module


def load(
    name: str,
    root: str | Path | None = None,
    *,
    validation_fraction: float | None = None,
    test_fraction: float = 0.2,
    split_seed: int = 0,
    limit: int | Mapping[str, int] | None = None,
    **options: Any,
) -> Splits:
    """Loads a data set by name and refuses it if its splits leak.

    Args:
      name: with one class an image: `"digits"` (1,797 images of 8x8, embedded in scikit-learn), `"mnist"` or
        `"fashion_mnist"` (28x28, IDX files, plain or gzipped), `"cifar10"` (32x32 in colour, official files or image
        files by class). With one class a pixel: `"shapes"` and `"parasites"` (procedural, no files), the public sets
        of `hyperlab.data.segmentation` (`"wbc"`, `"dsb2018_nuclei"`, `"isbi2012_membrane"`, `"brain_t1_ptbp"`,
        `"chasedb1"`, `"msd_hippocampus"`, `"msd_hippocampus_3d"`), and the layouts of `hyperlab.data.generic`
        (`"nnunet"`, `"decathlon"`, `"folder"`, `"npz"`, `"oasis"`, `"camus"`).
      root: the folder of the files; of IDX files a folder that holds `MNIST/raw` or `mnist` works too.
      validation_fraction: share of all examples, or of those outside an official test split, which becomes the
        validation split; by default 0.2, and 1/12 (5,000 of 60,000) of an IDX set.
      test_fraction: share of the examples that becomes the test split. A set with an official one keeps it.
      split_seed: another seed gives another partition; it is no part of a run's seed.
      limit: at most so many examples in each split, or in the splits named by a mapping; classes keep
        their proportions and smaller limits are nested in larger ones.
      **options: what the set itself takes, for instance `size`; see the function of its name.

    Returns:
      The three splits, the class names and a fingerprint of the contents. No group (subject, near-copies) is
      in two splits.

    Raises:
      DataError: unknown name or option; a file is missing, truncated or of another format; images and labels
        do not fit together; a label is outside the map; a value is not finite; splits leak; a folder for a set that
        reads none.
      ConfigError: a seed that is none.
      MissingExtraError: the files are NIfTI and nibabel is not installed.

    >>> splits = load("digits")
    >>> {name: len(part) for name, part in splits.parts().items()}
    {'train': 1078, 'validation': 360, 'test': 359}
    >>> splits = load("shapes", count=20, size=(32, 32))
    >>> splits.train.images.shape, splits.train.labels.shape, splits.classes
    ((12, 32, 32, 1), (12, 32, 32), ('background', 'ellipse', 'rectangle', 'star'))
    """
    check_seed(split_seed, "split_seed")
    if name not in SETS:
        raise DataError(f"unknown data set {name!r}; {nearest(name, SETS)}")
    needs_root = reads_files(name)
    if needs_root and root is None:
        raise DataError(_without_root(name, "data"))
    if root is not None and not needs_root:
        check_root(name, str(root), "data", [each for each in SETS if reads_files(each)])
    known = [parameter for parameter in inspect.signature(SETS[name]).parameters if parameter != "root"]
    for option in options:
        if option not in known:
            raise DataError(
                f"{name} has no option {option!r}; " + (nearest(option, known) if known else "it takes none")
            )
    source = SETS[name](**({"root": root} if needs_root else {}), **options)
    return cut(name, source, validation_fraction, test_fraction, split_seed, limit)


def reads_files(name: str) -> bool:
    """Whether a data set is read from a folder of the user's.

    >>> reads_files("digits"), reads_files("nnunet")
    (False, True)
    """
    return "root" in inspect.signature(SETS[name]).parameters


def check_source(data: Any, group: str, *, classified: bool, prepared: bool = False) -> None:
    """Refuses a data set that a study cannot use, or whose files cannot be there, before anything is read.

    Args:
      data: settings with `name` and `root`.
      group: what the config calls them, for messages.
      classified: whether images have one class each; otherwise every pixel has one.
      prepared: whether a prepared set is of use, of the name `store`.

    Raises:
      ConfigError: a set of the other kind, a prepared one that is of no use.
      DataError: an unknown name; see `check_root`.
    """
    if data.name == STORE:
        if not prepared:
            raise ConfigError(
                f"{group}.name is {data.name!r}: patches of a prepared set are for the studies rescaling and pruning "
                "(its task scale_space)"
            )
        if not data.root:
            raise DataError(f"{group}.root is empty; name the folder that hyperlab prepare wrote")
        open_store(data.root)
        return
    if data.name not in SETS:
        raise DataError(f"{group}.name: unknown data set {data.name!r}; {nearest(data.name, SETS)}")
    if _is_of(data.name, _OF_PIXELS if classified else _OF_IMAGES):
        has, wants = "one class an image", "images are segmented here"
        if classified:
            has, wants = "a class a pixel", "the task classifies images"
        raise ConfigError(f"{group}.name is {data.name!r}, which has {has}; {wants}")
    sets = [name for name in SETS if reads_files(name) and not _is_of(name, _OF_PIXELS if classified else _OF_IMAGES)]
    check_root(data.name, data.root, group, sets)


def _is_of(name: str, modules: Collection[Any]) -> bool:
    return SETS[name].__module__ in {module.__name__ for module in modules}


def check_root(name: str, root: str, group: str, reads: Collection[str]) -> None:
    """Refuses a set of files without its folder, and a folder that would not be read.

    Args:
      name: of the data set.
      root: the folder, empty for none.
      group: what the config calls both, for messages.
      reads: the names that could be given and read a folder.

    Raises:
      DataError: the key, what was given, and what the folder looks like.

    >>> check_root("digits", "/data", "data", ("mnist", "cifar10"))
    Traceback (most recent call last):
    hyperlab.errors.DataError: data.root is '/data', but data.name is 'digits', which reads no files; mnist...
    """
    missing = bool(root) and not Path(root).expanduser().exists()
    if name in reads:
        if not root:
            raise DataError(_without_root(name, group))
        if missing:
            raise DataError(f"{group}.root is {root!r}, which does not exist; name the folder of {name}'s files")
    elif root:
        found = None if missing else _guess(Path(root).expanduser(), reads)
        advice = f"the folder looks like {found}: --config.{group}.name={found}" if found else ""
        advice = advice or f"{', '.join(reads)} do: name the set as --config.{group}.name=NAME"
        advice += "; and there is no such folder" if missing else ""
        raise DataError(f"{group}.root is {root!r}, but {group}.name is {name!r}, which reads no files; {advice}")


def _guess(root: Path, names: Collection[str]) -> str | None:
    """The one of some sets whose files a folder seems to hold."""
    found = None
    with contextlib.suppress(DataError, OSError):
        idx = any(any(place.glob("*idx3-ubyte*")) for place in (root, root / "mnist", root / "MNIST" / "raw"))
        found = "mnist" if idx else recognise(root)
    return found if found in names and found != "folder" else None


def _without_root(name: str, group: str) -> str:
    return f"{name} is read from {_FILES.get(name, 'files')}; name their folder, for instance --config.{group}.root=DIR"


_FILES = {"mnist": "IDX files", "fashion_mnist": "IDX files", "cifar10": "official files or image files by class"}
