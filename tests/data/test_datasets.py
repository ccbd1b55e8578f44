import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from idx_files import write_set

from hyperlab.data import load
from hyperlab.data.splits import check_splits
from hyperlab.errors import DataError

REAL_MNIST = Path(__file__).parents[2] / "../shared/data/mnist"


def sizes(splits):
    return {name: len(part) for name, part in splits.parts().items()}


# -- digits -------------------------------------------------------------------------------------------------------


@pytest.mark.fast
def test_digits():
    splits = load("digits")
    assert sizes(splits) == {"train": 1078, "validation": 360, "test": 359}
    assert splits.image_shape == (8, 8, 1) and splits.classes == tuple("0123456789")
    assert splits.notes == ()
    index = np.concatenate([part.index for part in splits.parts().values()])
    np.testing.assert_array_equal(np.sort(index), np.arange(1797))
    for part in splits.parts().values():
        assert (part.images.dtype, part.labels.dtype) == (np.float32, np.int32)
        assert part.images.min() == 0 and part.images.max() == 1
        shares = np.bincount(part.labels, minlength=10) / len(part)
        assert np.all(np.abs(shares - 0.1) < 0.01)
    # of the contents and of the partition: may change only with a data set or a split that changed
    assert splits.fingerprint == "9c22513d90be0f2340bef38850d2f3e1"
    check_splits(splits)  # no index, group or identical image is in two of them


@pytest.mark.fast
def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    for part in load("digits").parts().values():
        np.testing.assert_array_equal(part.images.reshape(-1, 64) * 16, images[part.index])
        np.testing.assert_array_equal(part.labels, labels[part.index])


@pytest.mark.fast
def test_another_split_seed_and_other_fractions_give_another_partition_and_fingerprint():
    usual, seed, shares = load("digits"), load("digits", split_seed=1), load("digits", test_fraction=0.5)
    assert sizes(seed) == sizes(usual)
    assert 0.5 < np.isin(seed.train.index, usual.train.index).mean() < 0.7
    assert abs(len(shares.test) - 0.5 * 1797) <= 5 and abs(len(shares.validation) - 0.2 * 1797) <= 5
    assert len({usual.fingerprint, seed.fingerprint, shares.fingerprint}) == 3
    with pytest.raises(DataError, match="must be at least 0 and sum to 1"):
        load("digits", validation_fraction=0.6, test_fraction=0.6)
    with pytest.raises(DataError, match="validation split: no examples"):
        load("digits", validation_fraction=0)


@pytest.mark.fast
def test_limits_cut_each_split_or_the_named_ones_and_are_nested():
    small, larger, one = load("digits", limit=50), load("digits", limit=80), load("digits", limit={"train": 70})
    assert sizes(small) == dict.fromkeys(("train", "validation", "test"), 50)
    assert sizes(one) == {"train": 70, "validation": 360, "test": 359}
    for name in small.parts():
        assert set(small.parts()[name].index) <= set(larger.parts()[name].index)
        assert np.ptp(np.bincount(small.parts()[name].labels)) <= 2
    with pytest.raises(DataError, match="unknown split 'valid'; did you mean 'validation'"):
        load("digits", limit={"valid": 3})


# -- IDX sets -----------------------------------------------------------------------------------------------------


@pytest.mark.fast
@pytest.mark.parametrize(
    ("name", "inside", "suffix"),
    [("mnist", "", ".gz"), ("mnist", "MNIST/raw", ""), ("fashion_mnist", "fashion_mnist", ".gz"),
     ("fashion_mnist", "FashionMNIST/raw", ".gz"), ("mnist", "mnist", "")],
)  # fmt: skip
def test_an_idx_set_keeps_its_official_test_split_whole(tmp_path, name, inside, suffix):
    arrays = write_set(tmp_path / inside, train=120, test=30, suffix=suffix)
    splits = load(name, tmp_path)
    assert sizes(splits) == {"train": 110, "validation": 10, "test": 30}
    np.testing.assert_array_equal(splits.test.index, np.arange(120, 150))
    np.testing.assert_array_equal(splits.test.labels, arrays["t10k_labels"])
    np.testing.assert_array_equal(splits.test.images[..., 0], arrays["t10k_images"] / np.float32(255))
    np.testing.assert_array_equal(
        splits.validation.images[..., 0], arrays["train_images"][splits.validation.index] / np.float32(255)
    )
    assert splits.image_shape == (28, 28, 1) and splits.notes == ()
    assert splits.classes[3] == {"mnist": "3", "fashion_mnist": "dress"}[name]
    for part in splits.parts().values():
        assert part.images.dtype == np.float32 and 0 <= part.images.min() <= part.images.max() <= 1
    assert load(name, str(tmp_path), validation_fraction=0.5).validation.labels.tolist().count(0) == 6


@pytest.mark.fast
def test_copies_of_test_images_leave_training_and_other_copies_stay_together(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (150, 6, 6), np.uint8)
    images[3] = images[40] = images[125]  # two training images, one test image
    images[7] = images[50] = images[90]  # three training images
    write_set(tmp_path, train_images=images[:120], t10k_images=images[120:], train=120, test=30)
    for seed in range(5):
        splits = load("mnist", tmp_path, validation_fraction=0.4, split_seed=seed)
        assert splits.notes == ("2 training images identical to a test image were left out.",)
        assert len(splits.train) + len(splits.validation) == 118 and len(splits.test) == 30
        for part in (splits.train, splits.validation):
            assert not np.isin([3, 40], part.index).any()
            assert np.isin([7, 50, 90], part.index).sum() in (0, 3)


@pytest.mark.fast
def test_refusals_of_idx_sets_teach(tmp_path):
    with pytest.raises(DataError, match="unknown data set 'minst'; did you mean 'mnist'"):
        load("minst")
    with pytest.raises(DataError, match=r"mnist is read from IDX files; .* --config.data.root=DIR"):
        load("mnist")
    with pytest.raises(DataError, match="is not a folder; expected one that holds train-images-idx3-ubyte"):
        load("mnist", tmp_path / "nowhere")
    with pytest.raises(DataError, match="which holds: nothing"):
        load("mnist", tmp_path)
    write_set(tmp_path / "mnist")
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        DataError, match=r"t10k-labels-idx1-ubyte\[.gz\] .* is not in .*mnist, which holds: t10k-images"
    ):
        load("mnist", tmp_path)
    write_set(tmp_path / "mnist", train_labels=np.zeros(59, np.uint8))
    with pytest.raises(DataError, match="60 train images but 59 train labels"):
        load("mnist", tmp_path)
    write_set(tmp_path / "mnist", train_images=np.zeros((60, 784), np.uint8))
    with pytest.raises(DataError, match=r"holds uint8 of shape \(60, 784\), expected uint8 of rank 3"):
        load("mnist", tmp_path)
    write_set(tmp_path / "mnist", train_images=np.zeros((60, 8, 8), np.float32))
    with pytest.raises(DataError, match="holds float32 of shape"):
        load("mnist", tmp_path)
    write_set(tmp_path / "mnist", t10k_images=np.zeros((30, 8, 8), np.uint8))
    with pytest.raises(DataError, match=r"train images are \(28, 28\), t10k images \(8, 8\)"):
        load("mnist", tmp_path)
    write_set(tmp_path / "mnist", classes=11)
    with pytest.raises(DataError, match="labels span 0 to 10, expected 0 to 9"):
        load("mnist", tmp_path)


@pytest.mark.fast
def test_files_of_two_folders_are_never_mixed(tmp_path):
    write_set(tmp_path / "mnist", seed=1)
    write_set(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\[.gz\] .* is not in"):
        load("mnist", tmp_path)


@pytest.mark.fast
def test_a_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_set(tmp_path / "sets")
    assert len(load("mnist", "~/sets").test) == 30


@pytest.mark.slow
@pytest.mark.skipif(not REAL_MNIST.is_dir(), reason="the real MNIST is not beside the repository")
def test_the_real_mnist():
    splits = load("mnist", REAL_MNIST)
    assert sizes(splits) == {"train": 55000, "validation": 5000, "test": 10000}
    assert splits.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    first = np.argmin(splits.train.index)
    assert splits.train.index[first] == 0 and splits.train.labels[first] == 5
    assert splits.notes == ()  # no training image is identical to a test image
    np.testing.assert_allclose(splits.train.images.mean(), 0.1307, atol=1e-3)
    assert splits.fingerprint == "57c1a995913e93e289dd504b4edf9d0c"


# -- import -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_import_is_light():
    heavy = ("sklearn", "grain", "scipy.stats", "pandas")
    code = f"import sys, hyperlab.data; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
