"""The tasks of a study: generated sets beside a store of the user's, and nothing of what is held out."""

from types import SimpleNamespace

import pytest

from hyperlab.data.in_context import TaskName, TaskStore, write_task
from hyperlab.errors import ConfigError
from hyperlab.in_context import embedded
from hyperlab.in_context.benchmark import build

pytestmark = pytest.mark.fast


@pytest.fixture(autouse=True)
def few(monkeypatch):
    for name, value in {"_SUBJECTS": 6, "_BODIES": 6}.items():
        monkeypatch.setattr(embedded, name, value)


@pytest.fixture
def store(tmp_path):
    """A user's store of three sets with a template each."""
    for number, dataset in enumerate(("mine", "dev", "hidden")):
        task = embedded.template_tasks(number, 32, 0)[0]
        split = {"mine": "train", "dev": "validation", "hidden": "test"}[dataset]
        splits = (split,) * 2 + ("train",) * (len(task.splits) - 2)
        name = TaskName.of(dataset, "grey", "2d", "label")
        write_task(tmp_path / "store", task.__class__(name, task.images, task.labels, task.subjects, splits, task.cases,
                                                      binary=True))  # fmt: skip
    return tmp_path / "store"


def config(store, generated=()):
    return SimpleNamespace(store=str(store), size=(32, 32), split_seed=0, queries=2, development=("dev",),
                           held_out=("hidden",), generated=generated)  # fmt: skip


def test_generated_sets_join_what_is_trained_on_and_nothing_else(store, tmp_path):
    alone = build(config(store), tmp_path / "a")
    joined = build(config(store, ("bodies", "shapes")), tmp_path / "b")
    assert {task.name.dataset for task in alone.tasks} == {"mine"}
    assert {task.name.dataset for task in joined.tasks} == {"mine", "bodies", "shapes"}
    assert [t.name for t in joined.test] == [t.name for t in alone.test] == ["hidden grey label"]
    assert joined.fingerprint != alone.fingerprint
    again = build(config(store, ("bodies", "shapes")), tmp_path / "b")  # made once
    assert again.fingerprint == joined.fingerprint
    assert set(TaskStore(store, 32).datasets) == {"mine", "dev", "hidden"}  # the user's store is as it was


def test_a_set_in_parts_is_not_trained_on_where_the_whole_is_held_out(store, tmp_path):
    task = embedded.template_tasks(5, 32, 0)[0]
    name = TaskName.of("hidden_patches", "grey", "2d", "label")
    write_task(
        store, task.__class__(name, task.images, task.labels, task.subjects, task.splits, task.cases, binary=True)
    )
    with pytest.raises(ConfigError, match="hidden_patches shows the same images"):
        build(config(store), tmp_path)


def test_an_unknown_generated_set_is_told_the_nearest(store, tmp_path):
    with pytest.raises(ConfigError, match="'shape'.*'shapes'"):
        build(config(store, ("shape",)), tmp_path)
