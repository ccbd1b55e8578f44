import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hyperlab
from hyperlab.data.resample import resample_image
from hyperlab.errors import ConfigError, DataError, ParameterTreeError
from hyperlab.in_context import Context, draws, most_similar, network_of, segment
from hyperlab.in_context.inputs import from_working_size, to_working_size
from hyperlab.models import Tyche, UniverSeg


def bright(variables, target, support_images, support_labels):
    """Stands for a network: foreground is what is nearer to the examples' foreground than to their background."""
    weight = support_labels.sum((1, 2, 3, 4), keepdims=True)[:, 0]
    other = (1 - support_labels).sum((1, 2, 3, 4), keepdims=True)[:, 0]
    inside = (support_images * support_labels).sum((1, 2, 3, 4), keepdims=True)[:, 0] / weight
    outside = (support_images * (1 - support_labels)).sum((1, 2, 3, 4), keepdims=True)[:, 0] / other
    return variables["params"] * (jnp.abs(target - outside) - jnp.abs(target - inside))


PARAMS = np.float32(20)


def squares(seed, count=3, shape=(24, 24)):
    """Bright squares (.9) and dim ones (.4) on dark ground (.1): images and label maps of 1 and 2."""
    rng = np.random.default_rng(seed)
    images, labels = np.full((count, *shape), 0.1, np.float32), np.zeros((count, *shape), int)
    for image, label in zip(images, labels, strict=True):
        for value, grey in ((1, 0.9), (2, 0.4)):
            y, x = rng.integers(1, [n - 8 for n in shape])
            image[y : y + 6, x : x + 6], label[y : y + 6, x : x + 6] = grey, value
    return images, labels


def test_classes_are_merged_by_the_largest_probability_where_it_exceeds_the_threshold():
    images, labels = squares(0)
    masks, probabilities = segment(images, images, labels, PARAMS, module=bright, classes=(2, 1), size=None)
    assert masks.dtype == np.int32 and masks.shape == images.shape and probabilities.shape == (*images.shape, 2)
    expected = np.where(probabilities.max(-1) > 0.5, np.array([2, 1])[probabilities.argmax(-1)], 0)
    np.testing.assert_array_equal(masks, expected)
    assert (masks == 1)[labels == 1].mean() > 0.99 and (masks == 0)[labels == 0].mean() > 0.99
    # each class is the pass with its own binary labels
    alone = segment(images, images, labels == 1, PARAMS, module=bright, size=None)
    np.testing.assert_allclose(probabilities[..., 1], alone.probabilities, atol=1e-4)
    np.testing.assert_array_equal(alone.masks, alone.probabilities > 0.5)
    strict = segment(images, images, labels, PARAMS, module=bright, classes=(2, 1), size=None, threshold=0.999)
    assert (strict.masks > 0).sum() < (masks > 0).sum()


def test_images_of_any_sizes_come_back_in_their_sizes():
    images, labels = squares(1)
    support, of_support = squares(2, shape=(48, 40))
    wide = [images[0], resample_image(images[1][..., None], (30, 70))]
    masks, probabilities = segment(wide, [*support], [*of_support], PARAMS, module=bright, classes=[1], size=32)
    assert [mask.shape for mask in masks] == [(24, 24), (30, 70)]
    assert [each.shape for each in probabilities] == [(24, 24, 1), (30, 70, 1)]
    truth = labels[0] == 1
    assert 2 * ((masks[0] == 1) & truth).sum() / ((masks[0] == 1).sum() + truth.sum()) > 0.85


@pytest.mark.parametrize("aspect", ["keep", "stretch"])
@pytest.mark.parametrize("shape", [(20, 20), (50, 20), (33, 64), (7, 9)])
def test_the_way_to_the_working_size_and_back(aspect, shape):
    flat = np.full(shape, 0.3, np.float32)
    there = to_working_size(flat, (64, 64), aspect)
    assert there.shape == (64, 64) and there.dtype == np.float32
    smooth = np.linspace(0, 1, shape[0])[:, None] * np.linspace(0, 1, shape[1])[None].astype(np.float32)
    smooth = smooth.astype(np.float32)
    back = from_working_size(to_working_size(smooth, (64, 64), aspect), shape, aspect)
    assert back.shape == shape and np.abs(back - smooth)[2:-2, 2:-2].max() < 0.03
    labels = (np.arange(shape[0] * shape[1]).reshape(shape) % 7).astype(np.int32)
    assert set(np.unique(to_working_size(labels, (64, 64), aspect))) <= set(range(7))
    if aspect == "keep" and shape == (50, 20):  # the proportions stay: 20 of 50 columns hold the image
        assert abs((there > 0.15).any(0).sum() - 64 * 20 / 50) <= 2


def test_volumes_are_segmented_slice_by_slice_across_any_axis():
    images, labels = squares(3, count=5)
    plain = segment(images, images, labels == 1, PARAMS, module=bright, size=None)
    for axis in (0, 1, 2):
        volume, mask = np.moveaxis(images, 0, axis), np.moveaxis(labels == 1, 0, axis)
        result = segment([volume], [volume], [mask], PARAMS, module=bright, size=None, slice_axis=axis, batch=2)
        np.testing.assert_array_equal(result.masks[0], np.moveaxis(plain.masks, 0, axis))
        np.testing.assert_allclose(result.probabilities[0], np.moveaxis(plain.probabilities, 0, axis), atol=1e-4)
    # slices without the class are no examples: with them the mean would differ
    empty = np.concatenate([images, np.ones_like(images)]), np.concatenate([labels == 1, np.zeros_like(labels) == 1])
    again = segment([images], [empty[0]], [empty[1]], PARAMS, module=bright, size=None, slice_axis=0)
    np.testing.assert_allclose(again.probabilities[0], plain.probabilities, atol=1e-4)


def test_an_ensemble_is_the_mean_over_its_draws_of_probabilities_or_of_logits():
    images, labels = squares(4, count=6)
    images = images * np.linspace(0.5, 1, 6, dtype=np.float32)[:, None, None]
    binary = labels == 1
    chosen = draws(6, 2, 3, seed=5)
    parts = [segment(images, images[rows], binary[rows], PARAMS, module=bright, size=None) for rows in chosen]
    parts = np.stack([part.probabilities for part in parts])
    options = dict(module=bright, size=None, support_size=2, ensemble=3, seed=5, batch=4)
    mean = segment(images, images, binary, PARAMS, **options)
    np.testing.assert_allclose(mean.probabilities, parts.mean(0), atol=1e-4)
    logits = segment(images, images, binary, PARAMS, **options, average="logits")
    logit = np.log(parts) - np.log1p(-parts)
    np.testing.assert_allclose(logits.probabilities, 1 / (1 + np.exp(-logit.mean(0))), atol=1e-4)
    assert np.abs(parts[0] - parts[1]).max() > 0.01
    np.testing.assert_array_equal(draws(6, 2, 5, seed=5)[:3], chosen)
    assert len({tuple(sorted(row)) for row in draws(20, 4, 8, seed=0)}) == 8
    assert all(len(set(row)) == 4 for row in draws(20, 4, 8, seed=0))


def test_similar_examples_are_the_nearest_ones_of_each_image():
    rng = np.random.default_rng(0)
    images, pool = rng.random((4, 6, 6)), rng.random((9, 6, 6))
    expected = np.argsort(((images[:, None] - pool[None]) ** 2).mean((2, 3)), 1)[:, :3]
    np.testing.assert_array_equal(most_similar(images, pool, 3), expected)
    images, labels = squares(6, count=5)
    result = segment(images, images, labels == 1, PARAMS, module=bright, size=None, select="similar", support_size=1)
    # the nearest example of an image in the pool is itself
    own = [segment(images[i : i + 1], images[i : i + 1], labels[i : i + 1] == 1, PARAMS, module=bright, size=None)
           for i in range(5)]  # fmt: skip
    np.testing.assert_allclose(result.probabilities, np.concatenate([one.probabilities for one in own]), atol=1e-4)


def test_the_universeg_of_some_parameters_and_sizes_that_do_not_divide():
    images, labels = squares(7, shape=(16, 16))
    one = jnp.ones((1, 16, 16, 1))
    example = jnp.ones((1, 2, 16, 16, 1))
    network = UniverSeg([4, 6])
    params = jax.jit(network.init)(jax.random.key(0), one, example, example)["params"]
    assert network_of(params) == network
    result = hyperlab.segment(images, images, labels == 1, params, size=16, batch=2)
    direct = jax.jit(network.apply)({"params": params}, images[:1, ..., None], images[None, ..., None],
                                    (labels == 1).astype(np.float32)[None, ..., None])[0, ..., 0]  # fmt: skip
    np.testing.assert_allclose(result.probabilities[0], jax.nn.sigmoid(direct), atol=1e-5)
    padded = segment(images, images, labels == 1, params, size=15, aspect="stretch", batch=2)
    assert padded.masks.shape == images.shape
    with pytest.raises(DataError, match=r"\(15, 15\) does not divide by 2, .* next size is \(16, 16\)"):
        segment(images, images, labels == 1, params, size=15, indivisible="refuse")
    with pytest.raises(ParameterTreeError, match="outer 'params'"):
        segment(images, images, labels == 1, {"params": params})
    with pytest.raises(ParameterTreeError, match="no parameters of a UniverSeg"):
        network_of({"conv": params["head"]})
    tyche = jax.eval_shape(Tyche([4, 4]).init, jax.random.key(0), example, example, example, example)["params"]
    with pytest.raises(ParameterTreeError, match="parameters of a Tyche"):
        network_of(tyche)


def test_an_accepted_mask_joins_the_context():
    images, labels = squares(8, count=4)
    context = Context(images[:1], labels[:1] == 1)
    grown = context.accept(images[1:3], labels[1:3] == 1)
    result = segment(images[3:], *grown, PARAMS, module=bright, size=None)
    expected = segment(images[3:], images[:3], labels[:3] == 1, PARAMS, module=bright, size=None)
    np.testing.assert_array_equal(result.probabilities, expected.probabilities)
    assert len(context.images) == 1
    with pytest.raises(DataError, match="1 accepted masks for 2 images"):
        context.accept(images[:2], labels[:1])


def test_rescaling_makes_the_range_of_each_image_0_to_1():
    images, labels = squares(9)
    options = dict(module=bright, size=None)
    expected = segment((images - 0.1) / 0.8, (images - 0.1) / 0.8, labels == 1, PARAMS, **options)
    raw = np.round(images * 1000).astype(np.int16) - 500
    result = segment(raw, raw, labels == 1, PARAMS, **options, rescale=True)
    np.testing.assert_allclose(result.probabilities, expected.probabilities, atol=1e-5)


IMAGES, LABELS = squares(10)
BINARY = (LABELS == 1).astype(int)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((IMAGES * 255, IMAGES, BINARY), {}, DataError, r"images\[0\] holds values from 25.5 to 229.5, .*rescale=True"),
        ((IMAGES, IMAGES - 1, BINARY), {}, DataError, r"support_images\[0\] holds values from -0.9"),
        ((IMAGES, IMAGES, LABELS), {}, DataError, r"support_labels hold 0, 1, 2, expected 0 and 1.*classes=\(1, 2\)"),
        ((IMAGES, IMAGES, 0.5 * BINARY), {}, DataError, "no whole numbers"),
        ((IMAGES, IMAGES[:0], BINARY[:0]), {}, DataError, "support_images is empty; .* at least one example"),
        ((IMAGES[:0], IMAGES, BINARY), {}, DataError, "images is empty; give an image"),
        ((IMAGES, IMAGES, BINARY[:2]), {}, DataError, "2 support_labels for 3 support_images"),
        ((IMAGES, IMAGES, BINARY[:, 1:]), {}, DataError, r"support_labels\[0\] is \(23, 24\), its image \(24, 24\)"),
        ((IMAGES, IMAGES, 0 * BINARY), {}, DataError, "no support label has a pixel of class 1"),
        ((IMAGES, IMAGES, LABELS), {"classes": (1, 3)}, DataError, "class 3; found"),
        ((IMAGES, IMAGES, LABELS), {"classes": (0, 1)}, ConfigError, "without 0, the background"),
        ((IMAGES[0], IMAGES, BINARY), {}, DataError, r"images\[0\] has shape \(24,\).*image\[None\]"),
        ((IMAGES[..., None].repeat(3, -1), IMAGES, BINARY), {}, DataError, "has 3 channels, expected one"),
        ((IMAGES + np.nan, IMAGES, BINARY), {}, DataError, "576 values that are not finite"),
        ((IMAGES[:, :20], IMAGES, BINARY), {"size": None}, DataError, "2 sizes, from .* give the size"),
        ((IMAGES, IMAGES, BINARY), {"support_size": 4}, ConfigError, "support_size is 4, expected 1 to 3"),
        ((IMAGES, IMAGES, BINARY), {"ensemble": 2}, ConfigError, "every pass would be the same"),
        ((IMAGES, IMAGES, BINARY), {"select": "nearest"}, ConfigError, "unknown select 'nearest'"),
        ((IMAGES, IMAGES, BINARY), {"aspect": "crop"}, ConfigError, "unknown aspect"),
        ((IMAGES, IMAGES, BINARY), {"slice_axis": 3}, ConfigError, "slice_axis is 3"),
        ((IMAGES, IMAGES, BINARY), {"threshold": 1.5}, ConfigError, "threshold is 1.5"),
        ((IMAGES, IMAGES, BINARY), {"size": 0}, DataError, "size is 0"),
    ],
)  # fmt: skip
def test_refusals(arguments, options, error, message):
    def untouched(*_):
        raise AssertionError("the network was called")

    with pytest.raises(error, match=message):
        segment(*arguments, PARAMS, module=untouched, **{"size": 24, **options})


@pytest.mark.fast
def test_a_class_that_vanishes_at_the_working_size_is_refused():
    dot = np.zeros((1, 64, 64), int)
    dot[0, 1, 0] = 1
    with pytest.raises(DataError, match=r"class 1 has no pixel left in any example at size \(8, 8\)"):
        segment(IMAGES, np.zeros((1, 64, 64)), dot, PARAMS, module=bright, size=8)
