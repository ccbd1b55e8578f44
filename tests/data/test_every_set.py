"""What every data set keeps, by its name in `data.SETS`: a new one is tested here without a line of its own.

Sets that are read from files get small ones of their layout; where `FILES` has none for a name, the test says so.
"""

import inspect

import numpy as np
import pytest
import segmentation_files as files
from idx_files import write_set

from hyperlab.data import load
from hyperlab.data.datasets import SETS
from hyperlab.data.splits import check_splits
from hyperlab.errors import DataError

PARTS = ("train", "validation", "test")


def cifar(root):
    generator = np.random.default_rng(0)
    for name in (*(f"data_batch_{batch}" for batch in range(1, 6)), "test_batch"):
        rows = np.c_[np.arange(20, dtype=np.uint8) % 10, generator.integers(0, 256, (20, 3072), np.uint8)]
        (root / f"{name}.bin").write_bytes(rows.tobytes())


def pairs(root):
    for case in range(12):
        image, mask = files.blob(case, (10, 12))
        files.picture(root / "images" / f"{case:02}.png", image)
        files.picture(root / "masks" / f"{case:02}.png", mask)


def arrays(root):
    images, labels = zip(*[files.blob(case, (10, 12)) for case in range(12)], strict=True)
    np.savez(root / "set.npz", images=np.stack(images), masks=np.stack(labels))


FILES = {
    "mnist": lambda root: write_set(root, train=120, test=30),
    "fashion_mnist": lambda root: write_set(root, train=120, test=30),
    "cifar10": cifar,
    "wbc": files.wbc,
    "dsb2018_nuclei": files.nuclei,
    "isbi2012_membrane": files.membranes,
    "brain_t1_ptbp": files.brains,
    "chasedb1": files.retinas,
    "msd_hippocampus": files.hippocampi,
    "msd_hippocampus_3d": files.hippocampi,
    "nnunet": lambda root: files.nnunet(root, cases=12),
    "decathlon": lambda root: files.decathlon(root, cases=12),
    "folder": pairs,
    "npz": arrays,
    "oasis": lambda root: files.oasis(root, subjects=12),
    "camus": lambda root: files.camus(root, patients=12),
}
SMALL = {"shapes": {"count": 30, "size": (32, 32)}, "parasites": {"count": 30, "size": (32, 32)}}
OFFICIAL_TEST = ("mnist", "fashion_mnist", "cifar10", "chasedb1")


@pytest.fixture(scope="module", params=SETS)
def opened(request, tmp_path_factory):
    """`(name, options -> its splits)`."""
    name, root = request.param, None
    if "root" in inspect.signature(SETS[name]).parameters:
        assert name in FILES, f"FILES needs a function that writes small files of {name!r}"
        root = tmp_path_factory.mktemp(name)
        FILES[name](root)
    return name, lambda **options: load(name, root, **{**SMALL.get(name, {}), **options})


@pytest.fixture(scope="module")
def splits(opened):
    """Its default splits, read once."""
    return opened[1]()


def test_examples_have_the_types_and_ranges_that_studies_rely_on(splits):
    assert len(splits.classes) >= 2 and all(isinstance(name, str) and name for name in splits.classes)
    labels = [part.labels for part in splits.parts().values()]
    assert len({part.ndim > 1 for part in labels}) == 1
    for part in splits.parts().values():
        assert len(part) > 0 and part.images.shape == (len(part), *splits.image_shape)
        assert part.images.dtype == np.float32 and part.labels.dtype == np.int32
        assert np.isfinite(part.images).all() and part.images.min() >= 0 and part.images.max() <= 1
        assert part.labels.shape in ((len(part),), part.images.shape[:-1])
        assert part.groups.dtype == np.int32 and part.index.dtype == np.int32
    present = np.unique(np.concatenate([part.ravel() for part in labels]))
    assert set(present) <= set(range(len(splits.classes))) and len(present) >= 2


def test_no_subject_no_copy_and_no_example_is_in_two_splits(opened, splits):
    for one in (splits, opened[1](split_seed=1)):
        check_splits(one)
        index = np.concatenate([part.index for part in one.parts().values()])
        assert len(set(index.tolist())) == len(index)


def test_a_partition_is_a_function_of_its_seed_alone(opened, splits):
    name, of = opened
    first, again, other = splits, of(), of(split_seed=1)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    for part in PARTS:
        np.testing.assert_array_equal(first.parts()[part].index, again.parts()[part].index)
        np.testing.assert_array_equal(first.parts()[part].images, again.parts()[part].images)
    if name in OFFICIAL_TEST:
        np.testing.assert_array_equal(first.test.index, other.test.index)
    else:
        others = (other, of(split_seed=2), of(split_seed=3))  # of few groups two seeds may agree
        assert any(set(one.test.index) != set(first.test.index) for one in others)


def test_limits_are_nested(opened, splits):
    _, of = opened
    fewer, more = of(limit=2), of(limit={"train": 3})
    assert {len(part) for part in fewer.parts().values()} <= {1, 2}
    assert len(more.train) <= 3 and set(fewer.train.index) <= set(more.train.index) <= set(splits.train.index)
    assert len(more.test) == len(splits.test)


def test_an_unknown_option_and_a_missing_folder_are_refused(opened):
    name, of = opened
    with pytest.raises(DataError, match=rf"{name} has no option 'szie'"):
        of(szie=3)
    if name in FILES:
        with pytest.raises(DataError):
            load(name, "/nowhere/at/all")
        with pytest.raises(DataError, match=r"--config.data.root=DIR"):
            load(name)
