"""A U-Net at any rescaling factor on patches of a prepared set: what a step is given, and scores over whole cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from segmentation_files import nnunet

from experiments import pruning as experiment
from hyperlab import losses
from hyperlab.data.prepared import prepare
from hyperlab.errors import ConfigError
from hyperlab.inference.tiles import tiled_case
from hyperlab.metrics import segmentation
from hyperlab.tasks import load
from hyperlab.tasks.schema import check_files
from hyperlab.train.groups import Group
from hyperlab.train.supply import Supply


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patches")
    prepare(nnunet(folder / "set", cases=10), folder / "store")
    config = experiment.get_config()
    config.task, config.data.name, config.data.root = "scale_space", "store", str(folder / "store")
    config.hypernet.hidden = (3,)
    config.scale_space.update({"size": (6, 5), "widths": (2, 2), "factors": (0.25, 0.5)})
    config.batch_size, config.evaluation_batch = 4, 3
    return config


@pytest.fixture(scope="module")
def task(config):
    return load(config, None)


def test_a_step_is_given_its_patches_and_its_loss_is_theirs(task):
    params = task.init(jax.random.key(0))["params"]
    examples, (images, labels, drawn) = task.batch(task.indices(7, 3))
    assert examples == () and images.shape == (1, 4, 6, 5, 1) and labels.shape == (1, 4, 6, 5)
    whole = task._splits.reader(4, 7).patches(3)
    np.testing.assert_array_equal(images[0], whole[0].squeeze(3))
    found, _ = task.loss(params, {}, examples, (images, labels, drawn), {"augmentation": jax.random.key(0)})
    theta = task.theta(params, jnp.asarray(drawn.factor[0]))
    logits = task.unet.apply({"params": theta}, images[0], drawn.sizes[0], canvases=task.canvases)
    np.testing.assert_allclose(found, losses.dice_cross_entropy(logits, labels[0]).mean(), rtol=1e-5)
    gradients = task.gradients(params, {}, examples, (images, labels, drawn))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    assert jax.tree.structure(gradients) == jax.tree.structure(task.pruned(params))


def test_steps_are_fed_from_the_store(task):
    feeding = task.feeding()
    supply = Supply(feeding["examples"], feeding["select"], feeding["read"], group=Group(0), rows=4)
    with supply.ahead(lambda step: (step, task.indices(1, step)), 4) as found:
        examples, (step, (images, _, drawn)) = supply.place(found(2))
    assert step == 2 and examples == () and drawn.seed is None
    np.testing.assert_array_equal(images, task.read(task.indices(1, 2))[0])
    assert not np.array_equal(images, task.read(task.indices(2, 2))[0])  # of another seed


def test_scores_are_over_whole_cases(task):
    variables = task.init(jax.random.key(1))
    found = task.measure(variables, "test")
    for factor, sizes in zip(*task._grid(), strict=True):
        theta, rows = task.theta(variables["params"], factor), {}
        for place, group in enumerate(task._splits.test.groups):
            one = task._splits.test.read(place)
            whole = tiled_case(
                lambda patches, theta=theta, sizes=sizes: jax.nn.softmax(
                    task.unet.apply({"params": theta}, patches, sizes, canvases=task.canvases)
                ),
                one.images[0], (6, 5), batch=3,
            )  # fmt: skip
            rows.setdefault(group, []).append((whole.argmax(-1), one.labels[0]))
        expected = []
        for _, pairs in sorted(rows.items()):  # of a subject all voxels together
            predicted, truth = (
                np.concatenate([each.ravel() for each in column]) for column in zip(*pairs, strict=True)
            )
            expected.append(np.nanmean(segmentation.dice(predicted[None], truth[None], 3)))
        np.testing.assert_allclose(found[f"dice_at_{factor[0]:.3g}"], expected, atol=1e-5)
    assert found["dice"].shape == (task.sizes["test"],)


def test_other_studies_say_that_they_read_no_store(config):
    check_files(config)
    other = config.copy_and_resolve_references()
    other.task = "classification"
    with pytest.raises(ConfigError, match="patches of a prepared set are for the studies rescaling and pruning"):
        check_files(other)
