import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab.errors import ConfigError, DataError
from hyperlab.metrics import segmentation as s


def random_maps(seed, shape=(4, 6, 5), classes=4):
    rng = np.random.default_rng(seed)
    return rng.integers(0, classes, shape).astype(np.int32), rng.integers(0, classes, shape).astype(np.int32)


def slow_dice(prediction, label, classes):
    """By sets of places, one case."""
    rows = []
    for k in range(1, classes):
        first, second = (set(map(tuple, np.argwhere(values == k))) for values in (prediction, label))
        rows.append(2 * len(first & second) / (len(first) + len(second)) if first or second else np.nan)
    return rows


# -- overlap ----------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_dice_equals_that_of_sets_and_iou_follows_from_it(seed):
    prediction, label = random_maps(seed, (3, 2, 3), classes=5)  # small: classes are often absent
    dice = s.dice(jnp.asarray(prediction), jnp.asarray(label), 5)
    expected = [slow_dice(p, t, 5) for p, t in zip(prediction, label, strict=True)]
    assert dice.shape == (3, 4) and dice.dtype == jnp.float32
    np.testing.assert_allclose(dice, expected, rtol=1e-6)
    np.testing.assert_allclose(s.iou(jnp.asarray(prediction), jnp.asarray(label), 5), dice / (2 - dice), rtol=1e-5)


@pytest.mark.parametrize("shape", [(2, 7), (2, 6, 5), (2, 4, 3, 5)])
def test_the_four_counts_share_out_all_pixels_and_know_both_volumes(shape):
    prediction, label = random_maps(1, shape)
    counts = s.counts(jnp.asarray(prediction), jnp.asarray(label), 4)
    assert all(part.shape == (2, 3) and part.dtype == jnp.int32 for part in counts)
    np.testing.assert_array_equal(sum(counts), np.prod(shape[1:]))
    axes = tuple(range(1, len(shape)))
    for k in range(1, 4):
        np.testing.assert_array_equal(
            (counts.true_positive + counts.false_positive)[:, k - 1], (prediction == k).sum(axes)
        )
        np.testing.assert_array_equal((counts.true_positive + counts.false_negative)[:, k - 1], (label == k).sum(axes))


def test_absent_in_both_is_undefined_or_one_and_absent_in_one_is_zero():
    prediction, label = jnp.array([[0, 0, 1, 2]]), jnp.array([[0, 0, 1, 0]])
    np.testing.assert_array_equal(s.dice(prediction, label, 4), [[1, 0, np.nan]])
    np.testing.assert_array_equal(s.dice(prediction, label, 4, absent=1.0), [[1, 0, 1]])
    np.testing.assert_array_equal(s.iou(prediction, label, 4, absent=1.0), [[1, 0, 1]])


def test_slices_of_a_subject_are_pooled_before_anything_is_divided():
    prediction, label = random_maps(2, (6, 5, 4))
    groups = jnp.array([1, 0, 1, 1, -1, 0])  # one row is padding
    found = s.dice(jnp.asarray(prediction), jnp.asarray(label), 4, groups=groups, subjects=3)
    volumes = [[1, 5], [0, 2, 3]]
    expected = [slow_dice(prediction[v], label[v], 4) for v in volumes] + [[np.nan] * 3]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    per_slice = np.asarray(s.dice(jnp.asarray(prediction), jnp.asarray(label), 4))
    assert np.abs(per_slice[[1, 5]].mean(0) - found[0]).max() > 1e-3  # the mean over slices is another number


def test_a_subject_of_one_volume_in_slices_is_that_volume():
    prediction, label = random_maps(3, (1, 4, 5, 6))
    volume = s.dice(jnp.asarray(prediction), jnp.asarray(label), 4)
    slices = s.dice(jnp.asarray(prediction[0]), jnp.asarray(label[0]), 4, groups=jnp.zeros(4, int), subjects=1)
    np.testing.assert_array_equal(volume, slices)


def test_compiled_equals_eager_and_the_order_of_cases_and_pixels_does_not_matter():
    prediction, label = map(jnp.asarray, random_maps(4))
    eager = s.dice(prediction, label, 4)
    np.testing.assert_array_equal(jax.jit(s.dice, static_argnums=2)(prediction, label, 4), eager)
    np.testing.assert_array_equal(s.dice(prediction[::-1], label[::-1], 4), eager[::-1])
    np.testing.assert_array_equal(s.dice(prediction[:, ::-1], label[:, ::-1], 4), eager)
    np.testing.assert_array_equal(s.dice(label, prediction, 4), eager)
    np.testing.assert_array_equal(jax.vmap(lambda p: s.dice(p, label, 4))(prediction[None])[0], eager)


def test_large_volumes_are_counted_exactly():
    prediction = jnp.ones((1, 2**25 + 1), jnp.int8)  # a float32 sum of ones would lose the last one
    counts = s.counts(prediction, prediction, 2)
    assert counts.true_positive.item() == 2**25 + 1


def test_a_diverged_network_predicts_no_class_at_all():
    logits = jnp.array([[[0.0, 1.0], [np.nan, 1.0], [np.nan, np.nan], [2.0, 2.0]]])
    labels = s.predicted_labels(logits)
    assert labels.tolist() == [[1, -1, -1, 0]]
    np.testing.assert_array_equal(s.dice(labels, jnp.array([[1, 1, 1, 0]]), 2), [[0.5]])


def test_what_is_no_label_map_is_refused():
    maps = jnp.zeros((2, 4), int)
    with pytest.raises(DataError, match="\\(2, 4\\), labels \\(2, 5\\)"):
        s.dice(maps, jnp.zeros((2, 5), int), 3)
    with pytest.raises(DataError, match="predictions are float32.*predicted_labels"):
        s.dice(jnp.zeros((2, 4)), maps, 3)
    with pytest.raises(ConfigError, match="at least 2"):
        s.dice(maps, maps, 1)
    with pytest.raises(ConfigError, match="how many subjects"):
        s.dice(maps, maps, 3, groups=jnp.zeros(2, int))
