from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab.data import splits as s
from hyperlab.data.splits import Split, Splits
from hyperlab.errors import DataError


def clean(per_part=12, classes=3):
    """Three parts of random images that share nothing."""
    rng = np.random.default_rng(0)
    n = 3 * per_part
    labels = (np.arange(n) % classes).astype(np.int32)
    ids = np.arange(n, dtype=np.int32)
    source = Split(rng.random((n, 4, 4, 1), np.float32), labels, ids + 1000, ids)
    parts = [source.take(np.arange(i * per_part, (i + 1) * per_part)) for i in range(3)]
    return Splits("toy", *parts, classes=("a", "b", "c"), fingerprint="")


def planted(splits, part, **arrays):
    """The same splits with some entries of one part's arrays changed: `{name: (place, value)}`."""
    changed = {}
    for name, (place, value) in arrays.items():
        changed[name] = getattr(splits.parts()[part], name).copy()
        changed[name][place] = value
    return replace(splits, **{part: replace(splits.parts()[part], **changed)})


# -- the check ----------------------------------------------------------------------------------------------------


def test_splits_that_share_nothing_pass():
    s.check_splits(clean())


@pytest.mark.parametrize(("left", "right"), [("train", "validation"), ("train", "test"), ("validation", "test")])
@pytest.mark.parametrize(("array", "what"), [("index", "index"), ("groups", "group"), ("images", "identical image")])
def test_a_planted_leak_is_refused_and_named(left, right, array, what):
    splits = clean()
    a, b = splits.parts()[left], splits.parts()[right]
    leak = planted(splits, right, **{array: (5, getattr(a, array)[7])})
    places = f"source examples {a.index[7]} and {a.index[7] if array == 'index' else b.index[5]}"
    with pytest.raises(DataError) as error:
        s.check_splits(leak)
    message = str(error.value)
    assert message.startswith(f"toy leaks: the {left} and {right} splits share 1 {what}(s)")
    assert message.endswith(places)


def test_copies_inside_one_split_are_no_leak():
    splits = clean()
    s.check_splits(planted(splits, "test", images=(1, splits.test.images[0]), groups=(1, splits.test.groups[0])))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": (2, np.nan)}, "images span nan to nan, expected finite values in 0..1"),
        ({"images": (2, np.inf)}, "to inf"),
        ({"images": (2, 255.0)}, "to 255.0, expected finite values in 0..1"),
        ({"images": (2, -0.1)}, "images span -0.1"),
        ({"labels": (2, 3)}, "labels span 0 to 3, expected 0 to 2"),
        ({"labels": (2, -1)}, "labels span -1 to 2"),
        ({"index": (2, 13)}, "an index occurs twice"),
    ],
)
def test_values_a_study_cannot_use_are_refused(arrays, message):
    with pytest.raises(DataError, match=f"toy, validation split: .*{message}"):
        s.check_splits(planted(clean(), "validation", **arrays))


def test_empty_and_ragged_splits_are_refused():
    splits = clean()
    with pytest.raises(DataError, match="test split: no examples"):
        s.check_splits(replace(splits, test=splits.test.take(np.arange(0))))
    ragged = replace(splits.test, labels=splits.test.labels[:3])
    with pytest.raises(DataError, match=r"differ in length: \[3, 12\]"):
        s.check_splits(replace(splits, test=ragged))


# -- groups -------------------------------------------------------------------------------------------------------

fractions = st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(any)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), min_size=20, max_size=200), fractions, st.data())
def test_groups_are_never_cut_and_every_example_has_one_part(examples, weights, data):
    labels, groups = np.array(examples).T
    shares = np.array(weights) / sum(weights)
    seed = data.draw(st.integers(0, 2**63))
    try:
        parts = s.split_by_group(labels, groups, shares, seed)
    except DataError as error:
        assert "is empty" in str(error)  # few or large groups can leave a small part without any
        return
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    assert all(np.all(np.diff(part) > 0) for part in parts)
    held = [set(groups[part]) for part in parts]
    assert sum(map(len, held)) == len(set.union(*held))
    assert all(not len(part) for part, share in zip(parts, shares, strict=True) if share == 0)


@given(st.lists(st.integers(0, 3), min_size=60, max_size=200), st.integers(0, 1000))
def test_single_examples_are_cut_at_the_rounded_share_and_each_class_near_it(labels, seed):
    labels = np.array(labels)
    parts = s.split_by_group(labels, np.arange(len(labels)), (0.6, 0.25, 0.15), seed)
    shares = np.array([0.6, 0.85, 1.0])
    assert np.cumsum([len(part) for part in parts]).tolist() == np.round(shares * len(labels)).tolist()
    for label in np.unique(labels):
        found = np.cumsum([np.sum(labels[part] == label) for part in parts])
        assert np.all(np.abs(found - shares * np.sum(labels == label)) < 2)


def test_a_small_share_of_many_small_classes_is_not_rounded_away():
    labels = np.arange(60) % 10
    train, validation = s.split_by_group(labels, np.arange(60), (11 / 12, 1 / 12), 0)
    assert (len(train), len(validation)) == (55, 5)


def test_large_groups_move_a_cut_by_at_most_their_own_size():
    rng = np.random.default_rng(3)
    sizes = rng.integers(1, 9, 60)
    groups = np.repeat(np.arange(60), sizes)
    labels = np.repeat(np.arange(60) % 2, sizes)
    train, test = s.split_by_group(labels, groups, (0.7, 0.3), 0)
    for label in (0, 1):
        assert abs(np.sum(labels[train] == label) - 0.7 * np.sum(labels == label)) <= 9


def test_another_seed_gives_another_partition_and_the_same_seed_the_same():
    labels, groups = np.arange(200) % 5, np.arange(200) // 2
    first, again, other = (s.split_by_group(labels, groups, (0.5, 0.5), seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert 20 < len(set(first) - set(other)) < 80


@pytest.mark.parametrize("shares", [(0.5, 0.4), (1.2, -0.2), (0.6, 0.6)])
def test_fractions_that_are_no_partition_are_refused(shares):
    with pytest.raises(DataError, match="at least 0 and sum to 1"):
        s.split_by_group(np.zeros(10, int), np.arange(10), shares, 0)


def test_an_empty_part_is_refused():
    with pytest.raises(DataError, match="a part of 0.01 of 10 examples is empty"):
        s.split_by_group(np.zeros(10, int), np.arange(10), (0.99, 0.01), 0)


def test_identical_images_are_one_group():
    images = np.random.default_rng(0).random((6, 3, 3, 1))
    images[4], images[5] = images[1], images[4] * np.nextafter(1, 2)
    assert s.duplicate_groups(images).tolist() == [0, 1, 2, 3, 1, 5]


# -- subsets and permutations -------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=120), st.integers(1, 150), st.integers(0, 9))
def test_limits_are_nested_and_keep_the_proportions(labels, limit, seed):
    labels = np.array(labels)
    small, large = s.stratified_subset(labels, limit, seed), s.stratified_subset(labels, limit + 7, seed)
    assert len(small) == min(limit, len(labels)) and set(small) <= set(large)
    assert np.all(np.diff(small) > 0)
    for label in np.unique(labels):
        expected = np.sum(labels == label) * len(small) / len(labels)
        # a cut is within 1/2 of each class's share at the cut's own rank, and so within 1/2 + its share here
        assert abs(np.sum(labels[small] == label) - expected) <= 1.5


def test_a_limit_below_one_is_refused():
    with pytest.raises(DataError, match="limit is 0, expected at least 1"):
        s.stratified_subset(np.zeros(3, int), 0, 0)


def test_permutations_are_fixed_for_good():
    """These may never change: every split and every run's order of examples is made of them."""
    assert s.permutation(8, 0).tolist() == [0, 2, 1, 5, 4, 3, 6, 7]
    assert s.permutation(8, 0, 1).tolist() == [5, 3, 7, 2, 4, 1, 0, 6]
    assert s.permutation(8, 12345, 7).tolist() == [0, 1, 4, 3, 2, 5, 7, 6]
    assert s.permutation(8, 2**64 - 1).tolist() == [0, 7, 4, 2, 6, 3, 1, 5]
    assert s.permutation(3, 0).dtype == np.int32 and s.permutation(0, 0).shape == (0,)


@given(st.integers(1, 300), st.integers(0, 2**64 - 1), st.integers(0, 2**40))
def test_a_permutation_is_one(size, seed, number):
    np.testing.assert_array_equal(np.sort(s.permutation(size, seed, number)), np.arange(size))


def test_permutations_are_uniform_and_independent_of_their_neighbours():
    drawn = np.stack([s.permutation(6, seed, epoch) for seed in range(60) for epoch in range(50)])
    counts = np.stack([np.bincount(column, minlength=6) for column in drawn.T])
    assert np.abs(counts - 500).max() < 5 * np.sqrt(500 * 5 / 6)
    # the next epoch and the next seed keep an example in its place one time in six
    assert abs((drawn[1:] == drawn[:-1]).mean() - 1 / 6) < 0.02
    assert abs((drawn[50:] == drawn[:-50]).mean() - 1 / 6) < 0.02


def test_streams_of_random_words_do_not_meet():
    words = [s.philox(0, 0, stream).random_raw(4).tolist() for stream in range(2)]
    assert not set(words[0]) & set(words[1])


# -- fingerprint --------------------------------------------------------------------------------------------------


def test_the_fingerprint_is_fixed_and_sees_dtype_shape_and_contents():
    array = np.arange(6, dtype=np.int32)
    assert s.fingerprint(array) == "76b0475f88fb621745b8729adb3cf817"
    assert s.fingerprint(array.astype(">i4")) == s.fingerprint(np.arange(12, dtype=np.int32)[::2] // 2)
    others = [array[::-1], array.reshape(2, 3), array.astype(np.uint32), array + (array == 3)]
    assert len({s.fingerprint(one) for one in [array, *others]}) == 5
    assert s.fingerprint(array[:2], array[2:]) != s.fingerprint(array[:3], array[3:])
