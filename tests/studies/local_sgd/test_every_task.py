"""Replicas of every task, by its name in `TASKS`: a new one is tested here without a line of its own."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from experiments import local_sgd as study
from hyperlab import trees
from hyperlab.studies.local_sgd import Units, find
from hyperlab.tasks import TASKS, load

# Files in a folder are read as they are needed: tests/replicas/test_image_folder.py.
NAMES = [name for name in TASKS if name != "image_folder"]


@pytest.fixture(scope="module", params=NAMES)
def units(request, tmp_path_factory):
    config, path = study.get_config(), tmp_path_factory.mktemp(request.param)
    config.task, config.data.limit, config.batch_size, config.replicas = request.param, 60, 2, (2,)
    if request.param == "scale_space":
        config.data.name, config.data.limit = "shapes", 0
    config.network.width, config.length, config.warmup = 0.05, "2 steps", 0.0
    config.in_turn = True  # as on a CPU
    config.scale_space.update({"widths": (4, 4), "factors": (0.25, 0.5), "size": (16, 16), "count": 40})
    config.tasks.update({"widths": (4, 4), "support": 2, "factors": (0.5, 1.0), "queries": 4})
    folder = SimpleNamespace(path=path, mark=lambda _: None)
    progress = SimpleNamespace(update=lambda *_, **__: None)
    return Units(config, load(config, path), folder, progress, SimpleNamespace(requested=False))


def trained(units, arm, rate):
    """Parameters before and after two steps, each as one vector."""
    trial, nothing = units.trial(2), lambda *_: None
    start = trial.init(jax.random.key(0))
    state = trial.train(
        start, find(arm), period=2, numbers={"rate": rate}, steps=2, indices=units.indices(2, 0),
        key=jax.random.key(1), evaluate=nothing, evaluate_every=2, drift=nothing, drift_every=2, progress=None,
        stop=units.stop,
    )  # fmt: skip
    return tuple(
        np.concatenate([np.ravel(leaf) for leaf in trees.flatten(tree).values()])
        for tree in (start["params"], state.params)
    )


@pytest.mark.parametrize("arm", ["local", "synchronous"])
def test_replicas_of_every_task_move_and_stay_finite(units, arm):
    before, after = trained(units, arm, 0.05)
    assert np.isfinite(after).all() and np.abs(after - before).max() > 1e-5
    still, moved = trained(units, arm, 0.0)
    np.testing.assert_allclose(moved, still, atol=1e-7)


def test_every_task_measures_its_score_on_both_parts(units):
    variables = units.trial(2).init(jax.random.key(0))
    for part in ("validation", "test"):
        score = units.task.measure(variables, part)[units.task.score]
        assert score.shape == (units.task.sizes[part],) and np.isfinite(score).all()
