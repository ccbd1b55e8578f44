"""Random search: the same trials for the same seed, spread over every axis, shared between arms."""

import numpy as np
import pytest

from hyperlab.errors import ConfigError
from hyperlab.studies.search import Axis, choose, draw

pytestmark = pytest.mark.fast

RATE, MOMENTUM = Axis(0.01, 1.0, log=True), Axis(0.1, 0.9)


def test_draws_are_a_function_of_seed_and_axis_alone():
    one = draw({"rate": RATE}, 6, 0)
    both = draw({"momentum": MOMENTUM, "rate": RATE}, 6, 0)
    assert [trial["rate"] for trial in one] == [trial["rate"] for trial in both]
    assert both == draw({"momentum": MOMENTUM, "rate": RATE}, 6, 0)
    assert both != draw({"momentum": MOMENTUM, "rate": RATE}, 6, 1)


@pytest.mark.parametrize("trials", [1, 5, 40])
def test_every_part_of_an_axis_is_drawn_from_once(trials):
    drawn = draw({"rate": RATE, "momentum": MOMENTUM}, trials, 3)
    for name, axis in (("rate", RATE), ("momentum", MOMENTUM)):
        shares = [axis.share(one[name]) for one in drawn]
        assert sorted(int(share * trials) for share in shares) == list(range(trials))
        assert all(axis.low <= one[name] <= axis.high for one in drawn)
    if trials == 40:  # the axes are drawn independently
        table = np.array([[one["rate"], one["momentum"]] for one in drawn])
        assert abs(np.corrcoef(np.log(table[:, 0]), table[:, 1])[0, 1]) < 0.4


def test_the_best_mean_is_chosen_failures_lose_and_edges_are_named():
    drawn = [{"rate": 0.3}, {"rate": 0.011}, {"rate": 0.1}]
    scores = {(0, 0): 0.9, (0, 1): float("nan"), (1, 0): 0.8, (1, 1): 0.8, (2, 0): 0.9, (2, 1): 0.1}
    choice = choose({"rate": RATE}, drawn, [0, 1], lambda *one: scores[one])
    assert (choice.trial, choice.numbers, choice.runs, choice.at_edge) == (1, {"rate": 0.011}, 6, ("rate",))
    assert choice.trials[0].score == -np.inf
    # all failed: the first stands for them, and nothing is raised
    assert choose({"rate": RATE}, drawn, [0], lambda *_: float("nan")).trial == 0
    assert choose({"rate": RATE}, drawn, [0], lambda *_: None) is None


@pytest.mark.parametrize(
    ("space", "trials", "message"),
    [
        ({"rate": RATE}, 0, "at least 1 trial"),
        ({"rate": Axis(1.0, 0.1)}, 2, "'rate' is 1 to 0.1"),
        ({"rate": Axis(0.0, 0.1, log=True)}, 2, "above 0"),
    ],
)
def test_a_space_that_cannot_be_is_refused(space, trials, message):
    with pytest.raises(ConfigError, match=message):
        draw(space, trials, 0)
