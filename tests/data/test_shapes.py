import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab.data import load
from hyperlab.data.shapes import CLASSES, Appearance, draw, shapes
from hyperlab.errors import DataError


def test_the_set():
    splits = load("shapes")
    assert {name: len(part) for name, part in splits.parts().items()} == {"train": 180, "validation": 60, "test": 60}
    assert splits.image_shape == (64, 64, 1) and splits.classes == CLASSES
    for part in splits.parts().values():
        assert part.images.dtype == np.float32 and part.labels.dtype == np.int32
        assert part.labels.shape == part.images.shape[:-1] and part.spacing is None
        shares = np.bincount(part.labels.ravel(), minlength=4) / part.labels.size
        assert 0.6 < shares[0] < 0.8 and np.all(shares[1:] > 0.07)
    # of contents and partition; may change only with the generator or the default place of its dial
    assert splits.fingerprint == load("shapes").fingerprint == "c12a77c1c18a28f005cc2926e26550b6"
    assert load("shapes", seed=1).fingerprint != splits.fingerprint


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**40), st.integers(0, 10**6), st.sampled_from([(16, 16), (20, 33), (64, 64)]), st.floats(0, 1))
def test_an_image_is_a_function_of_seed_and_index_and_its_truth_not_of_the_dial(seed, index, size, difficulty):
    image, label = draw(seed, index, size, difficulty)
    again = draw(seed, index, size, difficulty)
    np.testing.assert_array_equal(image, again[0])
    np.testing.assert_array_equal(label, again[1])
    np.testing.assert_array_equal(label, draw(seed, index, size, 0)[1])
    assert image.shape == label.shape == size and image.dtype == np.uint8 and set(np.unique(label)) <= {0, 1, 2, 3}
    assert not np.array_equal(label, draw(seed, index + 1, size, difficulty)[1])


def test_a_longer_set_starts_with_the_shorter_one():
    short, long = shapes(count=5, size=(32, 32)).examples, shapes(count=8, size=(32, 32)).examples
    np.testing.assert_array_equal(short.images, long.images[:5])
    np.testing.assert_array_equal(short.labels, long.labels[:5])


def test_the_dial_goes_from_easy_to_hard():
    """The share of pixels that the nearest mean grey value of a class gets right falls with the dial."""

    def right(difficulty):
        examples = shapes(count=40, difficulty=difficulty).examples
        grey, label = examples.images[..., 0].astype(float), examples.labels
        means = np.array([grey[label == c].mean() for c in range(4)])
        guess = np.abs(grey[..., None] - means).argmin(-1)
        return np.mean([np.mean(guess[label == c] == c) for c in range(4)])

    scores = [right(difficulty) for difficulty in (0, 0.25, 0.5, 0.75, 1)]
    assert all(easy > hard + 0.02 for easy, hard in zip(scores, scores[1:], strict=False))
    assert scores[0] > 0.8 and scores[-1] < 0.5
    easy, hard = Appearance.of(0), Appearance.of(1)
    assert Appearance.of(0.5).noise == pytest.approx((easy.noise + hard.noise) / 2)


def test_it_is_fast():
    began = time.process_time()
    shapes(count=300)
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"difficulty": 1.2}, "difficulty is 1.2, expected 0"),
        ({"difficulty": float("nan")}, "difficulty is nan"),
        ({"size": (8, 64)}, r"size is \(8, 64\), expected \(height, width\) of at least 16"),
        ({"size": (64, 64, 64)}, r"size is \(64, 64, 64\), expected 2 whole numbers"),
        ({"count": 0}, "count is 0"),
        ({"dificulty": 0.1}, "shapes has no option 'dificulty'; did you mean 'difficulty'"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(DataError, match=message):
        load("shapes", **options)
