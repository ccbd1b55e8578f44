from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab.data import load
from hyperlab.data.parasites import _BODY, _IMAGE, CLASSES, Appearance, Scene, _add_body, draw, parasites
from hyperlab.data.shifts import SHIFTS
from hyperlab.data.threshold import otsu_threshold
from hyperlab.errors import DataError

SIZES = st.sampled_from([(16, 16), (20, 33), (64, 64)])


def test_the_set():
    splits = load("parasites")
    assert {name: len(part) for name, part in splits.parts().items()} == {"train": 180, "validation": 60, "test": 60}
    assert splits.image_shape == (64, 64, 1) and splits.classes == CLASSES
    for part in splits.parts().values():
        assert part.images.dtype == np.float32 and part.labels.dtype == np.int32
        areas = part.labels.sum((1, 2))
        assert areas.min() > 0 and np.quantile(areas, 0.9) > 5 * np.quantile(areas, 0.1)
        assert 0.03 < part.labels.mean() < 0.15
    # of contents and partition; may change only with the generator or the default place of its dial
    assert splits.fingerprint == "ab511eaec8ccf7d2fc9076d0cad72283"
    few = [load("parasites", count=20, seed=seed).fingerprint for seed in (0, 0, 1)]
    assert few[0] == few[1] != few[2]


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.integers(0, 2**40), st.integers(0, 10**6), SIZES, st.floats(0, 1), st.floats(0, 8))
def test_an_image_is_a_function_of_seed_and_index_and_its_truth_of_no_dial(seed, index, size, difficulty, border):
    scene = Scene(size, difficulty, border)
    (image, label), again = draw(seed, index, scene), draw(seed, index, scene)
    np.testing.assert_array_equal(image, again[0])
    np.testing.assert_array_equal(label, again[1])
    np.testing.assert_array_equal(label, draw(seed, index, Scene(size))[1])
    assert image.shape == label.shape == size and image.dtype == np.uint8 and set(np.unique(label)) <= {0, 1}
    assert not np.array_equal(image, draw(seed, index + 1, scene)[0])


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.integers(0, 10**6), SIZES, st.sampled_from(sorted(SHIFTS)), st.integers(1, 5))
def test_a_shift_keeps_the_scene_as_far_as_it_can(index, size, shift, severity):
    _, inside = draw(0, index, Scene(size))
    image, label = draw(0, index, Scene(size, shift=shift, severity=severity))
    if shift == "density":
        assert np.all(label >= inside)
    elif shift == "size":
        # a star about its centre grows in place
        assert label.sum() >= inside.sum() and np.all(label >= inside)
    else:
        np.testing.assert_array_equal(label, inside)
        # a sixth of a pixel of blur moves no grey value
        assert min(size) < 64 or not np.array_equal(image, draw(0, index, Scene(size))[0])
    np.testing.assert_array_equal(draw(0, index, Scene(size, shift=shift))[0], draw(0, index, Scene(size))[0])


def test_a_longer_set_starts_with_the_shorter_one():
    short, long = parasites(count=3, size=(32, 32)).examples, parasites(count=5, size=(32, 32)).examples
    np.testing.assert_array_equal(short.images, long.images[:3])
    np.testing.assert_array_equal(short.labels, long.labels[:3])


def mean_over(count, scene, measure):
    return np.mean([measure(*draw(3, index, scene)) for index in range(count)])


@pytest.mark.parametrize(
    ("shift", "measure", "sign"),
    [
        ("size", lambda image, label: label.mean(), 1),
        ("density", lambda image, label: label.mean(), 1),
        ("intensity", lambda image, label: image.mean(), -1),
        ("noise", lambda image, label: np.abs(np.diff(image.astype(float))).mean(), 1),
        ("blur", lambda image, label: np.abs(np.diff(image.astype(float)))[label[:, 1:] > 0].mean(), -1),
    ],
)
def test_each_severity_is_stronger_than_the_one_before(shift, measure, sign):
    scene = Scene(difficulty=0.1)
    found = [mean_over(12, replace(scene, shift=shift, severity=k), measure) for k in range(6)]
    assert np.all(sign * np.diff(found) > 0.01 * found[0])


def test_blur_and_noise_keep_the_mean_brightness():
    for shift in ("blur", "noise"):
        inside, outside = (
            mean_over(12, Scene(shift=shift, severity=k), lambda image, label: image.mean()) for k in (0, 3)
        )
        assert outside == pytest.approx(inside, rel=0.12)  # noise is clipped at black


def test_a_border_of_known_width_hides_the_outline_and_nothing_else():
    """At a share `a` of the fade, a pixel belongs to the body with the probability `a`."""
    look = replace(Appearance.of(0), uneven=0, spread=0)
    scene, rng, shares, inside = Scene(border=6.0, shift="size", severity=5), np.random.default_rng(0), [], []
    for _ in range(300):
        draws, places = rng.uniform(size=_BODY), rng.uniform(size=_IMAGE)
        draws[6] = 1.0  # bodies much larger than the border: their outline is nearly straight
        grey, label = np.zeros((64, 64)), np.zeros((64, 64), np.int32)
        _add_body(grey, label, np.zeros((64, 64)), draws, places, 0.5, look, scene)
        shares.append(grey / (0.08 + 0.5))
        inside.append(label > 0)
    shares, inside = np.array(shares), np.array(inside)
    assert np.all(inside[shares == 1]) and not np.any(inside[shares == 0])
    for low in np.arange(0.1, 0.9, 0.2):
        chosen = (shares > low) & (shares <= low + 0.2)
        assert inside[chosen].mean() == pytest.approx(shares[chosen].mean(), abs=0.05)


def test_the_dial_goes_from_easy_to_hard():
    def dice(difficulty):
        def one(image, label):
            mask = image / 255 > otsu_threshold(image / 255)
            return 2 * (mask & (label > 0)).sum() / max(mask.sum() + label.sum(), 1)

        return mean_over(40, Scene(difficulty=difficulty), one)

    scores = [dice(difficulty) for difficulty in (0, 0.3, 0.6, 1)]
    assert all(easy > hard + 0.02 for easy, hard in zip(scores, scores[1:], strict=False))
    assert scores[0] > 0.55 and scores[-1] < 0.4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"difficulty": 1.2}, "difficulty is 1.2, expected 0"),
        ({"size": (8, 64)}, r"size is \(8, 64\), expected \(height, width\) of at least 16"),
        ({"count": 0}, "count is 0"),
        ({"border": -1}, "border is -1, expected 0 or more"),
        ({"shift": "blurr", "severity": 1}, "unknown shift 'blurr'; did you mean 'blur'"),
        ({"shift": "blur", "severity": 6}, r"severity is 6, expected a whole number from 0"),
        ({"severity": 2}, "severity is 2 of no shift; name one of size"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(DataError, match=message):
        load("parasites", **options)
