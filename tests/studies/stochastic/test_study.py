"""The stochastic study: which networks there are, and what the control's training asks of Tyche's."""

from types import SimpleNamespace

import ml_collections
import numpy as np
import pytest

from hyperlab.studies.stochastic.arms import TYCHE, Cell
from hyperlab.studies.stochastic.study import DIVERSITY, Stochastic
from hyperlab.train.phases import REPORT, TUNE

pytestmark = pytest.mark.fast


@pytest.fixture
def study(tmp_path):
    arms = ("universeg_noise", "universeg_draws", "dropout_unet", "unet_ensemble", "tyche")
    config = ml_collections.ConfigDict({"seed": 0, "candidates": (4, 2), "arms": arms})
    data = SimpleNamespace(development=["a"], test=["b", "c"])
    made = Stochastic(config, data, SimpleNamespace(path=tmp_path), SimpleNamespace(requested=False))
    made.chosen = {"tyche": {"learning_rate": 0.003}, "universeg": {"learning_rate": 0.01}}
    return made


def test_the_control_is_trained_last_and_every_network_once(study):
    assert [cell.key for cell in study.tuned()] == ["tyche", "universeg", "dropout_unet", "unet"]
    assert [cell.key for cell in study.cells()] == ["tyche", "dropout_unet", "unet", "universeg"]


def test_the_control_is_made_as_diverse_as_tyche_at_its_rate_under_the_same_seed(study, monkeypatch):
    asked = []

    def train(cell, setting, seed, phase):
        asked.append((cell, setting, seed, phase))
        return {DIVERSITY: np.array(0.25)}

    monkeypatch.setattr(study, "train", train)
    given = study.depends_on(Cell("universeg"), 101, REPORT)
    assert given == {"arms": ["universeg_noise", "universeg_draws"], "diversity": 0.25}
    assert asked == [(TYCHE, 0.003, 101, REPORT)]
    assert study.depends_on(Cell("universeg"), 0, TUNE) == {"arms": [], "diversity": None}
    assert study.depends_on(Cell("unet"), 101, REPORT)["diversity"] is None
    assert len(asked) == 1, "only the control needs Tyche, and only in the report"


def test_after_a_stop_of_tyche_the_control_is_not_trained(study, monkeypatch):
    monkeypatch.setattr(study, "train", lambda *cell: None)
    assert study.depends_on(Cell("universeg"), 100, REPORT) is None


def test_an_ensemble_has_a_network_for_each_candidate_in_the_report_alone(study):
    assert study.networks_a_task(Cell("unet"), REPORT) == 4 and study.networks_a_task(Cell("unet"), TUNE) == 1
    assert study.networks_a_task(Cell("dropout_unet"), REPORT) == 1
