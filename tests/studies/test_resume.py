"""A study that is stopped again and again inside its trainings: nothing is trained twice, and it ends as if it was not.

Shortened defaults of all studies; a stop is what SIGTERM is to a loop, see `train.signals`.
"""

import pytest
from short_studies import StopAfter, assert_equal_units, config_of, starts, units

import hyperlab


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of networks that learnt nothing in so few steps
@pytest.mark.parametrize("study", ["pruning", "stability", "rescaling", "registration", "in_context", "stochastic",
                                   "local_sgd", "uncertainty"])  # fmt: skip
def test_stopped_inside_trainings_it_loses_no_step_and_ends_equal(study, tmp_path):
    config = config_of(study)
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
