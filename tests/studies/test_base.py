"""The base of all studies: nothing is computed twice, and choices are on disk before what is held out is read."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import NamedTuple

import ml_collections
import numpy as np
import pytest

from hyperlab import files
from hyperlab.studies.base import Study
from hyperlab.train.phases import FIRST_REPORT_SEED, REPORT, TUNE
from hyperlab.train.writers import read_rows

pytestmark = pytest.mark.fast


class Cell(NamedTuple):
    key: str
    part: int = 0

    def unit_name(self, phase, setting, seed):
        return f"{self.key}/{self.part}/{phase}/{setting}/{seed}"


@pytest.fixture
def made(tmp_path):
    shown = []
    folder = SimpleNamespace(path=tmp_path, mark=lambda name: None, checkpoints=tmp_path / "checkpoints")

    def make():
        study = Study(
            ml_collections.ConfigDict({"seed": 0, "workers": 1}), None, folder, SimpleNamespace(requested=False)
        )
        study.progress = SimpleNamespace(update=shown.append)
        return study

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


class Guesses(Study[Cell]):
    """A study whose arms have two networks each; it says what it did, in order."""

    said = ()
    stops_in = None  # the phase in which a stop is requested
    fingerprint = ("digits", "abc")

    def cells(self):
        return [Cell(arm, part) for arm in ("slow", "fast") for part in (0, 1)]

    def steps(self, cell, phase):
        return 10 if phase == TUNE else 100

    def describe(self, key):
        return {"label": key.upper()}

    def train(self, cell, setting, seed, phase):
        if phase == self.stops_in:
            return None
        if phase == REPORT and not self.test_reads:
            self.said.append(json.loads((self.folder.path / "choices.json").read_text()))
        self.reads_test(phase)
        best = {"slow": 0.1, "fast": 0.3}[cell.key]
        return {"score": -abs(setting - best) - 10 * cell.part + seed}

    def score(self, measured):
        return measured["score"]

    def curve(self, cell, seed, measured):
        yield seed, {"score": measured["score"]}, f"{cell.key}/{cell.part}"

    def write_page(self, folder):
        self.said.append("page")


@pytest.fixture
def course(tmp_path):
    def run(stops_in=None):
        said = []
        folder = SimpleNamespace(
            path=tmp_path,
            metrics_path=tmp_path / "metrics.jsonl",
            checkpoints=tmp_path / "checkpoints",
            mark=lambda name: None,
            check_fingerprint=lambda *data: said.append(data),
            note=lambda **known: said.append(known),
        )
        config = {"study": "a_study", "seed": 0, "workers": 1, "tuning_seeds": 2, "report_seeds": 2}
        config = ml_collections.ConfigDict(config | {"rates": (0.1, 0.3)})
        study = Guesses(config, None, folder, SimpleNamespace(requested=False))
        study.said, study.stops_in = said, stops_in
        study.run()
        return said, study

    return run


def test_choices_are_on_disk_before_the_report_phase_and_a_complete_study_is_written(course, tmp_path):
    said, study = course()
    data, chosen, noted, page = said
    assert (data, noted, page) == (("digits", "abc"), {"test_reads": 8, "trained_steps": 0}, "page")
    assert {key: (one["label"], one["learning_rate"]) for key, one in chosen.items()} == {
        "slow": ("SLOW", 0.1),
        "fast": ("FAST", 0.3),
    }
    # mean over the two networks of an arm, then over the two tuning seeds: (0 - 10) / 2 + 1 / 2
    assert chosen["slow"]["tuning"][0] == {"learning_rate": 0.1, "score": -4.5}
    assert "metrics.jsonl" in files.seals(tmp_path)["files"]
    rows = read_rows(tmp_path / "metrics.jsonl")  # whose checksum is that of all its rows
    assert {row["step"] for row in rows} == {FIRST_REPORT_SEED, FIRST_REPORT_SEED + 1}
    assert study.planned() == 4 * 2 * 2 * 10 + 4 * 2 * 100  # cells, rates, tuning seeds, steps; cells, seeds, steps


def test_a_stop_while_tuning_reads_nothing_and_writes_no_page(course, tmp_path):
    assert course(stops_in=TUNE)[0] == [("digits", "abc"), {"test_reads": 0, "trained_steps": 0}]
    assert not (tmp_path / "choices.json").exists()


def test_a_stop_while_reporting_writes_no_page(course):
    assert course(stops_in=REPORT)[0][-1] == {"test_reads": 0, "trained_steps": 0}
