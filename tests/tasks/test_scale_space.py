"""A U-Net at any rescaling factor under pruning: one mask of theta holds at every phi, and counts are those of it."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import pruning as experiment
from hyperlab import pruning, trees
from hyperlab.errors import ConfigError
from hyperlab.nn import level_sizes
from hyperlab.studies.pruning import METHODS, Cell, masking
from hyperlab.studies.pruning.study import Pruning
from hyperlab.tasks import load
from hyperlab.train.phases import REPORT, TUNE

KEY = jax.random.key(0)
FACTORS = (0.25, 0.5, 0.01, 0.1, 0.37)


def small(**changes):
    config = experiment.get_config()
    config.task, config.data.name, config.data.limit = "scale_space", "shapes", 8
    config.hypernet.hidden = (3,)
    config.scale_space.update({"size": (16, 16), "count": 40, "widths": (2, 2), "factors": (0.25, 0.5)})
    config.scale_space.update(changes)
    config.parent_length, config.tuning_length, config.rounds = "3 steps", "4 steps", 2
    config.compressions, config.compared, config.tuning_compression = (2.0, 4.0), (4.0,), 4.0
    config.batch_size, config.evaluation_batch, config.curve_points = 4, 5, 1
    return config


@pytest.fixture(scope="module")
def task():
    return load(small(), None)


@pytest.fixture(scope="module")
def params(study):
    return study.programs.init(jax.random.key(0))["params"]


@pytest.fixture(scope="module")
def thetas(task):
    """`params -> theta`, each leaf with an axis of factors, most of which are not scored."""
    return jax.jit(lambda params: jax.vmap(lambda at: task.theta(params, at))(jnp.array(FACTORS)[:, None]))


@pytest.fixture(scope="module")
def study(task, tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    folder = SimpleNamespace(path=path, checkpoints=path / "checkpoints", mark=lambda _: None)
    made = Pruning(task.config, task, folder, SimpleNamespace(requested=False))
    made.parent_rate = 0.01
    return made


def test_one_mask_holds_at_every_factor_and_nothing_else_moves(task, study, params, thetas):
    masks = masking.make(METHODS["global_magnitude"], study.programs, {"params": params}, 2.0, seed=0, key=KEY)
    before = trees.flatten(thetas(params))
    after = trees.flatten(thetas(pruning.apply(params, task.parameter_masks(masks, params))))
    for path, mask in trees.flatten(masks).items():
        assert not np.any(after[path][:, ~mask])
        np.testing.assert_array_equal(after[path][:, mask], before[path][:, mask])
    kept = sum(int(mask.sum()) for mask in jax.tree.leaves(masks))
    assert kept == trees.count(study.counts.pruned) // 2


def test_an_entry_is_worth_its_root_mean_square_over_the_front(task, params, thetas):
    at = trees.flatten(thetas(params))
    for path, value in trees.flatten(task.pruned(params)).items():
        np.testing.assert_allclose(value, np.sqrt(np.mean(np.square(at[path][:2]), 0)), rtol=1e-5)


def test_several_batches_cost_the_mean_and_a_factor_depends_on_seed_and_step_alone(task, params):
    first, second = task.indices(3, 0), task.indices(3, 1)
    assert first.factor != second.factor
    np.testing.assert_array_equal(second.sizes[0], level_sizes((16, 16), float(second.factor[0, 0]), 2))
    jax.tree.map(np.testing.assert_array_equal, task.indices(3, 1), second)
    both = jax.tree.map(lambda *leaves: np.concatenate(leaves), first, second)
    examples = jax.device_put(task.train())
    loss = jax.jit(lambda drawn: task.loss(params, {}, examples, drawn, {})[0])
    np.testing.assert_allclose(loss(both), (loss(first) + loss(second)) / 2, rtol=1e-5)


def test_dice_is_that_of_the_exact_network(task, params):
    split, measured = task._splits.test, task.measure({"params": params}, "test")
    assert list(measured) == ["dice", "dice_at_0.25", "dice_at_0.5"]
    theta = task.theta(params, np.array([0.25], np.float32))
    exact = jax.jit(lambda theta: task.unet.apply({"params": theta}, split.images, level_sizes((16, 16), 0.25, 2)))
    labels = np.argmax(exact(theta), -1)
    by_class = []
    for one in range(1, 4):
        hit, either = ((labels == one) & (split.labels == one)).sum((1, 2)), (labels == one).sum((1, 2))
        whole = either + (split.labels == one).sum((1, 2))
        by_class.append(np.where(whole > 0, 2 * hit / np.maximum(whole, 1), np.nan))
    np.testing.assert_allclose(measured["dice_at_0.25"], np.nanmean(by_class, 0), atol=1e-6)
    np.testing.assert_allclose(measured["dice"], (measured["dice_at_0.25"] + measured["dice_at_0.5"]) / 2)


def test_gradients_are_by_theta(task, params):
    drawn, (images, labels) = task.indices(0, 0), task.train()
    found = trees.flatten(jax.jit(task.gradients)(params, {}, (images, labels), drawn))

    @jax.jit
    def loss_at(value, factor, sizes):
        theta = task.theta(params, factor)
        theta["classifier"] = theta["classifier"] | {"bias": theta["classifier"]["bias"].at[1].add(value)}
        return task._loss_at(theta, (images, labels), drawn.rows[0], sizes)

    def loss(value, factor):
        return loss_at(value, np.array([factor], np.float32), np.array(level_sizes((16, 16), factor, 2)))

    differences = [(loss(1e-2, factor) - loss(-1e-2, factor)) / 2e-2 for factor in task.factors]
    expected = np.sqrt(np.mean(np.square(differences)))
    np.testing.assert_allclose(found["classifier/bias"][1], expected, rtol=0.02)


def test_counts_are_those_of_theta_and_zeros_stay_in_training(task, study, thetas, monkeypatch):
    seen, measure = [], task.measure
    monkeypatch.setattr(task, "measure", lambda v, part: seen.append(v["params"]) or measure(v, part))
    one = study.train(Cell("iterative_magnitude", 4.0), 0.01, 100, TUNE)
    total = trees.count(study.counts.pruned)
    assert one["size/parameters"] == total and abs(one["size/nonzero"] - total / 4) < 1
    for path, values in trees.flatten(thetas(seen[-1])).items():
        assert (values != 0).any(0).sum() <= one[f"kept/{path}"]
    assert one["size/nonzero_macs_at_0.25"] < one["size/nonzero_macs_at_0.5"] < study.counts.macs_at_points()["0.5"][1]
    assert one["size/nonzero_macs_at_0.5"] == one["size/nonzero_macs"]


def test_each_point_by_itself_is_a_network_for_each(task, study):
    assert {float(task.restrict("0.25").indices(0, step).factor[0, 0]) for step in range(3)} == {0.25}
    one = study.train(Cell("magnitude_apart", 4.0), 0.01, 100, REPORT)
    at = [one[f"test/dice_at_{point}"] for point in ("0.25", "0.5")]
    np.testing.assert_allclose(one["test/dice"], np.mean(at, 0))
    assert task.factors == (0.25, 0.5) and task.always is None
    shared = study.train(Cell("global_magnitude", 4.0), 0.01, 100, REPORT)
    assert str(one["mask"]) != str(shared["mask"]) and str(one["parent"]) == str(shared["parent"])


def test_without_a_hypernetwork_the_parameters_are_pruned_as_they_are():
    plain = load(small(network="plain"), None)
    params = jax.eval_shape(plain.init, jax.random.key(0))["params"]
    assert plain.pruned(params) is params and plain.parameter_masks(params, params) is params


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "hypernet"}, "'hypernetwork'"),
        ({"factors": (0.2, 0.7)}, r"expected some in \(0.0, 0.5\]"),
        ({"factors": ()}, "factors are"),
        ({"prior": "normal"}, "'uniform'"),
    ],
)
def test_bad_settings_are_one_error(changes, message):
    with pytest.raises(ConfigError, match=message):
        load(small(**changes), None)


def test_sets_without_a_class_a_pixel_and_scores_of_parameters_are_refused(task, study):
    config = small(size=())
    config.data.name = "digits"
    with pytest.raises(ConfigError, match="one class an image"):
        load(config, None)
    with pytest.raises(ConfigError, match="GraSP needs the Hessian of what is pruned"):
        study.train(Cell("grasp", 4.0), 0.01, 100, REPORT)
