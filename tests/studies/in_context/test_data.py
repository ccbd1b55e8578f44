"""The configs of the in-context studies as they are, not shrunk, accept their data before anything is trained.

Shrunk configs do not show that a support set is asked for that no task can give: a store of the real sets is built at
the configs' own size, without the volumes, which are for training alone.
"""

import os
from pathlib import Path

import pytest

from hyperlab import launch
from hyperlab.data.in_context import Sampler, Sampling, TaskStore
from hyperlab.data.in_context.building import Options, build
from hyperlab.data.in_context.sources import open_source
from hyperlab.data.in_context.standardize import Standardization
from hyperlab.errors import DataError
from hyperlab.studies.in_context.arms import ARMS
from hyperlab.studies.in_context.study import InContext
from hyperlab.studies.stochastic.study import Stochastic

REAL = Path(os.environ.get("HYPERLAB_DATA", "no-data"))
SETS = ("wbc", "chasedb1", "dsb2018_nuclei", "isbi2012_membrane")
SIZE = 64


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    missing = [name for name in SETS if not (REAL / name).is_dir()]
    if missing:
        pytest.skip(f"HYPERLAB_DATA names no folder with {', '.join(missing)}")
    path = tmp_path_factory.mktemp("store")
    for name in SETS:
        build(open_source(REAL / name), path, Standardization(sizes=(SIZE,)), Options())
    return path


def unshrunk(name, store):
    config = launch.config_module(f"configs/{name}.py").get_config()
    assert tuple(config.data.size) == (SIZE, SIZE)
    config.data.store = str(store)
    return config


@pytest.mark.slow
@pytest.mark.parametrize("name", ["in_context/instrument", "stochastic/instrument", "stochastic/ablations"])
def test_configs_without_a_store_accept_the_embedded_tasks(tmp_path, name):
    config = launch.config_module(f"configs/{name}.py").get_config()
    assert not config.data.store
    made = {"in_context": InContext, "stochastic": Stochastic}[config.study].load(config, tmp_path)
    can_be_sampled(made, config, ARMS.values())


def can_be_sampled(made, config, arms):
    """Every task to train on has a query and a support set for an episode."""
    for synthetic in {arm.synthetic for arm in arms}:
        Sampler(made.training(synthetic=synthetic), Sampling(config.batch_size, config.train_support), 0).indices(0)


@pytest.mark.slow
def test_held_out_accepts_its_data(store, tmp_path):
    config = unshrunk("in_context/held_out", store)
    made = InContext.load(config, tmp_path)
    assert {task.name.split()[0] for task in made.test} == {"wbc", "chasedb1"} and len(made.test) == 3
    assert {task.name.dataset for task in made.tasks} == {"isbi2012_membrane", "bodies", "shapes"}
    pools = [len(task.images) for task in (*made.development, *made.test)]
    assert max(config.support_sizes) <= min(pools)
    can_be_sampled(made, config, [ARMS[name] for name in config.arms])
    config.support_sizes = (1, min(pools) + 1)
    with pytest.raises(DataError, match=f"has {min(pools)} examples for support sets.*give smaller support_sizes"):
        InContext.load(config, tmp_path)


@pytest.mark.slow
def test_chasedb1_accepts_its_data(store, tmp_path):
    config = unshrunk("stochastic/chasedb1", store)
    made = Stochastic.load(config, tmp_path)
    assert {task.name.split()[0] for task in made.test} == {"ambiguous-tall", "chasedb1"}
    vessels = next(task for task in made.test if task.name.startswith("chasedb1"))
    assert vessels.annotations.shape[1] == 2 and len(vessels.images) >= config.support_size
    can_be_sampled(made, config, [ARMS["universeg"]])
    assert "chasedb1" in TaskStore(store, SIZE).datasets and "chasedb1" not in {
        task.name.dataset for task in made.tasks
    }
    config.support_size = len(vessels.images) + 1
    with pytest.raises(DataError, match=f"chasedb1 grey vessel has {len(vessels.images)} examples"):
        Stochastic.load(config, tmp_path)
