import numpy as np
import pytest

from hyperlab.data.ambiguous import LEAST, MODES, MOST, ambiguous_shapes
from hyperlab.errors import DataError
from hyperlab.metrics import candidates


@pytest.mark.parametrize("size", [(32, 32), (40, 90), (64, 64)])
def test_modes_are_four_different_masks_inside_the_image_with_known_odds(size):
    examples = ambiguous_shapes(count=60, size=size)
    assert examples.images.shape == (60, *size, 1) and examples.images.dtype == np.float32
    assert examples.images.min() >= 0 and examples.images.max() <= 1
    assert examples.modes.shape == (60, len(MODES), *size) and examples.modes.dtype == bool
    np.testing.assert_allclose(examples.probabilities.sum(1), 1, rtol=1e-6)
    with_halo = examples.probabilities[:, [1, 3]].sum(1)
    assert np.all((with_halo >= LEAST - 1e-6) & (with_halo <= MOST + 1e-6))
    # no two modes are so alike that a mask could pass for both
    same = np.asarray(candidates.overlap(examples.modes, examples.modes)) - np.eye(4)
    assert same.max() < 0.8
    body, halo, lobe, all_parts = np.moveaxis(examples.modes, 1, 0)
    np.testing.assert_array_equal(halo | lobe, all_parts)
    assert not (body & ~halo).any() and not (body & ~lobe).any()
    # a lobe ends inside the image: pixels of the outermost rows belong to no more than a few images
    assert all_parts[:, 0].any(-1).mean() < 0.1 and all_parts[:, :, -1].any(-1).mean() < 0.1


def test_annotators_are_independent_draws_of_the_modes_with_their_probabilities():
    examples = ambiguous_shapes(count=40, size=32, annotators=200)
    drawn = np.take_along_axis(examples.modes, examples.chosen[..., None, None], 1)
    np.testing.assert_array_equal(drawn, examples.annotations)
    counts = np.stack([np.bincount(row, minlength=4) for row in examples.chosen])
    # standardised: mean 0 and variance 1 over images and modes where draws have the stated odds
    p = examples.probabilities
    z = (counts - 200 * p) / np.sqrt(200 * p * (1 - p))
    assert abs(z.mean()) < 0.15 and 0.8 < z.var() < 1.25
    frequencies = candidates.mode_frequencies(examples.annotations, examples.modes)
    np.testing.assert_allclose(frequencies, counts / 200, atol=1e-6)


def test_no_single_mask_can_be_right():
    """The best mode of each image, known, has the Dice that a deterministic network can hope for."""
    examples = ambiguous_shapes()
    dice = np.asarray(candidates.overlap(examples.modes, examples.modes, "dice"))
    assert 0.82 < np.einsum("nkm,nm->nk", dice, examples.probabilities).max(1).mean() < 0.87


def test_the_brighter_a_part_the_likelier_it_counts():
    examples = ambiguous_shapes(count=80, difficulty=0.0)
    body, halo = examples.modes[:, 0], examples.modes[:, 1] & ~examples.modes[:, 2]
    images = examples.images[..., 0]
    mean = lambda mask: (images * mask).sum((1, 2)) / mask.sum((1, 2))  # noqa: E731
    outside = mean(~examples.modes.any(1))
    relative = (mean(halo) - outside) / (mean(body) - outside)
    assert np.corrcoef(relative, examples.probabilities[:, [1, 3]].sum(1))[0, 1] > 0.95


def test_it_is_a_function_of_seed_and_index_and_its_truth_not_of_the_dial():
    short, long = ambiguous_shapes(count=3, size=32), ambiguous_shapes(count=5, size=32, annotators=7)
    np.testing.assert_array_equal(short.images, long.images[:3])
    np.testing.assert_array_equal(short.annotations, long.annotations[:3, :4])
    hard = ambiguous_shapes(count=3, size=32, difficulty=1.0)
    for name in ("modes", "probabilities", "annotations", "chosen"):
        np.testing.assert_array_equal(getattr(hard, name), getattr(short, name))
    assert np.abs(hard.images - short.images).mean() > 0.02
    assert not np.array_equal(ambiguous_shapes(count=3, size=32, seed=1).modes, short.modes)
    two = long.take(np.array([4, 0]))
    assert len(two) == 2
    np.testing.assert_array_equal(two.probabilities, long.probabilities[[4, 0]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"difficulty": 2}, "difficulty is 2"),
        ({"size": 16}, r"size is \(16, 16\), expected \(height, width\) of at least 32"),
        ({"count": 0}, "count is 0 and annotators 4"),
        ({"annotators": 0}, "annotators 0"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(DataError, match=message):
        ambiguous_shapes(**options)
