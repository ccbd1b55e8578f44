"""A study that is stopped again and again inside its trainings: nothing is trained twice, and it ends as if it was not.

Shortened defaults; a stop is what SIGTERM is to a loop, see `train.signals`.
"""

import pytest
from short_studies import StopAfter, assert_equal_units, config_of, starts, units

import hyperlab


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of networks that learnt nothing in so few steps
# the stochastic study trains by the code of in_context; the campaign of kills has it, too
@pytest.mark.parametrize(("study", "looks"), [("pruning", 37), ("stability", 14), ("rescaling", 37),
                                              ("registration", 12), ("in_context", 17), ("local_sgd", 37),
                                              ("uncertainty", 37)])  # fmt: skip
def test_stopped_inside_trainings_it_loses_no_step_and_ends_equal(study, looks, tmp_path):
    config = config_of(study, **({"steps_per_call": 2} if study == "registration" else {}))
    straight = hyperlab.run(config, tmp_path / "straight")
    folder, saved = tmp_path / "stopped", 0
    for _ in range(60):
        hyperlab.run(config, folder, stop=StopAfter(looks))
        saved += bool(starts(folder)[-1].get("saved"))
        if starts(folder)[-1]["exit_reason"] == "finished":
            break
        looks = int(looks * 1.7)
    assert starts(folder)[-1]["exit_reason"] == "finished"
    assert saved  # it was stopped inside trainings
    assert_equal_units(units(folder), units(straight))
    assert sum(start["trained_steps"] for start in starts(folder)) == starts(straight)[0]["trained_steps"]
    assert not (folder / "checkpoints").exists()
