from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from hyperlab.data import Augmentation, augment_batch, augmentation
from hyperlab.errors import DataError

# one program for each shape and strength: op by op, each small operation would be compiled by itself
augment = jax.jit(augmentation.augment, static_argnums=3)
_points = jax.jit(augmentation._points, static_argnums=(1, 2))
NOTHING = Augmentation(rotation=0, scaling=0, translation=0, brightness=0, contrast=0)


def example(shape, channels=2, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.array(rng.random((*shape, channels)), jnp.float32), jnp.array(rng.integers(0, 5, shape), jnp.int32)


@pytest.mark.parametrize("shape", [(7, 10), (4, 5, 6)])
def test_no_strength_changes_nothing(shape):
    image, labels = example(shape)
    new_image, new_labels = augment(jax.random.key(0), image, labels, NOTHING)
    np.testing.assert_allclose(new_image, image, atol=1e-6)
    np.testing.assert_array_equal(new_labels, labels)


@pytest.mark.parametrize("shape", [(7, 10), (4, 5, 6)])
def test_flips_reverse_axes_of_both_half_of_the_time(shape):
    image, labels = example(shape)
    axes = tuple(range(len(shape)))
    flip = jax.jit(lambda key: augment(key, image, labels, replace(NOTHING, flips=axes)))
    seen = {}
    for seed in range(40):
        new_image, new_labels = flip(jax.random.key(seed))
        chosen = [a for a in ([a for a in axes if mask >> a & 1] for mask in range(2 ** len(axes)))
                  if np.array_equal(np.flip(labels, a), new_labels)]  # fmt: skip
        assert len(chosen) == 1
        np.testing.assert_allclose(new_image, np.flip(image, chosen[0]), atol=1e-6)
        seen[tuple(chosen[0])] = seen.get(tuple(chosen[0]), 0) + 1
    assert len(seen) >= 2 ** len(axes) - 1


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**31), st.sampled_from([(9, 12), (5, 6, 7)]))
def test_grey_values_are_linear_and_labels_nearest_at_the_same_points(seed, shape):
    """Against scipy at the points; the labels against the pixel that is nearest to each point."""
    settings = Augmentation(flips=(0,), rotation=40, scaling=0.3, translation=0.2, brightness=0, contrast=0)
    image, labels = example(shape, seed=seed % 7)
    key = jax.random.key(seed)
    new_image, new_labels = augment(key, image, labels, settings)
    points = np.stack(_points(jax.random.split(jax.random.clone(key))[0], shape, settings)).astype(np.float64)
    for channel in range(2):
        expected = map_coordinates(np.asarray(image[..., channel], np.float64), points, order=1, mode="nearest")
        np.testing.assert_allclose(new_image[..., channel], expected, atol=1e-4)
    clear = np.all(np.abs(points - np.floor(points) - 0.5) > 1e-4, axis=0)  # not halfway between two pixels
    place = tuple(np.clip(np.round(p).astype(int), 0, n - 1) for p, n in zip(points, shape, strict=True))
    np.testing.assert_array_equal(np.asarray(new_labels)[clear], np.asarray(labels)[place][clear])


def test_a_point_of_image_and_mask_moves_together():
    labels = jnp.zeros((32, 32), jnp.int32).at[8:20, 10:18].set(1)
    image = labels[..., None].astype(jnp.float32)
    settings = replace(Augmentation(), brightness=0, contrast=0)
    for seed in range(10):
        new_image, new_labels = augment(jax.random.key(seed), image, labels, settings)
        # linear interpolation of a mask, cut at one half, is the moved mask but for pixels on its border
        assert jnp.mean((new_image[..., 0] > 0.5) != (new_labels == 1)) < 0.03
        assert 0.6 < new_labels.sum() / labels.sum() < 1.6


def test_rotations_are_rigid_in_mm():
    settings = replace(NOTHING, rotation=60, spacing=(1.0, 2.0, 3.0))
    points = np.stack(_points(jax.random.key(3), (9, 9, 9), settings))
    steps = np.stack([np.diff(points, axis=axis + 1).reshape(3, -1)[:, 0] for axis in range(3)], 1)
    in_mm = steps * np.array([[1.0], [2], [3]]) / np.array([[1.0, 2, 3]])
    np.testing.assert_allclose(in_mm.T @ in_mm, np.eye(3), atol=1e-5)
    assert np.linalg.det(in_mm) == pytest.approx(1, abs=1e-5)


def test_strengths_are_limits():
    settings = replace(NOTHING, translation=0.1, scaling=0.2)
    points = np.stack([np.stack(_points(jax.random.key(seed), (21, 21), settings)) for seed in range(60)])
    shift = points[:, :, 10, 10] - 10
    scale = points[:, 0, 11, 10] - points[:, 0, 10, 10]
    assert 1.5 < np.abs(shift).max() <= 2.1 + 1e-5
    assert 0.8 <= scale.min() < 0.84 and 1.16 < scale.max() <= 1.2 + 1e-5


def test_brightness_and_contrast():
    image, labels = example((6, 6), 1)
    image = 0.4 + 0.2 * image
    for seed in range(20):
        changed = np.asarray(augment(jax.random.key(seed), image, labels, replace(NOTHING, brightness=0.1))[0])
        np.testing.assert_allclose(changed - image, (changed - image)[0, 0, 0], atol=1e-6)
        assert abs(changed - image).max() <= 0.1 + 1e-6
        changed = np.asarray(augment(jax.random.key(seed), image, labels, replace(NOTHING, contrast=0.5))[0])
        assert changed.mean() == pytest.approx(float(image.mean()), abs=1e-5)
        assert 0.5 - 1e-3 <= changed.std() / image.std() <= 1.5 + 1e-3
    extreme = augment(jax.random.key(0), image * 3 - 0.8, labels, replace(NOTHING, brightness=1, contrast=1))[0]
    assert extreme.min() >= 0 and extreme.max() <= 1


def test_a_batch_is_its_examples_each_with_a_key_of_its_own():
    images, labels = (jnp.stack([a] * 3) for a in example((8, 9), 1))
    settings = Augmentation(flips=(0, 1))
    key = jax.random.key(5)
    batch = jax.jit(augment_batch, static_argnums=3)(key, images, labels, settings)
    keys = jax.random.split(jax.random.clone(key), 3)
    loop = [augment(one, images[0], labels[0], settings) for one in keys]
    chex.assert_trees_all_close(batch[0], jnp.stack([image for image, _ in loop]), atol=1e-5)
    assert np.mean(batch[1] == jnp.stack([mask for _, mask in loop])) > 0.99  # a point halfway may round elsewhere
    assert not np.allclose(batch[0][0], batch[0][1])
    assert batch[0].dtype == jnp.float32 and batch[1].dtype == jnp.int32


def test_one_compilation_for_all_keys():
    image, labels = example((8, 8), 1)
    function = jax.jit(chex.assert_max_traces(lambda key: augment(key, image, labels, Augmentation(flips=(1,))), n=1))
    for seed in range(3):
        function(jax.random.key(seed))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Augmentation(rotation=-1), "augmentation rotation is -1, expected 0 to 180"),
        (lambda: Augmentation(scaling=1.5), "augmentation scaling is 1.5, expected 0 to 0.99"),
        (lambda: augment(jax.random.key(0), *example((4, 4)), Augmentation(flips=(2,))), r"flips are \(2,\), expected"),
        (lambda: augment(jax.random.key(0), *example((4, 4)), Augmentation(spacing=(1.0,))), "one number for each"),
        (lambda: augment(jax.random.key(0), example((4, 4))[0], example((4, 5))[1], NOTHING), "and mask"),
        (lambda: augment(jax.random.key(0), *example((4,)), NOTHING), "expected .*spatial, channel"),
    ],
)  # fmt: skip
def test_refusals(call, message):
    with pytest.raises(DataError, match=message):
        call()
