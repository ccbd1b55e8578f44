"""What an answer is worth: known answers have known measures, and nothing breaks where nothing is right or wrong."""

import numpy as np
import pytest

from hyperlab import uncertainty
from hyperlab.studies.uncertainty import scoring
from hyperlab.studies.uncertainty.data import EvalSplit
from hyperlab.studies.uncertainty.programs import of_passes

LABELS = np.zeros((3, 16, 16), np.int32)
LABELS[0, 2:7, 2:7] = 1
LABELS[1, 8:14, 3:9] = 1  # the third image holds nothing
SPLIT = EvalSplit(np.random.default_rng(0).uniform(size=(3, 16, 16, 1)).astype(np.float32), LABELS)


def answer(foreground):
    return of_passes(np.stack([1 - foreground, foreground], -1).astype(np.float32)[None])


def measure(maps, **options):
    return scoring.measures(maps, SPLIT, maps.total, scoring.ScoringRules(), whole=True, **options)


def test_a_sure_and_right_answer_has_nothing_to_find():
    found = measure(answer(LABELS.astype(float)))
    np.testing.assert_array_equal(found["dice"], [1, 1, np.nan])
    assert found["nll"] == found["ece_top_label"] == 0
    assert np.isnan(found["auroc/image/total"])
    assert found["objects"] == 2
    assert found["object_errors"] == 0


def test_uncertainty_where_the_errors_are_finds_them_all_and_a_copied_area_counts():
    wrong = LABELS.copy()
    wrong[0, 2:7, 2:4] = 0  # two columns are missed, and uncertain
    foreground = np.where(wrong == 1, 0.99, 0.01)
    foreground[wrong != LABELS] = 0.4
    found = measure(answer(foreground))
    assert found["auroc/image/total"] == 1
    assert found["auroc/image/one_pass"] == 1
    assert 0.5 < found["auroc/image/distance"] < 1
    np.testing.assert_array_equal(found["predicted_area"], [15, 36, 0])
    np.testing.assert_allclose(found["dice"][:2], [2 * 15 / 40, 1])
    np.testing.assert_allclose(found["excess_aurc/pixel/total"], 0, atol=1e-12)


def test_a_network_that_diverged_finds_nothing_and_is_sure():
    broken = answer(np.full(LABELS.shape, np.nan))
    assert scoring.temperature(broken.mean, SPLIT) == 1
    assert scoring.score(broken.mean, SPLIT)["nll"] == pytest.approx(-np.log(1e-7))
    found = measure(scoring.finite(broken))
    np.testing.assert_array_equal(found["predicted_area"], 0)
    np.testing.assert_array_equal(found["dice"], [0, 0, np.nan])
    whole = answer(np.full(LABELS.shape, 0.3))
    assert scoring.finite(whole) is whole


def test_masks_of_draws_are_compared_as_wholes():
    masks = np.repeat((LABELS > 0)[:, None], 4, 1)
    found = measure(answer(LABELS.astype(float)), masks=masks)
    np.testing.assert_allclose(found["structure/pairwise_dice"], 1)
    np.testing.assert_allclose(found["structure/area_variation"], 0)


def test_maps_of_one_pass_are_its_entropy():
    maps = answer(np.full((1, 2, 2), 0.5))
    np.testing.assert_allclose(maps.total, np.log(2), rtol=1e-6)
    np.testing.assert_array_equal(maps.epistemic, 0)
    assert isinstance(maps, uncertainty.Maps)
