"""A store gives back what was put in, names what is broken, and keeps the rest readable."""

import os
import pickle
from dataclasses import replace

import numpy as np
import pytest

from hyperlab.data.in_context.store import TaskStore, is_finished, write_task
from hyperlab.data.in_context.tasks import TaskData, TaskName, check_binary
from hyperlab.errors import DataError

pytestmark = pytest.mark.fast


def data(name="set/grey/2d/blob", n=6, annotators=1, dtype=np.uint8, seed=0, **fields):
    rng = np.random.default_rng(seed)
    images, labels = rng.random((n, 16, 16)), rng.random((n, annotators, 16, 16))
    if dtype == np.uint8:
        images, labels = 255 * images, 255 * labels
    splits = tuple(np.resize(["train", "train", "train", "validation", "test"], n).tolist())
    made = TaskData(TaskName.parse(name), images.astype(dtype), labels.astype(dtype), np.arange(n), splits,
                    tuple(f"case {i}" for i in range(n)))  # fmt: skip
    return replace(made, **fields)


def chunk_file(folder, what):
    return next(path for path in (folder / what).rglob("*") if path.is_file() and path.name != "zarr.json")


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("annotators", [1, 3])
def test_round_trip(tmp_path, dtype, annotators):
    given = data(dtype=dtype, annotators=annotators)
    write_task(tmp_path, given)
    task = TaskStore(tmp_path)["set/grey/2d/blob"]
    scale = 255 if dtype == np.uint8 else 1
    expected = given.labels[..., None] if annotators > 1 else given.labels[:, 0, ..., None]
    assert task.annotators == annotators and task.images.shape == (6, 16, 16, 1)
    for index in (3, [4, 1, 4], slice(1, 3)):
        np.testing.assert_allclose(task.images[index], given.images[index][..., None] / np.float32(scale), atol=1e-7)
        np.testing.assert_allclose(task.labels[index], expected[index] / np.float32(scale), atol=1e-7)
        assert task.images[index].dtype == np.float32
    assert list(task.cases) == list(given.cases) and list(task.splits) == list(given.splits)
    np.testing.assert_allclose(task.shares, given.labels.mean((1, 2, 3)) / scale, atol=1e-6)
    assert task.damage() == []


def test_a_store_is_pickled_as_its_path(tmp_path):
    write_task(tmp_path, data())
    store = TaskStore(tmp_path)
    image = store["set/grey/2d/blob"].images[2]  # the handle is open
    again = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(again["set/grey/2d/blob"].images[2], image)
    rows = pickle.loads(pickle.dumps(store["set/grey/2d/blob"].images))
    np.testing.assert_array_equal(rows[2], image)


def test_a_broken_chunk_is_named_and_the_rest_is_readable(tmp_path):
    folder = write_task(tmp_path, data())
    write_task(tmp_path, data("set/grey/2d/other", seed=1))
    file = chunk_file(folder, "images")
    content = bytearray(file.read_bytes())
    content[content.find(b"\x28\xb5\x2f\xfd", 1) + 20] ^= 0xFF  # in the second chunk, by the mark of its codec
    file.write_bytes(content)
    store = TaskStore(tmp_path)
    broken = [i for i in range(6) if not readable(store["set/grey/2d/blob"].images, i)]
    assert len(broken) == 1
    with pytest.raises(DataError, match=rf"blob.images: example {broken[0]} is damaged .*; the others stay readable"):
        store["set/grey/2d/blob"].images[broken[0]]
    assert store.damage() == [f"task set/grey/2d/blob: 1 of 6 images are damaged: examples {broken[0]}"]
    assert len(store["set/grey/2d/blob"].labels[:]) == len(store["set/grey/2d/other"].images[:]) == 6


def readable(rows, index):
    try:
        return rows[index] is not None
    except DataError:
        return False


def test_contents_that_changed_are_found(tmp_path):
    folder = write_task(tmp_path, data())
    other = write_task(tmp_path, data("set/grey/2d/other", seed=1))
    chunk_file(folder, "labels").write_bytes(chunk_file(other, "labels").read_bytes())
    assert TaskStore(tmp_path).damage() == [
        "task set/grey/2d/blob: the labels are not those that were written (checksum)"
    ]
    chunk_file(folder, "labels").write_bytes(b"short")
    assert TaskStore(tmp_path).damage() == [
        "task set/grey/2d/blob: 6 of 6 labels are damaged: examples 0, 1, 2, 3, 4, 5"
    ]


def test_unfinished_groups_are_no_tasks(tmp_path):
    folder = write_task(tmp_path, data())
    write_task(tmp_path, data("set/grey/2d/other"))
    (folder / "zarr.json").unlink()
    store = TaskStore(tmp_path)
    assert list(map(str, store)) == ["set/grey/2d/other"] and store.unfinished == ("set/grey/2d/blob",)
    with pytest.raises(DataError, match="unknown task 'set/grey/2d/blob'"):
        store["set/grey/2d/blob"]


def test_recipes(tmp_path):
    folder = write_task(tmp_path, data(recipe={"dtype": "uint8"}))
    assert is_finished(folder, {"dtype": "uint8"}) and not is_finished(tmp_path / "nowhere", {})
    with pytest.raises(DataError, match="was built with dtype uint8, now float32 is asked for; use another --out"):
        is_finished(folder, {"dtype": "float32"})


def test_equal_images_are_one_file(tmp_path):
    first = write_task(tmp_path, data())
    second = write_task(tmp_path, data("set/grey/2d/other"), twin=first)
    third = write_task(tmp_path, data("set/grey/2d/third", seed=1), twin=first)
    inodes = [os.stat(chunk_file(folder, "images")).st_ino for folder in (first, second, third)]
    assert inodes[0] == inodes[1] != inodes[2]
    write_task(tmp_path, data(seed=2))  # the twin stays when its first owner is replaced
    np.testing.assert_array_equal(TaskStore(tmp_path)["set/grey/2d/other"].images.raw(0)[..., 0], data().images[0])
    assert TaskStore(tmp_path).damage() == []


def test_zarr_reads_the_groups_as_such(tmp_path):
    import json

    folder = write_task(tmp_path, data())
    description = json.loads((folder / "zarr.json").read_text())
    assert description["zarr_format"] == 3 and description["node_type"] == "group"
    assert json.loads((folder / "images" / "zarr.json").read_text())["node_type"] == "array"


def test_sizes(tmp_path):
    write_task(tmp_path, data())
    small = data(images=data().images[:, :8, :8], labels=data().labels[:, :, :8, :8])
    write_task(tmp_path, small)
    with pytest.raises(DataError, match="holds planes of 8, 16 pixels; say which size"):
        TaskStore(tmp_path)
    assert TaskStore(tmp_path, 8)["set/grey/2d/blob"].images.shape == (6, 8, 8, 1)
    with pytest.raises(DataError, match="holds no planes of 32 pixels; valid: 8, 16"):
        TaskStore(tmp_path, 32)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"images": np.zeros((0, 16, 16), np.uint8)}, "task set/grey/2d/blob is empty"),
        ({"splits": ("train",)}, "1 splits for 6 images"),
        ({"labels": np.zeros((6, 1, 8, 8), np.uint8)}, "expected .n, height, width. and"),
        ({"labels": np.zeros((6, 1, 16, 16), np.float32)}, "labels are float32, expected uint8 or float32 of both"),
        ({"subjects": np.zeros(6, int)}, "subject 0 is in the splits train and validation"),
        ({"splits": ("train",) * 5 + ("tests",)}, "unknown split 'tests'; did you mean 'test'"),
        ({"binary": True}, "label values are neither 0 nor 1, for instance .*build with --labels binary"),
    ],
)
def test_bad_tasks(tmp_path, fields, message):
    with pytest.raises(DataError, match=message):
        write_task(tmp_path, data(**fields))
    assert not list(tmp_path.iterdir())


def test_images_outside_the_unit_range(tmp_path):
    for value in (1.5, -0.1, np.nan):
        given = data(dtype=np.float32)
        given.images[2, 3, 4] = value
        with pytest.raises(DataError, match="images span .*, expected finite values in 0..1"):
            write_task(tmp_path, given)
    check_binary("it", np.array([0, 255], np.uint8))
    with pytest.raises(DataError, match="it: 1 label values are neither 0 nor 1, for instance 0.5"):
        check_binary("it", np.array([0, 0.5, 1], np.float32))


def test_names():
    assert TaskName.of("My Set", "T1/T2", "2d", "left ventricle (LV)") == ("My_Set", "T1_T2", "2d", "left_ventricle_LV")
    with pytest.raises(DataError, match="expected dataset/modality/axis/label"):
        TaskName.parse("a/b")
    with pytest.raises(DataError, match="holds no tasks; make them with hyperlab data build"):
        TaskStore("/nowhere")
