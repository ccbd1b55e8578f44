import numpy as np
import pytest
import scipy.ndimage

from hyperlab.errors import ConfigError, DataError
from hyperlab.uncertainty import detection, image_scores, objects

pytestmark = pytest.mark.fast
RANDOM = np.random.default_rng(0)
UNCERTAINTY = RANDOM.random((3, 16, 15)).astype(np.float32)
PREDICTIONS = scipy.ndimage.gaussian_filter(RANDOM.normal(size=(3, 16, 15)), (0, 2, 2)) > 0.05
PREDICTIONS[2] = False

# -- images -----------------------------------------------------------------------------------------------------


def test_every_score_is_a_mean_over_its_pixels():
    found = image_scores.image_scores(UNCERTAINTY, PREDICTIONS, width=2, share=0.1, threshold=0.5)
    assert set(found) == set(image_scores.SCORES)
    band = detection.boundary_band(PREDICTIONS, 2)
    for i in range(2):
        image = UNCERTAINTY[i]
        slow = {
            "image_mean": image.mean(),
            "foreground": image[PREDICTIONS[i]].mean(),
            "band": image[band[i]].mean(),
            "top_share": np.sort(image.ravel())[-24:].mean(),
            "share_above": (image > 0.5).mean(),
        }
        for name, value in slow.items():
            np.testing.assert_allclose(found[name][i], value, rtol=1e-5)


def test_an_empty_prediction_has_the_mean_of_the_image():
    found = image_scores.image_scores(UNCERTAINTY, PREDICTIONS)
    for name in ("foreground", "band"):
        np.testing.assert_allclose(found[name][2], UNCERTAINTY[2].mean(), rtol=1e-6)
    assert image_scores.empty_predictions(PREDICTIONS).tolist() == [False, False, True]


def test_more_uncertainty_is_a_higher_score():
    low, high = (image_scores.image_scores(UNCERTAINTY * factor, PREDICTIONS) for factor in (0.5, 1))
    assert all((high[name] > low[name]).all() for name in high)


def test_wrong_arguments_are_named():
    with pytest.raises(ConfigError, match="share is 0"):
        image_scores.image_scores(UNCERTAINTY, PREDICTIONS, share=0)
    with pytest.raises(DataError, match="the same"):
        image_scores.image_scores(UNCERTAINTY, PREDICTIONS[0])


# -- objects ----------------------------------------------------------------------------------------------------


def test_a_row_is_what_the_pixels_of_an_object_say():
    mask, values = PREDICTIONS[0], UNCERTAINTY[0]
    table = objects.object_table(mask, {"epistemic": values, "one": np.ones(mask.shape)})
    numbered, count = scipy.ndimage.label(mask)
    assert count > 1 and {len(column) for column in table.values()} == {count}
    border = np.ones(mask.shape, bool)
    border[1:-1, 1:-1] = False
    for row in range(count):
        inside = numbered == row + 1
        assert table["area"][row] == inside.sum() and table["touches_border"][row] == (inside & border).any()
        centre = [table[f"centre_{axis}"][row] for axis in (0, 1)]
        np.testing.assert_allclose(centre, scipy.ndimage.center_of_mass(inside))
        np.testing.assert_allclose(table["mean_epistemic"][row], values[inside].mean(), rtol=1e-5)
    np.testing.assert_allclose(table["mean_one"], 1)


def test_no_object_is_an_empty_table():
    table = objects.object_table(PREDICTIONS[2], {"epistemic": UNCERTAINTY[2]})
    assert all(len(column) == 0 for column in table.values()) and "mean_epistemic" in table
    truth = PREDICTIONS[0]
    assert objects.match_objects(PREDICTIONS[2], truth).missed == objects.components(truth)[1]
    found = objects.match_objects(truth, PREDICTIONS[2])
    assert found.error.all() and (found.iou == 0).all() and found.missed == 0


def test_objects_that_are_right_are_those_of_all_pairs():
    random = np.random.default_rng(1)
    for _ in range(20):
        truth = scipy.ndimage.gaussian_filter(random.normal(size=(24, 24)), 1.5) > 0.12
        mask = truth ^ (random.random((24, 24)) < 0.03)
        found = objects.match_objects(mask, truth)
        (first, predicted), (second, true) = objects.components(mask), objects.components(truth)
        pairs = [(a, b) for a in range(1, predicted + 1) for b in range(1, true + 1)
                 if ((first == a) & (second == b)).sum() > 0.5 * ((first == a) | (second == b)).sum()]  # fmt: skip
        assert np.flatnonzero(~found.error).tolist() == [a - 1 for a, _ in pairs]
        assert found.missed == true - len(pairs) == true - len({b for _, b in pairs})
        numbered = objects.match_objects(mask, 7 * scipy.ndimage.label(truth)[0])
        np.testing.assert_array_equal(numbered.error, found.error)


def test_samples_of_one_mask_have_no_spread():
    found = objects.object_samples(np.stack([PREDICTIONS[0]] * 5))
    for one in found.values():
        assert one.low == one.mean == one.high and one.samples == 5
    assert found["objects"].mean == objects.components(PREDICTIONS[0])[1]
    assert objects.object_samples(PREDICTIONS[2:])["mean_area"].mean == 0


def test_the_middle_of_the_samples():
    masks = np.zeros((101, 1, 202), bool)
    for t in range(101):
        masks[t, 0, : 2 * t : 2] = True
    found = objects.object_samples(masks)
    assert tuple(found["objects"]) == (50, 2.5, 97.5, 101) == tuple(found["area"])


def test_what_is_no_mask_is_refused():
    for wrong in (lambda: objects.components(np.ones((2, 2))), lambda: objects.match_objects(np.ones(3, bool), [1])):
        with pytest.raises(DataError):
            wrong()
    with pytest.raises(DataError, match="'epistemic'"):
        objects.object_table(PREDICTIONS[0], {"epistemic": UNCERTAINTY})
    with pytest.raises(DataError, match="at least one sample"):
        objects.object_samples(np.zeros((0, 3, 3), bool))
