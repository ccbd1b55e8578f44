import numpy as np
import pytest

from hyperlab.data.parasites import parasites
from hyperlab.errors import ConfigError, DataError
from hyperlab.uncertainty.floors import features, fit_pixels, objects_are_bright, otsu

EXAMPLES = parasites(count=30).examples
IMAGES, LABELS = EXAMPLES.images / np.float32(255), EXAMPLES.labels


def dice(masks, labels):
    return np.mean(
        [2 * (mask & label).sum() / (mask.sum() + label.sum()) for mask, label in zip(masks, labels > 0, strict=True)]
    )


def test_the_threshold_is_that_of_scikit_image():
    filters = pytest.importorskip("skimage.filters", reason="the extra 'test' is not installed")
    for image, mask in zip(IMAGES[:8, ..., 0], otsu(IMAGES[:8]), strict=True):
        assert np.mean(mask == (image > filters.threshold_otsu(image))) > 0.98  # bins lie elsewhere


def test_the_side_of_the_objects_is_found():
    assert objects_are_bright(IMAGES, LABELS) and not objects_are_bright(1 - IMAGES, LABELS)
    np.testing.assert_array_equal(otsu(IMAGES, bright=False), ~otsu(IMAGES))


def test_features_are_those_of_each_image_alone_and_in_the_stated_number():
    found = features(IMAGES[:2], (1.0, 3.0))
    assert found.shape == (2, 64, 64, 7) and found.dtype == np.float32
    np.testing.assert_array_equal(found[1:], features(IMAGES[1:2], (1.0, 3.0)))
    colour = features(np.repeat(IMAGES[:1], 3, -1), (1.0,))
    assert colour.shape == (1, 64, 64, 12)
    np.testing.assert_allclose(colour[..., 3:6], colour[..., 3:4].repeat(3, -1))
    np.testing.assert_allclose(features(np.ones((1, 8, 8, 1)), (1.0,))[..., 2:], 0, atol=1e-3)  # no slope, no blob


def test_the_pixel_classifier_beats_the_threshold_and_knows_how_sure_it_is():
    fitted = fit_pixels(IMAGES[:20], LABELS[:20], pixels=8000)
    found, truth = fitted.probabilities(IMAGES[20:]), LABELS[20:]
    assert found.shape == (*truth.shape, 2) and found.dtype == np.float32
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)
    assert dice(found.argmax(-1) > 0, truth) > dice(otsu(IMAGES[20:]), truth) + 0.03
    for low in (0.0, 0.25, 0.5, 0.75):
        chosen = (found[..., 1] >= low) & (found[..., 1] < low + 0.25)
        assert truth[chosen].mean() == pytest.approx(found[..., 1][chosen].mean(), abs=0.15)
    again = fit_pixels(IMAGES[:20], LABELS[:20], pixels=8000)
    np.testing.assert_array_equal(again.weights, fitted.weights)


def test_it_is_the_regression_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    labels = np.digitize(IMAGES[:2, ..., 0], (0.2, 0.4))
    fitted = fit_pixels(IMAGES[:2], labels, classes=4, scales=(1.0,), pixels=10**6)
    rows, scaler = features(IMAGES[:2], (1.0,)).reshape(-1, 4), StandardScaler()
    plain = LogisticRegression(max_iter=1000).fit(scaler.fit_transform(rows), labels.ravel())
    found = fitted.probabilities(IMAGES[:2]).reshape(-1, 4)
    np.testing.assert_allclose(found[:, :3], plain.predict_proba(scaler.transform(rows)), atol=2e-3)
    np.testing.assert_array_equal(found[:, 3], 0)  # a class that does not occur


@pytest.mark.parametrize(
    ("labels", "options", "error", "message"),
    [
        (LABELS[:2, :9], {}, DataError, "expected a label for every pixel"),
        (LABELS[:2] + 1, {}, DataError, "labels span 1 to 2, expected 0 to 1"),
        (0 * LABELS[:2], {}, DataError, "are all of class 0; expected two classes"),
        (LABELS[:2], {"scales": (0.0,)}, ConfigError, r"scales \(0.0,\) and 20000 pixels"),
        (LABELS[:2], {"pixels": 0}, ConfigError, "and 0 pixels"),
    ],
)
def test_refusals(labels, options, error, message):
    with pytest.raises(error, match=message):
        fit_pixels(IMAGES[:2], labels, **options)
