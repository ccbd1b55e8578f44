import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from hyperlab import losses


@pytest.mark.fast
def test_cross_entropy_is_log_sum_exp_minus_the_logit_of_the_label():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 5, (4, 3, 7)), rng.integers(0, 7, (4, 3))
    expected = logsumexp(logits, -1) - np.take_along_axis(logits, labels[..., None], -1)[..., 0]
    loss = jax.jit(losses.cross_entropy)(jnp.asarray(logits, jnp.float32), jnp.asarray(labels))
    assert loss.shape == (4, 3) and loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-6)


def test_half_precision_logits_are_reduced_in_float32():
    # 300 equal logits: their sum in bfloat16 has 8 bits, its logarithm would be off in the third digit
    logits = jnp.full((1, 300), 0.1, jnp.bfloat16)
    np.testing.assert_allclose(losses.cross_entropy(logits, jnp.array([5])), np.log(300), rtol=1e-6)


def test_the_gradient_is_softmax_minus_one_hot_and_stays_finite_at_large_logits():
    logits, labels = jnp.array([[1e4, -1e4, 0.0], [1.0, 2.0, 3.0]]), jnp.array([1, 2])
    gradient = jax.grad(lambda x: losses.cross_entropy(x, labels).sum())(logits)
    np.testing.assert_allclose(gradient, jax.nn.softmax(logits) - jax.nn.one_hot(labels, 3), atol=1e-6)
    eager = losses.cross_entropy(logits, labels)
    np.testing.assert_allclose(eager[0], 2e4)
    np.testing.assert_array_equal(jax.jit(losses.cross_entropy)(logits, labels), eager)
