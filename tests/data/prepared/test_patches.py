"""Patches of a prepared set: where they lie, which classes they are centred on, and that a step alone decides them."""

import pickle

import numpy as np
import pytest
from segmentation_files import nnunet

from hyperlab.data.prepared import Patches, prepare
from hyperlab.errors import DataError

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patches")
    return prepare(nnunet(folder / "set", cases=6), folder / "store")


def patches(store, size=None, **options):
    axes = store.preprocessing.axes
    given = {"cases": tuple(range(len(store.cases))), "batch_size": 4, **options}
    return Patches(store, size=size or (5,) * axes, **given)


def test_a_batch_is_what_the_store_holds_there(store):
    drawn = patches(store)
    images, labels = drawn(3)
    assert images.shape == (4, *drawn.size, len(store.preprocessing.channels)) and images.dtype == np.float32
    assert labels.shape == (4, *drawn.size) and labels.dtype == np.int32
    for image, label, (number, window) in zip(images, labels, drawn.windows(3), strict=True):
        whole, truth = store.read(number)
        there = tuple(slice(*ends) for ends in window)
        np.testing.assert_array_equal(image, whole[there])
        np.testing.assert_array_equal(label, truth[there])


def test_a_step_alone_decides_it_in_another_process_too(store):
    drawn = patches(store, seed=7)
    again = pickle.loads(pickle.dumps(drawn))
    assert [drawn.windows(step) for step in (5, 0, 5)] == [again.windows(step) for step in (5, 0, 5)]
    assert drawn.windows(0) != drawn.windows(1) != patches(store, seed=8).windows(1)


def test_every_case_is_seen_once_an_epoch(store):
    drawn = patches(store, batch_size=2)
    seen = [number for step in range(3) for number, _ in drawn.windows(step)]
    assert sorted(seen) == list(range(6))


@pytest.mark.parametrize("share", [0.0, 1 / 3, 1.0])
def test_a_share_is_centred_on_foreground(store, share, monkeypatch):
    asked = []
    monkeypatch.setattr(type(store), "places", lambda self, number: asked.append(number) or {})
    drawn = patches(store, batch_size=60, foreground=share)
    for step in range(20):
        drawn.windows(step)
    assert abs(len(asked) / 1200 - share) <= 0.05 and (0 < len(asked) < 1200) == (0 < share < 1)


def test_centres_are_of_every_class_alike_and_windows_within_the_case(store):
    drawn = patches(store, size=(1,) * store.preprocessing.axes, batch_size=64, foreground=1.0)
    found = np.concatenate([drawn(step)[1].ravel() for step in range(4)])
    present = [label for label in np.unique(np.concatenate([store.read(n)[1].ravel() for n in range(6)])) if label]
    counts = np.array([(found == label).sum() for label in present])
    assert counts.sum() == len(found) and (counts > len(found) / len(present) / 2).all()
    for step in range(10):
        for number, window in patches(store, foreground=0.5).windows(step):
            assert all(0 <= a < b <= n for (a, b), n in zip(window, store.case(number).size, strict=True))


def test_a_case_that_is_smaller_is_padded_on_both_sides(store):
    size = tuple(n + 4 for n in np.max([case.size for case in store.cases], 0))
    images, labels = patches(store, size=size)(0)
    for image, label, (number, window) in zip(images, labels, patches(store, size=size).windows(0), strict=True):
        case = store.case(number)
        assert all(a <= -2 and b >= n + 2 for (a, b), n in zip(window, case.size, strict=True))
        inside = tuple(slice(-a, n - a) for (a, _), n in zip(window, case.size, strict=True))
        np.testing.assert_array_equal(image[inside], store.read(number)[0])
        assert label.sum() == store.read(number)[1].sum()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"size": (4,)}, "patches of size"),
        ({"cases": ()}, "0 cases"),
        ({"batch_size": 0}, "batches of 0"),
        ({"foreground": 1.5}, "a share of 1.5"),
        ({"cases": (0, 99)}, "has no case 99"),
    ],
)
def test_what_cannot_be_is_refused(store, options, message):
    with pytest.raises(DataError, match=message):
        patches(store, **options)
