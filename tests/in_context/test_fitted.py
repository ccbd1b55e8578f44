"""A network from the examples themselves, and what is said of its worth."""

import numpy as np
import pytest

from hyperlab import in_context
from hyperlab.errors import ConfigError, DataError

QUICK = {"size": 16, "widths": (8, 8), "steps": 150}


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
    fitted = in_context.fit(*scenes(6), classes=(3, 7), **QUICK | {"size": 32, "steps": 150})
    for seed, shape in ((1, (20, 26)), (2, (30, 24))):
        images, truth = scenes(1, shape, seed)
        masks, probabilities = fitted.segment(images)
        assert masks.shape == truth.shape and set(np.unique(masks)) == {0, 3, 7} and (masks == truth).mean() > 0.85
        assert probabilities.shape == (*truth.shape, 2) and (probabilities.sum(-1) <= 1.001).all()


def test_the_same_seed_gives_the_same_network_and_another_one_another():
    images, labels = scenes(6)
    nets = [in_context.fit(images, labels, classes=(3, 7), seed=seed, **QUICK) for seed in (0, 0, 1)]
    first, again, other = (net.segment(images).probabilities for net in nets)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_volumes_are_trained_on_all_their_slices():
    images, labels = scenes(4)
    volumes = np.stack([images.transpose(1, 2, 0)] * 4), np.stack([labels.transpose(1, 2, 0)] * 4)
    found = in_context.held_out(*volumes, classes=(3, 7), slice_axis=2, **QUICK | {"size": None, "steps": 1})
    assert found.dice.shape == (1, 2) and (found.copied == 1).all()  # the volumes are the same


def test_what_is_kept_aside_is_not_trained_on():
    images, labels = scenes(8)
    found = in_context.held_out(images, labels, classes=(3, 7), **QUICK)
    assert len(found.aside) == 2 and (found.dice > 0.6).all() and (found.copied < 0.9).all()
    flawed = labels.copy()
    flawed[found.aside] = np.where(labels[found.aside] == 3, 7, labels[found.aside])
    other = in_context.held_out(images, flawed, classes=(3, 7), **QUICK)
    # another truth for them changes their scores, and not the network: nothing of class 3 is true now
    assert (other.dice[:, 0] == 0).all() and (other.aside == found.aside).all()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"steps": 0}, ConfigError, "expected more than 0"),
        ({"classes": (5,)}, DataError, "no support label has a pixel of class 5"),
        ({"classes": None}, DataError, "expected 0 and 1"),
        ({"images": np.full((4, 20, 26), 255.0)}, DataError, "expected 0..1"),
        ({"labels": np.zeros((3, 20, 26), int)}, DataError, "3 support_labels for 4 support_images"),
    ],
)
def test_bad_input(changes, error, message):
    images, labels = scenes(4)
    given = {"images": images, "labels": labels, "classes": (3,)} | QUICK | changes
    with pytest.raises(error, match=message):
        in_context.fit(**given)


def test_three_examples_are_too_few_to_keep_some_aside():
    with pytest.raises(DataError, match="expected 4 or more pairs"):
        in_context.held_out(*scenes(3), classes=(3,))
