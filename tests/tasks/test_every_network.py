"""What every classifier keeps, by its name in `NETWORKS`: a new one is tested here without a line of its own."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from hyperlab import trees
from hyperlab.pruning.select import prunable_paths
from hyperlab.tasks.classification import NETWORKS

CLASSES = 7
IMAGE = {"lenet_300_100": (8, 8, 1), "mnist_net": (28, 28, 1)}
NORMALIZATIONS = ("batch", "group")


def made(name, normalization="group", width=0.25):
    depth = 18 if name == "resnet" else 20
    network = ml_collections.ConfigDict({"depth": depth, "width": width, "normalization": normalization})
    return NETWORKS[name](network, CLASSES)


def images(name, count=3, seed=0):
    return jax.random.normal(jax.random.key(seed), (count, *IMAGE.get(name, (32, 32, 3))))


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    """`(name, module, variables, a compiled forward pass)`."""
    module = made(request.param)
    variables = jax.jit(lambda key: module.init(key, images(request.param, 1), train=False))(jax.random.key(0))
    return request.param, module, variables, jax.jit(lambda v, x: module.apply(v, x, train=False))


def test_logits_are_float32_and_every_parameter_is_float32_and_finite(network):
    name, _, variables, forward = network
    logits = forward(variables, images(name))
    assert logits.shape == (3, CLASSES) and logits.dtype == jnp.float32 and np.isfinite(logits).all()
    for leaf in jax.tree.leaves(variables):
        assert leaf.dtype == jnp.float32 and np.isfinite(leaf).all()


def test_an_image_is_judged_alone_and_the_same_every_time(network):
    name, _, variables, forward = network
    together = forward(variables, images(name))
    np.testing.assert_array_equal(together, forward(variables, images(name)))
    turned = forward(variables, images(name)[::-1])
    np.testing.assert_allclose(together, turned[::-1], rtol=1e-4, atol=1e-5)


def test_every_parameter_is_learned(network):
    name, module, variables, _ = network

    @jax.jit
    def gradients(params):
        def loss(params):
            logits = module.apply({**variables, "params": params}, images(name), train=False)
            return jnp.square(logits - jnp.arange(CLASSES)[None]).mean()

        return jax.grad(loss)(params)

    for path, gradient in trees.flatten(gradients(variables["params"])).items():
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, path


def test_the_last_layer_is_what_pruning_leaves_alone(network):
    """Its path is `classifier`, as `Classification.exclude` says, and something is left to prune."""
    _, _, variables, _ = network
    params = variables["params"]
    chosen = prunable_paths(params, exclude=("classifier/**",))
    assert trees.flatten(params)["classifier/kernel"].shape[-1] == CLASSES
    assert chosen and not any(path.startswith("classifier") for path in chosen)


@pytest.mark.parametrize("name", NETWORKS)
def test_width_multiplies_channels_and_normalisation_is_a_choice(name):
    def size(**options):
        module = made(name, **options)
        shapes = jax.eval_shape(lambda key: module.init(key, images(name, 1), train=False), jax.random.key(0))
        return trees.count(shapes["params"]), set(shapes)

    assert size(width=0.25)[0] < size(width=0.5)[0] < size(width=1.0)[0]
    assert size(normalization="group")[1] == {"params"}
    assert size(normalization="batch")[1] <= {"params", "batch_stats"}
