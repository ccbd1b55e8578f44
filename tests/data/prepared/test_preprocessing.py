"""What a network is given for a scan, against the slow and obvious; and that the way back ends where it began."""

import gc
import json
import tracemalloc
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy import ndimage
from segmentation_files import blob

from hyperlab.data.prepared import Channel, Preprocessing, backward, forward, forward_labels, geometry
from hyperlab.data.prepared.geometry import filled, occupied_box, resample_classes, resample_scores, resampled
from hyperlab.data.prepared.normalisation import mean_and_deviation, normalised, scheme_of
from hyperlab.data.prepared.places import draw, sample_classes
from hyperlab.data.readers.scan import Scan
from hyperlab.data.resample import resample_image, slabs
from hyperlab.errors import DataError

pytestmark = pytest.mark.fast

CT = Channel("CT", "ct", -100.0, 200.0, 40.0, 25.0)
MR = Channel("T1", "z_score")


def made(channels=(MR,), axes=3, spacing=None, masked=False, **fields):
    return Preprocessing(channels, axes, spacing, ("background", "left", "right"), (0, 2, 7), masked, **fields)


def case(seed=0, shape=(24, 20, 18), margin=2, spacing=(1.0, 1.0, 2.0)):
    """A scan with empty margins, and its mask with the label values 0, 2 and 7."""
    image, mask = blob(seed, shape)
    values = np.pad(image.astype(np.float32) + 1, margin)
    labels = np.pad(np.array([0, 2, 7])[mask], margin).astype(np.int32)
    return Scan(values[..., None], spacing[: len(shape)]), labels


def slow_resampled(image, size):
    """As the docstring of the module has it, in numpy alone."""
    for axis, m in enumerate(size):
        n = image.shape[axis]
        w, rows = max(1, n / m), []
        for i in range(m):
            c = (i + 1 / 2) * n / m - 1 / 2
            weights = np.maximum(0, 1 - np.abs(c - np.arange(n)) / w)
            rows.append(np.tensordot(weights / weights.sum(), image, (0, axis)))
        image = np.stack(rows, axis)
    return image


def test_names_choose_as_nnunet_has_it():
    names = ("CT", "ct", "noNorm", "rescale_to_0_1", "rescale_0_1", "rgb_to_0_1", "zscore", "CT2", "MRI")
    assert [scheme_of(name) for name in names] == [
        "ct", "ct", "none", "rescale_to_0_1", "rescale_to_0_1", "rgb_to_0_1", "z_score", "z_score", "z_score"
    ]  # fmt: skip


def test_normalisation_is_what_it_says():
    x = np.random.default_rng(0).normal(30, 80, (6, 7, 8))
    inside = x > 0
    z = (x - x.mean()) / x.std()
    of_inside = np.where(inside, (x - x[inside].mean()) / x[inside].std(), 0)
    expected = {
        CT: (np.clip(x, -100, 200) - 40) / 25, MR: z, Channel("a", "none"): x,
        Channel("b", "rescale_to_0_1"): (x - x.min()) / (x.max() - x.min()),
    }  # fmt: skip
    before = x.copy()
    for channel, value in expected.items():
        np.testing.assert_allclose(normalised(x, channel), value, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(normalised(x, MR, inside), of_inside, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(x, before)
    assert (normalised(np.full((3, 3), 1000.1), MR) == 0).all()  # a deviation of nothing is not divided by
    assert (normalised(np.zeros((3, 3)), MR, np.zeros((3, 3), bool)) == 0).all()
    big = np.random.default_rng(1).normal(1e4, 1, 3_000_001).astype(np.float32)
    np.testing.assert_allclose(mean_and_deviation(big), (big.mean(dtype=float), big.std(dtype=float)), rtol=1e-9)


def test_forward_is_crop_then_normalise_then_resample():
    scan, _ = case()
    scan = replace(scan, values=np.concatenate([scan.values, 3 * scan.values], -1))
    preprocessing = made((CT, MR), spacing=(1.5, 0.8, 2.0))
    image, placement = forward(scan, preprocessing)
    box = scan.values[2:-2, 2:-2, 2:-2].astype(float)
    second = (box[..., 1] - box[..., 1].mean()) / box[..., 1].std()
    plain = np.stack([(np.clip(box[..., 0], -100, 200) - 40) / 25, second], -1)
    assert image.dtype == np.float32 and placement.size == (16, 25, 18) and placement.box == (24, 20, 18)
    np.testing.assert_allclose(image, slow_resampled(plain, placement.size), atol=1e-5)
    assert placement.image_spacing == (1.5, 0.8, 2.0)


def test_masked_z_scores_fill_what_is_enclosed_and_leave_the_outside_at_0():
    values = np.zeros((1, 9, 9, 1), np.float32)
    values[0, 1:8, 1:8, 0] = np.random.default_rng(0).normal(5, 1, (7, 7))
    values[0, 4, 4], values[0, 1, 1], values[0, 7, 7] = 0, 0, 0  # a hole, and two corners
    image, _ = forward(Scan(values), made(axes=3, masked=True))
    inside = np.ones((1, 7, 7), bool)
    inside[0, 0, 0] = inside[0, -1, -1] = False
    box = values[:, 1:8, 1:8, 0]
    # of one plane thick volumes every voxel is at the border: the hole is outside, too
    inside[0, 3, 3] = False
    np.testing.assert_allclose(image[inside][:, 0], (box[inside] - box[inside].mean()) / box[inside].std(), atol=1e-5)
    assert (image[~inside] == 0).all()
    flat, _ = forward(Scan(values[0]), made(axes=2, masked=True))
    assert flat[3, 3, 0] != 0 and flat[0, 0, 0] == 0  # of a picture it is enclosed


@pytest.mark.parametrize("shape", [(9,), (13, 17), (7, 11, 9)])
def test_filled_is_what_scipy_fills(shape):
    for seed in range(20):
        mask = np.random.default_rng(seed).random(shape) > 0.35
        np.testing.assert_array_equal(filled(mask), ndimage.binary_fill_holes(mask))


@pytest.mark.parametrize("shape, axes", [((24, 20, 18), 3), ((30, 22), 2), ((30, 1, 22), 2)])
def test_there_and_back_is_the_same_where_the_spacing_is_kept(shape, axes):
    scan, labels = case(shape=shape, margin=0 if 1 in shape else 3)
    for spacing in (None, tuple(np.array(scan.spacing)[[n > 1 for n in shape]].tolist())):
        preprocessing = made(axes=axes, spacing=spacing)
        _, placement = forward(scan, preprocessing)
        there = forward_labels(labels, placement, preprocessing)
        assert there.dtype == np.uint8 and there.shape == placement.size
        np.testing.assert_array_equal(backward(there, placement, preprocessing), labels)
        scores = np.eye(3, dtype=np.float32)[there]
        np.testing.assert_array_equal(backward(scores, placement, preprocessing), labels)


def balls(shape=(40, 44, 30)):
    far = np.stack(np.indices(shape), -1)
    labels = np.zeros(shape, np.int32)
    labels[np.linalg.norm(far - (18, 15, 14), axis=-1) < 10] = 2
    labels[np.linalg.norm(far - (20, 31, 15), axis=-1) < 8] = 7
    return labels


@pytest.mark.parametrize("target, least", [((0.6, 0.7, 0.5), 0.99), ((1.6, 1.3, 1.7), 0.94)])
def test_there_and_back_is_nearly_the_same_at_another_spacing(target, least):
    labels = balls()
    scan = Scan(np.where(labels[..., None] > 0, 5.0, 1.0), (1.0, 1.0, 1.0))
    preprocessing = made(spacing=target)
    _, placement = forward(scan, preprocessing)
    there = forward_labels(labels, placement, preprocessing)
    both = {"labels": there, "scores": np.eye(3, dtype=np.float32)[there]}
    for answer in both.values():
        back = backward(answer, placement, preprocessing)
        for value in (2, 7):
            a, b = back == value, labels == value
            assert 2 * (a & b).sum() / (a.sum() + b.sum()) > least


def test_classes_go_where_their_share_is_largest():
    labels = np.random.default_rng(0).integers(0, 4, (7, 6))
    shares = np.stack([slow_resampled((labels == label).astype(float), (5, 9)) for label in range(4)])
    clear = np.sort(shares, 0)[-1] - np.sort(shares, 0)[-2] > 1e-5
    np.testing.assert_array_equal(resample_classes(labels, (5, 9))[clear], shares.argmax(0)[clear])


@pytest.mark.parametrize("size", [(5, 9, 8), (13, 11, 4), (1, 11, 20), (30, 4, 6), (7, 3, 6)])
def test_slabs_are_what_the_whole_is_to_the_bit(monkeypatch, size):
    random = np.random.default_rng(0)
    image, labels = random.normal(size=(7, 11, 6)).astype(np.float32), random.integers(0, 4, (7, 11, 6), np.uint8)
    scores = random.random((7, 11, 6, 3), np.float32)
    shares = [resample_image((labels == label)[..., None], size)[..., 0] for label in range(4)]
    monkeypatch.setattr(geometry, "slabs", partial(slabs, voxels=1))  # a row each
    np.testing.assert_array_equal(resampled(image, size), resample_image(image[..., None], size)[..., 0])
    np.testing.assert_array_equal(resample_classes(labels, size), np.argmax(shares, 0))
    np.testing.assert_array_equal(resample_scores(scores, size), resample_image(scores, size).argmax(-1))


def test_a_case_needs_little_memory_beside_itself():
    values = np.random.default_rng(0).integers(1, 3000, (160, 200, 180, 1)).astype(np.int16)
    labels, scan = (values[..., 0] % 3 * 3.5).astype(np.uint8), Scan(values, (0.8, 0.8, 1.5))
    preprocessing = replace(made(spacing=(1.0, 1.0, 1.2)), values=(0, 3, 7))

    def bytes_a_voxel(what):
        gc.collect()
        tracemalloc.start()
        result = what()
        peak = tracemalloc.get_traced_memory()[1] / values.size
        tracemalloc.stop()
        return result, peak

    (image, placement), peak = bytes_a_voxel(lambda: forward(scan, preprocessing))
    assert peak < 4 + 4 + 4  # the image, a normalised channel, and slabs
    there, peak = bytes_a_voxel(lambda: forward_labels(labels, placement, preprocessing))
    assert peak < 1 + 1 + 5 and there.shape == image.shape[:-1]


def test_json_gives_the_same_value_back():
    channel = Channel("CT", "ct", 1 / 3, 2e7 / 7, np.pi, 1e-17)
    preprocessing = made((channel, MR), spacing=(1 / 3, 0.1, 2.0), masked=True)
    again = Preprocessing.from_json(json.loads(json.dumps(preprocessing.to_json())))
    assert again == preprocessing and hash(again) == hash(preprocessing)
    with pytest.raises(DataError, match="version 2, this hyperlab reads version 1"):
        Preprocessing.from_json({**preprocessing.to_json(), "version": 2})
    with pytest.raises(DataError, match="incomplete"):
        Preprocessing.from_json({key: value for key, value in preprocessing.to_json().items() if key != "axes"})


def scan_of(values, spacing=(1.0, 1.0)):
    return Scan(np.asarray(values, np.float32), spacing)


@pytest.mark.parametrize(
    "scan, message",
    [
        (scan_of(np.ones((4, 4, 3))), "has 3 channels, expected 1: T1"),
        (scan_of(np.ones((4, 4, 4, 1)), (1.0, 1.0, 1.0)), "4 x 4 x 4 voxels is no image of 2 axes"),
        (scan_of(np.ones((4, 1)), (1.0,)), "is no image of 2 axes"),
        (scan_of(np.ones((4, 4, 1)), (1.0, 0.0)), r"spacing \(1.0, 0.0\) mm, expected positive"),
        (scan_of(np.ones((4, 4, 1)), (1.0, float("nan"))), "expected positive"),
        (scan_of(np.ones((4, 4, 1)), None), "has no spacing"),
        (scan_of(np.full((4, 4, 1), np.nan)), "not finite"),
    ],
)
def test_scans_that_do_not_fit_are_refused(scan, message):
    with pytest.raises(DataError, match=message):
        forward(scan, made(axes=2, spacing=(1.0, 1.0)))


def test_answers_that_do_not_fit_are_refused():
    scan, labels = case()
    preprocessing = made()
    _, placement = forward(scan, preprocessing)
    for answer, message in [
        (np.zeros((3, 3, 3), int), "labels of the shape"), (np.zeros(placement.size), "scores of the shape"),
        (np.full(placement.size, 3), "labels span 3 to 3"),
    ]:  # fmt: skip
        with pytest.raises(DataError, match=message):
            backward(answer, placement, preprocessing)
    with pytest.raises(DataError, match=r"holds \[5\]"):
        forward_labels(np.where(labels == 2, 5, labels), placement, preprocessing)
    with pytest.raises(DataError, match="expected 0 to 255"):
        forward(replace(scan, values=scan.values + 300), made((Channel("red", "rgb_to_0_1"),)))


def test_an_empty_scan_keeps_its_size():
    image, placement = forward(Scan(np.zeros((5, 6, 1), np.int16)), made(axes=2, masked=True))
    assert placement.box == (5, 6) and (image == 0).all()
    assert occupied_box(np.zeros((2, 3), bool)) == ((0, 0), (2, 3))


def test_places_are_of_their_class_and_spread_evenly():
    labels = np.random.default_rng(0).integers(0, 3, (20, 30, 10))
    rows = sample_classes(labels, number=4, most=500)
    assert np.array_equal(rows, sample_classes(labels, number=4, most=500))
    for label in (1, 2):
        some = rows[rows[:, 0] == label, 1:]
        assert 400 < len(some) <= 500 and (labels[tuple(some.T)] == label).all()
        assert len(np.unique(some, axis=0)) == len(some)
    drawn = draw(labels == 1, 20_000, number=0)
    times = np.bincount(np.ravel_multi_index(tuple(drawn.T), labels.shape), minlength=labels.size)[labels.ravel() == 1]
    assert abs(times.mean() - times.var()) < 0.1 * times.mean()  # as chance has it
