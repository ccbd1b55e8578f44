"""What a step is given: the same rows wherever the examples are, on one device and on several."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab.data import streaming
from hyperlab.data.streaming import Share
from hyperlab.train.groups import Group
from hyperlab.train.supply import Supply

pytestmark = pytest.mark.fast

EXAMPLES = {"images": np.random.default_rng(0).random((50, 6), np.float32), "labels": np.arange(50, dtype=np.int32)}
ROWS = np.array([7, 49, 0, 7, 12, 3, 3, 30], np.int32)


@jax.jit
def step(examples, rows):
    return jax.tree.map(lambda leaf: leaf[rows], examples)


@pytest.fixture(params=[1, 4], ids=["one device", "four devices"])
def group(request):
    count = request.param
    return Group(0) if count == 1 else Group(0, jax.devices()[:count], {"data": count})


def test_both_forms_give_a_step_the_same_rows(group):
    resident, streamed = (Supply(EXAMPLES, streaming.select, group=group, rows=8, limit=n) for n in (10**6, 100))
    assert (resident.streamed, streamed.streamed) == (False, True) and streamed.bytes == 50 * (6 + 1) * 4
    assert resident(ROWS)[0]["images"].shape == (50, 6) and streamed(ROWS)[0]["images"].shape == (8, 6)
    jax.tree.map(np.testing.assert_array_equal, step(*resident(ROWS)), step(*streamed(ROWS)))
    assert "1,400 bytes of examples are more than the 100 of data.device_bytes" in str(streamed)


def test_rows_that_travel_are_dealt_out_and_whole_sets_are_sent_once(monkeypatch):
    group = Group(0, jax.devices()[:4], {"data": 4})
    part, _ = Supply(EXAMPLES, streaming.select, group=group, rows=8, limit=1)(ROWS)
    assert [shard.data.shape for shard in part["images"].addressable_shards] == [(2, 6)] * 4
    alone, sent = Group(0), []
    real = jax.device_put
    monkeypatch.setattr(jax, "device_put", lambda x, *where: sent.append(np.shape(x)) or real(x, *where))
    for _ in range(3):
        supply = Supply(EXAMPLES, streaming.select, group=alone, rows=8, limit=10**6)
        given, _ = supply(ROWS)
    assert sorted(sent) == [(50,), (50, 6)] and isinstance(given["images"], jax.Array)


def test_a_process_reads_the_rows_of_its_own_devices():
    supplies = [
        Supply(EXAMPLES, streaming.select, group=Group(0), rows=8, limit=1, share=Share(process, 2))
        for process in range(2)
    ]
    found = [supply.read(ROWS) for supply in supplies]
    assert [len(part["labels"]) for part, _ in found] == [4, 4]
    joined = np.concatenate([part["labels"] for part, _ in found])
    np.testing.assert_array_equal(joined, EXAMPLES["labels"][ROWS])
    for _, indices in found:  # of the whole batch, on every process
        np.testing.assert_array_equal(joined[indices], EXAMPLES["labels"][ROWS])


def test_a_process_asks_the_files_of_its_own_rows_alone():
    drawn = {"rows": np.stack([ROWS, ROWS + 1]), "draws": np.stack([ROWS, ROWS]).astype(np.uint64), "of": np.arange(3)}
    asked = []

    def read(drawn):
        asked.append(drawn["rows"])
        return drawn["rows"][..., None] * np.ones(5), drawn["of"]

    given = {"group": Group(0), "rows": 8, "leading": 1}  # two replicas
    supplies = [Supply((), streaming.select, read, share=Share(process, 2), **given) for process in range(2)]
    found = [supply.read(drawn) for supply in supplies]
    assert [rows.shape for rows in asked] == [(2, 4)] * 2
    whole = Supply((), streaming.select, read, **given).read(drawn)
    np.testing.assert_array_equal(np.concatenate([images for images, _ in found], axis=1), whole[0])
    np.testing.assert_array_equal(found[0][1], drawn["of"])  # what is no part of the rows is whole for all


def test_without_a_choice_examples_stay_on_the_device_and_without_examples_nothing_is_there():
    assert not Supply(EXAMPLES, None, group=Group(0), rows=8, limit=1).streamed
    assert Supply(None, group=Group(0), rows=8)(ROWS) is ROWS
    files = Supply((), streaming.select, lambda rows: rows * 2, group=Group(0), rows=8, limit=1)
    assert not files.streamed
    with files.ahead(lambda step: ROWS + step, 5) as found:
        np.testing.assert_array_equal(files.place(found(3))[1], (ROWS + 3) * 2)


def test_the_room_is_half_of_a_device(monkeypatch):
    assert 2**28 < Group(0).room < 2**50
    gpu = SimpleNamespace(platform="gpu", memory_stats=lambda: {"bytes_limit": 1000})
    group = Group(0)
    group.devices = [gpu]
    assert group.room == 500


def test_a_set_of_many_times_the_limit_is_never_on_the_device(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.arange(4000 * 256, dtype=np.float32).reshape(4000, 256))
    images, limit = np.load(path, mmap_mode="r"), 10**6
    before = sum(one.nbytes for one in jax.live_arrays())
    supply = Supply(images, streaming.select, group=Group(0), rows=8, limit=limit)
    assert supply.bytes > 4 * limit
    total, most = jnp.zeros(()), 0
    with supply.ahead(lambda step: np.arange(step * 8, step * 8 + 8, dtype=np.int32), 500) as found:
        for index in range(500):
            part, rows = supply.place(found(index))
            total = total + part[rows].mean()
            most = max(most, sum(one.nbytes for one in jax.live_arrays()) - before)
    np.testing.assert_allclose(total / 500, images.mean(), rtol=1e-5)
    assert most < limit / 4
