"""A study that is stopped again and again inside its trainings: nothing is trained twice, and it ends as if it was not.

Shortened defaults of all studies; a stop is what SIGTERM is to a loop, see `train.signals`.
"""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import hyperlab
from hyperlab import launch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
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


@pytest.fixture(scope="module")
def short():
    sys.path.insert(0, str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("faults", BENCHMARKS / "faults.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module.SHORT
    sys.path.remove(str(BENCHMARKS))


def config_of(study, values, **more):
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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of networks that learnt nothing in so few steps
@pytest.mark.parametrize("study", ["pruning", "stability", "rescaling", "registration", "in_context", "stochastic",
                                   "local_sgd", "uncertainty"])  # fmt: skip
def test_stopped_inside_trainings_it_loses_no_step_and_ends_equal(study, short, tmp_path):
    config = config_of(study, short[study])
    straight = hyperlab.run(config, tmp_path / "straight")
    folder, looks, saved = tmp_path / "stopped", 37, 0
    for _ in range(60):
        hyperlab.run(config, folder, stop=StopAfter(looks))
        saved += bool(starts(folder)[-1].get("saved"))
        if starts(folder)[-1]["exit_reason"] == "finished":
            break
        looks = int(looks * 1.7)
    assert starts(folder)[-1]["exit_reason"] == "finished"
    assert saved >= 2  # it was stopped inside trainings
    assert_equal_units(units(folder), units(straight))
    assert sum(start["trained_steps"] for start in starts(folder)) == starts(straight)[0]["trained_steps"]
    assert not (folder / "checkpoints").exists()
