"""The base of all studies' units: nothing is computed twice, and the progress is told once of every step."""

import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from hyperlab.train.study import REPORT, TUNE, StudyUnits

pytestmark = pytest.mark.fast


@pytest.fixture
def made(tmp_path):
    shown = []
    progress = SimpleNamespace(update=shown.append)
    folder = SimpleNamespace(path=tmp_path, mark=lambda name: None)

    def make():
        return StudyUnits(SimpleNamespace(seed=0, workers=1), folder, progress, SimpleNamespace(requested=False))

    return make, shown


def test_a_unit_is_computed_once_and_its_steps_are_told_once(made):
    make, shown = made
    calls = []

    def compute(units):
        def now():
            calls.append(1)
            units.counter().update(7)
            return {"score": np.ones(2)}

        return now

    first = make()
    for _ in range(2):
        np.testing.assert_array_equal(first.unit("a/1", 7, compute(first))["score"], np.ones(2))
    assert (len(calls), shown) == (1, [7])
    later = make()  # another start in the same folder: the steps of what is there already are told once
    later.unit("a/1", 7, compute(later))
    later.unit("a/1", 7, compute(later))
    assert (len(calls), shown, later.done) == (1, [7, 7], 7)


def test_a_stopped_unit_is_not_kept(made):
    make, shown = made
    assert make().unit("a", 3, lambda: None) is None
    assert shown == []
    assert make().unit("a", 3, lambda: {"x": np.zeros(1)}) is not None


def test_test_reads_and_keys(made):
    units = made[0]()
    units.reads_test(TUNE)
    units.reads_test(REPORT)
    assert units.test_reads == 1
    one, same, other = (units.key(*name) for name in (("initial", 1), ("initial", 1), ("initial", 2)))
    assert one == same
    assert one != other


def test_threads_that_share_a_unit_compute_it_once(made):
    units, calls = made[0](), []

    def compute():
        calls.append(1)
        time.sleep(0.05)
        return {"x": np.zeros(1)}

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: units.unit("shared", 1, compute), range(4)))
    assert len(calls) == 1
