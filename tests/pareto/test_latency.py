import math
import sys

import numpy as np
import pytest

from hyperlab import pareto
from hyperlab.errors import ConfigError

latency = sys.modules["hyperlab.pareto.latency"]  # the package shows the function under this name


class Clock:
    """A clock that calls move on, each by the next of its own times."""

    def __init__(self, monkeypatch):
        self.now, self.order = 0.0, []
        monkeypatch.setattr(latency.time, "perf_counter", lambda: self.now)

    def call(self, name, seconds):
        seconds = iter(seconds)

        def run(argument):
            self.order.append(name)
            self.now += next(seconds)
            return argument

        return run


def test_the_warm_up_is_not_measured_and_quartiles_are_those_of_the_calls(monkeypatch):
    clock = Clock(monkeypatch)
    result = pareto.latency(clock.call("a", [100, 100, 4, 1, 2, 5, 3]), [np.ones(1)], repeats=5, warmup=2)
    assert result == (3.0, 2.0, 4.0, 5)


def test_two_functions_take_turns_and_a_drift_of_the_machine_cancels(monkeypatch):
    clock = Clock(monkeypatch)
    speed = 1 + np.arange(13.0)  # the machine gets slower and slower
    first, second = clock.call("a", 2 * speed), clock.call("b", speed)
    result = pareto.latency_ratio(first, [0], second, [0], repeats=12, warmup=1)
    assert "".join(clock.order) == "ab" + "abba" * 6
    np.testing.assert_allclose(result[:5], 2.0)
    assert result.first.median == pytest.approx(15.0) and result.second.median == pytest.approx(7.5)
    assert result.first.calls == 12


def test_under_ten_pairs_there_is_no_interval(monkeypatch):
    clock = Clock(monkeypatch)
    ratio = pareto.latency_ratio(
        clock.call("a", [1, 2, 3, 4]), [0], clock.call("b", [1, 1, 1, 1]), [0], repeats=4, warmup=0
    )
    assert ratio[:3] == (2.5, 1.75, 3.25) and math.isnan(ratio.low) and math.isnan(ratio.high)


def test_the_same_function_twice_has_a_ratio_of_one_within_its_interval():
    work = np.random.default_rng(0).normal(size=(60, 60))
    ratio = pareto.latency_ratio(np.linalg.inv, [work], np.linalg.inv, [work], repeats=60)
    assert ratio.low - 0.1 < 1 < ratio.high + 0.1


@pytest.mark.parametrize("options", [{"repeats": 0}, {"warmup": -1}])
def test_counts_that_measure_nothing_are_refused(options):
    with pytest.raises(ConfigError, match="repeats is"):
        pareto.latency(abs, [1], **options)
    with pytest.raises(ConfigError, match="repeats is"):
        pareto.latency_ratio(abs, [1], abs, [1], **options)
