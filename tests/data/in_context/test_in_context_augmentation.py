"""Who shares a draw with whom, what each step may do, and the differences between its two modes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab.data.in_context import steps as s
from hyperlab.data.in_context.augmentation import augment_episodes, in_task_augment, task_augment
from hyperlab.errors import DataError

task = jax.jit(task_augment, static_argnums=3)
in_task = jax.jit(in_task_augment, static_argnums=3)


def episode(n=3, size=16, seed=0):
    image = np.random.default_rng(seed).random((1, size, size, 1), np.float32)
    label = np.zeros_like(image)
    label[:, 4:9, 5:12] = 1
    return np.repeat(image, n, 0), np.repeat(label, n, 0)


def seeds(count):
    return [jax.random.key(seed) for seed in range(count)]


STEPS = (s.Affine(p=1.0), s.BrightnessContrast(p=1.0), s.Elastic(p=1.0))


def test_a_task_draw_is_shared_and_an_in_task_draw_is_not():
    images, labels = episode()
    for new in task(jax.random.key(0), images, labels, STEPS):
        np.testing.assert_array_equal(new[0], new[1])
        assert np.abs(new[0] - images[0]).max() > 0.1
    for new in in_task(jax.random.key(0), images, labels, STEPS):
        assert np.abs(new[0] - new[1]).max() > 0.1


def test_image_and_label_move_together():
    _, labels = episode()
    images, labels = task(jax.random.key(1), labels, labels, (s.Affine(p=1.0), s.Elastic(p=1.0), s.Mirror(p=1.0)))
    np.testing.assert_allclose(images, labels, atol=1e-6)
    assert float(labels.min() == 0) > 0 and len(np.unique(labels)) > 2  # soft


def test_noise_differs_between_images_of_one_draw():
    images, labels = episode()
    noisy, _ = task(jax.random.key(0), images, labels, (s.Noise(p=1.0, std=(0.04, 0.05)),))
    assert np.abs(noisy[0] - noisy[1]).max() > 0.01


def test_strengths_are_shared_by_faithful_steps_alone():
    images, labels = np.full((6, 8, 8, 1), 0.5, np.float32), np.zeros((6, 8, 8, 1), np.float32)
    values = {}
    for mode in s.MODES:
        step = s.BrightnessContrast(p=1.0, mode=mode)
        values[mode] = np.unique(in_task(jax.random.key(0), images, labels, (step,))[0].round(5))
    assert len(values["faithful"]) == 1 and len(values["documented"]) == 6


@pytest.mark.parametrize("p, low, high", [(0.5, 0.35, 0.65), (0.0, 0, 0), (1.0, 1, 1)])
def test_each_draw_fires_with_its_probability(p, low, high):
    images, labels = np.zeros((200, 4, 4, 1), np.float32), np.zeros((200, 4, 4, 1), np.float32)
    flipped = in_task(jax.random.key(0), images, labels, (s.FlipIntensities(p=p),))[0][:, 0, 0, 0]
    assert low <= flipped.mean() <= high


def test_flips():
    images, labels = episode()
    for step, image, label in (
        (s.FlipIntensities(p=1.0), 1 - images, labels),
        (s.FlipLabels(p=1.0), images, 1 - labels),
        (s.Mirror(p=1.0, axis=-1), images[:, :, ::-1], labels[:, :, ::-1]),
        (s.Mirror(p=1.0, axis=-2), images[:, ::-1], labels[:, ::-1]),
    ):
        new = task(jax.random.key(0), images, labels, (step,))
        np.testing.assert_array_equal(new[0], image)
        np.testing.assert_array_equal(new[1], label)


def test_sobel_labels_are_soft_or_binary():
    images, labels = episode()
    soft = task(jax.random.key(0), images, labels, (s.Sobel(p=1.0),))[1]
    hard = task(jax.random.key(0), images, labels, (s.Sobel(p=1.0, binary=True),))[1]
    assert set(np.unique(hard)) == {0, 1} and len(np.unique(soft)) > 3
    np.testing.assert_array_equal(hard, soft > 0)


def shifts(mode):
    """How far a dot in the middle moves: rows and columns over many draws."""
    dots = np.zeros((60, 33, 33, 1), np.float32)
    dots[:, 16, 16] = 1
    step = s.Affine(p=1.0, mode=mode, rotation=(0.0, 0.0), scale=(1.0, 1.0))
    moved = np.asarray(in_task(jax.random.key(0), dots, dots, (step,))[1])[..., 0]
    grid = np.mgrid[:33, :33] - 16
    return [(moved * axis).sum((1, 2)) / moved.sum((1, 2)) for axis in grid]


def test_the_faithful_shift_is_vertical():
    rows, columns = shifts("faithful")
    np.testing.assert_allclose(columns, 0, atol=1e-4)
    assert 5 < np.abs(rows).max() <= 0.2 * 33 + 1e-3 and rows.min() < 0 < rows.max()
    rows, columns = shifts("documented")
    assert min(np.abs(rows).max(), np.abs(columns).max()) > 5


@pytest.mark.fast
def test_ranges_with_whole_ends_are_drawn_below_the_upper_end():
    uniform = jnp.array([0.0, 0.3, 0.6, 0.999])
    faithful, documented = s.Elastic(), s.Elastic(mode="documented")
    np.testing.assert_array_equal(faithful.within((1, 2), uniform), 1)
    np.testing.assert_array_equal(faithful.within((6, 8), uniform), [6, 6, 7, 7])
    np.testing.assert_array_equal(faithful.within((7, 8), uniform), 7)
    np.testing.assert_allclose(faithful.within((1, 2.5), uniform), 1 + 1.5 * uniform)
    np.testing.assert_allclose(documented.within((6, 8), uniform), 6 + 2 * uniform)


def test_the_faithful_blur_is_the_same_always():
    images, labels = episode(n=2)
    draws = [task(key, images, labels, (s.Blur(p=1.0),))[0] for key in seeds(2)]
    np.testing.assert_array_equal(*draws)
    draws = [task(key, images, labels, (s.Blur(p=1.0, mode="documented"),))[0] for key in seeds(2)]
    assert np.abs(draws[0] - draws[1]).max() > 1e-3


def test_the_documented_noise_is_a_variance():
    images, labels = np.zeros((1, 64, 64, 1), np.float32), np.zeros((1, 64, 64, 1), np.float32)
    spread = {}
    for mode in s.MODES:
        step = s.Noise(p=1.0, mode=mode, mean=(0.0, 0.0), std=(0.04, 0.04))
        spread[mode] = float(task(jax.random.key(0), images, labels, (step,))[0].std())
    assert abs(spread["faithful"] - 0.04) < 0.003 and abs(spread["documented"] - 0.2) < 0.01


@functools.cache
def whole():
    """Both published augmentations of two episodes, three draws each: one program."""
    images, labels = (np.stack([array, array]) for array in episode(n=3))
    step = jax.jit(lambda key: augment_episodes(key, images, labels))
    return images, labels, [step(key) for key in seeds(3)]


def test_what_comes_out_is_finite_in_range_and_changed():
    images, labels, draws = whole()
    for new_images, new_labels in draws:
        assert new_images.shape == images.shape and new_labels.shape == labels.shape
        for new, old in ((new_images, images), (new_labels, labels)):
            assert new.min() >= 0 and new.max() <= 1 and np.isfinite(new).all()
            assert np.abs(new - old).max() > 0.1
    assert np.abs(draws[0][0] - draws[1][0]).max() > 0.1


def test_no_steps_change_nothing():
    images, labels = (np.stack([array, array]) for array in episode())
    new = augment_episodes(jax.random.key(0), images, labels, in_task=(), task=())
    np.testing.assert_array_equal(new[0], images)
    np.testing.assert_array_equal(new[1], labels)


@pytest.mark.fast
def test_bad_input():
    images, labels = episode()
    with pytest.raises(DataError, match="expected .n, height, width, 1. of both, the query first"):
        task_augment(jax.random.key(0), images, labels[:2])
    with pytest.raises(DataError, match="p is 1.5, expected a probability"):
        s.Blur(p=1.5)
    with pytest.raises(DataError, match="unknown mode 'faithfull' of Blur; did you mean 'faithful'"):
        s.Blur(mode="faithfull")
    with pytest.raises(DataError, match=r"Elastic.alpha is \(2, 1\), expected \(low, high\)"):
        s.Elastic(alpha=(2, 1))
