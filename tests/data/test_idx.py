import gzip

import numpy as np
import pytest
from idx_files import CODES, content

from hyperlab.data.readers.idx import find_file, read_idx
from hyperlab.errors import DataError

pytestmark = pytest.mark.fast

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["images.gz", "images"])
def test_plain_and_gzipped_files_are_told_apart_by_content(tmp_path, packed, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(content(IMAGES)) if packed else content(IMAGES))
    read = read_idx(path)
    np.testing.assert_array_equal(read, IMAGES)
    assert read.dtype == np.uint8 and read.flags.writeable


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 2), (2, 3, 4), (2, 1, 3, 2)])
def test_every_dtype_and_rank_round_trips_in_native_byte_order(tmp_path, dtype, shape):
    array = np.asarray(np.random.default_rng(1).normal(0, 40, shape)).astype("int16").astype(dtype)
    (tmp_path / "file").write_bytes(content(array))
    read = read_idx(tmp_path / "file")
    assert read.dtype == np.dtype(dtype) and read.dtype.isnative and read.shape == shape
    np.testing.assert_array_equal(read, array)


WHOLE = content(IMAGES)
PACKED = gzip.compress(WHOLE, mtime=0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "holds 0 bytes, too few"),
        (WHOLE[:3], "holds 3 bytes, too few"),
        (b"\x08\x03" + WHOLE[2:], "starts with 0x08030803"),
        (b"\0\0\x07" + WHOLE[3:], "starts with 0x00000703"),
        (b"<!DOCTYPE html><html>Not found</html>", "HTML page"),
        (WHOLE[:10], "truncated: 10 bytes, its header of rank 3 needs 16"),
        (WHOLE[:-1], r"truncated: 59 bytes of values, shape \(5, 4, 3\) uint8 needs 60"),
        (WHOLE[:16], "truncated: 0 bytes of values"),
        (WHOLE + b"\0", "longer than its header states: 61 bytes"),
        (PACKED[:-9], "truncated or damaged"),
        (PACKED[:12], "truncated or damaged"),
        (PACKED[:30] + b"?" * 8 + PACKED[38:], "truncated or damaged"),
        (gzip.compress(WHOLE[:-1], mtime=0), "truncated: 59 bytes"),
    ],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else value,  # the bytes are no name
)
def test_a_broken_file_is_refused_by_name_with_the_reason(tmp_path, data, message):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as error:
        read_idx(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_idx(tmp_path / "labels")


def test_find_file_takes_the_first_folder_and_name_that_exist(tmp_path):
    for place in ("b/two.gz", "a/three", "b/one"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).touch()
    folders = [tmp_path / name for name in "abc"]
    assert find_file(folders, ["one", "two"]) == tmp_path / "b/one"
    assert find_file(folders, ["two", "one"]) == tmp_path / "b/two.gz"
    assert find_file(folders, ["three", "one"]) == tmp_path / "a/three"


def test_a_file_that_is_not_found_names_what_the_folder_holds(tmp_path):
    with pytest.raises(DataError, match=r"labels\[.gz\] or digits\[.gz\] is not in .* which holds: nothing"):
        find_file([tmp_path], ["labels", "digits"])
    (tmp_path / "MNIST").mkdir()
    for i in range(14):
        (tmp_path / f"notes{i:02}.txt").touch()
    with pytest.raises(DataError, match=r"which holds: MNIST/, notes00.txt, .* and 3 more"):
        find_file([tmp_path, tmp_path / "MNIST"], ["labels"])
    with pytest.raises(DataError, match=r"notes00.txt is not a folder; expected one that holds labels\[.gz\]"):
        find_file([tmp_path / "notes00.txt"], ["labels"])
