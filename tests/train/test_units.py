"""Units on disk: damage is seen and set aside, and what was made of something else is made again."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hyperlab.errors import DamagedError, WorkdirError
from hyperlab.train import basis
from hyperlab.train.units import RECORD, UnitFiles, memoize_method

pytestmark = pytest.mark.fast

CONFIG = {"seed": 0, "workers": 2, "arms": ("a", "b"), "length": "40 steps", "data": {"name": "digits", "root": "/x"}}
DATA = ("digits", "5f3a")


def of(config=None, data=DATA, **options):
    return basis.of({**CONFIG, **(config or {})}, data, lists=("arms",), **options)


def value():
    return {"x": np.arange(50.0)}


def flip(content, at, bit=1):
    return content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]


DAMAGE = {
    "empty": lambda b: b"",
    "half": lambda b: b[: len(b) // 2],
    "the last byte": lambda b: b[:-1],
    "text": lambda b: b"hello",
    "a pickle": lambda b: b"\x80\x04N.",
    "another array": lambda b: b"\x93NUMPY" + b[6:],
    **{f"a bit at {share}%": lambda b, share=share: flip(b, share * len(b) // 100) for share in range(0, 100, 9)},
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_unit_is_set_aside_and_computed_again(tmp_path, damage, caplog):
    units = UnitFiles(tmp_path / "units", of())
    units.measure("a/1", value)
    path = units.path("a/1")
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    found = units.measure("a/1", value)
    np.testing.assert_array_equal(found["x"], np.arange(50.0))  # whatever bit it was
    if aside := list(path.parent.glob("*.damaged-*")):
        assert [one.name for one in aside] == ["a--1.npz.damaged-1"] and aside[0].read_bytes() == damaged
        assert f"{path} is damaged" in caplog.text and "set aside as a--1.npz.damaged-1" in caplog.text
    else:  # of what says nothing: a time, a version
        assert path.read_bytes() == damaged


def test_every_single_bit_of_a_unit_is_seen_or_says_nothing(tmp_path):
    units = UnitFiles(tmp_path, of())
    units.measure("a", value)
    path = units.path("a")
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        path.write_bytes(flip(whole, place, 1 << place % 8))
        try:
            record, found = units.finished("a")
        except DamagedError as error:
            assert str(path) in str(error) and "run the study again" in str(error)
        else:
            np.testing.assert_array_equal(found["x"], np.arange(50.0))
            assert record is None or record["settings"]["seed"] == 0


CHANGES = {
    "nothing": ({}, {}, []),
    "a setting": ({"seed": 5, "length": "80 steps"}, {}, ["seed", "length"]),
    "a new setting": ({"warmup": 0.1}, {}, ["warmup"]),
    "the data": ({}, {"data": ("digits", "77")}, ["the data"]),
    "the code": ({}, {"version": 2}, ["the version of the code"]),
    "workers": ({"workers": 1}, {}, []),
    "where the data are": ({"data": {"name": "digits", "root": "/y"}}, {}, []),
    "which units there are": ({"arms": ("a", "b", "c")}, {}, []),
    "lists for tuples": ({"length": "40 steps", "arms": ["a"]}, {}, []),
}


@pytest.mark.parametrize(("config", "options", "differing"), CHANGES.values(), ids=CHANGES)
def test_what_decides_a_unit(tmp_path, config, options, differing):
    UnitFiles(tmp_path, of()).measure("a", value)
    units = UnitFiles(tmp_path, of(config, **options))
    assert units.basis.differences(units.finished("a")[0]) == differing
    assert (units.read("a") is None) == bool(differing)
    assert units.survey() == (
        f"kept 0 of 1 units; 1 was made with other settings ({', '.join(differing)}) and is computed again"
        if differing
        else ""
    )


def test_what_a_unit_was_given_beside_the_config_decides_it(tmp_path):
    units = UnitFiles(tmp_path, of())
    units.measure("report", value, further={"rate": 0.1, "seeds": (1, 2)})
    assert units.read("report", {"rate": 0.1, "seeds": [1, 2]}) is not None
    assert units.read("report", {"rate": np.float64(0.1), "seeds": np.array([1, 2])}) is not None
    for other in ({"rate": 0.1000001, "seeds": [1, 2]}, {"rate": 0.1}, {"rate": 0.1, "seeds": [1, 2], "more": None}):
        assert units.read("report", other) is None
    units.measure("a--b", value)
    assert units.read("a/b") is None  # the same file


def test_units_of_older_versions_are_taken_where_the_config_never_changed(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.ones(2))
    for trusted in (True, False):
        units = UnitFiles(tmp_path, of(trusted=trusted))
        assert (units.read("a") is not None) == trusted
        assert ("settings that were not noted" in units.survey()) != trusted


def test_a_survey_counts_what_is_kept_other_and_damaged(tmp_path):
    units = UnitFiles(tmp_path, of())
    for name in "abc":
        units.measure(name, value)
    units = UnitFiles(tmp_path, of({"seed": 1}))
    units.measure("d", value)
    units.path("c").write_bytes(b"")
    expected = "kept 1 of 4 units; 2 were made with other settings (seed) and are computed again; 1 damaged"
    assert units.survey() == expected


def test_a_unit_whose_other_file_is_gone_or_damaged_is_computed_again(tmp_path):
    units, network = UnitFiles(tmp_path / "units", of()), tmp_path / "networks" / "a.npz"
    calls = []

    def compute():
        calls.append(1)
        network.parent.mkdir(exist_ok=True)
        np.savez(network, w=np.ones(3))
        return value()

    def measure(beside=("networks/a.npz",)):
        units.measure("a", compute, beside=beside)
        return len(calls)

    assert [measure(()), measure(), measure()] == [1, 2, 2]  # kept later than the unit; then both are there
    network.unlink()
    assert measure() == 3
    network.write_bytes(flip(network.read_bytes(), 100))
    assert measure() == 4 and (network.parent / "a.npz.damaged-1").exists()
    assert np.load(network)["w"].sum() == 3
    with np.load(units.path("a")) as saved:
        old = {key: saved[key] for key in saved if key != RECORD}
    np.savez_compressed(units.path("a"), **old)  # of an older version: the file's own checksums are asked
    assert measure() == 4
    network.write_bytes(network.read_bytes()[:-30])
    assert measure() == 5


def test_what_cannot_be_written_is_named_and_what_was_there_stays(tmp_path, monkeypatch):
    units = UnitFiles(tmp_path, of())
    units.measure("a", value)

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hyperlab.files.to_disk", full)
    other = UnitFiles(tmp_path, of({"seed": 1}))
    with pytest.raises(WorkdirError, match=r"a\.npz cannot be written: No space left on device"):
        other.measure("a", value)
    assert units.read("a") is not None and [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_threads_write_one_unit_each(tmp_path):
    units = UnitFiles(tmp_path, of())
    threads = [threading.Thread(target=units.measure, args=(f"u/{n}", value)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"u--{n}.npz" for n in range(8)]
    assert json.loads(str(np.load(units.path("u/3"))[RECORD]))["name"] == "u/3"


def test_threads_that_ask_for_the_same_at_once_compute_it_once():
    made, together = [], threading.Barrier(4)

    class Programs:
        @memoize_method
        def of(self, n):
            if n > 1:
                together.wait(20)
            made.append(n)
            time.sleep(0.05)
            return object()

        @property
        @memoize_method
        def inner(self):
            return self.of(0)

    programs = Programs()
    with ThreadPoolExecutor(8) as pool:
        results = [one.result() for one in [pool.submit(programs.of, 1) for _ in range(8)]]
        assert made == [1]
        list(pool.map(programs.of, range(2, 6)))  # four other arguments are in work at once
    assert sorted(made) == [1, 2, 3, 4, 5] and len({id(one) for one in results}) == 1
    assert programs.inner is programs.of(0) is not Programs().inner


def test_what_raised_is_tried_again():
    class Once:
        calls = 0

        @memoize_method
        def of(self):
            self.calls += 1
            if self.calls == 1:
                raise ValueError("not yet")
            return self.calls

    class Twice(Once):
        @memoize_method
        def of(self):
            return 2 * super().of()

    once = Once()
    with pytest.raises(ValueError, match="not yet"):
        once.of()
    assert once.of() == once.of() == 2
    twice = Twice()
    twice.calls = 1
    assert twice.of() == twice.of() == 4
