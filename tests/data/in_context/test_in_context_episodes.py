"""Which examples an episode takes, and that pools on the host, on a device and on disk give the same ones."""

from collections import Counter
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from hyperlab.data import streaming
from hyperlab.data.in_context.episodes import Indices, Sampler, Sampling, choose
from hyperlab.data.in_context.pool import Pool, StoreEpisodes
from hyperlab.data.in_context.store import TaskStore, write_task
from hyperlab.data.in_context.tasks import TaskData, TaskName
from hyperlab.errors import DataError


def task(name, subjects=20, each=2, annotators=1, shares=None):
    """A task without arrays, half of whose subjects are in training."""
    n = subjects * each
    owner = np.repeat(np.arange(subjects), each)
    splits = np.where(owner % 2 == 0, "train", np.where(owner % 4 == 1, "validation", "test"))
    return SimpleNamespace(name=TaskName.parse(name), subjects=owner, splits=splits, annotators=annotators,
                           shares=np.full(n, 0.1) if shares is None else shares)  # fmt: skip


TASKS = [task(f"many/m/2d/label{i}") for i in range(8)] + [task("few/m/2d/a"), task("few/m/axis0/b", annotators=3)]


def draws(sampler, steps=200):
    return [sampler.indices(step) for step in range(steps)]


@pytest.mark.parametrize("replace", [True, False])
def test_query_and_support_share_no_subject_and_stay_in_their_splits(replace):
    sampling = Sampling(batch_size=4, support=5, replace=replace)
    for one in draws(Sampler(TASKS, sampling, 0)):
        assert one.support.shape == (4, 5) and one.query.dtype == np.int32
        for row in zip(*one, strict=True):
            place, query, support, annotator, annotators = row
            chosen = TASKS[place]
            assert chosen.subjects[query] not in chosen.subjects[support]
            assert set(chosen.splits[[query, *support]]) == {"train"}
            assert 0 <= annotator < chosen.annotators and max(annotators) < chosen.annotators
            assert replace or len(set(support.tolist())) == 5


def test_the_same_step_gives_the_same_episodes():
    sampling = Sampling(batch_size=4, support=5)
    first, again, other = Sampler(TASKS, sampling, 0), Sampler(TASKS, sampling, 0), Sampler(TASKS, sampling, 1)
    again.indices(3)
    for a, b in zip(first.indices(7), again.indices(7), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first.indices(7).query != other.indices(7).query).any()
    assert (first.indices(7).query != first.indices(8).query).any()


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, {"many": 0.5, "few/a": 0.25, "few/b": 0.25}),
        ({"hierarchy": "task"}, {"many": 0.8, "few/a": 0.1, "few/b": 0.1}),
        ({"weights": {"few": 3.0}}, {"many": 0.25, "few/a": 0.375, "few/b": 0.375}),
        ({"weights": {"many": 0.0}}, {"many": 0.0, "few/a": 0.5, "few/b": 0.5}),
    ],
)
def test_levels_are_drawn_uniformly(options, expected):
    sampler = Sampler(TASKS, Sampling(batch_size=16, support=1, **options), 0)
    places = np.concatenate([one.task for one in draws(sampler, 250)])
    found = Counter("many" if place < 8 else "few/" + "ab"[place - 8] for place in places.tolist())
    for name, share in expected.items():
        assert abs(found[name] / len(places) - share) < 0.03  # three standard deviations of 4,000 draws


def test_queries_and_support_sets_are_drawn_uniformly():
    sampler = Sampler([task("a/m/2d/x", subjects=8, each=1)], Sampling(batch_size=16, support=3, replace=False), 0)
    batches = draws(sampler, 250)
    for drawn in ([one.query for one in batches], [one.support for one in batches]):
        counts = np.bincount(np.concatenate([part.ravel() for part in drawn]), minlength=8)
        assert (counts[1::2] == 0).all()
        assert np.ptp(counts[::2] / counts.sum()) < 0.05


def test_a_random_size_of_support_sets():
    sampler = Sampler(TASKS, Sampling(batch_size=2, support=(1, 4, 9)), 0)
    assert {one.support.shape[1] for one in draws(sampler, 50)} == {1, 4, 9}


def test_examples_without_their_label_are_left_out():
    shares = np.where(np.arange(40) % 8 == 0, 0.2, 0.0)
    one = task("a/m/2d/x", shares=shares)
    for drawn in draws(Sampler([one], Sampling(support=2), 0), 20):
        assert (shares[np.concatenate([drawn.query, drawn.support.ravel()])] > 0).all()
    everything = Sampler([one], Sampling(support=2, least_share=None), 0)
    assert any((shares[drawn.query] == 0).any() for drawn in draws(everything, 20))


def test_every_query_is_evaluated_once_with_shared_support_sets():
    sampling = Sampling(support=(2, 4), query_splits=("test",), support_splits=("train", "validation"))
    sampler = Sampler(TASKS, sampling, 0)
    found = sampler.every_query(0, draws=3)
    assert [one.support.shape[1] for one in found] == [2, 2, 2, 4, 4, 4]
    for one in found:
        assert one.query.tolist() == np.flatnonzero(TASKS[0].splits == "test").tolist()
        assert (one.support == one.support[:1]).all()
        assert set(TASKS[0].splits[one.support.ravel()]) <= {"train", "validation"}
    assert (found[0].support[0] != found[1].support[0]).any()


def test_too_few_subjects():
    small = task("a/m/2d/small", subjects=6, each=2)  # 6 training examples of 3 subjects
    with pytest.raises(DataError, match="a/m/2d/small has 4 examples of other subjects than a query's; use a smaller"):
        Sampler([small], Sampling(support=5, replace=False), 0)
    Sampler([small], Sampling(support=4, replace=False), 0).indices(0)
    Sampler([small], Sampling(support=5), 0).indices(0)
    with pytest.raises(DataError, match="has 0 examples of other subjects"):
        Sampler([task("a/m/2d/one", subjects=1)], Sampling(support=1), 0)
    with pytest.raises(DataError, match="has no query in test"):
        Sampler([task("a/m/2d/one", subjects=2)], Sampling(support=1, query_splits=("test",)), 0)


def test_bad_options():
    with pytest.raises(DataError, match="support 0, expected at least 1"):
        Sampling(support=0)
    with pytest.raises(DataError, match="unknown split 'tset'; did you mean 'test'"):
        Sampling(query_splits=("tset",))
    with pytest.raises(DataError, match="weights name the unknown data set 'fwe'; did you mean 'few'"):
        Sampler(TASKS, Sampling(weights={"fwe": 2.0}), 0)
    with pytest.raises(DataError, match="no task to draw from"):
        Sampler([], Sampling(), 0)


# -- with arrays --------------------------------------------------------------------------------------------------


def stored(root, name, n=12, annotators=1, images=None, binary=False):
    rng = np.random.default_rng(sum(map(ord, name)))
    images = rng.integers(0, 256, (n, 8, 8), np.uint8) if images is None else images
    labels = 255 * rng.integers(0, 2, (n, annotators, 8, 8), np.uint8)
    splits = tuple(np.resize(["train", "train", "test"], n).tolist())
    write_task(root, TaskData(TaskName.parse(name), images, labels, np.arange(n), splits,
                              tuple(map(str, range(n))), binary))  # fmt: skip
    return images


@pytest.fixture
def store(tmp_path):
    images = stored(tmp_path, "a/m/2d/x")
    stored(tmp_path, "a/m/2d/y", images=images)  # another label of the same images
    stored(tmp_path, "b/m/2d/z", n=9, annotators=2)
    stored(tmp_path, "held/m/2d/out")
    return TaskStore(tmp_path)


def test_host_device_and_disk_give_the_same_episodes(store):
    tasks = choose(store, held_out=["held"])
    sampler = Sampler(tasks, Sampling(batch_size=6, support=3), 0)
    pool = Pool.of(tasks)
    assert len(pool.images) == 12 + 9 and len(pool.labels) == 12 + 12 + 2 * 9
    indices = sampler.indices(4)
    host = pool.gather(indices)
    device = jax.jit(lambda pool, indices: pool.gather(indices))(jax.device_put(pool), indices)
    for name, a, b, c in zip(host._fields, host, device, StoreEpisodes(sampler)[4], strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)
        np.testing.assert_array_equal(a, c, err_msg=name)
        assert a.dtype == b.dtype == c.dtype == np.float32
    for shape in ((6,), (2, 3)):  # a pool of these episodes alone, with any leading axes
        drawn = Indices(*(leaf.reshape(*shape, *leaf.shape[1:]) for leaf in indices))
        part, renumbered = pool.select(drawn)
        part, flat = streaming.read(part), Indices(*(leaf.reshape(6, *leaf.shape[len(shape) :]) for leaf in renumbered))
        assert len(part.images) == len(part.labels) == 6 * 4
        assert [leaf.dtype for leaf in renumbered] == [leaf.dtype for leaf in drawn]
        for name, a, b in zip(host._fields, host, part.gather(flat), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)
    assert host.support_labels.shape == (6, 3, 8, 8, 1)
    for row in range(6):  # the slow obvious way
        one = tasks[indices.task[row]]
        label = one.labels[indices.query[row]]
        label = label[indices.query_annotator[row]] if one.annotators > 1 else label
        np.testing.assert_array_equal(host.query_labels[row], label)
        np.testing.assert_array_equal(host.support_images[row], one.images[indices.support[row]])


def test_held_out_sets_are_not_seen(store, tmp_path):
    assert {task.name.dataset for task in choose(store, held_out=["held"])} == {"a", "b"}
    assert {task.name.dataset for task in choose(store, only=["held"])} == {"held"}
    with pytest.raises(DataError, match="holds no data set 'hold'; did you mean 'held'"):
        choose(store, held_out=["hold"])
    with pytest.raises(DataError, match="no task is left"):
        choose(store, held_out=["a", "b", "held"])
    copy = store["held/m/2d/out"].images.raw(slice(None))[..., 0]
    stored(tmp_path, "c/m/2d/copy", images=copy)
    with pytest.raises(DataError, match="12 images of held-out data sets are in task c/m/2d/copy, too"):
        choose(TaskStore(tmp_path), held_out=["held"])


def test_pools_refuse_soft_labels_where_binary_ones_are_needed(store, tmp_path):
    Pool.of([store["a/m/2d/x"]], binary=True)
    images, labels = np.zeros((3, 8, 8), np.uint8), np.full((3, 1, 8, 8), 100, np.uint8)
    write_task(tmp_path, TaskData(TaskName.parse("s/m/2d/soft"), images, labels, np.arange(3), ("train",) * 3,
                                  ("a", "b", "c")))  # fmt: skip
    with pytest.raises(DataError, match="task s/m/2d/soft: 192 label values are neither 0 nor 1"):
        Pool.of([TaskStore(tmp_path)["s/m/2d/soft"]], binary=True)
