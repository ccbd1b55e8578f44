import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab.data.loaders import batch_indices, evaluation_batches
from hyperlab.data.splits import permutation
from hyperlab.errors import DataError

fast = pytest.mark.fast

sizes, batch_sizes, seeds = st.integers(1, 40), st.integers(1, 25), st.integers(0, 2**40)
policies = st.sampled_from(["continue", "drop"])


def slow_indices(seed, step, size, batch_size, last_batch):
    """Position by position, as the module says it."""
    period = size if last_batch == "continue" else size // batch_size * batch_size
    positions = range(step * batch_size, (step + 1) * batch_size)
    return [permutation(size, seed, p // period)[p % period] for p in positions]


# -- indices ------------------------------------------------------------------------------------------------------


@fast
@settings(deadline=None)
@given(seeds, sizes, batch_sizes, policies, st.integers(0, 30))
def test_indices_equal_the_definition(seed, size, batch_size, last_batch, step):
    if last_batch == "drop" and size < batch_size:
        return
    found = batch_indices(seed, step, size, batch_size, last_batch)
    assert found.dtype == np.int32 and found.shape == (batch_size,)
    assert found.tolist() == slow_indices(seed, step, size, batch_size, last_batch)


@fast
@settings(deadline=None)
@given(seeds, sizes, batch_sizes, st.integers(1, 4))
def test_every_epoch_has_every_example_once(seed, size, batch_size, epochs):
    steps = -(-epochs * size // batch_size)
    stream = batch_indices(seed, range(steps), size, batch_size).ravel()
    for epoch in range(epochs):
        np.testing.assert_array_equal(np.sort(stream[epoch * size : (epoch + 1) * size]), np.arange(size))


@fast
@settings(deadline=None)
@given(seeds, sizes, batch_sizes)
def test_dropping_leaves_out_another_random_remainder_in_each_epoch(seed, size, batch_size):
    if size < batch_size:
        return
    per_epoch = size // batch_size
    for epoch in range(3):
        steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        stream = batch_indices(seed, steps, size, batch_size, "drop").ravel()
        assert len(set(stream.tolist())) == len(stream) == per_epoch * batch_size


@fast
def test_dropped_examples_differ_between_epochs():
    left_out = [set(range(10)) - set(batch_indices(0, range(2 * e, 2 * e + 2), 10, 4, "drop").flat) for e in range(6)]
    assert all(len(one) == 2 for one in left_out) and len(set(map(frozenset, left_out))) > 3


@fast
@settings(deadline=None)
@given(seeds, sizes, batch_sizes, st.integers(0, 12), st.integers(0, 12), policies)
def test_a_resumed_range_equals_the_rows_of_a_longer_one(seed, size, batch_size, start, more, last_batch):
    if last_batch == "drop" and size < batch_size:
        return
    whole = batch_indices(seed, range(start + more), size, batch_size, last_batch)
    rest = batch_indices(seed, range(start, start + more), size, batch_size, last_batch)
    assert rest.shape == (more, batch_size)
    np.testing.assert_array_equal(whole[start:], rest)


@fast
def test_runs_have_orders_of_their_own_and_equal_seeds_share_one():
    steps = range(3, 9)
    many = batch_indices([5, 6, 5], steps, 50, 8)
    assert many.shape == (3, 6, 8) and many.dtype == np.int32
    for row, seed in zip(many, [5, 6, 5], strict=True):
        np.testing.assert_array_equal(row, batch_indices(seed, steps, 50, 8))
    assert (many[0] == many[1]).mean() < 0.1
    np.testing.assert_array_equal(batch_indices(np.array([5, 6], np.uint32), 4, 50, 8), many[:2, 1])


@fast
def test_the_order_is_golden():
    """These may never change: a resumed run would see other examples than the run that it continues."""
    assert batch_indices(0, range(3), 5, 3).tolist() == [[0, 2, 1], [4, 3, 3], [2, 4, 1]]
    assert batch_indices(7, 100_000, 60_000, 4).tolist() == [7881, 13117, 55237, 53566]


@fast
def test_cached_orders_cannot_be_changed_by_their_users():
    first = batch_indices(3, range(2), 8, 4)
    expected = first.copy()
    first[:] = -1
    np.testing.assert_array_equal(batch_indices(3, range(2), 8, 4), expected)


@fast
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, 0, 4), "a batch of 4 out of 0 examples"),
        ((0, 0, 4, 0), "a batch of 0 out of 4 examples"),
        ((0, 0, 4, 5, "drop"), "a batch of 5 is larger than the set of 4"),
        ((0, 0, 4, 2, "dropp"), "unknown last_batch 'dropp'; did you mean 'drop'"),
        ((0, range(0, 4, 2), 4, 2), "a range of consecutive steps"),
        ((0, range(-1, 2), 4, 2), "from 0 on"),
        ((0, -1, 4, 2), "from 0 on"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        batch_indices(*arguments)


@fast
@given(sizes, batch_sizes)
def test_evaluation_sees_every_example_once_in_order(size, batch_size):
    indices, weights = evaluation_batches(size, batch_size)
    assert indices.shape == weights.shape == (-(-size // batch_size), batch_size)
    assert (indices.dtype, weights.dtype) == (np.int32, np.float32)
    np.testing.assert_array_equal(indices[weights == 1], np.arange(size))
    assert np.all(indices[weights == 0] == 0) and weights.sum() == size
