"""Two real processes over a slow network of their own: the cost model foresees what rare communication saves."""

import importlib
from pathlib import Path

import pytest

from hyperlab.errors import ConfigError

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def limited_link(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("limited_link")


@pytest.mark.slow
def test_the_speed_up_is_the_predicted_one(limited_link):
    reason = limited_link.obstacle()
    if reason:
        pytest.skip(f"this machine does not allow a limited network: {reason}")
    plan = limited_link.Plan(
        rates=(200,),
        fit_rate=300,
        payloads=(250_000, 500_000, 2_000_000),
        periods=(1, 8),
        steps=8,
        repeats=3,
        widths=(256, 256),
        rows=64,
    )
    found = limited_link.measure(plan, timeout=200)
    # both directions share the loopback, so a process has half of it, less some headers
    assert limited_link.link(plan, found, 200).bandwidth == pytest.approx(200e6 / 8 / 2, rel=0.3)
    once, rarely = limited_link.rows(plan, found)
    # the fastest turns, and a wide tolerance: other tests may be running
    measured = min(once.seconds) / min(rarely.seconds)
    assert measured > 2
    assert measured == pytest.approx(rarely.predicted, rel=0.4)


@pytest.mark.fast
def test_what_follows_the_model_is_predicted_without_error(limited_link):
    plan = limited_link.Plan(rates=(400,), fit_rate=800, payloads=(10**6, 2 * 10**6), periods=(1, 2))
    # 1 ms of latency, 1e8 bytes a second at 800 Mbit/s, half of that at 400: 3e5 bytes take 7 ms
    found = {"bytes": 300_000, "sweep": [0.011, 0.021], "alone": {"1": [0.013], "2": [0.003, 0.0065, 0.2]}}
    found["turns"] = {"400": {"1": [0.020, 0.040], "2": [0.010, 0.025]}}
    once, twice = limited_link.rows(plan, found)
    assert (once.predicted_seconds, twice.predicted_seconds) == pytest.approx((0.020, 0.010))
    assert (once.predicted, twice.predicted) == pytest.approx((1.0, 2.0))
    assert twice.measured == pytest.approx([2.0, 1.6])
    assert twice.errors == pytest.approx([0.0, 0.25])


@pytest.mark.fast
def test_a_limit_is_not_fitted_and_predicted(limited_link):
    with pytest.raises(ConfigError, match="fitted at 400 Mbit/s, which is to be predicted"):
        limited_link.Plan(rates=(800, 400), fit_rate=400)


@pytest.mark.fast
def test_a_machine_without_namespaces_says_why(limited_link, monkeypatch):
    monkeypatch.setattr(limited_link.shutil, "which", lambda program: None if program == "tc" else program)
    assert limited_link.obstacle() == "there is no program 'tc'"
    with pytest.raises(RuntimeError, match="no limited network on this machine: there is no program 'tc'"):
        limited_link.measure(limited_link.Plan())
