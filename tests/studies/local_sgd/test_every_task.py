"""Replicas of every task, by its name in `TASKS`: a new one is tested here without a line of its own."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from experiments import local_sgd as experiment
from hyperlab import trees
from hyperlab.studies.local_sgd import find
from hyperlab.studies.local_sgd.programs import STREAMS
from hyperlab.studies.local_sgd.study import LocalSGD
from hyperlab.tasks import TASKS, load

# Files in a folder are read as they are needed: test_image_folder.py.
NAMES = [name for name in TASKS if name != "image_folder"]


@pytest.fixture(scope="module", params=NAMES)
def study(request, tmp_path_factory):
    config, path = experiment.get_config(), tmp_path_factory.mktemp(request.param)
    config.task, config.data.limit, config.batch_size, config.replicas = request.param, 60, 2, (2,)
    if request.param == "scale_space":
        config.data.name, config.data.limit = "shapes", 0
    config.network.width, config.length, config.warmup = 0.05, "2 steps", 0.0
    config.in_turn = True  # as on a CPU
    config.scale_space.update({"widths": (4, 4), "factors": (0.25, 0.5), "size": (16, 16), "count": 40})
    config.tasks.update({"widths": (4, 4), "support": 2, "factors": (0.5, 1.0), "queries": 4})
    folder = SimpleNamespace(path=path, checkpoints=path / "checkpoints", mark=lambda _: None)
    return LocalSGD(config, load(config, path), folder, SimpleNamespace(requested=False))


def trained(study, arm, rate):
    """Parameters before and after two steps, each as one vector."""
    programs, indices = study.programs(2), study.indices(2, 0)
    start = programs.init(jax.random.key(0))
    state = study.fit(
        programs.start(start, find(arm), 2, {"rate": rate}, 2),
        programs.advance(find(arm), 2, 2),
        lambda step: (step, jax.tree.map(lambda leaf: leaf[step], indices)),
        steps=2,
        key=jax.random.key(1),
        **study.task.feeding(),
    )
    return tuple(
        np.concatenate([np.ravel(leaf) for leaf in trees.flatten(tree).values()])
        for tree in (start["params"], state.params)
    )


@pytest.mark.parametrize("arm", ["local", "synchronous"])
def test_replicas_of_every_task_move_and_stay_finite(study, arm):
    before, after = trained(study, arm, 0.05)
    assert np.isfinite(after).all() and np.abs(after - before).max() > 1e-5
    still, moved = trained(study, arm, 0.0)
    np.testing.assert_allclose(moved, still, atol=1e-7)


def test_every_task_sees_the_same_in_the_rows_of_a_batch_alone(study):
    task, drawn = study.task, jax.tree.map(lambda leaf: leaf[0], study.indices(2, 0))  # of two replicas
    examples, indices = task.batch(drawn)
    variables = study.programs(2).init(jax.random.key(0))
    params, rest = variables["params"], {name: tree for name, tree in variables.items() if name != "params"}

    @jax.jit
    def loss(examples, indices, seed):
        keys = {name: jax.random.key(seed + place) for place, name in enumerate(STREAMS)}
        one = jax.tree.map(lambda leaf: leaf[1], indices)
        return task.loss(params, rest, examples, one, keys)[0]

    few = max(leaf.nbytes for leaf in jax.tree.leaves(examples))
    assert few < max(leaf.nbytes for leaf in jax.tree.leaves(task.train()))
    assert jax.tree.map(np.shape, indices) == jax.tree.map(np.shape, drawn)
    # two programs, which may round otherwise in the last place
    assert float(loss(examples, indices, 3)) == pytest.approx(float(loss(task.train(), drawn, 3)), rel=3e-7)


def test_every_task_measures_its_score_on_both_parts(study):
    variables = study.programs(2).init(jax.random.key(0))
    for part in ("validation", "test"):
        score = study.task.measure(variables, part)[study.task.score]
        assert score.shape == (study.task.sizes[part],) and np.isfinite(score).all()
