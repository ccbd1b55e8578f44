"""The pruning study: parents that methods share, masks that hold, counts and scores that are exact."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import pruning as experiment
from hyperlab import pruning, trees
from hyperlab.data.splits import permutation
from hyperlab.studies.pruning import METHODS, Cell, masking
from hyperlab.studies.pruning.study import Pruning
from hyperlab.tasks import load
from hyperlab.tasks.classification import shifted, true_rank
from hyperlab.train.phases import REPORT, TUNE


def small(**changes):
    config = experiment.get_config()
    config.data.limit = 60
    config.network.width = 0.05
    config.parent_length = "6 steps"
    config.tuning_length = "4 steps"
    config.compressions = (2.0, 4.0)
    config.compared = (4.0,)
    config.tuning_compression = 4.0
    config.rounds = 2
    config.batch_size = 8
    config.curve_points = 2
    for key, value in changes.items():
        config[key] = value
    return config


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """A study in a folder of its own; programs are shared through the task."""

    def build(config=None):
        config = small() if config is None else config
        path = tmp_path_factory.mktemp("run")
        folder = SimpleNamespace(path=path, checkpoints=path / "checkpoints", mark=lambda _: None)
        study = Pruning(config, load(config, path), folder, SimpleNamespace(requested=False))
        study.parent_rate = 0.01
        return study

    return build


@pytest.fixture(scope="module")
def study(make):
    return make()


@pytest.mark.parametrize("name", ["global_magnitude", "iterative_magnitude", "gradual_magnitude", "rewound_magnitude",
                                  "redrawn_magnitude", "snip", "grasp", "synflow", "set", "rigl", "random~snip",
                                  "magnitude~global_gradient", "snip_shuffled"])  # fmt: skip
def test_every_kind_of_method_ends_at_the_compression(study, name):
    result = study.train(Cell(name, 4.0), 0.003, 100, REPORT)
    kept = {path: int(result[f"kept/{path}"]) for path in trees.flatten(study.variables["params"])}
    total = trees.count(study.variables["params"])
    tensors = len(study.counts.prunable)  # shares round once for each
    assert abs(sum(kept.values()) - total / 4) <= tensors
    assert result["size/nonzero"] == sum(kept.values()) and result["size/parameters"] == total
    assert kept["classifier/kernel"] == study.variables["params"]["classifier"]["kernel"].size
    steps = study.steps(Cell(name, 4.0))
    assert result["curve/step"].tolist() == [0, steps // 2, steps]
    for part, examples in (("validation", 60), ("test", 60)):
        for stage in ("", "pruned/", "selected/"):
            values = result[f"{stage}{part}/accuracy"]
            assert values.shape == (examples,) and set(values) <= {0.0, 1.0}


@pytest.mark.parametrize("name", ["iterative_magnitude", "gradual_magnitude", "rigl"])
def test_only_networks_with_their_last_masks_are_selected(make, monkeypatch, name):
    """An early network, whose masks are others, would be the best one by far."""
    study, kept = make(), []
    measure, evaluations = study.task.measure, iter([1.0, 0.9, 0.1])

    def scored(variables, part):
        kept.append(sum(np.count_nonzero(leaf) for leaf in jax.tree.leaves(variables["params"])))
        found = measure(variables, part)
        return {**found, "accuracy": np.full_like(found["accuracy"], next(evaluations))} if training else found

    training, fit = False, study._fit

    def fitted(*arguments):
        nonlocal training
        training = arguments[-2].best_after is not None
        result = fit(*arguments)
        training = False
        return result

    monkeypatch.setattr(study, "_fit", fitted)
    study.parent(0.01, 100)
    monkeypatch.setattr(study.task, "measure", scored)
    result = study.train(Cell(name, 4.0), 0.003, 100, REPORT)
    at_steps, after = kept[-7:-4], kept[-4:]  # validation and test, of the last and of the selected network
    assert set(after) == {at_steps[-1]} and at_steps[0] != at_steps[-1]
    np.testing.assert_array_equal(result["selected/test/accuracy"], result["test/accuracy"])


def test_methods_share_the_parent_of_their_seed(study):
    results = [study.train(Cell(name, 4.0), 0.003, 100, REPORT) for name in ("global_magnitude", "snip")]
    parent = study.parent(0.01, 100)
    assert {str(one["parent"]) for one in results} == {str(parent["digest"])}
    assert str(study.parent(0.01, 101)["digest"]) != str(parent["digest"])
    np.testing.assert_array_equal(study.unpruned(100)["validation/accuracy"], parent["validation/accuracy"])


def test_pruned_entries_are_zero_after_training_and_the_rest_has_moved(study, monkeypatch):
    seen, measure = [], study.task.measure
    monkeypatch.setattr(study.task, "measure", lambda v, part: seen.append(v) or measure(v, part))
    study.train(Cell("layer_magnitude", 4.0), 0.01, 100, TUNE)
    trained = seen[-1]
    parent = study.stage(study.parent(0.01, 100), "trained")
    masks = masking.make(METHODS["layer_magnitude"], study.programs, parent, 4.0, seed=100, key=jax.random.key(0))
    assert pruning.agree(trained["params"], masks)
    kept = np.concatenate([np.ravel(m) for m in trees.flatten(masks).values()])
    before, after = (
        np.concatenate([np.ravel(x) for x in trees.flatten(v["params"]).values()]) for v in (parent, trained)
    )
    assert (before != after)[kept].mean() > 0.7  # study that are dead have no gradient


def test_masks_are_a_function_of_seeds_alone(make, study):
    again = make()
    for name in ("random", "snip", "random~snip"):
        first, second = (u.train(Cell(name, 4.0), 0.003, 0, TUNE) for u in (study, again))
        assert str(first["mask"]) == str(second["mask"])
        np.testing.assert_array_equal(first["validation/accuracy"], second["validation/accuracy"])
    other = study.train(Cell("random", 4.0), 0.003, 1, TUNE)
    assert str(other["mask"]) != str(study.train(Cell("random", 4.0), 0.003, 0, TUNE)["mask"])


def test_a_control_has_the_shares_of_its_method(study):
    own, control = (study.train(Cell(name, 4.0), 0.003, 0, TUNE) for name in ("snip", "random~snip"))
    paths = [f"kept/{path}" for path in study.counts.prunable]
    assert [int(own[path]) for path in paths] == [int(control[path]) for path in paths]
    assert str(own["mask"]) != str(control["mask"])


def test_rewound_values_are_those_of_the_parents_early_steps(make):
    study = make(small(rewind_to=0.5))
    parent = study.parent(0.01, 0)
    early, initial, trained = (study.stage(parent, stage)["params"] for stage in ("early", "initial", "trained"))
    same = lambda a, b: all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))  # noqa: E731
    assert not same(early, initial) and not same(early, trained)
    # three steps of a parent are the parent of three steps: the schedule is constant
    short = make(small(parent_length="3 steps"))
    assert same(short.stage(short.parent(0.01, 0), "trained")["params"], early)


def test_the_score_does_not_depend_on_the_size_of_a_batch(make):
    first, second = make(small(evaluation_batch=7)), make(small(evaluation_batch=512))
    parent = first.stage(first.parent(0.01, 0), "trained")
    for part in ("validation", "test"):
        one, other = (u.task.measure(parent, part) for u in (first, second))
        assert one.keys() == other.keys() == {"accuracy", "top5"}
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_batch_statistics_change_in_training_and_nowhere_else(make):
    config = small()
    config.network.kind, config.network.depth = "cifar_resnet", 8
    config.network.width = 0.25
    study = make(config)
    parent = study.parent(0.01, 0)
    start, trained = (study.stage(parent, stage)["batch_stats"] for stage in ("initial", "trained"))
    assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(start), jax.tree.leaves(trained), strict=True))
    variables = study.stage(parent, "trained")
    before = jax.tree.map(np.array, variables)
    study.task.measure(variables, "validation")
    masking.make(METHODS["global_gradient"], study.programs, variables, 4.0, seed=0, key=jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.array, variables))
    result = study.train(Cell("global_magnitude", 4.0), 0.003, 0, TUNE)
    assert not any("batch_stats" in key for key in result if key.startswith("kept/"))


@pytest.mark.fast
def test_ties_and_nan_do_not_flatter():
    logits = jnp.array([[0.0, 0.0], [np.nan, np.nan], [1.0, 0.0]])
    assert true_rank(logits, jnp.array([0, 0, 0])).tolist() == [1, 2, 0]


def test_shifted_images_are_crops_of_padded_ones_perhaps_mirrored():
    images = jnp.asarray(permutation(2 * 6 * 6 * 1, 0).reshape(2, 6, 6, 1), jnp.float32) + 1
    moved = np.asarray(shifted(jax.random.key(3), images))
    for image, one in zip(np.asarray(images), moved, strict=True):
        places = [
            np.pad(flipped, ((4, 4), (4, 4), (0, 0)))[row : row + 6, column : column + 6]
            for flipped in (image, image[:, ::-1]) for row in range(9) for column in range(9)
        ]  # fmt: skip
        assert any(np.array_equal(one, place) for place in places)
