"""An in-context network with its examples, against `segment` itself."""

import numpy as np
import pytest

from hyperlab.data.readers.scan import Scan
from hyperlab.errors import DataError
from hyperlab.in_context import segment
from hyperlab.in_context.shown import Examples, ShownNetwork
from hyperlab.inference.network import Card


def nearest(variables, target, support_images, support_labels):
    """Logits by the mean grey value of the foreground of the examples."""
    inside = (support_images * support_labels).sum((1, 2, 3, 4)) / support_labels.sum((1, 2, 3, 4))
    return variables["params"] * (0.1 - abs(target - inside[:, None, None, None]))


def made(shape=(12, 10), count=3):
    rng = np.random.default_rng(0)
    images = [rng.random(shape).astype(np.float32) for _ in range(count)]
    labels = [np.where(image > 0.8, 9, np.where(image < 0.3, 4, 0)) for image in images]
    examples = Examples("somewhere", images, labels, (0, 4, 9), (16, 16))
    card = Card("in_context", "nearest", 100, examples.classes, None, examples.record(), over="held-out tasks")
    return ShownNetwork(nearest, np.float32(50), examples, card), examples


@pytest.mark.parametrize("shape", [(12, 10), (6, 7, 5)])
def test_masks_are_those_of_segment(shape):
    network, examples = made(shape)
    values = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    image = values.astype(np.float32) / np.float32(255)
    axis = None if len(shape) == 2 else 2
    count = 3 if axis is None else 15
    expected = segment(
        [image], examples.images, examples.labels, np.float32(50), module=nearest, classes=(4, 9), size=(16, 16),
        slice_axis=axis, support_size=count,
    )  # fmt: skip
    found = network.predict(values)
    np.testing.assert_array_equal(found, network.predict(values[..., None]))
    np.testing.assert_array_equal(found, expected.masks[0])
    assert {4, 9} <= set(np.unique(found))


def test_masks_and_scans_that_do_not_fit_are_named():
    network, examples = made()
    with pytest.raises(DataError, match="a.png holds the label 5; the examples hold"):
        examples.indices(np.array([0, 5]), "a.png")
    assert examples.indices(np.array([0, 9, 4])).tolist() == [0, 2, 1]
    with pytest.raises(DataError, match="the scan has 3 dimensions, the examples in somewhere have 2"):
        network.predict(Scan(np.zeros((4, 5, 6, 1), np.uint8)))
