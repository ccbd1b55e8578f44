import jax
import numpy as np
import pytest

from experiments import registration
from hyperlab.registration import load, relative_objective
from hyperlab.registration.measurements import by_subject
from hyperlab.studies.registration import ARMS, Cell
from hyperlab.studies.registration.arms import Setting, chosen_setting, settings_tried
from hyperlab.studies.registration.study import Registration
from hyperlab.sweep import apply
from hyperlab.train.phases import FIRST_REPORT_SEED, REPORT, TUNE

SMALL = {
    "data.size": (16, 16),
    "data.subjects": 4,
    "data.warps_per_image": 1,
    "data.amplitude": 1.0,
    "network.encoder": (4,),
    "network.decoder": (4, 4),
    "network.integration_steps": 2,
    "hypernet.hidden": (4,),
    "weights": (0.1, 0.9),
    "curve_weights": (0.5, 1.0),
    "train_length": "200 steps",
    "steps_per_call": 50,
    "evaluation_batch": 4,
    "pairwise.steps": 30,
}


class Stop:
    requested = False


class Folder:
    def __init__(self, path):
        self.path, self.checkpoints = path, path / "checkpoints"

    def mark(self, event):
        pass


MIP, SEPARATE = Cell("mip"), Cell("separate", 0.1)


@pytest.fixture(scope="module")
def data():
    return load(apply(registration.get_config(), SMALL).data)


def new(data, path):
    return Registration(apply(registration.get_config(), SMALL), data, Folder(path), Stop())


@pytest.fixture(scope="module")
def study(data, tmp_path_factory):
    """One study for all tests, which share its compiled programs."""
    return new(data, tmp_path_factory.mktemp("study"))


def test_voxels_of_a_subject_are_pooled_before_dice_is_taken():
    counts = {
        "true_positive": np.array([[[1, 0], [9, 0], [2, 3]]]),
        "false_positive": np.array([[[1, 0], [0, 0], [2, 0]]]),
        "false_negative": np.array([[[0, 0], [1, 0], [0, 1]]]),
        "folding": np.array([[0.1, 0.3, 0.5]]),
    }
    result = by_subject(counts, np.array([7, 7, 5]))
    assert result["subject"].tolist() == [5, 7]
    np.testing.assert_allclose(result["dice"][0, 0], [4 / 6, 6 / 7])
    assert result["dice"][0, 1, 0] == pytest.approx(20 / 22) and np.isnan(result["dice"][0, 1, 1])
    np.testing.assert_allclose(result["folding"], [[0.5, 0.2]])


def test_the_identity_has_a_relative_loss_of_one_and_half_the_error_of_one_half():
    weight = np.array([0.0, 0.5, 1.0], np.float32)
    identity = {"weight": weight, "similarity": np.full((3, 2), 4.0), "smoothness": np.zeros((3, 2))}
    np.testing.assert_allclose(relative_objective(identity, identity), [1, 1])
    better = identity | {"similarity": np.full((3, 2), 2.0)}
    np.testing.assert_allclose(relative_objective(better, identity), [0.5, 0.5])
    # Correlation is negative: a gain is below 1 all the same.
    correlation = identity | {"similarity": np.full((3, 2), -0.4)}
    more = identity | {"similarity": np.full((3, 2), -0.6)}
    np.testing.assert_allclose(relative_objective(more, correlation), [0.5, 0.5])


def test_a_finished_unit_is_read_and_every_arm_starts_from_the_same_network(data, study, monkeypatch):
    setting = Setting("fan_out", 0.01)
    result = study.train(MIP, setting, FIRST_REPORT_SEED, REPORT)
    assert result["weight"].tolist() == [0.1, 0.5, 0.9, 1.0]
    assert result["dice"].shape == (4, 10, 3)
    assert result["folding"].shape == result["endpoint_error"].shape == (4, 10)
    assert result["loss"].shape == (4,) and bool(result["finite"]) and float(result["seconds"]) > 0
    assert result["example/displacement"].shape == (4, 16, 16, 2) and result["example/fixed"].shape == (16, 16)
    assert study.done == 200 and study.test_reads == 1
    own = study.programs.initial(ARMS["separate"].variant("own"))(jax.random.key(3))["params"]
    both = study.programs.initial(ARMS["mip"].variant("fan_out"))(jax.random.key(3))["params"]
    assert list(both["primary"]) == ["flow"]
    jax.tree.map(np.testing.assert_array_equal, own, both["theta0"] | both["primary"])
    monkeypatch.setattr("hyperlab.train.loop.fit", None)
    again = new(data, study.folder.path).train(MIP, setting, FIRST_REPORT_SEED, REPORT)
    assert set(again) == set(result)
    for key, value in result.items():
        np.testing.assert_array_equal(again[key], value)


def test_training_lowers_the_loss_at_its_weight_and_depends_on_the_seed_alone(study):
    first, second = (study.train(SEPARATE, Setting("own", 0.01), seed, TUNE) for seed in (0, 1))
    again = study._train(SEPARATE, Setting("own", 0.01), 0, TUNE)
    assert first["weight"].tolist() == [0.1] and first["loss"].shape == (4,)
    assert not any(key.startswith("example") for key in first)
    for run in (first, second):
        assert run["loss"][-1] < 0.7 * run["loss"][0]
        assert relative_objective(run, study.identity(TUNE))[0] < 0.9
    assert (second["similarity"] != first["similarity"]).any()
    np.testing.assert_array_equal(again["similarity"], first["similarity"])


def test_a_network_that_diverges_is_measured_as_a_failure(study):
    result = study.train(SEPARATE, Setting("own", 1e30), 9, TUNE)
    assert not result["finite"]
    assert not np.isfinite(relative_objective(result, study.identity(TUNE))).any()


def test_optimised_pairs_come_closer_than_the_identity(study):
    result, identity = study.optimize(0.2, TUNE), study.identity(TUNE)
    assert (relative_objective(result, identity) < 0.8).all() and study.score(result) > study.score(identity)
    assert result["dice"].mean() > identity["dice"].mean()


def test_a_stop_keeps_nothing_of_the_unit_that_is_in_work(data, tmp_path):
    stopped = new(data, tmp_path)
    stopped.stop = type("Stopped", (), {"requested": True})()
    assert stopped.train(MIP, Setting("fan_out", 0.01), 0, TUNE) is None
    assert stopped.identity(TUNE) is None and stopped.optimize(0.1, TUNE) is None
    assert not list((tmp_path / "units").iterdir())


def test_a_choice_says_what_every_network_was_tuned_with_and_is_trained_with():
    config = {"arms": ("separate", "mip", "mip_long"), "weights": (0.1, 0.9)}
    tried = [{"initializer": "own", "learning_rate": rate, "score": 0.0} for rate in (0.001, 0.003)]
    separate = {"initializer": "own", "learning_rate": [0.001, 0.003], "tuning": [tried, tried[:1]]}
    assert settings_tried(Cell("separate", 0.9), separate, config) == [Setting("own", 0.001)]
    assert chosen_setting(Cell("separate", 0.9), separate, config) == Setting("own", 0.003)
    mip = {"initializer": "own", "learning_rate": 0.003, "tuning": tried}
    assert settings_tried(Cell("mip"), mip, config) == [Setting("own", 0.001), Setting("own", 0.003)]
    assert settings_tried(Cell("mip_long"), mip, config) == [Setting("own", 0.003)]  # it takes over what mip chose
