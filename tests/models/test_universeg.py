"""UniverSeg: the faster forms are the definition, and what must not matter does not."""

from functools import partial

import jax
import jax.numpy as jnp
import naive_pairing
import numpy as np
import pytest
from in_context_checks import apply, assert_deviations, assert_equal_with_gradients, dead, drawn, images

from hyperlab import trees
from hyperlab.errors import ConfigError
from hyperlab.models import UniverSeg


def inputs(support=3, batch=2, size=(8, 4)):
    examples = images(batch, support, *size, 1), images(batch, support, *size, 1, seed=1).round()
    return images(batch, *size, 1), *examples


NAIVE = {"cross_relu": False, "normalization": None}
# Examples, encoder, options.
CASES = {
    "one example": (1, [3, 4, 4], {}),
    "three examples": (3, [3, 4, 4], {}),
    "eight examples in chunks": (8, [3, 4, 4], {"support_chunk": 3, "remat": True}),
    "two levels": (3, [3, 4], {"support_chunk": 2}),
    "one level": (3, [3], {}),
    "unequal widths": (3, [3, (4, 5)], {"decoder": [(2, 6)]}),
    "an activation after the cross convolution": (3, [3, 4], {"cross_relu": True}),
    "the same in chunks": (3, [3, 4], {"cross_relu": True, "support_chunk": 1}),
    "normalised": (3, [3, 4], {"normalization": "group", "support_chunk": 2, "remat": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_equal_to_the_naive_pairing_with_gradients(case):
    support, encoder, options = CASES[case]
    naive = partial(naive_pairing.universeg, **{key: options.get(key, value) for key, value in NAIVE.items()})
    gradients = assert_equal_with_gradients(UniverSeg(encoder, **options), naive, inputs(support))
    last = f"dec_{len(encoder) - 2}" if len(encoder) > 1 else "enc_0"
    unused = {f"{last}/support/kernel", f"{last}/support/bias"}
    if options.get("normalization"):
        unused |= {f"{last}/support_norm/scale", f"{last}/support_norm/bias"}
    assert dead(gradients) == unused


@pytest.mark.parametrize(
    ("width", "levels", "count"),
    [(16, 4, 74_513), (32, 4, 296_481), (64, 4, 1_182_785), (64, 5, 1_551_809), (128, 4, 4_724_865)],
)
def test_as_many_parameters_as_published(width, levels, count):
    shapes = jax.eval_shape(UniverSeg([width] * levels).init, jax.random.key(0), *inputs(size=(16, 16)))
    assert trees.count(shapes) == count


def test_order_and_repetition_of_the_examples_do_not_matter_and_channels_do():
    net, (target, examples, labels) = UniverSeg([3, 4]), inputs(5)
    params = drawn(net, target, examples, labels)
    expected = apply(net, params, target, examples, labels)
    order = np.array([3, 1, 4, 0, 2])
    np.testing.assert_allclose(apply(net, params, target, examples[:, order], labels[:, order]), expected, atol=1e-5)
    twice = (jnp.concatenate([images, images], 1) for images in (examples, labels))
    np.testing.assert_allclose(apply(net, params, target, *twice), expected, atol=1e-5)
    assert np.abs(apply(net, params, target, labels, examples) - expected).max() > 1e-2


def test_kernels_start_with_kaimings_deviations():
    deviations = {"enc_0/cross": 1 / np.sqrt(27), "enc_1/cross": 1 / np.sqrt(1152), "dec_0/cross": 1 / np.sqrt(2304)}
    deviations |= {"enc_0/target": np.sqrt(2 / 576), "dec_0/support": np.sqrt(2 / 576), "head": 1 / 8}
    assert_deviations(UniverSeg([64, 64]), inputs(1, 1, (2, 2)), deviations)


def test_bfloat16_computation_keeps_float32_parameters_and_logits():
    given = inputs()
    net = UniverSeg([4, 4], dtype=jnp.bfloat16, normalization="group")
    params = drawn(net, *given)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
    rough, exact = apply(net, params, *given), apply(net.clone(dtype=jnp.float32), params, *given)
    assert rough.dtype == np.float32
    np.testing.assert_allclose(rough, exact, atol=0.1)


def test_chunks_and_rematerialisation_need_less_memory():
    given = inputs(16, 1, (32, 32))

    def intermediate(net, gradient):
        def loss(params):
            return net.apply({"params": params}, *given).sum()

        params = jax.eval_shape(net.init, jax.random.key(0), *given)["params"]
        program = jax.jit(jax.grad(loss) if gradient else loss).lower(params).compile()
        return program.memory_analysis().temp_size_in_bytes

    net = UniverSeg([8, 8])
    assert intermediate(net.clone(support_chunk=2), False) < 0.7 * intermediate(net, False)
    assert intermediate(net.clone(support_chunk=2, remat=True), True) < 0.7 * intermediate(net, True)


@pytest.mark.fast
def test_lists_of_widths_make_modules_that_are_compared_and_hashed():
    assert UniverSeg([4, (4, 4)]) == UniverSeg((4, 4), decoder=[4])
    assert hash(UniverSeg([4, 4])) != hash(UniverSeg([4, 5]))


@pytest.mark.fast
@pytest.mark.parametrize(
    ("encoder", "options", "message"),
    [
        ([], {}, "expected a level at least"),
        ([4, 0], {}, "int of at least 1"),
        ([4, (4, 5, 6)], {}, "pair"),
        ([4, 4.5], {}, "pair"),
        ([4, 4], {"decoder": [4, 4]}, "2 encoder and 2 decoder"),
        ([4, 4], {"normalization": "groups"}, "did you mean 'group'"),
        ([4, 4], {"support_chunk": 0}, "support_chunk 0"),
    ],
)
def test_options_that_do_not_fit_are_refused_at_construction(encoder, options, message):
    with pytest.raises(ConfigError, match=message):
        UniverSeg(encoder, **options)


@pytest.mark.parametrize(
    ("target", "support_images", "support_labels", "message"),
    [
        ((1, 8, 8, 1), (1, 0, 8, 8, 1), (1, 0, 8, 8, 1), "support set is empty"),
        ((1, 8, 8, 1), (1, 2, 8, 8, 1), (1, 2, 8, 4, 1), "expected .batch, support"),
        ((1, 8, 8, 1), (1, 2, 8, 8, 1), (1, 3, 8, 8, 1), "expected .batch, support"),
        ((1, 8, 8, 1), (1, 2, 4, 8, 1), (1, 2, 4, 8, 1), r"\(1, support, 8, 8, 1\)"),
        ((2, 8, 8, 1), (1, 2, 8, 8, 1), (1, 2, 8, 8, 1), r"\(2, support, 8, 8, 1\)"),
        ((1, 8, 8, 1), (2, 8, 8, 1), (2, 8, 8, 1), "expected .batch, support"),
        ((1, 8, 8), (1, 2, 8, 8, 1), (1, 2, 8, 8, 1), "expected .batch, height"),
        ((1, 10, 17, 1), (1, 2, 10, 17, 1), (1, 2, 10, 17, 1), "multiples of 4, such as 12 x 20"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(target, support_images, support_labels, message):
    given = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (target, support_images, support_labels))
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(UniverSeg([2, 2, 2]).init, jax.random.key(0), *given)
