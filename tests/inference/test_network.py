"""A network with its preprocessing on scans of any size, against the slow obvious way."""

import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab import files
from hyperlab.data.normalisation import Normalisation
from hyperlab.data.preprocessing import Preprocessing
from hyperlab.data.readers.scan import Scan
from hyperlab.errors import DamagedError, DataError
from hyperlab.inference.network import PREPROCESSING, Card, Network, preprocessing_of

CLASSES, VALUES = ("background", "dark", "bright"), (0, 5, 9)


def pointwise(variables, images):
    """Logits that depend on the pixel alone: windows cannot change them."""
    distances = jnp.abs(images - jnp.array([0.0, 0.4, 1.0]).reshape((1,) * (images.ndim - 1) + (3,)))
    return -variables * distances


def network(size, **options):
    how = Preprocessing(size, 1, CLASSES, VALUES, Normalisation("divide", by=100), **options)
    return Network(pointwise, 9.0, how, Card("none", "pointwise", 0, CLASSES, None, how.record()), batch=3)


def truth(values):
    """The class of the nearest of 0, 40 and 100."""
    return np.array(VALUES)[np.abs(values[..., None] - np.array([0, 40, 100])).argmin(-1)]


@pytest.mark.parametrize("shape", [(6, 6), (13, 9), (3, 20), (2, 2)])
def test_images_larger_and_smaller_than_the_window(shape):
    values = np.random.default_rng(0).integers(0, 101, shape)
    np.testing.assert_array_equal(network((6, 6), fit="centre").predict(values), truth(values))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_volumes_plane_by_plane(axis):
    values = np.random.default_rng(0).integers(0, 101, (7, 5, 8))
    np.testing.assert_array_equal(network((6, 6), fit="centre", slice_axis=axis).predict(values), truth(values))


def test_whole_volumes_in_windows_are_those_of_probabilities_row_by_row():
    values = np.random.default_rng(0).integers(0, 101, (11, 5, 9, 1))
    net, found = network((4, 4, 4), fit="centre"), np.zeros((11, 5, 9, 3), np.float32)
    rows = 0
    for placement, number, start, part in net.answers(values):
        placement.put(found, number, start, part)
        rows += len(part)
        assert len(part) <= 4
    assert rows == 11
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(net.predict(values), truth(values[..., 0]))


def test_memory_is_bounded_by_the_window_and_not_by_probabilities_of_the_scan():
    net = network((16, 16, 16), fit="centre")
    values = np.zeros((400, 16, 16, 1), np.uint8)
    net.predict(values[:32])  # compiled
    tracemalloc.start()
    net.predict(values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * values.size * 5  # float32 pixels, padded ones, labels; three probabilities alone were three more


def test_answers_of_any_number_of_images_and_of_another_size():
    net = network((4, 4))
    images = np.random.default_rng(0).random((5, 4, 4, 1)).astype(np.float32)
    np.testing.assert_allclose(net(images)[3:4], net(images[3:4]), rtol=1e-6)
    with pytest.raises(DataError, match=r"images are \(5, 4, 3, 1\), expected \[n, 4, 4, channel\]"):
        net(images[:, :, :3])


def test_any_preprocessing_with_both_ways_does():
    class Doubled:
        size, channels, classes, values = (4, 4), 1, CLASSES, VALUES

        def forward(self, scan, name="the scan"):
            return np.kron(scan.values[None] / np.float32(100), np.ones((1, 2, 2, 1), np.float32)), scan.values.shape

        def backward(self, probabilities, placement):
            (answer,) = probabilities
            return np.array(VALUES)[answer[::2, ::2].argmax(-1)]

    values = np.random.default_rng(0).integers(0, 101, (5, 3, 1))
    net = Network(pointwise, 9.0, Doubled(), Card("none", "pointwise", 0, CLASSES, None, {}))
    np.testing.assert_array_equal(net.predict(Scan(values)), truth(values[..., 0]))


def test_a_run_without_its_preprocessing_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="holds no preprocessing.json.*Run its command again in its folder"):
        preprocessing_of(tmp_path)
    (tmp_path / PREPROCESSING).write_text("{")
    with pytest.raises(DamagedError, match="run the study again"):
        preprocessing_of(tmp_path)
    how = network((4, 4)).preprocessing
    files.write_json(tmp_path / PREPROCESSING, how.record())
    files.seal(tmp_path, [PREPROCESSING])
    assert preprocessing_of(tmp_path) == how
    text = (tmp_path / PREPROCESSING).read_text()
    (tmp_path / PREPROCESSING).write_text(text.replace("100", "108"))  # one bit
    with pytest.raises(DamagedError, match="it was changed since it was written.*run the study again"):
        preprocessing_of(tmp_path)


def test_a_card_in_a_line():
    dice = {"estimate": 0.8, "low": 0.75, "high": 0.85, "subjects": 12}
    card = Card("rescaling", "sshn", 100, CLASSES, dice, {}, rescaling_factor=0.3, width=0.5)
    assert str(card) == (
        "sshn at phi 0.3, width 0.5, seed 100 of rescaling: test Dice 0.800 [0.750, 0.850] over 12 subjects"
    )
