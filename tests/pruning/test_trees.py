"""Any tree of parameters: a generated theta, theta0 of a hypernetwork, an in-context network, an NNX module."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import hyperlab as hl
from hyperlab import pruning, trees
from hyperlab.models import UniverSeg


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
