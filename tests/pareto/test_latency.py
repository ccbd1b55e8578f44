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


@pytest.mark.parametrize("options", [{"repeats": 0}, {"warmup": -1}])
def test_counts_that_measure_nothing_are_refused(options):
    with pytest.raises(ConfigError, match="repeats is"):
        pareto.latency(abs, [1], **options)
