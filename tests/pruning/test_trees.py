"""Any tree of parameters: a generated theta, theta0 of a hypernetwork, an in-context network, an NNX module."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import hyperlab as hl
from hyperlab import pruning, trees
from hyperlab.errors import ConfigError, ParameterTreeError
from hyperlab.models import UniverSeg
from hyperlab.pruning import evidence


class Primary(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3, name="classifier")(nn.relu(nn.Dense(8, name="hidden")(x)))


def test_a_generated_theta_and_theta0():
    x = jnp.ones((2, 4))
    model = hl.hypernetize(Primary(), x, hidden=(4,))
    variables = model.init(jax.random.key(0))
    theta = model.generate(variables, jnp.array([0.3]))["params"]
    masks = hl.pruning.masks("global_magnitude", theta, compression=1.5, exclude=["classifier/**"])
    assert abs(pruning.compression(masks) * sum(pruning.available(masks).values()) - trees.count(theta)) < 1e-9
    assert abs(sum(pruning.available(masks).values()) - trees.count(theta) / 1.5) <= 1
    theta0 = variables["params"]["theta0"]
    # theta0 = 0 at a pruned place does not make theta zero there: masks act on what is generated
    masks = hl.pruning.masks("layer_magnitude", theta0, compression=2, prunable=["**"])
    pruned = variables | {"params": variables["params"] | {"theta0": pruning.apply(theta0, masks)}}
    assert pruning.agree(pruned["params"]["theta0"], masks)
    assert model.apply(pruned, jnp.array([0.3]), x).shape == (2, 3)
    # the hypernetwork itself is a tree too
    masks = hl.pruning.masks("global_magnitude", variables["params"], compression=2, prunable=["hypernet/**/kernel"])
    assert all(mask.all() for path, mask in trees.flatten(masks).items() if not path.startswith("hypernet"))


def test_universeg():
    images = jax.ShapeDtypeStruct((1, 1, 8, 8, 1), jnp.float32)
    target = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
    net = UniverSeg((4, 4, 4))
    shapes = jax.eval_shape(net.init, jax.random.key(0), target, images, images)["params"]
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), shapes)
    assert pruning.kept_fraction(shapes, 4, exclude=["head/**"]) > 0  # shapes are enough
    masks = pruning.masks("layer_magnitude", params, 4, exclude=["head/**"])
    assert masks["head"]["kernel"].all()
    leaves = len(jax.tree.leaves(params))
    assert abs(sum(pruning.available(masks).values()) - trees.count(params) / 4) <= leaves


def test_nnx_state_as_a_pure_tree():
    module = nnx.Linear(6, 4, rngs=nnx.Rngs(0))
    params = nnx.to_pure_dict(nnx.state(module, nnx.Param))
    masks = pruning.masks("global_magnitude", params, 2)
    state = nnx.state(module, nnx.Param)
    nnx.replace_by_pure_dict(state, pruning.apply(params, masks))
    nnx.update(module, state)
    assert int((module.kernel[...] != 0).sum()) == pruning.available(masks)["kernel"]


def test_an_nnx_state_and_partitioned_arrays_are_pruned_as_they_are():
    """The boxes of flax 0.12.8, `Param` and `Partitioned`, are one more level of a tree, and no part of a name."""
    rngs = nnx.Rngs(0)
    module = nnx.Sequential(nnx.Linear(8, 8, rngs=rngs), nnx.BatchNorm(8, rngs=rngs), nnx.Linear(8, 8, rngs=rngs))
    state = nnx.state(module, nnx.Param)
    masks = pruning.masks("global_magnitude", state, 1.5, exclude=["layers/2/**"], prunable=["**"])
    plain = pruning.masks("global_magnitude", nnx.to_pure_dict(state), 1.5, exclude=["layers/2/**"], prunable=["**"])
    assert jax.tree.structure(masks) == jax.tree.structure(state)
    for one, other in zip(jax.tree.leaves(masks), jax.tree.leaves(plain), strict=True):
        np.testing.assert_array_equal(one, other)
    nnx.update(module, pruning.apply(state, pruning.masks("global_magnitude", state, 2, masks=masks)))
    assert int((module.layers[0].kernel[...] != 0).sum()) < 64 and module.layers[1].scale[...].all()

    boxed = {"kernel": nn.Partitioned(jnp.arange(6.0).reshape(2, 3), names=("in", "out"))}
    masks = pruning.masks("global_magnitude", boxed, 2)
    assert jax.tree.structure(masks) == jax.tree.structure(boxed) and masks["kernel"].value.sum() == 3


@pytest.mark.parametrize("strategy", ["global_magnitude", "layer_magnitude", "erk_magnitude", "lamp", "random"])
def test_what_cannot_be_pruned_stays_beside_what_is(strategy):
    params = {
        "dense": {"kernel": jnp.arange(64.0).reshape(8, 8), "bias": jnp.arange(8.0) + 60},
        "empty": {"kernel": jnp.zeros((0, 8))},
        "order": jnp.arange(4),
        "on": jnp.array(True),
        "key": jax.random.key(0),
    }
    masks = pruning.masks(strategy, params, 1.5, key=0)
    assert abs(pruning.compression(masks) - 1.5) < 0.03 and pruning.collapsed(masks) == []
    pruned = pruning.apply(params, masks)
    assert pruning.agree(pruned, masks)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), pruned) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), params
    )


def test_what_is_no_array_is_named():
    module = eqx.nn.MLP(4, 3, 5, 1, key=jax.random.key(0))
    with pytest.raises(ParameterTreeError, match=r"'activation' is a .*equinox.filter"):
        pruning.masks("global_magnitude", module, 1.5, prunable=["**/weight"])
    masks = pruning.masks("global_magnitude", eqx.filter(module, eqx.is_array), 1.5, prunable=["**/weight"])
    assert abs(pruning.compression(masks) - 1.5) < 0.05


def test_statistics_of_a_layer_that_is_called_by_keyword():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3, name="dense")(inputs=x)

    x = jnp.array([[3.0, 1.0], [4.0, 1.0]])
    seen = evidence.activations(Net(), Net().init(jax.random.key(0), x), x)
    np.testing.assert_allclose(seen["dense"].norm, [5.0, 2**0.5], rtol=1e-6)
    with pytest.raises(ConfigError, match="of a Linen module, got a Linear"):
        evidence.activations(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), {"params": {}}, x)
