"""CIFAR-10 in its four forms: small fake files always, the real subset where HYPERLAB_DATA names its folder."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hyperlab.data import load
from hyperlab.data.readers.cifar import CLASSES, read_cifar10
from hyperlab.errors import DataError

pytestmark = pytest.mark.fast
TRAIN = [f"data_batch_{number}" for number in range(1, 6)]


@pytest.fixture
def batches():
    generator = np.random.default_rng(0)
    names = [*TRAIN, "test_batch"]
    return {n: (generator.integers(0, 256, (20, 32, 32, 3), np.uint8), np.arange(20) % 10) for n in names}


def rows(images):
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def write_pickles(folder, batches):
    for name, (images, labels) in batches.items():
        # protocol 2 with byte keys, as Python 2 wrote them
        content = {b"batch_label": b"x", b"labels": labels.tolist(), b"data": rows(images)}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))


def write_binaries(folder, batches):
    for name, (images, labels) in batches.items():
        (folder / f"{name}.bin").write_bytes(np.c_[labels.astype(np.uint8), rows(images)].tobytes())


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("write, form", [(write_pickles, "pickle"), (write_binaries, "binary")])
def test_official_files(tmp_path, batches, write, form):
    inside = tmp_path / "cifar-10-batches-py"
    inside.mkdir()
    write(inside, batches)
    train, test, found = read_cifar10(tmp_path)
    assert found == form
    np.testing.assert_array_equal(train.images, np.concatenate([batches[name][0] for name in TRAIN]))
    np.testing.assert_array_equal(train.labels, np.tile(np.arange(20) % 10, 5))
    np.testing.assert_array_equal(test.images, batches["test_batch"][0])


@pytest.mark.parametrize("zipped", [False, True])
def test_image_files_by_class(tmp_path, batches, zipped):
    images, labels = batches["test_batch"]
    for part in ("train", "test"):
        files = {
            f"{part}/{CLASSES[k]}/{i:04}.png": png(one) for i, (one, k) in enumerate(zip(images, labels, strict=True))
        }
        if zipped:
            with zipfile.ZipFile(tmp_path / f"some_{part}_images.zip", "w") as archive:
                for name, content in files.items():
                    archive.writestr(name, content)
        else:
            for name, content in files.items():
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_bytes(content)
    train, test, form = read_cifar10(tmp_path)
    assert form == "files" and len(train.labels) == len(test.labels) == 20
    np.testing.assert_array_equal(np.bincount(test.labels), 2)
    np.testing.assert_array_equal(test.images[0], images[0])  # files are read class by class


def test_sheets_have_no_test_images(tmp_path, batches):
    images, labels = batches["test_batch"]
    Image.fromarray(images.reshape(20, 1024, 3)).save(tmp_path / "cifar10_batch_0.png")
    np.save(tmp_path / "cifar10_batch_0_labels.npy", labels.astype(np.uint8))
    train, test, _ = read_cifar10(tmp_path, "sheets")
    assert test is None
    np.testing.assert_array_equal(train.images, images)
    with pytest.raises(DataError, match="no CIFAR-10 in .* it holds: cifar10_batch_0.png"):
        read_cifar10(tmp_path)  # sheets are read only on request: they overlap other copies of the training images


def test_the_official_test_split_stays_whole(tmp_path, batches):
    write_binaries(tmp_path, batches)
    splits = load("cifar10", tmp_path, split_seed=3)
    assert [len(part) for part in splits.parts().values()] == [90, 10, 20]
    assert splits.image_shape == (32, 32, 3) and "not comparable" in splits.notes[0]


class Evil:
    def __reduce__(self):
        return print, ("code ran",)


@pytest.mark.parametrize(
    "content, message",
    [
        (pickle.dumps({b"data": Evil()}), "asks for builtins.print"),
        (pickle.dumps({b"data": 3})[:-4], "truncated"),
        (pickle.dumps({b"other": 3}), "no b'data'"),
        (pickle.dumps({b"data": np.zeros((2, 5), np.uint8), b"labels": [0, 1]}, protocol=2), r"expected uint8"),
    ],
)
def test_pickles_that_are_refused(tmp_path, batches, capsys, content, message):
    write_pickles(tmp_path, batches)
    (tmp_path / "data_batch_3").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_cifar10(tmp_path)
    assert "code ran" not in capsys.readouterr().out


def test_binary_files_that_are_refused(tmp_path, batches):
    write_binaries(tmp_path, batches)
    path = tmp_path / "test_batch.bin"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(DataError, match="multiple of 3073"):
        read_cifar10(tmp_path)
    path.write_bytes(bytes([11]) + content[1:])
    with pytest.raises(DataError, match="label 11"):
        read_cifar10(tmp_path)


@pytest.mark.slow
def test_the_real_subset():
    root = Path(os.environ.get("HYPERLAB_DATA", "no-data")) / "cifar10"
    if not root.is_dir():
        pytest.skip("no cifar10 in the folder that HYPERLAB_DATA names")
    splits = load("cifar10", root)
    assert [len(part) for part in splits.parts().values()] == [10_800, 1_200, 3_000]
    np.testing.assert_array_equal(np.bincount(splits.test.labels), 300)
    sheets, _, _ = read_cifar10(root, "sheets")
    assert sheets.images.shape == (4000, 32, 32, 3)
    assert sheets.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]  # of the official first batch
