"""A network that works at a share of the images' size: each factor is a branch, and sees images of its own size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import pruning as study
from hyperlab.errors import ConfigError
from hyperlab.tasks import load
from hyperlab.tasks.in_context_scales import Rescaled

fast = pytest.mark.fast


class Weighted:
    """Weighs its target by how many pixels it sees."""

    def apply(self, variables, target, support):
        return variables["params"] * target * target[0].size + support.mean()


@pytest.mark.parametrize(("place", "pixels"), [(0, 16), (1, 64)])
def test_the_answer_is_that_at_the_factors_size_brought_back_to_the_full_one(place, pixels):
    network = Rescaled(Weighted(), lambda params, factor: params * factor[0], (0.5, 1.0))
    image, support = jnp.arange(64.0).reshape(1, 8, 8, 1), jnp.ones((1, 3, 8, 8, 1))

    def logits(place):
        return Rescaled(network.module, network.theta, network.factors, place).apply({"params": 2.0}, image, support)

    factor = network.factors[place]
    side = int(8 * factor)
    small = jax.image.resize(image, (1, side, side, 1), "linear") * pixels * 2.0 * factor + 1
    expected = jax.image.resize(small, image.shape, "linear")
    np.testing.assert_allclose(logits(place), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(logits)(np.int32(place)), expected, rtol=1e-5)


@fast
@pytest.mark.parametrize("factors", [(0.3,), (0.5, 1.25), (0.0,)])
def test_factors_that_the_levels_cannot_halve_are_one_error(tmp_path, factors):
    config = study.get_config()
    config.task, config.tasks.factors = "in_context_scales", factors
    with pytest.raises(ConfigError, match="tasks.factors: at .* expected multiples of 4"):
        load(config, tmp_path)


def test_batches_of_several_replicas_are_the_mean_of_each_at_its_own_factor(tmp_path):
    """As synchronous replicas give them: merged along the leading axis."""
    config = study.get_config()
    config.task, config.batch_size = "in_context_scales", 2
    config.tasks.update({"widths": (4, 4), "support": 2, "factors": (0.5, 1.0), "queries": 4})
    task = load(config, tmp_path)
    params, examples = task.init(jax.random.key(0)), task.train()
    steps = [task.indices(0, step) for step in range(8)]
    first = steps[0]
    second = next(one for one in steps if one.place != first.place)
    keys = {name: jax.random.key(seed) for seed, name in enumerate(("augmentation", "dropout"))}
    loss = jax.jit(lambda drawn, keys: task.loss(params["params"], {}, examples, drawn, keys)[0])
    merged = jax.tree.map(lambda *leaves: np.concatenate(leaves), first, second)
    own = [{name: jax.random.split(jax.random.clone(key))[i] for name, key in keys.items()} for i in range(2)]
    alone = [loss(one, of) for one, of in zip((first, second), own, strict=True)]
    assert alone[0] != alone[1]
    np.testing.assert_allclose(loss(merged, keys), np.mean(alone), rtol=1e-5)
