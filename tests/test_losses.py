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


@pytest.mark.parametrize("shape", [(3, 7), (3, 6, 5), (2, 4, 3, 5)])
@pytest.mark.parametrize(("smooth", "background"), [(1.0, False), (1e-3, True)])
def test_soft_dice_is_the_formula_of_its_docstring(shape, smooth, background):
    logits, labels = random_case(0, shape)
    loss = losses.soft_dice(jnp.asarray(logits), jnp.asarray(labels), smooth=smooth, background=background)
    assert loss.shape == shape[:1] and loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, slow_soft_dice(logits, labels, smooth, background), rtol=1e-5)


def test_dice_cross_entropy_is_the_weighted_sum_and_each_image_stands_alone():
    logits, labels = map(jnp.asarray, random_case(1))
    both = losses.dice_cross_entropy(logits, labels, dice_weight=0.5)
    expected = losses.cross_entropy(logits, labels).mean((1, 2)) + 0.5 * losses.soft_dice(logits, labels)
    np.testing.assert_allclose(both, expected, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(losses.dice_cross_entropy)(logits[1:2], labels[1:2])[0],
                               losses.dice_cross_entropy(logits, labels)[1], rtol=1e-6)  # fmt: skip


def test_the_segmentation_loss_is_near_zero_where_the_prediction_is_right_and_reduced_in_float32():
    labels = jnp.asarray(random_case(2)[1])
    right = 50 * jax.nn.one_hot(labels, 4)
    np.testing.assert_allclose(losses.dice_cross_entropy(right, labels), 0, atol=1e-6)
    large = jnp.zeros((1, 64, 64), int)  # 4096 pixels: a bfloat16 sum of their probabilities would stop growing
    half = losses.soft_dice(jnp.zeros((1, 64, 64, 2), jnp.bfloat16), large, background=True)
    np.testing.assert_allclose(half, losses.soft_dice(jnp.zeros((1, 64, 64, 2)), large, background=True), rtol=1e-6)


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


# -- one foreground, several candidates ---------------------------------------------------------------------------


def test_binary_soft_dice_has_the_golden_values_of_the_reference_and_its_edge_cases():
    logits = jnp.linspace(-2, 2, 16).reshape(1, 4, 4, 1)
    labels = (jnp.arange(16) % 3 == 0).astype(jnp.float32).reshape(1, 4, 4, 1)
    np.testing.assert_allclose(losses.binary_soft_dice(logits, labels), 0.4566488764, rtol=1e-6)
    np.testing.assert_allclose(losses.binary_soft_dice(logits, labels, squared=False), 0.5714285673, rtol=1e-6)
    empty = jnp.zeros_like(labels)
    np.testing.assert_allclose(losses.binary_soft_dice(empty - 1e3, empty), 0, atol=1e-6)  # empty and empty agree
    np.testing.assert_allclose(losses.binary_soft_dice(logits, empty), 1, atol=1e-6)
    # a soft label is reached exactly with squares, and not without them
    soft = jax.nn.sigmoid(logits)
    np.testing.assert_allclose(losses.binary_soft_dice(logits, soft), 0, atol=1e-6)
    assert losses.binary_soft_dice(logits, soft, squared=False)[0] > 0.1
    half = losses.binary_soft_dice(jnp.zeros((1, 64, 64, 1), jnp.bfloat16), jnp.ones((1, 64, 64, 1), jnp.bfloat16))
    np.testing.assert_allclose(half, 1 - 2 * 0.5 / 1.25, rtol=1e-6)


def test_the_best_candidate_alone_gets_a_gradient():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(0, 2, (3, 4, 5, 6, 1)), jnp.float32)
    labels = jnp.asarray(rng.random((3, 5, 6, 1)) < 0.4, jnp.float32)
    each = losses.candidate_soft_dice(logits, labels)
    slow = [[losses.binary_soft_dice(logits[b : b + 1, k], labels[b : b + 1])[0] for k in range(4)] for b in range(3)]
    np.testing.assert_allclose(each, slow, rtol=1e-6)
    np.testing.assert_array_equal(losses.best_candidate_dice(logits, labels), each.min(1))
    np.testing.assert_allclose(losses.mean_candidate_dice(logits, labels), each.mean(1), rtol=1e-6)
    gradient = jax.jit(jax.grad(lambda x: losses.best_candidate_dice(x, labels).sum()))(logits)
    touched = np.abs(gradient).sum((2, 3, 4)) > 0
    np.testing.assert_array_equal(touched, np.eye(4, dtype=bool)[np.argmin(each, 1)])
    twins = jnp.repeat(logits[:, :1], 2, axis=1)
    tied = jax.grad(lambda x: losses.best_candidate_dice(x, labels).sum())(twins)
    assert np.abs(tied[:, 0]).max() > 0 and np.abs(tied[:, 1]).max() == 0  # the first of equals


def test_binary_losses_refuse_what_cannot_be_compared():
    with pytest.raises(ConfigError, match=r"logits have shape \(1, 4, 4, 1\), labels \(1, 4, 4\)"):
        losses.binary_soft_dice(jnp.zeros((1, 4, 4, 1)), jnp.zeros((1, 4, 4)))
    with pytest.raises(ConfigError, match="smooth is 0"):
        losses.binary_soft_dice(jnp.zeros((1, 4, 1)), jnp.zeros((1, 4, 1)), smooth=0.0)
