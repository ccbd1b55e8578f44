"""The local SGD study: arms that are one another where theory says so, counts that are exact."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from experiments import local_sgd as experiment
from hyperlab import trees
from hyperlab.studies.local_sgd import Cell, find
from hyperlab.studies.local_sgd.arms import drawn
from hyperlab.studies.local_sgd.dealing import shares
from hyperlab.studies.local_sgd.study import LocalSGD
from hyperlab.tasks import load
from hyperlab.train.phases import REPORT, TUNE


def small(**changes):
    config = experiment.get_config()
    config.data.limit = 60
    config.network.width = 0.05
    config.arms = ("synchronous", "large_batch", "local", "post_local", "hierarchical", "slowmo", "control", "int8")
    config.periods = (1, 4)
    config.replicas = (4,)
    config.trials = 2
    config.length = "8 steps"
    config.batch_size = 4
    config.curve_points = 2
    config.warmup = 0.0  # a first round at rate 0 would leave SlowMo nothing to remember
    for key, value in changes.items():
        config[key] = value
    return config


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """A study in a folder of its own."""

    def build(config=None):
        config = small() if config is None else config
        path = tmp_path_factory.mktemp("run")
        folder = SimpleNamespace(path=path, checkpoints=path / "checkpoints", mark=lambda _: None)
        return LocalSGD(config, load(config, path), folder, SimpleNamespace(requested=False))

    return build


@pytest.fixture(scope="module")
def study(make):
    return make()


def trained(study, arm, period, numbers, replicas=4):
    """The anchor's parameters after training, as one vector."""
    programs, steps, indices = study.programs(replicas), study.steps_of(replicas), study.indices(replicas, 0)
    start = programs.start(programs.init(jax.random.key(0)), find(arm), period, numbers, steps)
    advance = programs.advance(find(arm), period, steps)
    batches = lambda step: (step, indices[step])  # noqa: E731
    state = study.fit(start, advance, batches, steps=steps, key=jax.random.key(1), **study.task.feeding())
    return np.concatenate([np.ravel(leaf) for leaf in trees.flatten(state.params).values()])


def test_arms_are_one_another_where_theory_says_so(study, make):
    rate = {"rate": 0.05}
    synchronous, local = trained(study, "synchronous", 1, rate), trained(study, "local", 4, rate)
    # every step averaged, with a linear inner optimizer
    np.testing.assert_allclose(trained(study, "local", 1, rate), synchronous, atol=1e-6)
    assert np.abs(local - synchronous).max() > 1e-4
    in_turn = make(small(in_turn=True))
    np.testing.assert_allclose(trained(in_turn, "local", 4, rate), local, atol=1e-6)
    # slow momentum of 0; an outer rate of 1
    np.testing.assert_allclose(trained(study, "slowmo", 4, rate | {"beta": 0.0}), local, atol=1e-6)
    np.testing.assert_allclose(trained(study, "control", 4, rate | {"beta": 0.0}), local, atol=1e-6)
    np.testing.assert_allclose(trained(study, "diloco", 4, rate | {"outer_rate": 1.0, "beta": 0.0}), local, atol=1e-6)
    assert np.abs(trained(study, "slowmo", 4, rate | {"beta": 0.5}) - local).max() > 1e-4


def test_an_accumulated_batch_is_one_step_on_all_its_examples(study, make):
    """H-fold accumulation over 4 replicas of 4 examples is one replica with 64."""
    whole = make(small(batch_size=64, length="2 steps", periods=(1,), replicas=(1,)))
    whole.steps_of = lambda replicas: 2
    whole.indices = lambda replicas, draws: study.indices(4, draws).reshape(2, 1, 64)
    rate = {"rate": 0.05}
    found, expected = trained(study, "large_batch", 4, rate), trained(whole, "synchronous", 1, rate, replicas=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_all_arms_see_the_same_number_of_examples_and_are_counted_exactly(study):
    assert study.steps_of(4) == 8  # a whole number of rounds of every H
    payload = 4 * trees.count(study.programs(1).shapes)
    ring = 2 * 3 / 4 * payload
    expected = {"synchronous/1": (8, ring * 8), "large_batch/4": (2, ring * 2), "local/1": (8, ring * 8),
                "local/4": (2, ring * 2), "post_local/4": (4 + 1, ring * 5), "slowmo/4": (2, ring * 2)}  # fmt: skip
    for name, (rounds, sent) in expected.items():
        arm, period = name.split("/")
        traffic = study.traffic(Cell(arm, int(period), 4))
        assert (traffic.rounds + traffic.synchronous_steps, traffic.bytes_sent) == (rounds, sent), name
    assert study.traffic(Cell("hierarchical", 4, 4)).group_rounds == 6
    assert [c.name for c in study.cells() if c.arm in ("synchronous", "large_batch", "local", "int8")] == [
        "synchronous/1/4", "large_batch/4/4", "local/1/4", "local/4/4", "int8/4/4"
    ]  # fmt: skip


def test_examples_are_dealt_out_alike_or_by_class(study, make):
    rows = study.indices(4, 0)
    assert rows.shape == (8, 4, 4)
    first = rows.reshape(-1)[:60]
    assert sorted(first) == list(range(60))  # an epoch, whoever has which part of it
    unlike = small()
    unlike.data.partition.kind = "shards"
    other = make(unlike)
    own, seen = shares(unlike, other.task, 4), other.indices(4, 0)
    for replica in range(4):
        assert set(seen[:, replica].ravel()) <= set(own[replica])
    assert seen.shape == rows.shape and len(np.unique(own)) == own.size


def test_a_unit_says_what_was_measured_and_is_not_trained_twice(study):
    cell = Cell("hierarchical", 4, 4)
    result = study.train(cell, 1, 100, REPORT)
    assert result["test/accuracy"].shape == result["validation/accuracy"].shape == (60,)
    assert result["curve/step"].tolist() == [0, 4, 8]
    assert result["drift/step"].tolist() == [4, 8] and (result["drift/distance_mean"] > 0).all()
    assert (np.abs(result["drift/cosine"]) <= 1).all() and result["finite"]
    assert result["number/rate"] == drawn("hierarchical", study.config)[1]["rate"]
    assert "test/accuracy" not in study.train(cell, 1, 0, TUNE)
    reads = study.test_reads
    again = study.train(cell, 1, 100, REPORT)
    assert study.test_reads == reads == 1
    jax.tree.map(np.testing.assert_array_equal, result, again)


def test_replicas_that_never_differ_are_trained_as_one_where_they_take_turns(study, make):
    cell = Cell("synchronous", 1, 4)
    found, expected = make(small(in_turn=True)).train(cell, 0, 0, TUNE), study.train(cell, 0, 0, TUNE)
    np.testing.assert_array_equal(found["validation/accuracy"], expected["validation/accuracy"])


def test_low_bits_other_draws_and_a_handicap_change_what_is_reported(study):
    assert np.isfinite(trained(study, "int8", 4, {"rate": 0.05})).all()
    local, slowed, again = (
        study.train(Cell(arm, 4, 4), 0, 100, REPORT) for arm in ("local", "local_slowed", "local_again")
    )
    assert float(slowed["number/rate"]) == pytest.approx(0.01 * float(local["number/rate"]))
    assert not np.array_equal(local["drift/distance_mean"], again["drift/distance_mean"])


def test_every_gradient_in_less_is_nearly_synchronous_training(study):
    rate = {"rate": 0.05}
    whole = trained(study, "synchronous", 1, rate)
    moved = np.abs(whole - trained(study, "synchronous", 1, {"rate": 0.0})).max()
    for arm, share in [("int8_gradients", 0.02), ("powersgd", 0.5)]:
        off = np.abs(trained(study, arm, 1, rate) - whole).max()
        assert 0 < off < share * moved, arm
    full = study.traffic(Cell("synchronous", 1, 4)).bytes_sent
    sent = {arm: study.traffic(Cell(arm, 1, 4)) for arm in ("int8_gradients", "sign_gradients", "powersgd")}
    # of four replicas: 3 messages of a quarter or of a thirty-second, against 1.5 times the whole; scales are extra
    assert sent["int8_gradients"].bytes_sent / full == pytest.approx(0.5, abs=0.05)
    assert sent["sign_gradients"].bytes_sent / full == pytest.approx(1 / 16, abs=0.05)
    assert sent["powersgd"].bytes_sent < 0.7 * full and sent["powersgd"].exchanges_per_step == 2


def test_fragments_send_as_much_in_smaller_pieces(study):
    assert np.isfinite(trained(study, "fragments", 4, {"rate": 0.05})).all()
    whole, parts = study.traffic(Cell("local", 4, 4)), study.traffic(Cell("fragments", 4, 4))
    # after steps 2, 4, 6 one of two, and at the end both
    assert parts.rounds == 4 and whole.rounds == 2
    assert parts.bytes_sent == pytest.approx(2.5 / 2 * whole.bytes_sent, rel=0.4)


def test_seconds_of_a_step_are_measured_once(make):
    study = make()
    seconds = study.compute_seconds()
    assert 0 < seconds < 1 and study.compute_seconds() == seconds
    given = small()
    given.cost.compute_seconds = 0.25
    assert make(given).compute_seconds() == 0.25
