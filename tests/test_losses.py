import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.special import logsumexp, softmax

from hyperlab import losses
from hyperlab.errors import ConfigError


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


# -- segmentation -----------------------------------------------------------------------------------------------


def random_case(seed, shape=(3, 6, 5), classes=4):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 3, (*shape, classes)).astype(np.float32), rng.integers(0, classes, shape)


def slow_soft_dice(logits, labels, smooth, background):
    probabilities, rows = softmax(logits.astype(float), -1), []
    for p, t in zip(probabilities, labels, strict=True):
        terms = []
        for k in range(0 if background else 1, logits.shape[-1]):
            true, predicted = (t == k).astype(float), p[..., k]
            terms.append(1 - ((true * predicted).sum() + smooth) / ((true.sum() + predicted.sum()) / 2 + smooth))
        rows.append(np.mean(terms))
    return rows


@pytest.mark.fast
@pytest.mark.parametrize("shape", [(3, 7), (3, 6, 5), (2, 4, 3, 5)])
@pytest.mark.parametrize(("smooth", "background"), [(1.0, False), (1e-3, True)])
def test_soft_dice_is_the_formula_of_its_docstring(shape, smooth, background):
    logits, labels = random_case(0, shape)
    loss = losses.soft_dice(jnp.asarray(logits), jnp.asarray(labels), smooth=smooth, background=background)
    assert loss.shape == shape[:1] and loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, slow_soft_dice(logits, labels, smooth, background), rtol=1e-5)


@pytest.mark.fast
def test_dice_cross_entropy_is_the_weighted_sum_and_each_image_stands_alone():
    logits, labels = map(jnp.asarray, random_case(1))
    both = losses.dice_cross_entropy(logits, labels, dice_weight=0.5)
    expected = losses.cross_entropy(logits, labels).mean((1, 2)) + 0.5 * losses.soft_dice(logits, labels)
    np.testing.assert_allclose(both, expected, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(losses.dice_cross_entropy)(logits[1:2], labels[1:2])[0],
                               losses.dice_cross_entropy(logits, labels)[1], rtol=1e-6)  # fmt: skip


@pytest.mark.fast
def test_the_segmentation_loss_is_near_zero_where_the_prediction_is_right_and_reduced_in_float32():
    labels = jnp.asarray(random_case(2)[1])
    right = 50 * jax.nn.one_hot(labels, 4)
    np.testing.assert_allclose(losses.dice_cross_entropy(right, labels), 0, atol=1e-6)
    large = jnp.zeros((1, 64, 64), int)  # 4096 pixels: a bfloat16 sum of their probabilities would stop growing
    half = losses.soft_dice(jnp.zeros((1, 64, 64, 2), jnp.bfloat16), large, background=True)
    np.testing.assert_allclose(half, losses.soft_dice(jnp.zeros((1, 64, 64, 2)), large, background=True), rtol=1e-6)


@pytest.mark.fast
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_the_gradient_is_finite_where_classes_are_absent_and_logits_are_extreme(scale):
    logits, labels = random_case(3)
    labels[0] = 0  # an image of background alone
    labels[1] = 2
    gradient = jax.grad(lambda x: losses.dice_cross_entropy(x, jnp.asarray(labels)).sum())(jnp.asarray(scale * logits))
    assert np.isfinite(gradient).all()
    if scale == 1.0:
        assert np.abs(gradient).max() > 1e-3


def test_the_gradient_agrees_with_finite_differences():
    logits, labels = random_case(4, (1, 3, 3))
    loss = lambda x: losses.dice_cross_entropy(x, jnp.asarray(labels)).sum()  # noqa: E731
    check_grads(loss, (jnp.asarray(logits),), order=1, modes=("rev",), atol=1e-2, rtol=1e-2)


@pytest.mark.fast
def test_settings_that_divide_nothing_by_nothing_are_refused():
    logits, labels = map(jnp.asarray, random_case(5))
    with pytest.raises(ConfigError, match="smooth is 0"):
        losses.soft_dice(logits, labels, smooth=0.0)
    with pytest.raises(ConfigError, match="1 class, expected 2"):
        losses.soft_dice(logits[..., :1], labels)
