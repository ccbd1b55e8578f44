import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from segmentation_files import blob

from hyperlab.data import similarity as s
from hyperlab.errors import DataError

pytestmark = pytest.mark.fast


def images(count, shape=(48, 40)):
    return [blob(i, shape)[0][..., None] for i in range(count)]


def thumbnails(arrays):
    return np.stack([s.thumbnail(array) for array in arrays])


def test_a_thumbnail_is_a_unit_vector_that_ignores_scale_offset_and_colour():
    image = images(1)[0].astype(np.float32)
    vector = s.thumbnail(image)
    assert vector.shape == (1024,) and vector.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vector), 1, rtol=1e-5)
    np.testing.assert_allclose(s.thumbnail(3 * image + 20), vector, atol=1e-4)
    np.testing.assert_allclose(s.thumbnail(np.repeat(image, 3, -1)), vector, atol=1e-4)
    ramp = image + np.linspace(0, 400, 48)[:, None, None]  # slow changes of light
    assert s.thumbnail(ramp) @ vector > 0.9
    assert s.thumbnail(blob(0, (9, 10, 11))[0][..., None]).shape == (3072,)


@pytest.mark.parametrize("value", [0, 1, 77.7, 65535])
def test_a_constant_image_resembles_nothing(value):
    np.testing.assert_array_equal(s.thumbnail(np.full((40, 40, 1), value)), 0)


def test_planted_copies_are_found_and_nothing_else():
    found = images(20)
    noise = np.random.default_rng(0)
    found[7] = found[3]
    found[12] = np.clip(found[4] + noise.normal(0, 4, found[4].shape), 0, 255)
    found[15] = 0.8 * found[4].astype(np.float32) + 10
    pairs = s.near_copies(thumbnails(found))
    assert {pair[:2] for pair in pairs} == {(3, 7), (4, 12), (4, 15), (12, 15)}
    assert all(0.8 < correlation <= 1 + 1e-5 for *_, correlation in pairs)
    assert [pair[2] for pair in pairs] == sorted((pair[2] for pair in pairs), reverse=True)
    groups = s.copy_groups(found)
    assert groups[7] == 3 and groups[12] == groups[15] == 4 and len(np.unique(groups)) == 17


def test_images_that_are_all_alike_are_no_copies_unless_they_are_closer_still():
    """Aligned scans of different people share most of their structure; the measure is the set's own."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=1024)
    vectors = common + 0.3 * rng.normal(size=(30, 1024))
    vectors[9] = vectors[2] + 0.03 * rng.normal(size=1024)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    correlations = (vectors @ vectors.T)[np.triu_indices(30, 1)]
    assert np.median(correlations) > 0.9
    assert [pair[:2] for pair in s.near_copies(vectors.astype(np.float32))] == [(2, 9)]
    assert len(s.near_copies(vectors, threshold=0.5)) == 435


def test_blocks_of_rows_change_nothing(monkeypatch):
    vectors = thumbnails(images(23)[:20] + images(3))
    whole = s.near_copies(vectors)
    assert {pair[:2] for pair in whole} == {(0, 20), (1, 21), (2, 22)}
    monkeypatch.setattr(s, "_ROWS", 7)
    blocks = s.near_copies(vectors)
    assert sorted(pair[:2] for pair in blocks) == sorted(pair[:2] for pair in whole)


def test_of_two_images_only_identity_is_known():
    first, other = images(2)
    near = np.clip(first.astype(int) + 1, 0, 255).astype(np.uint8)
    assert s.near_copies(thumbnails([first, near])) == []
    assert s.copy_groups([first, first]).tolist() == [0, 0]
    assert s.copy_groups([first, near, other]).tolist() == [0, 0, 2]
    assert s.copy_groups([first]).tolist() == [0]


@given(st.data())
def test_joined_groups_are_the_connected_components(data):
    n = data.draw(st.integers(1, 12))
    one = np.array(data.draw(st.lists(st.integers(0, 6), min_size=n, max_size=n)))
    two = np.array(data.draw(st.lists(st.sampled_from("abcdefg"), min_size=n, max_size=n)))
    pairs = data.draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=3))
    linked = (one[:, None] == one) | (two[:, None] == two)
    for i, j in pairs:
        linked[i, j] = linked[j, i] = True
    for k in range(n):  # the closure, one step of Warshall after the other
        linked |= linked[:, k : k + 1] & linked[k]
    expected = np.argmax(linked, axis=1)
    np.testing.assert_array_equal(s.joined(one, two, pairs=pairs), expected)


def test_groupings_of_different_length_are_refused():
    with pytest.raises(DataError, match=r"groupings differ in length: \[3, 2\]"):
        s.joined(np.arange(3), np.arange(2))
