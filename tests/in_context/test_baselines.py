"""What needs no network: each floor against a slow obvious version."""

import numpy as np
import pytest

from hyperlab.in_context.baselines import BASELINES, mean_mask, nearest, otsu, otsu_threshold
from hyperlab.in_context.targets import dice

pytestmark = pytest.mark.fast

RNG = np.random.default_rng(0)
QUERIES = RNG.random((5, 6, 4, 1), np.float32)
IMAGES = RNG.random((7, 6, 4, 1), np.float32)
LABELS = (RNG.random((7, 6, 4, 1)) > 0.6).astype(np.float32)


def test_nearest_is_the_mask_of_the_most_similar_image():
    for query, mask in zip(QUERIES, nearest(QUERIES, IMAGES, LABELS), strict=True):
        errors = [((query - image) ** 2).mean() for image in IMAGES]
        np.testing.assert_array_equal(mask, LABELS[int(np.argmin(errors))] == 1)
    np.testing.assert_array_equal(nearest(IMAGES, IMAGES, LABELS), LABELS == 1)


def test_the_mean_mask_is_a_vote():
    masks = mean_mask(QUERIES, IMAGES, LABELS)
    assert masks.shape == QUERIES.shape
    np.testing.assert_array_equal(masks[3], (LABELS == 1).sum(0) > 3.5)


@pytest.mark.parametrize("inverted", [False, True])
def test_otsu_finds_two_clusters_and_takes_the_side_that_the_support_says(inverted):
    def example(rng):
        label = rng.random((16, 16, 1)) > 0.7
        grey = np.where(label, 0.8, 0.3) + 0.05 * rng.standard_normal(label.shape)
        return np.clip(1 - grey if inverted else grey, 0, 1), label

    pairs = [example(np.random.default_rng(seed)) for seed in range(4)]
    images, labels = (np.stack(part) for part in zip(*pairs, strict=True))
    found = otsu(images[:2], images[2:], labels[2:].astype(np.float32))
    assert dice(found, labels[:2]).min() > 0.99


def test_the_threshold_is_the_best_of_all_edges():
    values = RNG.random(200) ** 2
    edges = np.arange(1, 256) / 256

    def between(edge):
        low, high = values[values < edge], values[values >= edge]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2 if len(low) and len(high) else 0.0

    best = max(between(edge) for edge in edges)
    assert between(otsu_threshold(values)) > 0.98 * best
    assert 0 <= otsu_threshold(np.full((4, 4), 0.5)) <= 1


def test_every_baseline_gives_masks_of_the_queries():
    for baseline in BASELINES.values():
        masks = baseline(QUERIES, IMAGES, LABELS)
        assert masks.shape == QUERIES.shape and masks.dtype == bool


def test_dice_of_images_is_undefined_where_both_are_empty():
    empty = np.zeros((2, 3, 3, 1), bool)
    full = ~empty
    np.testing.assert_array_equal(dice(empty, empty), [np.nan, np.nan])
    np.testing.assert_array_equal(dice(empty, full), [0, 0])
    np.testing.assert_array_equal(dice(full, full), [1, 1])
