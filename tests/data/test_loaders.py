import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numbered_files import Files, augment

from hyperlab.data import loaders
from hyperlab.data.loaders import batch_indices, evaluation_batches, iterate, loader, take, to_device
from hyperlab.data.splits import Split, permutation
from hyperlab.errors import DataError

fast = pytest.mark.fast

sizes, batch_sizes, seeds = st.integers(1, 40), st.integers(1, 25), st.integers(0, 2**40)
policies = st.sampled_from(["continue", "drop"])


def images(n=10):
    rng = np.random.default_rng(0)
    ids = np.arange(n, dtype=np.int32)
    return Split(rng.random((n, 2, 2, 1), np.float32), ids % 3, ids, ids)


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
    assert loaders.steps_per_epoch(size, batch_size, "drop") == per_epoch
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


# -- on the device ------------------------------------------------------------------------------------------------


@fast
def test_take_gathers_on_the_device_for_one_run_and_for_many():
    split = images()
    examples = to_device(split)
    assert set(examples) == {"images", "labels"}
    rows = batch_indices([0, 1], range(2), len(split), 4)
    gather = jax.jit(take)
    for indices in (rows[0, 0], rows):
        batch = gather(examples, jnp.asarray(indices))
        np.testing.assert_array_equal(batch["images"], split.images[indices])
        np.testing.assert_array_equal(batch["labels"], split.labels[indices])


@fast
def test_to_device_takes_a_sharding():
    mesh = jax.make_mesh((4,), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    examples = to_device(images(8), sharding)
    assert all(array.sharding.is_equivalent_to(sharding, array.ndim) for array in examples.values())


# -- through grain ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("last_batch", ["continue", "drop"])
def test_the_loader_has_the_order_of_batch_indices(last_batch):
    split = images()
    from_files, in_memory = (
        loader(Files(), 4, 3, last_batch=last_batch),
        loader(split, 4, 3, last_batch=last_batch),
    )
    for step in (0, 1, 2, 7, 10_000):
        indices = batch_indices(3, step, 10, 4, last_batch)
        np.testing.assert_array_equal(from_files[step]["index"], indices)
        np.testing.assert_array_equal(in_memory[step]["images"], split.images[indices])
        np.testing.assert_array_equal(in_memory[step]["labels"], split.labels[indices])


def test_processes_share_a_global_batch_and_its_augmentation():
    whole = loader(Files(), 6, 3, augment=augment)
    parts = [loader(Files(), 6, 3, augment=augment, process_index=i, process_count=3) for i in range(3)]
    seen = []
    for step in (0, 1, 5):
        together = [np.concatenate(values) for values in zip(*(part[step].values() for part in parts), strict=True)]
        jax.tree.map(np.testing.assert_array_equal, list(whole[step].values()), together)
        seen.append(whole[step]["drawn"])
    # no two rows of any step or process draw the same numbers, and other seeds draw others
    assert len(np.unique(np.concatenate(seen))) == 2 * 6 * 3
    assert not np.isin(loader(Files(), 6, 4, augment=augment)[0]["drawn"], np.concatenate(seen)).any()
    np.testing.assert_array_equal(whole[5]["drawn"], loader(Files(), 6, 3, augment=augment)[5]["drawn"])


def test_loader_refuses_what_does_not_fit():
    with pytest.raises(DataError, match="a batch of 4 does not divide by 3 processes"):
        loader(Files(), 4, 0, process_count=3)
    with pytest.raises(DataError, match="process_index is 2, expected 0 to 1"):
        loader(Files(), 4, 0, process_index=2, process_count=2)
    with pytest.raises(DataError, match="out of 0 examples"):
        loader(Files(0), 4, 0)


def test_iterate_resumes_at_any_step_in_this_process():
    found = [batch["index"] for batch in itertools.islice(iterate(loader(Files(), 4, 1), start=6), 5)]
    np.testing.assert_array_equal(found, batch_indices(1, range(6, 11), 10, 4))


def test_an_error_of_the_source_arrives_as_it_is_in_this_process():
    with pytest.raises(OSError, match="cannot read image 3"):
        list(itertools.islice(iterate(loader(Files(broken=3), 4, 0)), 3))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_keep_the_order(workers):
    batches = iterate(loader(Files(), 4, 1, augment=augment), start=6, workers=workers)
    expected = itertools.islice(iterate(loader(Files(), 4, 1, augment=augment), start=6), 5)
    for found, wanted in zip(batches, expected, strict=False):
        jax.tree.map(np.testing.assert_array_equal, dict(found), wanted)
    batches.close()


@pytest.mark.slow
def test_a_failing_worker_gives_the_error_of_the_source():
    with pytest.raises(DataError, match="a data worker failed with OSError: cannot read image 3"):
        for _ in itertools.islice(iterate(loader(Files(broken=3), 4, 0), workers=1), 20):
            pass


@pytest.mark.slow
def test_a_worker_that_dies_is_an_error_and_no_hang():
    with pytest.raises(DataError, match="a data worker failed .* exit code 7"):
        for _ in itertools.islice(iterate(loader(Files(dies=3), 4, 0), workers=1), 20):
            pass
