"""Tyche: the faster forms are the definition; candidates are a set, and can be kept apart."""

from functools import partial

import jax
import jax.numpy as jnp
import naive_pairing
import numpy as np
import pytest
from in_context_checks import apply, assert_deviations, assert_equal_with_gradients, dead, drawn, images

from hyperlab import trees
from hyperlab.errors import ConfigError
from hyperlab.models import Tyche


def inputs(candidates=3, support=3, batch=2, size=(8, 4)):
    target = jnp.repeat(images(batch, 1, *size, 1), candidates, 1)
    noise = 4 * images(batch, candidates, *size, 1, seed=2) - 2
    return target, noise, images(batch, support, *size, 1), images(batch, support, *size, 1, seed=1).round()


NAIVE = {"cross_relu": True, "normalization": None}
# Candidates, examples, encoder, options.
CASES = {
    "one of each": (1, 1, [3, 4], {}),
    "three levels": (2, 3, [3, 4, 4], {"support_chunk": 2, "remat": True}),
    "eight examples": (4, 8, [3, 4], {"support_chunk": 3}),
    "without an activation after the cross convolution": (2, 3, [3, 4], {"cross_relu": False}),
    "normalised": (2, 3, [3, 4], {"normalization": "group", "support_chunk": 2, "remat": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_equal_to_the_naive_pairing_with_gradients(case):
    candidates, support, encoder, options = CASES[case]
    naive = partial(naive_pairing.tyche, **{key: options.get(key, value) for key, value in NAIVE.items()})
    gradients = assert_equal_with_gradients(Tyche(encoder, **options), naive, inputs(candidates, support))
    last = f"dec_{len(encoder) - 2}/support"
    unused = {f"{last}/kernel", f"{last}/bias"}
    assert dead(gradients) == unused | (
        {f"{last}_norm/scale", f"{last}_norm/bias"} if options.get("normalization") else set()
    )


@pytest.mark.parametrize(
    ("width", "levels", "count"),
    [(16, 4, 111_921), (32, 4, 445_025), (64, 4, 1_774_785), (64, 5, 2_328_257), (128, 4, 7_088_513)],
)
def test_as_many_parameters_as_published(width, levels, count):
    for mix in (True, False):
        net = Tyche([width] * levels, mix_candidates=mix)
        assert trees.count(jax.eval_shape(net.init, jax.random.key(0), *inputs(size=(16, 16)))) == count


def test_candidates_are_permuted_with_their_noise_and_examples_have_no_order():
    net, (target, noise, examples, labels) = Tyche([3, 4]), inputs(4, 5)
    params = drawn(net, target, noise, examples, labels)
    expected = apply(net, params, target, noise, examples, labels)
    order = np.array([2, 0, 3, 1])
    permuted = apply(net, params, target[:, order], noise[:, order], examples, labels)
    np.testing.assert_allclose(permuted, expected[:, order], atol=1e-5)
    order = np.array([3, 1, 4, 0, 2])
    reordered = apply(net, params, target, noise, examples[:, order], labels[:, order])
    np.testing.assert_allclose(reordered, expected, atol=1e-5)


def test_without_mixing_each_candidate_is_the_only_one():
    net, given = Tyche([3, 4], mix_candidates=False), inputs(3)
    params = drawn(net, *given)
    apart, mixed = apply(net, params, *given), apply(net.clone(mix_candidates=True), params, *given)
    for k in range(3):
        target, noise = (images[:, k : k + 1] for images in given[:2])
        alone = apply(Tyche([3, 4]), params, target, noise, *given[2:])
        np.testing.assert_allclose(apart[:, k : k + 1], alone, atol=1e-5)
    assert np.abs(apart - mixed).max() > 1e-2


def test_kernels_start_with_kaimings_deviations():
    deviations = {"enc_0/cross": np.sqrt(2 / 36), "enc_1/cross": np.sqrt(2 / 1152), "dec_0/cross": np.sqrt(2 / 2304)}
    deviations |= {"enc_0/meanconv": np.sqrt(2 / 594), "enc_1/meanconv": np.sqrt(2 / 1152)}
    deviations |= {"dec_0/meanconv": np.sqrt(2 / 1728), "dec_0/target": np.sqrt(2 / 576), "head": 1 / 8}
    assert_deviations(Tyche([64, 64]), inputs(1, 1, 1, (2, 2)), deviations)


@pytest.mark.fast
@pytest.mark.parametrize("options", [{"encoder": [4, (4, 5)]}, {"encoder": [4, 4], "decoder": [(5, 4)]}])
def test_unequal_widths_are_refused_at_construction(options):
    with pytest.raises(ConfigError, match="equal cross and conv widths"):
        Tyche(**options)


@pytest.mark.parametrize(
    ("target", "noise", "support", "message"),
    [
        ((1, 3, 8, 8, 1), (1, 2, 8, 8, 1), (1, 2, 8, 8, 1), "noise of shape"),
        ((1, 8, 8, 1), (1, 8, 8, 1), (1, 2, 8, 8, 1), "candidates"),
        ((1, 0, 8, 8, 1), (1, 0, 8, 8, 1), (1, 2, 8, 8, 1), "one candidate at least"),
        ((1, 3, 8, 8, 1), (1, 3, 8, 8, 1), (1, 0, 8, 8, 1), "support set is empty"),
        ((1, 3, 8, 8, 1), (1, 3, 8, 8, 1), (1, 2, 8, 4, 1), r"\(1, support, 8, 8, 1\)"),
        ((1, 3, 9, 8, 1), (1, 3, 9, 8, 1), (1, 2, 9, 8, 1), "multiples of 2, such as 10 x 8"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(target, noise, support, message):
    given = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (target, noise, support, support))
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(Tyche([2, 2]).init, jax.random.key(0), *given)
