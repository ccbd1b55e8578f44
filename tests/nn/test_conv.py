"""`Conv` is `flax.linen.Conv`: parameters, values, gradients; and it stays channel-last inside loops."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab import hypernetize
from hyperlab.nn import Conv
from hyperlab.train import mesh as meshes

# Options beside (features, kernel size), and the shape of the images: even and odd windows, odd sizes, every
# padding, one to three dimensions, strides, dilations and groups.
CASES = {
    "same": ((3, 3), {}, (2, 7, 5, 3)),
    "even window": ((2, 4), {}, (2, 7, 6, 3)),
    "wide window": ((5, 1), {}, (1, 3, 9, 2)),
    "valid": ((3, 3), {"padding": "VALID"}, (2, 7, 6, 3)),
    "uneven padding": ((3, 2), {"padding": ((3, 0), (0, 4))}, (2, 5, 6, 2)),
    "circular": ((3, 3), {"padding": "CIRCULAR"}, (2, 5, 6, 2)),
    "no bias": ((1, 1), {"use_bias": False}, (2, 5, 6, 2)),
    "one dimension": ((3,), {}, (2, 9, 3)),
    "causal": ((3,), {"padding": "CAUSAL"}, (2, 9, 3)),
    "three dimensions": ((3, 3, 3), {}, (2, 4, 5, 3, 2)),
    "several batch axes": ((3, 3), {}, (2, 3, 5, 4, 2)),
    "one image": ((3, 3), {}, (5, 4, 2)),
    "strides": ((3, 3), {"strides": 2}, (2, 7, 6, 3)),
    "kernel dilation": ((3, 3), {"kernel_dilation": 2}, (2, 7, 6, 3)),
    "input dilation": ((3, 3), {"input_dilation": 2, "padding": ((1, 1), (2, 0))}, (2, 7, 6, 3)),
    "unequal strides": ((3, 2), {"strides": (3, 2), "padding": "VALID"}, (2, 8, 7, 3)),
    "window of one": ((1, 1), {"strides": 2}, (2, 7, 6, 3)),
    "groups": ((3, 3), {"feature_group_count": 2}, (2, 7, 6, 4)),
    "channel by channel": ((3, 3), {"feature_group_count": 4, "strides": 2}, (2, 7, 6, 4)),
    "all at once": ((3, 2), {"feature_group_count": 2, "strides": (2, 1), "kernel_dilation": (1, 2)}, (2, 9, 8, 4)),
    "strided volume": ((3, 3, 3), {"strides": 2}, (2, 5, 6, 4, 2)),
    "dilated volume": ((2, 3, 3), {"kernel_dilation": (2, 1, 2), "padding": "VALID"}, (2, 5, 6, 7, 2)),
    "grouped volume": ((3, 1, 3), {"feature_group_count": 2, "strides": (1, 2, 1)}, (2, 4, 5, 6, 4)),
    "spread volume": ((2, 2, 2), {"input_dilation": (2, 1, 1), "padding": ((1, 1),) * 3}, (2, 3, 4, 3, 2)),
}


def layers(case):
    window, options, shape = CASES[case]
    return Conv(4, window, **options), nn.Conv(4, window, **options), jax.random.normal(jax.random.key(0), shape)


def value_and_gradients(layer, variables, images):
    def loss(variables, images):
        return jnp.sin(layer.apply(variables, images)).sum()  # weighs every output differently

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(variables, images)


def assert_close(ours, theirs):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), ours, theirs)


@pytest.mark.parametrize("case", [pytest.param(c, marks=pytest.mark.fast) if c == "same" else c for c in CASES])
def test_parameters_values_and_gradients_are_those_of_linen(case):
    ours, theirs, images = layers(case)
    variables = ours.init(jax.random.key(1), images)
    jax.tree.map(np.testing.assert_array_equal, variables, theirs.init(jax.random.key(1), images))
    # Volumes are sums in another order.
    tolerance = (
        {"rtol": 1e-5, "atol": 1e-6}
        if len(images.shape) == 5 and case != "several batch axes"
        else {"rtol": 0, "atol": 0}
    )
    np.testing.assert_allclose(ours.apply(variables, images), theirs.apply(variables, images), **tolerance)
    assert_close(value_and_gradients(ours, variables, images), value_and_gradients(theirs, variables, images))


@pytest.mark.parametrize("case", [case for case in CASES if len(CASES[case][2]) > 3])
@pytest.mark.parametrize("count", [1, 3])
def test_gradients_for_few_images_and_for_many(case, count):
    ours, theirs, images = layers(case)
    variables = ours.init(jax.random.key(1), images)
    images = jax.random.normal(jax.random.key(2), (count, *images.shape[1:]))
    assert_close(value_and_gradients(ours, variables, images), value_and_gradients(theirs, variables, images))


@pytest.mark.parametrize("case", ["same", "strides", "dilated volume", "groups", "one dimension", "all at once"])
@pytest.mark.parametrize("nested", [False, True])
def test_samples_with_kernels_of_their_own_are_those_one_by_one(case, nested):
    ours, theirs, images = layers(case)
    shape = (2, 3) if nested else (3,)
    variables = jax.vmap(lambda key: ours.init(key, images))(jax.random.split(jax.random.key(1), 6))
    variables = jax.tree.map(lambda leaf: leaf[: np.prod(shape)].reshape(*shape, *leaf.shape[1:]), variables)
    several = jax.random.normal(jax.random.key(2), (*shape, *images.shape))

    def of(variables, images):
        return value_and_gradients(ours, variables, images)

    mapped = jax.vmap(jax.vmap(of))(variables, several) if nested else jax.vmap(of)(variables, several)
    for place in np.ndindex(shape):
        one = jax.tree.map(lambda leaf, place=place: leaf[place], (variables, several))
        assert_close(jax.tree.map(lambda leaf, place=place: leaf[place], mapped), value_and_gradients(theirs, *one))


def test_on_a_cpu_no_groups_are_made_of_samples_and_elsewhere_they_are():
    ours, _, images = layers("same")
    stack = jax.vmap(lambda key: ours.init(key, images))(jax.random.split(jax.random.key(1), 3))
    step = jax.jit(jax.vmap(lambda v, x: value_and_gradients(ours, v, x)))
    lowered = step.trace(stack, jnp.stack([images] * 3))
    assert "feature_group_count = 3" not in lowered.lower(lowering_platforms=("cpu",)).as_text()
    assert "feature_group_count = 3" in lowered.lower(lowering_platforms=("cuda",)).as_text()


def test_modules_are_named_alike():
    class Net(nn.Module):
        layer: type

        @nn.compact
        def __call__(self, x):
            return self.layer(2, (3,))(self.layer(3, (3,))(x))

    x = jnp.ones((1, 5, 2))
    ours, theirs = (Net(layer).init(jax.random.key(0), x) for layer in (Conv, nn.Conv))
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_under_vmap_over_kernels_images_or_both(axes):
    ours, theirs, images = layers("same")
    stack = jax.vmap(lambda key: ours.init(key, images))(jax.random.split(jax.random.key(1), 3))
    variables = stack if axes[0] == 0 else jax.tree.map(lambda leaf: leaf[0], stack)
    several = jax.random.normal(jax.random.key(2), (3, *images.shape)) if axes[1] == 0 else images

    def of(layer):
        return jax.vmap(lambda v, x: value_and_gradients(layer, v, x), in_axes=axes)(variables, several)

    assert_close(of(ours), of(theirs))


def test_with_generated_kernels_for_a_batch_and_for_each_sample():
    ours, theirs, images = layers("same")
    models = [hypernetize(layer, images, hidden=(8,)) for layer in (ours, theirs)]
    variables = models[0].init(jax.random.key(0))
    gammas = jnp.array([[0.2], [0.7]])

    def gradients(model):
        def loss(params):
            batch = model.apply({"params": params}, gammas[0], images)
            return jnp.sin(batch).sum() + jnp.cos(model.apply_per_sample({"params": params}, gammas, images)).sum()

        return jax.jit(jax.value_and_grad(loss))(variables["params"])

    assert_close(gradients(models[0]), gradients(models[1]))


def test_gradients_in_bfloat16_keep_the_dtype():
    _, _, images = layers("same")
    ours, theirs = (layer(4, (3, 3), dtype=jnp.bfloat16, param_dtype=jnp.bfloat16) for layer in (Conv, nn.Conv))
    images = images.astype(jnp.bfloat16)
    variables = ours.init(jax.random.key(1), images)
    ours, theirs = (value_and_gradients(layer, variables, images)[1] for layer in (ours, theirs))
    assert {leaf.dtype for leaf in jax.tree.leaves(ours)} == {jnp.dtype(jnp.bfloat16)}
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a.astype(float), b.astype(float), rtol=0.05, atol=0.1), ours, theirs
    )


def test_second_derivatives_in_reverse_mode():
    ours, theirs, images = layers("same")
    variables = ours.init(jax.random.key(1), images)

    def product(layer):
        def slope(v):
            return sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(value_and_gradients(layer, v, images)[1]))

        return jax.jit(jax.grad(slope))(variables)

    assert_close(product(ours), product(theirs))


def test_a_batch_on_several_devices():
    ours, theirs, _ = layers("same")
    images = jax.random.normal(jax.random.key(0), (8, 5, 4, 3))
    variables = ours.init(jax.random.key(1), images)
    split = meshes.shard_batch(images, meshes.make_mesh({"data": 4, "model": 1}))
    gradients = jax.jit(lambda v, x: value_and_gradients(ours, v, x))(variables, split)
    assert_close(jax.device_get(gradients), jax.device_get(value_and_gradients(theirs, variables, images)))


@pytest.mark.parametrize("options", [{}, {"strides": 2}, {"kernel_dilation": 2}, {"feature_group_count": 2}], ids=str)
def test_every_convolution_of_a_training_loop_is_channel_last_on_a_cpu(options):
    """Any other layout is computed naively inside a loop."""

    def layouts(layer):
        images = jnp.ones((2, 6, 6, 4))
        variables = layer.init(jax.random.key(0), images)

        def step(variables, images):
            gradient = value_and_gradients(layer, variables, images)[1][0]
            return jax.tree.map(lambda v, g: v - 0.1 * g, variables, gradient), None

        stack = jnp.broadcast_to(images, (3, *images.shape))
        text = jax.jit(lambda v, x: jax.lax.scan(step, v, x)).lower(variables, stack).compile().as_text()
        assert "while(" in text
        return set(re.findall(r"dim_labels=(\S+?),", text + ","))

    assert layouts(Conv(4, (3, 3), **options)) <= {"b01f_01io->b01f"}
    assert layouts(nn.Conv(4, (3, 3), **options)) > {"b01f_01io->b01f"}  # when this fails, XLA no longer needs our help
