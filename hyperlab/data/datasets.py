"""The data sets of the studies by name, each loaded into three splits that do not leak."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hyperlab.data import classification, generic, parasites, segmentation, shapes
from hyperlab.data.source import Source, cut
from hyperlab.data.splits import Splits
from hyperlab.errors import DataError, nearest

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
        do not fit together; a label is outside the map; a value is not finite; splits leak.
      MissingExtraError: the files are NIfTI and nibabel is not installed.

    >>> splits = load("digits")
    >>> {name: len(part) for name, part in splits.parts().items()}
    {'train': 1078, 'validation': 360, 'test': 359}
    >>> splits = load("shapes", count=20, size=(32, 32))
    >>> splits.train.images.shape, splits.train.labels.shape, splits.classes
    ((12, 32, 32, 1), (12, 32, 32), ('background', 'ellipse', 'rectangle', 'star'))
    """
    if name not in SETS:
        raise DataError(f"unknown data set {name!r}; {nearest(name, SETS)}")
    parameters = list(inspect.signature(SETS[name]).parameters)
    needs_root = "root" in parameters
    if needs_root and root is None:
        raise DataError(f"{name} is read from {_FILES.get(name, 'files')}; name their folder, for instance "
                        "--config.data.root=DIR")  # fmt: skip
    known = [parameter for parameter in parameters if parameter != "root"]
    for option in options:
        if option not in known:
            raise DataError(
                f"{name} has no option {option!r}; " + (nearest(option, known) if known else "it takes none")
            )
    source = SETS[name](**({"root": root} if needs_root else {}), **options)
    return cut(name, source, validation_fraction, test_fraction, split_seed, limit)


_FILES = {"mnist": "IDX files", "fashion_mnist": "IDX files", "cifar10": "official files or image files by class"}
