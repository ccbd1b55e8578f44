import numpy as np
import pytest
import scipy.ndimage

from hyperlab.data.in_context import standardize as st
from hyperlab.errors import DataError

pytestmark = pytest.mark.fast


def volume(shape=(20, 30, 24), seed=0, labels=3):
    rng = np.random.default_rng(seed)
    field = scipy.ndimage.gaussian_filter(rng.normal(size=shape), 2)
    ranks = field.ravel().argsort().argsort().reshape(shape) / field.size
    image = (1000 * ranks + rng.normal(0, 10, shape)).astype(np.float32)
    return image[..., None], np.minimum((ranks * labels).astype(np.int32), labels - 1)[None]


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("old, new", [(40, 16), (12, 16), (17, 33)])
def test_resizing_is_that_of_scipy(order, old, new):
    image = np.random.default_rng(0).random((old, old)).astype(np.float32)
    expected = scipy.ndimage.zoom(image, new / old, order=order)
    np.testing.assert_allclose(st.resized(image, new, order), expected, atol=1e-5)


def whole(image, mask, kind, size, axis, label):
    """The steps on the whole volume, one after the other, with scipy: what `standardize` does to a plane at a time."""
    values = st.clipped(image[..., 0], kind, (-500.0, 1000.0), (0.5, 99.5))
    values = (values - values.min()) / (values.max() - values.min())
    side = max(values.shape)
    widths = [((side - n) // 2, side - n - (side - n) // 2) for n in values.shape]
    sigma = 0.25 * side / size
    values = scipy.ndimage.gaussian_filter(np.pad(values, widths), sigma)
    soft = scipy.ndimage.gaussian_filter(np.pad((mask[0] == label).astype(np.float32), widths), sigma)
    values, soft = (scipy.ndimage.zoom(a, size / side, order=o) for a, o in ((values, 1), (soft, 0)))
    counts = (soft > 0).sum(tuple({0, 1, 2} - {axis}))
    place = int(counts.argmax())
    return values.take(place, axis), soft.take(place, axis), counts


@pytest.mark.parametrize("kind", st.KINDS)
def test_planes_equal_those_of_the_whole_volume(kind):
    image, mask = volume()
    settings = st.Standardization(sizes=(16,))
    planes = st.standardize(st.RawCase(image - 300, mask), (1, 2), (kind,), settings)[16]
    assert [(p.axis, p.label) for p in planes] == [(axis, label) for label in (1, 2) for axis in range(3)]
    for plane in planes:
        values, soft, _ = whole(image - 300, mask, kind, 16, plane.axis, plane.label)
        np.testing.assert_allclose(plane.image, values, atol=1e-5)
        np.testing.assert_allclose(plane.mask[0], soft, atol=1e-6)


def test_slicing_and_planes():
    image, mask = volume()
    case = st.RawCase(image, mask)
    middle = st.standardize(case, (1,), ("mr",), st.Standardization((16,), "midslice", (2,)))[16]
    assert len(middle) == 1 and middle[0].axis == 2
    most = st.standardize(case, (1,), ("mr",), st.Standardization((16,), "maxslice", (2,)))[16]
    assert (most[0].mask > 0).sum() >= (middle[0].mask > 0).sum()


def test_the_whole_volume_is_normalised_and_padded_with_zeros():
    image, mask = volume((20, 30, 24))
    image[:, :, -1] = 5000  # brightest outside of the plane that is kept
    mask[:, :, :, 12:] = 0
    plane = st.standardize(st.RawCase(image, mask), (1,), ("other",), st.Standardization((30,), planes=(2,)))[30][0]
    assert plane.image.max() < 0.5
    assert (plane.image[:4] == 0).all() and (plane.image[-4:] == 0).all()  # 20 rows in 30


def test_masks_are_soft_or_binary():
    case = st.RawCase(*volume((60, 60))[:1], volume((60, 60))[1])
    soft = st.standardize(case, (1,), ("other",), st.Standardization((16,)))[16][0].mask
    hard = st.standardize(case, (1,), ("other",), st.Standardization((16,), labels="binary"))[16][0].mask
    assert len(np.unique(soft)) > 5 and set(np.unique(hard)) == {0, 1}
    np.testing.assert_array_equal(hard, soft >= 0.5)


def test_clipping():
    image = np.concatenate([np.zeros(1000), np.arange(1.0, 1001)])
    np.testing.assert_allclose(
        [st.clipped(image, "mr", (-1.0, 1.0), (0.5, 99.5)).min(), st.clipped(image, "mr", (0, 1), (0.5, 99.5)).max()],
        np.percentile(np.arange(1.0, 1001), (0.5, 99.5)),
    )  # the zeros do not count for the percentiles
    assert st.clipped(image, "ct", (-500.0, 300.0), (0.5, 99.5)).max() == 300
    np.testing.assert_array_equal(st.clipped(image, "other", (0.0, 1.0), (0.5, 99.5)), image)


def test_volumes_become_isotropic():
    image, mask = volume((10, 30, 30))
    new, new_mask = st.isotropic(image, mask, (3.0, 1.0, 1.0), 1.0)
    assert new.shape == (30, 30, 30, 1) and new_mask.shape == (1, 30, 30, 30)
    assert set(np.unique(new_mask)) == {0, 1, 2}
    assert st.isotropic(image, mask, (1.0, 1.0, 1.0), 1.0)[0] is image


def test_a_stack_is_normalised_together_and_cut():
    image, mask = volume((4, 20, 16))
    image[0] *= 0.5
    planes = st.standardize(st.RawCase(image, mask, stack=True), (1, 2), ("mr",), st.Standardization((16,)))[16]
    assert [(p.axis, p.label, p.number) for p in planes] == [(None, y, i) for i in range(4) for y in (1, 2)]
    tops = [p.image.max() for p in planes]
    assert max(tops[:2]) < 0.6 and min(tops[2:]) > 0.9


def test_annotators_and_channels():
    image, mask = volume((20, 20))
    case = st.RawCase(np.concatenate([image, image**2], -1), np.concatenate([mask, mask[:, ::-1]]))
    planes = st.standardize(case, (1,), ("mr", "other"), st.Standardization((16,)))[16]
    assert [p.modality for p in planes] == [0, 1] and planes[0].mask.shape == (2, 16, 16)
    np.testing.assert_array_equal(planes[0].mask, planes[1].mask)


def test_bad_input():
    image, mask = volume((20, 20))
    settings = st.Standardization((16,))
    with pytest.raises(DataError, match="image .* and labels .*; expected"):
        st.standardize(st.RawCase(image, mask[:, 1:]), (1,), ("mr",), settings)
    with pytest.raises(DataError, match="unknown kind of modality 'mri'; did you mean 'mr'"):
        st.standardize(st.RawCase(image, mask), (1,), ("mri",), settings)
    with pytest.raises(DataError, match="not finite"):
        st.standardize(st.RawCase(np.full_like(image, np.nan), mask), (1,), ("mr",), settings)
    with pytest.raises(DataError, match="unknown slicing 'midslices'; did you mean 'midslice'"):
        st.Standardization(slicing="midslices")
    with pytest.raises(DataError, match="each of at least 8 pixels"):
        st.Standardization(sizes=(4,))
