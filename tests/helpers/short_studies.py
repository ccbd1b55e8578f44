"""The shortened defaults of all studies, and what is asked of their run folders."""

import json

import numpy as np
from benchmark_modules import benchmark

from hyperlab import launch

TIMED = ("second", "compile", "latency", "inference")


class StopAfter:
    """Requests a stop when it was looked at so often: at a step of some training."""

    def __init__(self, looks: int):
        self.looks, self.reason = looks, None

    def request(self, reason: str) -> None:
        self.reason = self.reason or reason

    @property
    def requested(self) -> bool:
        self.looks -= 1
        if self.looks <= 0:
            self.request("the test")
        return self.reason is not None


def config_of(study, **more):
    """The shortened default of a study, with changes."""
    values = benchmark("faults").SHORT[study]
    given = {**values, "workers": 1} if study != "registration" else values
    words = [f"--config.{key}={value}" for key, value in {**given, **more}.items()]
    return launch.parse(study, words)[1]


def starts(folder):
    return json.loads((folder / "run.json").read_text())["starts"]


def units(folder):
    """What was measured of every unit, times apart."""
    found = {}
    for path in sorted((folder / "units").glob("*.npz")):
        with np.load(path) as saved:
            found[path.name] = {k: saved[k] for k in saved if k != "__unit__" and not any(t in k for t in TIMED)}
    return found


def assert_equal_units(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].keys() == other[name].keys()
        for key in one[name]:
            np.testing.assert_array_equal(one[name][key], other[name][key], err_msg=f"{name}: {key}")
            assert one[name][key].dtype == other[name][key].dtype, (name, key)
