"""Cross convolution, means over sets and aligned upsampling, against their definitions."""

import jax
import jax.numpy as jnp
import naive_pairing
import numpy as np
import pytest

from hyperlab.errors import ConfigError
from hyperlab.nn import cross_conv, mean_over_set, upsample_aligned


def normal(*shape):
    return jnp.asarray(np.random.default_rng(list(shape)).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(("set_x", "set_y", "window"), [(1, 1, 3), (1, 4, 3), (3, 2, 1), (2, 3, 5)])
def test_every_pair_as_if_it_were_concatenated(set_x, set_y, window):
    operands = normal(2, set_x, 5, 4, 3), normal(2, set_y, 5, 4, 2), normal(window, window, 5, 4), normal(4)

    def naive(x, y, kernel, bias):
        return naive_pairing.convolved(naive_pairing.pairs(x, y), {"kernel": kernel, "bias": bias})

    def of(function):
        return jax.jit(jax.value_and_grad(lambda *o: jnp.sin(function(*o)).sum(), (0, 1, 2, 3)))(*operands)

    assert cross_conv(*operands).shape == (2, set_x, set_y, 5, 4, 4)
    np.testing.assert_allclose(cross_conv(*operands), naive(*operands), atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), of(cross_conv), of(naive))


def test_a_kernel_of_other_channels_is_refused():
    with pytest.raises(ConfigError, match="takes 6 channels; expected 3 of x [+] 2 of y"):
        cross_conv(normal(1, 1, 4, 4, 3), normal(1, 1, 4, 4, 2), normal(3, 3, 6, 4), normal(4))


def step(part):
    image, label = part
    return {"sum": image + label, "half": image.astype(jnp.bfloat16)}, [image * label]


@pytest.mark.parametrize("chunk", [None, 1, 2, 3, 5, 6, 9])
def test_chunks_change_nothing(chunk):
    sets = normal(2, 6, 3), normal(2, 6, 1)
    means, kept = mean_over_set(step, sets, chunk)
    np.testing.assert_allclose(means["sum"], (sets[0] + sets[1]).mean(1, keepdims=True), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(kept[0], sets[0] * sets[1])
    assert (means["half"].dtype, means["half"].shape) == (jnp.bfloat16, (2, 1, 3))


def test_sums_of_many_small_numbers_are_single_precision():
    ones = jnp.ones((1, 1000), jnp.bfloat16)
    for chunk in (None, 7):  # in bfloat16, 256 + 1 is 256
        assert mean_over_set(lambda part: (part, ()), ones, chunk)[0].item() == 1


@pytest.mark.parametrize(("count", "chunk"), [(0, None), (3, 0)])
def test_empty_sets_and_chunks_are_refused(count, chunk):
    with pytest.raises(ConfigError, match="at least 1"):
        mean_over_set(lambda part: (part, ()), jnp.ones((1, count)), chunk)


def test_upsampling_of_four_numbers():
    expected = np.array([[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]]) / 3
    found = upsample_aligned(jnp.arange(4.0).reshape(1, 2, 2, 1))[0, :, :, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 5), (7, 4), (16, 16)])
def test_upsampling_reads_two_neighbours_at_aligned_corners(shape):
    small = normal(2, *shape, 3)
    np.testing.assert_allclose(upsample_aligned(small), naive_pairing.aligned(small), atol=1e-6)
    corners = np.ix_(range(2), [0, -1], [0, -1])
    np.testing.assert_allclose(upsample_aligned(small)[corners], small[corners], atol=1e-6)


def test_the_gradient_of_upsampling_is_its_transpose():
    small, large = normal(1, 3, 4, 2), normal(1, 6, 8, 2)
    (gradient,) = jax.vjp(upsample_aligned, small)[1](large)
    np.testing.assert_allclose((gradient * small).sum(), (large * upsample_aligned(small)).sum(), rtol=1e-5)
    assert "scatter" not in jax.jit(jax.grad(lambda x: upsample_aligned(x).sum())).lower(small).as_text()
