"""At which resolution networks work, the windows that they see, and when they have settled."""

import numpy as np
import pytest

from hyperlab.in_context.blocks import Blocks, with_neighbours
from hyperlab.in_context.training import settled
from hyperlab.in_context.working import Working, choose

pytestmark = pytest.mark.fast


def disc(side, radius):
    grid = np.indices((side, side)) - side / 2
    return (np.hypot(*grid) < radius).astype(int)[None]


def lines(side, width):
    return np.broadcast_to(np.arange(side) % 20 < width, (1, side, side)).astype(int)


@pytest.mark.parametrize(
    ("labels", "factor", "window"),
    [
        (disc(100, 20), 1, (104, 104)),  # nothing is shrunk below 128 pixels
        (disc(1100, 300), 1 / 8, (128, 128)),
        (disc(600, 200), 1 / 4, (128, 128)),
        (lines(1000, 1), 1, (128, 128)),  # a vessel would be lost
        (np.concatenate([disc(1000, 300), lines(1000, 1)]), 1, (128, 128)),
        (disc(40, 9).repeat(3, 0)[:, :, :33], 1, (40, 40)),
    ],
)
def test_masks_decide_the_resolution(labels, factor, window):
    working = choose([labels], 2)
    assert (working.factor, working.window) == (factor, window)
    assert choose([labels], 2, None).factor == 1
    assert choose([labels], 2, (64, 48)) == Working((64, 48), 1.0, (64, 48))


def test_one_thin_class_keeps_the_resolution_for_all():
    thick, thin = disc(1000, 300), lines(1000, 1)
    assert choose([np.where(thin, 2, thick)], 3).factor == 1


@pytest.mark.parametrize("working", [Working((128, 128)), Working((128, 128), 1 / 2), Working((64, 64), 1.0, (64, 64))])
def test_what_is_brought_to_the_working_resolution_comes_back(working):
    block = np.concatenate([disc(150, 40), disc(150, 50)])[:, :140]
    images = working.images(block[..., None].astype(np.float32))
    labels = working.labels(block, 2)
    assert labels.shape == images.shape[:-1] and labels.shape[1:] == working.shape(block.shape[1:])
    again = working.back(np.eye(2, dtype=np.float32)[labels], block.shape[1:]).argmax(-1)
    assert again.shape == block.shape and (again == block).mean() > 0.99
    assert ((images[..., 0] > 0.5) == labels).mean() > 0.99


@pytest.mark.parametrize("neighbours", [0, 1])
def test_a_window_is_what_lies_there_and_nothing_beyond(neighbours):
    rng = np.random.default_rng(0)
    image, labels = rng.random((3, 5, 6, 2)).astype(np.float32), rng.integers(0, 3, (3, 5, 6)).astype(np.int32)
    blocks = Blocks([image], [labels], neighbours)
    padded = np.pad(with_neighbours(image, neighbours), ((0, 0), (4, 4), (4, 4), (0, 0)))
    for plane, (y, x) in ((0, (-2, 1)), (2, (3, -1)), (1, (0, 0))):
        seen, truth = blocks.read(0, [(plane, plane + 1), (y, y + 4), (x, x + 8)])
        np.testing.assert_array_equal(seen[0], padded[plane, y + 4 : y + 8, x + 4 : x + 12])
        inside = np.pad(labels, ((0, 0), (4, 4), (4, 4)))[plane, y + 4 : y + 8, x + 4 : x + 12]
        np.testing.assert_array_equal(truth[0], inside)


def test_a_third_of_the_windows_is_centred_on_a_class_that_is_drawn():
    labels = np.zeros((1, 90, 90), np.int32)
    labels[0, 40:50, 40:50], labels[0, 60, 60] = 1, 2  # a hundred pixels, and one
    blocks = Blocks([np.zeros((1, 90, 90, 1), np.float32)], [labels], 0)
    patches = blocks.patches([0], (9, 9), 30, seed=0)
    centres = np.concatenate([patches(step)[1][:, 0, 4, 4] for step in range(40)])
    shares = [(centres == label).mean() for label in (1, 2)]
    np.testing.assert_allclose(shares, [1 / 6, 1 / 6], atol=0.04)
    np.testing.assert_array_equal(patches(3)[1], patches(3)[1])


def test_settled_looks_at_the_best_before_and_after():
    assert not settled([0.5, 0.6, 0.7, 0.8], 3, 0.005)
    assert settled([0.8, 0.804, 0.7, 0.803], 3, 0.005)
    assert not settled([0.8, 0.7, 0.7, 0.81], 3, 0.005)
