"""Partitions: equally many examples for each replica, none twice, as alike as was asked for."""

import numpy as np
import pytest

from hyperlab.data.partitions import KINDS, partition
from hyperlab.errors import ConfigError, DataError

pytestmark = pytest.mark.fast

LABELS = np.random.default_rng(0).integers(0, 10, 1003)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("replicas", [1, 2, 7, 32])
def test_everybody_gets_equally_many_and_nobody_the_same(kind, replicas):
    found = partition(kind, LABELS, replicas, 0, alpha=0.1)
    assert found.shape[0] == replicas and found.dtype == np.int32
    assert len(np.unique(found)) == found.size > 1003 - 2 * 2 * replicas
    np.testing.assert_array_equal(found, partition(kind, LABELS, replicas, 0, alpha=0.1))
    assert not np.array_equal(found, partition(kind, LABELS, replicas, 1, alpha=0.1))


def apart(found):
    """Mean total variation between a replica's class shares and those of all."""
    shares = np.stack([np.bincount(LABELS[row], minlength=10) / len(row) for row in found])
    return np.abs(shares - np.bincount(LABELS, minlength=10) / len(LABELS)).sum(1).mean() / 2


def test_the_smaller_alpha_the_less_alike():
    found = [apart(partition("dirichlet", LABELS, 8, 0, alpha=alpha)) for alpha in (0.1, 1.0, 100.0)]
    assert found[0] > found[1] > found[2]
    assert apart(partition("iid", LABELS, 8, 0)) < 0.15 < 0.4 < apart(partition("shards", LABELS, 8, 0))


def test_a_shard_of_sorted_examples_has_few_classes():
    for row in partition("shards", LABELS, 5, 0, shards=1):
        assert len(np.unique(LABELS[row])) <= 4


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("shard", LABELS, 2, 0), ConfigError, "'shards'"),
        (("dirichlet", LABELS, 2, 0, 2, 0.0), ConfigError, "alpha is 0"),
        (("shards", LABELS, 2, 0, 0), ConfigError, "shards is 0"),
        (("iid", LABELS[:3], 4, 0), DataError, "3 examples"),
        (("iid", np.zeros((4, 2, 2)), 2, 0), DataError, "one class an example"),
    ],
)
def test_bad_input(arguments, error, message):
    kind, labels, replicas, seed, *rest = arguments
    with pytest.raises(error, match=message):
        partition(kind, labels, replicas, seed, **dict(zip(("shards", "alpha"), rest, strict=False)))
