"""Test values are derived in closed form, or published timings that the model explains."""

import numpy as np
import optax
import pytest

from hyperlab.errors import ConfigError
from hyperlab.local_sgd import ARCHETYPES, Config, Link, cost_model, create, traffic
from hyperlab.local_sgd.accounting import all_reduce_bytes
from hyperlab.train import state

pytestmark = pytest.mark.fast

RESNET50 = 4 * 25_557_032


def test_ring_bytes_of_a_resnet50():
    found = [round(all_reduce_bytes(n, RESNET50) / 1e6, 2) for n in (1, 2, 8, 32, 256)]
    assert found == [0, 102.23, 178.90, 198.07, 203.66]
    with pytest.raises(ConfigError, match="at least 1 participant"):
        all_reduce_bytes(0, 1)


def test_a_run_that_was_counted_takes_as_long_as_the_closed_form():
    config = Config(replicas=8, period=4, inner_state="average")
    inner = state.create({"params": {"w": np.ones(1000, np.float32)}}, optax.sgd(0.1, momentum=0.9))
    link = Link(1e6, 1e-3)
    sent = traffic(create(inner, config), config, 40)
    closed = cost_model.step_seconds(0.01, link, 8, 4000, period=4, slots=1)
    assert cost_model.run_seconds(0.01, link, sent) == pytest.approx(40 * closed)


def test_a_link_is_found_again_from_a_noisy_sweep_at_bandwidths_apart():
    sizes, random = 4.0 * 2 ** np.arange(10, 24), np.random.default_rng(0)
    for link in (ARCHETYPES["low"], Link(1e8, 5e-4)):
        seconds = [cost_model.all_reduce_seconds(link, 4, size) for size in sizes]
        found = cost_model.fit_link(sizes, seconds * random.normal(1, 0.02, len(sizes)), 4)
        assert found.bandwidth == pytest.approx(link.bandwidth, rel=0.1)
        assert found.latency == pytest.approx(link.latency, rel=0.05)


def test_a_sweep_without_latency_gives_none_that_is_negative():
    found = cost_model.fit_link([1e6, 2e6, 4e6], [0.9e-3, 2e-3, 4.2e-3], 2)
    assert found.latency == 0 and found.bandwidth > 0


def test_predictions_grow_with_the_period_and_shrink_with_the_link():
    rows = cost_model.table(0.28, RESNET50, periods=(1, 8, 32))
    assert [row.replicas for row in rows[::9]] == [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
    by = {(row.replicas, row.link, row.period): row for row in rows}
    for replicas in (2, 1024):
        for link in ARCHETYPES:
            assert by[replicas, link, 1].speedup == 1
            assert by[replicas, link, 1].seconds > by[replicas, link, 8].seconds > by[replicas, link, 32].seconds > 0.28
        assert by[replicas, "low", 8].speedup > by[replicas, "high", 8].speedup
    hidden = cost_model.step_seconds(0.28, ARCHETYPES["low"], 32, RESNET50, overlap=True)
    assert hidden == 0.28
    assert cost_model.step_seconds(0.1, ARCHETYPES["low"], 1, RESNET50) == 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cost_model.step_seconds(-1, Link(1, 0), 2, 1), "at least 0"),
        (lambda: cost_model.step_seconds(1, Link(1, 0), 2, 1, period=0.5), "period at least 1"),
        (lambda: cost_model.step_seconds(1, Link(1, 0), 2, 1, period=2, overlap=True), "for synchronous steps"),
        (lambda: cost_model.exchange_seconds(Link(0, 0), 1), "positive bandwidth"),
        (lambda: cost_model.fit_link([1e6], [1.0], 2), "at least two payloads"),
        (lambda: cost_model.fit_link([1e6, 2e6], [1.0, 1.0], 1), "1 participants"),
        (lambda: cost_model.fit_link([1e6, 8e6], [2.0, 0.001], 2), "no longer for larger payloads"),
    ],
)
def test_numbers_without_sense_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
