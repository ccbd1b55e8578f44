"""The recipe of the optimizer: in every study that has one, a training's schedule ends with it; constant by default."""

import jax
import numpy as np
import pytest
from short_studies import config_of

import hyperlab
from hyperlab import launch, trees
from hyperlab.errors import ConfigError
from hyperlab.studies.base import Study

STUDIES = ("stability", "rescaling", "registration", "pruning", "uncertainty")
CONSTANT = {"optimizer.schedule": "", "optimizer.warmup": 0.0, "optimizer.clip": 0.0}
COSINE = {"optimizer.schedule": "cosine", "optimizer.warmup": 0.1, "optimizer.clip": 1.0}


class Begun(Exception):
    """A training that would begin."""


def first_training(study, recipe, folder, monkeypatch):
    """The lengths that the state of the first training knows of, and the number of its steps."""

    def fit(self, start, step, batches, *, steps, **_):
        lengths = [leaf for path, leaf in trees.flatten(start).items() if path.endswith("total_steps")]
        raise Begun(jax.device_get(lengths), steps)

    monkeypatch.setattr(Study, "fit", fit)
    with pytest.raises(Begun) as seen:
        hyperlab.run(config_of(study, **recipe), folder / "run")
    return seen.value.args


@pytest.mark.parametrize("study", STUDIES)
def test_a_schedule_is_as_long_as_its_training(study, tmp_path, monkeypatch):
    lengths, steps = first_training(study, COSINE, tmp_path, monkeypatch)
    assert lengths and all(np.array_equal(length, np.full_like(length, steps)) for length in lengths)


@pytest.mark.parametrize("study", STUDIES)
def test_a_constant_rate_knows_no_length(study, tmp_path, monkeypatch):
    assert first_training(study, CONSTANT, tmp_path, monkeypatch)[0] == []


@pytest.mark.parametrize("study", STUDIES)
def test_a_constant_rate_has_no_warm_up(study):
    config = config_of(study, **CONSTANT)
    config.optimizer.warmup = 0.1
    with pytest.raises(ConfigError, match=r"optimizer\.warmup is 0\.1 and optimizer\.schedule is empty"):
        launch.check(config)
