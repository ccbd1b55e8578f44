import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab.errors import ConfigError
from hyperlab.in_context import (
    IntensityChanges,
    augmented_candidates,
    change_intensity,
    matching_scale,
    noise_candidates,
)
from hyperlab.in_context.stochastic import KINDS, smooth_noise
from hyperlab.metrics import candidates


def only(kind, **ranges):
    return IntensityChanges(**{each: float(each == kind) for each in KINDS}, **ranges)


def episode(seed=0, batch=2, size=3, side=8):
    rng = np.random.default_rng(seed)
    images = jnp.asarray(0.2 + 0.6 * rng.random((batch, size + 1, side, side, 1)), jnp.float32)
    labels = jnp.asarray(rng.random((batch, size, side, side, 1)) < 0.4, jnp.float32)
    return images[:, 0], images[:, 1:], labels


def watched(target, support_images, support_labels):
    """Shows its inputs: the target, and sums that tell which images and labels were changed."""
    return target + 10 * support_images.sum(1) + 1000 * support_labels.sum(1)


@pytest.mark.parametrize(("where", "shared"), [("both", True), ("target", True), ("context", False)])
def test_inversion_changes_what_it_should_and_never_labels(where, shared):
    target, images, labels = episode()
    changes = only("inversion")
    expected = {
        "both": watched(1 - target, 1 - images, labels),
        "target": watched(1 - target, images, labels),
        "context": watched(target, 1 - images, labels),
    }
    result = augmented_candidates(jax.random.key(0), watched, target, images, labels, 2, changes=changes,
                                  shared=shared, where=where)  # fmt: skip
    np.testing.assert_allclose(result, np.stack([expected[where]] * 2, 1), rtol=1e-6)


def test_shared_draws_change_all_images_of_an_episode_alike_and_passes_differ():
    target, images, labels = episode(batch=1, size=2)
    changes = only("brightness_contrast", contrast=(1.0, 1.0))
    shift = lambda target, images, labels: jnp.concatenate([target[:, None], images], 1).mean((2, 3, 4))  # noqa: E731

    def shifts(shared):
        options = dict(changes=changes, shared=shared)
        found = augmented_candidates(jax.random.key(1), shift, target, images, labels, 6, **options)
        return np.asarray(found)[0] - np.asarray(shift(target, images, labels))

    together, apart = shifts(True), shifts(False)
    assert np.ptp(together, axis=1).max() < 1e-5 and np.ptp(together[:, 0]) > 0.03
    assert np.ptp(apart, axis=1).min() > 1e-3
    assert np.abs(together).max() <= 0.1 + 1e-6


def test_kinds_are_drawn_by_their_weights_and_values_stay_in_range():
    weights = IntensityChanges(0, 0, 0, 3, 1, brightness=(0.05, 0.05), contrast=(1.0, 1.0))
    image = jnp.full((4, 4), 0.9)
    many = jax.jit(jax.vmap(lambda key: change_intensity(*jax.random.split(key), image, weights)[0, 0]))
    many = many(jax.random.split(jax.random.key(2), 400))
    inverted = np.isclose(many, 0.1, atol=1e-6)
    np.testing.assert_allclose(np.asarray(many)[~inverted], 0.95, atol=1e-6)
    assert abs(inverted.mean() - 0.25) < 0.07
    image = jnp.asarray(np.random.default_rng(0).random((8, 8)), jnp.float32)
    all_kinds = IntensityChanges(noise_std=(0.5, 1.0), brightness=(-0.5, 0.5))
    changed = jax.jit(jax.vmap(lambda key: change_intensity(*jax.random.split(key), image, all_kinds)))
    changed = changed(jax.random.split(jax.random.key(3), 100))
    assert changed.min() >= 0 and changed.max() <= 1 and np.isfinite(changed).all()
    assert len(np.unique(np.asarray(changed).reshape(100, -1), axis=0)) > 60


def test_candidates_are_a_function_of_their_key():
    target, images, labels = episode(1)
    run = jax.jit(lambda seed: augmented_candidates(jax.random.key(seed), watched, target, images, labels, 3))
    np.testing.assert_array_equal(run(3), run(3))
    assert np.abs(run(3) - run(4)).max() > 1e-3


@pytest.mark.parametrize("smoothness", [0.0, 1.5, 4.0])
def test_smooth_noise_has_the_same_variance_everywhere_and_the_stated_correlation(smoothness):
    noise = np.asarray(smooth_noise(jax.random.key(0), (4000, 10, 9), smoothness))
    np.testing.assert_allclose(noise.mean(0), 0, atol=0.09)
    np.testing.assert_allclose(noise.var(0), 1, atol=0.15)  # at the border too
    step = (noise[:, :-2] * noise[:, 2:]).mean()
    expected = np.exp(-(2.0**2) / (4 * smoothness**2)) if smoothness else 0.0
    assert step == pytest.approx(expected, abs=0.03)


def test_noise_candidates_move_borders_in_doubt_and_keep_what_is_sure():
    distance = np.hypot(*np.meshgrid(np.arange(32) - 15.5, np.arange(32) - 15.5)) - 9
    p = jnp.asarray(1 / (1 + np.exp(distance)), jnp.float32)[None, ..., None]
    same = noise_candidates(jax.random.key(0), p, 3, 0.0, 2.0)
    np.testing.assert_allclose(same, np.broadcast_to(p[:, None], (1, 3, 32, 32, 1)), atol=1e-5)
    masks = np.asarray(noise_candidates(jax.random.key(0), p, 64, 1.0, 2.0)[0, ..., 0] > 0.5)
    moved = (masks != (distance < 0)).mean(0)
    assert moved[np.abs(distance) > 5].max() == 0 and moved[np.abs(distance) < 0.5].mean() > 0.2
    sure = jnp.asarray(np.asarray(p) > 0.5, jnp.float32)
    assert np.isfinite(noise_candidates(jax.random.key(0), sure, 2, 5.0, 1.0)).all()


def test_the_matching_scale_gives_the_diversity_that_was_asked_for_and_the_best_of_noise_rises_with_k():
    y, x = np.meshgrid(np.arange(24) - 12, np.arange(24) - 12, indexing="ij")
    distance = np.stack([np.hypot(y, x) - 6, np.hypot(y - 2, x + 3) - 7])
    p = jnp.asarray(1 / (1 + np.exp(distance / 1.5)), jnp.float32)[..., None]
    options = dict(count=8, smoothness=3.0)
    for wanted in (0.05, 0.3):
        scale = matching_scale(jax.random.key(3), p, wanted, **options)
        masks = noise_candidates(jax.random.key(3), p, 8, scale, 3.0)[..., 0] > 0.5
        assert float(candidates.sample_diversity(masks, unbiased=True).mean()) == pytest.approx(wanted, abs=1e-3)
    truth = jnp.asarray(distance[:, None] + 1.5 * np.sin(y)[None, None] < 0)
    best = [float(candidates.best_candidate_dice(masks[:, :k], truth).mean()) for k in (1, 2, 8)]
    assert best[0] <= best[1] <= best[2]  # nested sets of candidates
    with pytest.raises(ConfigError, match="diversity is 0.99, expected 0 to"):
        matching_scale(jax.random.key(3), p, 0.99, **options)


def test_refusals():
    target, images, labels = episode()
    with pytest.raises(ConfigError, match="unknown where 'support'"):
        augmented_candidates(jax.random.key(0), watched, target, images, labels, 2, where="support")
    with pytest.raises(ConfigError, match="count is 0"):
        augmented_candidates(jax.random.key(0), watched, target, images, labels, 0)
    with pytest.raises(ConfigError, match="none may be below 0"):
        IntensityChanges(blur=-1)
    with pytest.raises(ConfigError, match="nor all 0"):
        IntensityChanges(blur=0, noise=0, sharpness=0, brightness_contrast=0, inversion=0)
    with pytest.raises(ConfigError, match="smoothness is -1"):
        noise_candidates(jax.random.key(0), target, 2, 1.0, -1)
    with pytest.raises(ConfigError, match="count is 1, expected at least 2"):
        matching_scale(jax.random.key(0), target, 0.1, count=1, smoothness=1.0)
