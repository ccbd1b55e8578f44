import jax
import numpy as np
import pytest

import hyperlab.studies.registration.units as module
from experiments import registration
from hyperlab.registration import load, relative_objective
from hyperlab.registration.measurements import by_subject
from hyperlab.studies.registration import ARMS, Units
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


class Silent:
    def update(self, done, **shown):
        self.done = done

    def pause(self, name):
        raise AssertionError("no checkpoints, no pauses")


class Folder:
    def __init__(self, path):
        self.path = path

    def mark(self, event):
        pass


@pytest.fixture(scope="module")
def study():
    return load(apply(registration.get_config(), SMALL).data)


def new(study, path):
    return Units(apply(registration.get_config(), SMALL), study, Folder(path), Silent(), Stop())


@pytest.fixture(scope="module")
def units(study, tmp_path_factory):
    """One study for all tests, which share its compiled programs."""
    return new(study, tmp_path_factory.mktemp("study"))


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


def test_a_finished_unit_is_read_and_every_arm_starts_from_the_same_network(study, units, monkeypatch):
    mip, separate = ARMS["mip"].variants()[0], ARMS["separate"].variants()[0]
    result = units.train("mip/report/100", mip, 0.01, FIRST_REPORT_SEED, REPORT)
    assert result["weight"].tolist() == [0.1, 0.5, 0.9, 1.0]
    assert result["dice"].shape == (4, 10, 3)
    assert result["folding"].shape == result["endpoint_error"].shape == (4, 10)
    assert result["loss"].shape == (4,) and bool(result["finite"]) and float(result["seconds"]) > 0
    assert result["example/displacement"].shape == (4, 16, 16, 2) and result["example/fixed"].shape == (16, 16)
    assert units.done == 200 and units.test_reads == 1
    own = units._initial(separate)(jax.random.key(3))["params"]
    both = units._initial(mip)(jax.random.key(3))["params"]
    assert list(both["primary"]) == ["flow"]
    jax.tree.map(np.testing.assert_array_equal, own, both["theta0"] | both["primary"])
    monkeypatch.setattr(module, "fit", None)
    again = new(study, units.folder.path).train("mip/report/100", mip, 0.01, FIRST_REPORT_SEED, REPORT)
    assert set(again) == set(result)
    for key, value in result.items():
        np.testing.assert_array_equal(again[key], value)


def test_training_lowers_the_loss_at_its_weight_and_depends_on_the_seed_alone(units):
    separate = ARMS["separate"].variants()[0]
    seeds = {"first": 0, "second": 1, "again": 0}
    runs = {name: units.train(f"separate/0.1/{name}", separate, 0.01, seed, TUNE, 0.1) for name, seed in seeds.items()}
    assert runs["first"]["weight"].tolist() == [0.1] and runs["first"]["loss"].shape == (4,)
    assert not any(key.startswith("example") for key in runs["first"])
    for run in runs.values():
        assert run["loss"][-1] < 0.7 * run["loss"][0]
        assert relative_objective(run, units.identity(TUNE))[0] < 0.9
    assert (runs["second"]["similarity"] != runs["first"]["similarity"]).any()
    np.testing.assert_array_equal(runs["again"]["similarity"], runs["first"]["similarity"])


def test_a_network_that_diverges_is_measured_as_a_failure(units):
    result = units.train("separate/0.1/diverges", ARMS["separate"].variants()[0], 1e30, 9, TUNE, 0.1)
    assert not result["finite"]
    assert not np.isfinite(relative_objective(result, units.identity(TUNE))).any()


def test_optimised_pairs_come_closer_than_the_identity(units):
    result, identity = units.optimize("pairwise/tune/0.2", 0.2, TUNE), units.identity(TUNE)
    assert (relative_objective(result, identity) < 0.8).all()
    assert result["dice"].mean() > identity["dice"].mean()


def test_a_stop_keeps_nothing_of_the_unit_that_is_in_work(study, tmp_path):
    stopped = new(study, tmp_path)
    stopped.stop = type("Stopped", (), {"requested": True})()
    assert stopped.train("mip/tune/0", ARMS["mip"].variants()[0], 0.01, 0, TUNE) is None
    assert stopped.identity(TUNE) is None and stopped.optimize("pairwise/tune/0.1", 0.1, TUNE) is None
    assert not list((tmp_path / "units").iterdir())
