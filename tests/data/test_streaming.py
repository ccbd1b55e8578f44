"""Rows that are read when they are needed, and ahead: which, in which order, what is read of a file, and what ends."""

import gc
import multiprocessing
import threading
import time

import numpy as np
import pytest

from hyperlab.data import batch_indices, streaming
from hyperlab.data.streaming import ReadAhead, Rows, Share
from hyperlab.errors import DataError

pytestmark = pytest.mark.fast


def readers():
    """What reads ahead now."""
    return [t for t in threading.enumerate() if "grain" in t.name] + multiprocessing.active_children()


def wait_until_nothing_reads(seconds=10.0):
    end = time.monotonic() + seconds
    while readers() and time.monotonic() < end:
        gc.collect()
        time.sleep(0.01)
    assert not readers()


class Noted:
    """An array that notes which rows were asked for."""

    def __init__(self, array):
        self.array, self.asked, self.nbytes = array, [], array.nbytes

    def __getitem__(self, indices):
        self.asked.append(np.array(indices))
        return self.array[indices]


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 3, 4)])
def test_a_batch_of_its_own_rows_gathers_what_the_whole_set_gives(shape):
    draw = np.random.default_rng(0)
    images, labels = draw.random((9, 2, 2), np.float32), np.arange(9)
    indices = draw.integers(0, 9, shape).astype(np.int32)  # some rows are there twice
    part, renumbered = streaming.select({"images": images, "labels": labels}, indices)
    assert renumbered.shape == shape and renumbered.dtype == np.int32
    found = streaming.read(part)
    assert found["images"].shape == (indices.size, 2, 2)  # whatever is drawn: one compiled step serves all
    np.testing.assert_array_equal(found["images"][renumbered], images[indices])
    np.testing.assert_array_equal(found["labels"][renumbered], labels[indices])


def test_processes_read_disjoint_rows_that_make_up_the_batch():
    array = Noted(np.arange(100) * 2)
    indices = batch_indices(3, 7, 100, 12)
    part, _ = streaming.select(array, indices)
    parts = [streaming.read(part, Share(process, 4)) for process in range(4)]
    np.testing.assert_array_equal(np.concatenate(parts), array.array[indices])
    assert [len(asked) for asked in array.asked] == [3] * 4  # nobody reads what another one has
    np.testing.assert_array_equal(np.concatenate(array.asked), indices)


def test_of_a_memory_map_rows_are_read_and_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.arange(1000, dtype=np.float32).reshape(100, 10))
    rows = Rows(np.load(path, mmap_mode="r"), np.array([99, 0]))
    found = rows.read()
    assert type(found) is np.ndarray  # a copy, not a view of the file
    np.testing.assert_array_equal(found[:, 0], [990, 0])
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.truncate(2000)
    with pytest.raises(DataError, match=r"images.npy is cut off: it has 2000 bytes, expected 4128"):
        rows.read()  # to touch it would be the end of the process
    path.write_bytes(content)
    np.testing.assert_array_equal(rows.read(), found)
    path.unlink()
    with pytest.raises(DataError, match=r"images.npy cannot be read any more \(No such file"):
        rows.read()


def test_steps_come_in_order_from_any_of_them():
    asked = []

    def function(step):
        asked.append(step)
        time.sleep(0.001 * (step % 3))
        return {"step": np.array(step)}

    with ReadAhead(function, 40, ahead=3, threads=4) as ahead:
        assert [int(ahead(step)["step"]) for step in range(11, 31)] == list(range(11, 31))
        assert max(asked) <= 30 + 4 and min(asked) == 11  # not the whole rest is held
        assert int(ahead(2)["step"]) == 2
    with ReadAhead(lambda step: step, 40, stride=5) as ahead:
        assert [ahead(step) for step in range(10, 40, 5)] == [10, 15, 20, 25, 30, 35]
    wait_until_nothing_reads()


def test_an_error_waits_for_its_step_and_what_is_mended_goes_on():
    broken = {7}

    def function(step):
        if step in broken:
            raise DataError(f"row {step} is damaged")
        return step

    with ReadAhead(function, 20, ahead=8) as ahead:
        assert [ahead(step) for step in range(7)] == list(range(7))  # step 7 has failed long ago
        with pytest.raises(DataError, match="row 7 is damaged"):
            ahead(7)
        broken.clear()
        assert [ahead(step) for step in (7, 8)] == [7, 8]
    wait_until_nothing_reads()


def test_a_bug_is_not_taken_for_damaged_data():
    with ReadAhead(lambda step: 1 / step, 5) as ahead, pytest.raises(ZeroDivisionError):
        ahead(0)
    wait_until_nothing_reads()


def test_nothing_reads_on_when_the_block_ends_early():
    with pytest.raises(KeyboardInterrupt), ReadAhead(lambda step: step, 10**6) as ahead:
        ahead(0)
        assert readers()
        raise KeyboardInterrupt
    wait_until_nothing_reads()


@pytest.mark.slow
def test_processes_read_ahead_too_and_end():
    def of_step(step):  # inside the test: the processes cannot import a module of tests
        if step == 3:
            raise DataError("row 3 is damaged")
        return {"rows": np.full((1000, 8), step), "step": step}, (np.int32(step), ())

    with ReadAhead(of_step, 5, processes=2) as ahead:
        for step in range(3):
            found, (number, rest) = ahead(step)
            assert found["step"] == number == step and rest == ()
            np.testing.assert_array_equal(found["rows"], np.full((1000, 8), step))
        assert len(multiprocessing.active_children()) >= 2
        with pytest.raises(DataError, match="row 3 is damaged"):
            ahead(3)
    wait_until_nothing_reads()
