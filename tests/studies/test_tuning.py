"""Equal tuning: the best pair by its mean over the seeds, grids that grow, trials that are counted."""

import numpy as np
import pytest

from hyperlab.studies import tuning

pytestmark = pytest.mark.fast


def parabola(peak):
    return lambda variant, runs: np.array([-abs(np.log10(rate) - peak) - variant for rate, _ in runs])


def test_tuning_finds_the_best_pair_and_counts_its_trials():
    choice = tuning.choose(3, (0.01, 0.1, 1.0), range(4), parabola(-1))
    assert (choice.variant, choice.rate, choice.trials, choice.at_edge) == (0, 0.1, 36, False)


@pytest.mark.parametrize(("peak", "expected", "at_edge"), [(1, 10.0, False), (-4, 1e-4, True), (5, 100.0, True)])
def test_a_best_rate_at_the_edge_widens_the_grid_and_says_so_where_that_is_not_enough(peak, expected, at_edge):
    choice = tuning.choose(1, (0.01, 0.1, 1.0), [0], parabola(peak), widenings=2, factor=10.0)
    assert choice.rate == pytest.approx(expected) and choice.at_edge == at_edge


def test_failed_runs_never_win_and_a_stop_gives_nothing():
    def measure(variant, runs):
        return np.array([np.nan if rate > 0.05 and seed == 1 else rate for rate, seed in runs])

    choice = tuning.choose(1, (0.01, 0.03, 0.1), (0, 1), measure, widenings=0)
    assert choice.rate == 0.03 and [score.failed for score in choice.scores] == [0, 0, 1]
    assert tuning.choose(1, (0.1,), (0,), lambda variant, runs: None) is None
    everything_failed = tuning.choose(1, (0.1, 0.3), (0,), lambda variant, runs: np.full(2, np.nan), widenings=0)
    assert everything_failed.rate == 0.1


def test_what_studies_keep_of_a_choice():
    choice = tuning.choose(2, (0.1, 1.0), [0], parabola(-1), widenings=0)
    assert choice.record() == {
        "learning_rate": 0.1,
        "trials": 4,
        "at_edge": True,
        "tuning": [{"learning_rate": r, "score": s} for r, s in ((0.1, 0.0), (1.0, -1.0), (0.1, -1.0), (1.0, -2.0))],
    }
    named = choice.record(["fan_in", "zeros"])
    assert (named["variant"], named["initializer"]) == (0, "fan_in")
    assert [one["initializer"] for one in named["tuning"]] == ["fan_in", "fan_in", "zeros", "zeros"]


# -- several arms -------------------------------------------------------------------------------------------------


def one_by_one(function, items):
    return [function(item) for item in items]


def test_arms_are_tuned_as_each_would_be_alone_and_no_trial_is_made_twice():
    peaks, made = {"a": -1, "b": 1, "c": -2.5}, []

    def score(key, rate, seed):
        made.append((key, rate, seed))
        return -abs(np.log10(rate) - peaks[key]) + 0.1 * seed

    grids = {"a": (0.01, 0.1, 1.0), "b": (0.01, 0.1), "c": (0.001, 0.01)}
    chosen = tuning.choose_rates(grids, range(2), score, one_by_one, widenings=2)
    assert len(made) == len(set(made)) == sum(choice.trials for choice in chosen.values())
    for key, rates in grids.items():

        def measure(_, runs, key=key):
            return np.array([score(key, *run) for run in runs])

        assert chosen[key] == tuning.choose(1, rates, range(2), measure, widenings=2)
    assert list(chosen) == list(grids) and chosen["b"].rate == pytest.approx(1.0)


def test_the_trials_of_all_arms_are_handed_out_together():
    batches = []

    def in_parallel(function, items):
        batches.append(list(items))
        return one_by_one(function, items)

    tuning.choose_rates({"a": (0.1, 1.0), "b": (0.1,)}, [0], lambda key, rate, seed: rate, in_parallel)
    assert batches[0] == [("a", 0.1, 0), ("a", 1.0, 0), ("b", 0.1, 0)]


@pytest.mark.parametrize("stopped", [0.1, 0.1 * 10**0.5])  # in the grid, or in the rate that it grows by
def test_a_stop_gives_no_choices(stopped):
    def score(key, rate, seed):
        return None if rate == pytest.approx(stopped) else rate

    assert tuning.choose_rates({"a": (0.01, 0.1)}, [0], score, one_by_one, widenings=1) is None


def test_a_failed_run_is_no_stop():
    chosen = tuning.choose_rates(
        {"a": (0.1, 1.0)}, [0], lambda key, rate, seed: rate if rate < 1 else np.nan, one_by_one
    )
    assert chosen["a"].rate == 0.1
