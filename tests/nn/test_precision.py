"""A network in bfloat16: all products are, while parameters, what is summed up, places and logits stay float32."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numbers_of_programs import half_sums, products

import hyperlab as hl
from hyperlab import models, trees
from hyperlab.errors import ConfigError
from hyperlab.models.few_shot import Prototypes, SqueezeGuided
from hyperlab.nn import Conv, Dense, computing_in, conv_set, upsample_aligned
from hyperlab.nn.precision import DTYPES
from hyperlab.nn.resize import resize
from hyperlab.train.engine import PRECISIONS

IMAGES = jax.random.uniform(jax.random.key(1), (2, 16, 16, 1))
SETS = jax.random.uniform(jax.random.key(2), (2, 3, 16, 16, 1))
MANY = jax.random.uniform(jax.random.key(3), (2, 2, 16, 16, 1))
# A network, its inputs, and how many products of its gradient are float32, which a comment explains.
NETWORKS = {
    "MLP": (models.MLP((8,)), (IMAGES,), {}),
    "ConvNet": (models.ConvNet((4, 4)), (IMAGES,), {}),
    "UNet": (models.UNet((4, 4, 4)), (IMAGES,), {}),
    "UNet of groups, added": (models.UNet((4, 6), normalization="group", skip="add"), (IMAGES,), {}),
    "UNet of batches": (models.UNet((4, 4), normalization="batch"), (IMAGES,), {}),
    "DropoutUNet": (models.DropoutUNet((4, 4), rate=0.2), (IMAGES,), {}),
    # the network that modulates: two layers and the last one, with two gradients each, but for that of its input
    "FilmUNet": (models.FilmUNet(models.UNet((4, 4)), (4, 4)), (jnp.ones(1), IMAGES), {"dot_general": 8}),
    "UniverSeg": (models.UniverSeg([4, 4], normalization="group"), (IMAGES, SETS, SETS), {}),
    "Tyche": (models.Tyche([4, 4]), (MANY, MANY, SETS, SETS), {}),
    "SqueezeGuided": (SqueezeGuided((4, 4)), (IMAGES, SETS, SETS), {}),
    # cosines with two prototypes, and their gradients by features and prototype
    "Prototypes": (Prototypes((4, 4)), (IMAGES, SETS, SETS), {"dot_general": 6}),
    # the layer that gives the field, with its gradients as a CPU computes them and others do; resizing the field
    "VoxelMorph": (
        models.VoxelMorph((4,), (4, 4)), (IMAGES, IMAGES), {"conv_general_dilated": 5, "dot_general": 4}
    ),
    "LeNet300100": (models.LeNet300100(width=0.05), (IMAGES,), {}),
    "MnistNet": (models.MnistNet(width=0.1), (IMAGES,), {}),
    "CifarResNet": (models.CifarResNet(8, width=0.25), (IMAGES,), {}),
    "CifarVGG": (models.CifarVGG(stages=((8, 8), (8,)), hidden=8, dropout=False), (IMAGES,), {}),
    "ResNet": (models.ResNet(18, classes=3, width=0.1), (IMAGES,), {}),
}  # fmt: skip


def low(network):
    """The network in bfloat16, as the studies make it."""
    if isinstance(network, models.FilmUNet):
        return network.clone(unet=low(network.unet))
    return computing_in(network, "bfloat16")


def gradient_of(network, inputs):
    """`variables -> ` the gradient of a number that depends on all outputs, in training where the network knows it."""
    train = {"train": True} if "train" in network.__call__.__code__.co_varnames else {}

    def value(params, rest):
        outputs, changed = network.apply({"params": params, **rest}, *inputs, mutable=["batch_stats"], **train)
        assert {leaf.dtype.name for leaf in jax.tree.leaves((outputs, changed))} == {"float32"}
        return sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(outputs))

    return lambda variables: jax.grad(value)(
        variables["params"], {name: tree for name, tree in variables.items() if name != "params"}
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_products_are_of_bfloat16_and_what_is_summed_up_is_not(name):
    """Of equal numbers a sum in bfloat16 ends at 256 of them; those that stay are of the pixels of a pooling."""
    network, inputs, float32 = NETWORKS[name]
    shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    gradient = gradient_of(low(network), inputs)
    found = products(gradient, shapes)
    assert {kind: count for (kind, *dtypes), count in found.items() if dtypes != ["bfloat16"]} == float32
    assert sum(found.values()) > sum(float32.values())
    assert max(half_sums(gradient, shapes), default=0) <= 4
    assert {leaf.dtype.name for leaf in jax.tree.leaves(jax.eval_shape(gradient, shapes))} == {"float32"}


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_differ_by_rounding(name):
    network, inputs, _ = NETWORKS[name]

    @jax.jit
    def both(key):
        variables = network.init(key, *inputs)
        return [net.apply(variables, *inputs) for net in (low(network), network)]

    ours, theirs = both(jax.random.key(0))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert 0 < jnp.abs(a - b).max() < 0.05 * jnp.abs(b).max()


@pytest.mark.parametrize("name", ["UNet of groups, added", "Tyche", "LeNet300100"])
def test_parameters_are_the_same(name):
    network, inputs, _ = NETWORKS[name]
    ours, theirs = (jax.jit(net.init)(jax.random.key(0), *inputs) for net in (low(network), network))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(ours)} == {"float32"}
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_float32_is_the_network_itself_and_names_are_those_of_the_config():
    network = models.UNet((4, 4))
    assert computing_in(network, "float32") is network
    assert tuple(DTYPES) == PRECISIONS


@pytest.mark.parametrize(
    ("network", "precision", "message"),
    [
        (models.MLP((4,)), "bfloat", "unknown precision 'bfloat'; did you mean 'bfloat16'"),
        (models.FilmUNet(models.UNet((4,))), "bfloat16", "FilmUNet cannot be told"),
        ((None, None), "bfloat16", "tuple cannot be told"),
    ],
)
def test_what_cannot_be_told_is_refused(network, precision, message):
    with pytest.raises(ConfigError, match=message):
        computing_in(network, precision)


# -- layers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [Conv(3, (3, 3), dtype=jnp.bfloat16), Dense(3, dtype=jnp.bfloat16)])
def test_the_gradient_of_a_bias_is_the_sum_over_all_places(layer):
    images = jnp.ones((4, 32, 32, 1), jnp.bfloat16)
    params = layer.init(jax.random.key(0), images)
    gradient = jax.jit(jax.grad(lambda p: layer.apply(p, images).astype(jnp.float32).sum()))(params)
    assert gradient["params"]["bias"].tolist() == [4096.0] * 3


@pytest.mark.parametrize(
    ("ours", "theirs", "image"),
    [(Conv, nn.Conv, (1, 5, 5, 2)), (Dense, nn.Dense, (7, 2))],
    ids=["Conv", "Dense"],
)
@pytest.mark.parametrize("dtype", [None, jnp.float32, jnp.bfloat16])
def test_layers_have_the_parameters_and_values_of_linen(ours, theirs, image, dtype):
    window = ((3, 3),) if ours is Conv else ()
    options = {"dtype": dtype, "bias_init": nn.initializers.normal(1.0)}
    images = jax.random.normal(jax.random.key(1), image)
    (a, params), (b, others) = (
        layer(4, *window, **options).init_with_output(jax.random.key(0), images) for layer in (ours, theirs)
    )
    jax.tree.map(np.testing.assert_array_equal, params, others)
    assert a.dtype == b.dtype
    if dtype == jnp.bfloat16:
        np.testing.assert_allclose(a.astype(jnp.float32), b.astype(jnp.float32), atol=0.03)
    else:
        np.testing.assert_array_equal(a, b)


def test_who_listens_to_layers_hears_each_once():
    network = models.ConvNet((4, 4))
    heard = jax.eval_shape(
        lambda key: network.init_with_output(key, IMAGES, capture_intermediates=True)[1], jax.random.key(0)
    )["intermediates"]
    assert {len(heard[name]["__call__"]) for name in ("conv_0", "conv_1", "classifier")} == {1}


def test_the_bias_of_a_set_is_added_in_float32():
    """1 + 2 ** -8 is no number of bfloat16: where the bias was rounded first, nothing of it is left."""
    bias = jnp.full(1, 2.0**-8 + 2.0**-9)
    added = conv_set(jnp.ones((1, 1, 1, 1, 1), jnp.bfloat16), jnp.ones((1, 1, 1, 1), jnp.bfloat16), bias)
    assert added.dtype == jnp.bfloat16 and float(added[0, 0, 0, 0, 0]) == 1 + 2.0**-7


# -- places -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resized", [lambda x: resize(x, (777, 1)), upsample_aligned])
def test_a_resized_image_is_rounded_once(resized):
    """At 300 pixels a weight, or a place, that were bfloat16 themselves would be off."""
    image = jax.random.normal(jax.random.key(0), (1, 300, 1, 2)).astype(jnp.bfloat16)
    expected = resized(image.astype(jnp.float32)).astype(jnp.bfloat16)
    np.testing.assert_array_equal(resized(image), expected)


def test_a_registration_is_as_exact_far_from_the_origin():
    """Coordinates beyond 256 have no fractions in bfloat16, and beyond 512 every second one is missing."""
    network = models.VoxelMorph((4,), (4, 4), integration_steps=5)
    tile = jax.random.uniform(jax.random.key(4), (2, 1, 8, 64, 1))
    moving, fixed = (jnp.tile(one, (1, 1, 12, 1)) for one in tile)
    variables = network.init(jax.random.key(0), moving, fixed)
    flow = {"kernel": 0.5 * jax.random.normal(jax.random.key(5), variables["params"]["flow"]["kernel"].shape)}
    variables = {"params": variables["params"] | {"flow": variables["params"]["flow"] | flow}}
    ours, theirs = (jax.jit(net.apply)(variables, moving, fixed).displacement for net in (low(network), network))
    assert ours.dtype == jnp.float32 and jnp.abs(theirs).max() > 1
    error = jnp.abs(ours - theirs).reshape(8, 12, 64, 2).max((0, 2, 3))  # of each tile
    assert error.max() < 0.1
    np.testing.assert_allclose(error[1:-1], error[1], rtol=0.2)  # wherever a tile lies


# -- generated parameters -----------------------------------------------------------------------------------------


def test_a_generated_theta_is_cast_after_the_addition():
    primary, gamma = models.MLP((4,), 3), jnp.array([0.3])
    made, expected = (hl.hypernetize(net, IMAGES, hidden=(4,)) for net in (low(primary), primary))
    variables = jax.jit(expected.init)(jax.random.key(0))
    theta, delta = made.generate(variables, gamma)["params"], made.delta(variables, gamma)
    theta0 = trees.flatten(variables["params"]["theta0"])

    def logits(of_kernel):
        """Of the network with these kernels, in bfloat16 already: a layer casts nothing then but its input."""
        own = trees.flatten(theta)
        own |= {path: of_kernel(path) for path in own if path.endswith("kernel")}
        return low(primary).apply({"params": trees.unflatten(own, theta)}, IMAGES)

    def cast(array):
        return array.astype(jnp.bfloat16)

    found = made.apply(variables, gamma, IMAGES)
    np.testing.assert_array_equal(found, logits(lambda path: cast(theta0[path] + delta[path])))
    assert (found != logits(lambda path: cast(theta0[path]) + cast(delta[path]))).any()


def test_the_hypernetwork_stays_float32():
    model = hl.hypernetize(low(models.UNet((4, 4))), IMAGES, hidden=(4, 6))
    variables = jax.eval_shape(model.init, jax.random.key(0))
    alone = products(model.delta, variables, jnp.ones(1))
    whole = products(model.apply, variables, jnp.ones(1), IMAGES)
    assert alone == {("dot_general", "float32"): 3}
    assert whole.pop(("dot_general", "float32")) == 3
    assert set(whole) == {("conv_general_dilated", "bfloat16")}
