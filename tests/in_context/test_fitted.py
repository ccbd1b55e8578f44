"""Networks from the examples themselves, and what is said of their worth."""

import numpy as np
import pytest

from hyperlab import in_context
from hyperlab.errors import ConfigError, DataError
from hyperlab.in_context.cross_validation import fold_of

QUICK = {"size": 16, "widths": (8, 8)}


def scenes(count, shape=(20, 26), seed=0):
    """Dark images with a bright square (class 3) and a grey one (class 7)."""
    rng = np.random.default_rng(seed)
    images, labels = np.full((count, *shape), 0.1), np.zeros((count, *shape), int)
    for image, label in zip(images, labels, strict=True):
        for value, grey, left in ((3, 0.9, 0), (7, 0.5, shape[1] // 2)):
            y, x = rng.integers(0, [shape[0] - 8, shape[1] // 2 - 8])
            image[y : y + 8, left + x : left + x + 8], label[y : y + 8, left + x : left + x + 8] = grey, value
    return images, labels


def test_classes_are_found_with_their_values_on_images_of_any_size():
    fitted = in_context.fit(*scenes(6), classes=(3, 7), widths=(8, 8), steps=100)
    assert fitted.working.window == (24, 32)
    for seed, shape in ((1, (20, 26)), (2, (30, 24)), (3, (70, 50)), (4, (17, 18))):  # larger and smaller than a window
        images, truth = scenes(1, shape, seed)
        masks, probabilities = fitted.segment(images)
        assert masks.shape == truth.shape and set(np.unique(masks)) == {0, 3, 7} and (masks == truth).mean() > 0.9
        assert probabilities.shape == (*truth.shape, 2) and (probabilities.sum(-1) <= 1.001).all()


def test_the_same_seed_gives_the_same_network_and_another_one_another():
    images, labels = scenes(6)
    nets = [in_context.fit(images, labels, classes=(3, 7), seed=seed, steps=20, **QUICK) for seed in (0, 0, 1)]
    first, again, other = (net.segment(images).probabilities for net in nets)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_volumes_are_scored_whole():
    images, labels = scenes(5)
    volumes = np.stack([images.transpose(1, 2, 0)] * 4), np.stack([labels.transpose(1, 2, 0)] * 4)
    found = in_context.held_out(*volumes, classes=(3, 7), slice_axis=2, widths=(8, 8), steps=50)
    assert found.dice.shape == (4, 2) and (found.copied == 1).all()  # the volumes are the same
    alone = found.fitted._replace(params=found.fitted.params[found.aside[1] : found.aside[1] + 1])
    (mask,), truth = alone.segment(volumes[0][1:2]).masks, volumes[1][1]
    for place, value in enumerate((3, 7)):
        ours, theirs = mask == value, truth == value
        assert found.dice[1, place] == pytest.approx(2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()))


def test_the_slices_of_a_volume_are_seen_with_their_neighbours():
    """What is to be found in a slice is what the next one shows."""
    rng = np.random.default_rng(0)
    volumes = np.repeat(rng.integers(0, 2, (6, 4, 4, 9)), 4, 1).repeat(4, 2).astype(float)
    labels = np.concatenate([volumes[..., 1:], volumes[..., -1:]], -1).astype(int)
    fitted = in_context.fit(volumes[:5], labels[:5], slice_axis=2, widths=(8,), steps=120, batch=9)
    assert (fitted.segment(volumes[5:]).masks[0] == labels[5]).mean() > 0.95


def test_what_is_kept_aside_is_not_trained_on():
    images, labels = scenes(8)
    found = in_context.held_out(images, labels, classes=(3, 7), steps=150, **QUICK)
    assert sorted(found.aside) == [0, 0, 1, 1, 2, 2, 3, 3] and (found.dice > 0.6).all() and found.better.all()
    fold = found.aside == 0
    flawed = labels.copy()
    flawed[fold] = np.where(labels[fold] == 3, 7, labels[fold])
    other = in_context.held_out(images, flawed, classes=(3, 7), steps=found.steps, **QUICK)
    # another truth for them changes their scores, and not the network that did not see them: nothing of class 3 is true
    if other.steps == found.steps:
        for old, new in zip(*(np.ravel(list(_leaves(each.fitted.params[0]))) for each in (found, other)), strict=True):
            assert old == new
    assert (other.dice[fold, 0] == 0).all() and (other.aside == found.aside).all()


def _leaves(params):
    import jax

    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


def test_what_is_delivered_is_the_mean_of_what_was_measured():
    images, labels = scenes(4)
    found = in_context.held_out(images, labels, classes=(3, 7), steps=20, **QUICK)
    each = [found.fitted._replace(params=(params,)).segment(images).probabilities for params in found.fitted.params]
    assert len(each) == 4 and np.abs(each[0] - each[1]).max() > 1e-3
    np.testing.assert_allclose(found.fitted.segment(images).probabilities, np.mean(each, 0), atol=1e-5)


def test_training_ends_when_the_dice_has_settled():
    images, labels = scenes(8)
    found = in_context.held_out(images, labels, classes=(3, 7), steps=1000, **QUICK)
    assert found.settled and 200 <= found.steps < 1000 and found.steps % 50 == 0
    assert not in_context.held_out(images, labels, classes=(3, 7), steps=3, **QUICK).settled


@pytest.mark.fast
@pytest.mark.parametrize("seed", range(5))
def test_groups_are_kept_aside_whole_in_folds_of_about_one_size(seed):
    groups = np.random.default_rng(seed).integers(0, 9, 40).tolist()
    folds = fold_of(groups, 4, seed)
    assert all(len({folds[i] for i in range(40) if groups[i] == name}) == 1 for name in groups)
    sizes = np.bincount(folds, minlength=4)
    assert sizes.min() > 0 and np.ptp(sizes) <= max(map(groups.count, groups))


def test_colours_are_channels():
    inside = scenes(4)[1] == 3
    images = np.where(inside[..., None], [0.2, 0.4, 0.6], [0.6, 0.4, 0.2])  # of one grey value
    fitted = in_context.fit(images, inside.astype(int), steps=60, **QUICK)
    assert (fitted.segment(images).masks == inside).mean() > 0.95
    with pytest.raises(DataError, match=r"images\[0\] has 1 channels, expected 3"):
        fitted.segment(images.mean(-1))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"steps": 0}, ConfigError, "expected more than 0"),
        ({"batch": 0}, ConfigError, "expected more than 0"),
        ({"size": "large"}, ConfigError, "expected 'auto', None, or a number"),
        ({"classes": (5,)}, DataError, "no support label has a pixel of class 5"),
        ({"classes": None}, DataError, "expected 0 and 1"),
        ({"images": np.full((4, 20, 26), 255.0)}, DataError, "expected 0..1"),
        ({"images": np.full((4, 20, 26), np.nan)}, DataError, "520 values that are not finite"),
        ({"images": [np.zeros((20, 26))] * 3 + [np.zeros((20, 26, 3))]}, DataError, r"images\[3\] has 3 channels"),
        ({"labels": np.zeros((3, 20, 26), int)}, DataError, "3 support_labels for 4 support_images"),
    ],
)
def test_bad_input(changes, error, message):
    images, labels = scenes(4)
    given = {"images": images, "labels": labels, "classes": (3,), "steps": 1} | QUICK | changes
    with pytest.raises(error, match=message):
        in_context.fit(**given)


def test_too_little_to_keep_something_aside():
    with pytest.raises(DataError, match="expected 2 or more pairs"):
        in_context.held_out(*scenes(1), classes=(3,))
    with pytest.raises(DataError, match="of one group"):
        in_context.held_out(*scenes(3), classes=(3,), groups="aaa")
    images, labels = scenes(4)
    labels[1:] = np.where(labels[1:] == 7, 0, labels[1:])
    with pytest.raises(DataError, match="class 7 is in one example"):
        in_context.held_out(images, labels, classes=(3, 7))
