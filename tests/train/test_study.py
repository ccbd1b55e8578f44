"""The base of all studies' units: nothing is computed twice, and the progress is told once of every step."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import ml_collections
import numpy as np
import pytest

from hyperlab.studies.conducted import StudyUnits, conduct
from hyperlab.train.phases import FIRST_REPORT_SEED, REPORT, TUNE

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


@pytest.fixture
def course(tmp_path):
    """A study that says what it did, in order."""
    said = []
    folder = SimpleNamespace(
        path=tmp_path,
        metrics_path=tmp_path / "metrics.jsonl",
        mark=lambda name: None,
        check_fingerprint=lambda *data: said.append(data),
        note=lambda **known: said.append(known),
    )
    config = ml_collections.ConfigDict({"study": "a_study", "seed": 0, "workers": 1, "report_seeds": 2})
    stop = SimpleNamespace(requested=False)

    def run(chosen, complete=True):
        said.clear()

        def report(units, found, writer):
            said.append(json.loads((tmp_path / "choices.json").read_text()))  # on disk before the test split is read
            for seed in units.report_seeds:
                units.reads_test(REPORT)
                writer.scalars(seed, {"score": 1.0})
            return complete

        conduct(
            config,
            folder,
            data=("digits", "abc"),
            units=lambda progress: StudyUnits(config, folder, progress, stop),
            planned=lambda units: 3,
            tune=lambda units: chosen,
            report=report,
            finish=lambda units, found, writer: said.append("report"),
        )
        return list(said)

    return run


def test_choices_are_on_disk_before_the_report_phase_and_a_complete_study_is_written(course, tmp_path):
    assert course({"mip": 0.1}) == [("digits", "abc"), {"mip": 0.1}, {"test_reads": 2}, "report"]
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert set(steps) == {FIRST_REPORT_SEED, FIRST_REPORT_SEED + 1}


def test_a_stop_while_tuning_reads_nothing_and_writes_no_report(course, tmp_path):
    assert course(None) == [("digits", "abc"), {"test_reads": 0}]
    assert not (tmp_path / "choices.json").exists()


def test_a_stop_while_reporting_writes_no_report(course):
    assert course({"mip": 0.1}, complete=False)[-1] == {"test_reads": 2}
