"""What answers are scored on: the test images, moved, and nothing else."""

import ml_collections
import numpy as np
import pytest

from hyperlab.errors import ConfigError
from hyperlab.studies.uncertainty import cells
from hyperlab.studies.uncertainty.data import build

pytestmark = pytest.mark.fast


def data(**changes):
    settings = {"name": "parasites", "root": "", "split_seed": 0, "size": (24, 24), "kind": "", "limit": {}}
    settings |= {"count": 30, "difficulty": 0.3, "shifts": (), "severities": (), "borders": (), "other_kinds": ()}
    return ml_collections.FrozenConfigDict({"data": settings | changes})


def test_shifted_parts_are_the_test_images_with_their_truth():
    config = data(shifts=("blur", "size"), severities=(2,), borders=(0, 3))
    made = build(config)
    assert list(made.evaluated) == ["validation", "test", "blur/2", "size/2", "border/0", "border/3"]
    assert list(made.evaluated) == cells.evaluated(config.data)  # what the report reads
    test = made.evaluated["test"]
    np.testing.assert_array_equal(made.evaluated["blur/2"].labels, test.labels)
    np.testing.assert_array_equal(made.evaluated["border/0"].images, test.images)
    np.testing.assert_array_equal(made.evaluated["border/3"].labels, test.labels)
    assert not np.array_equal(made.evaluated["blur/2"].images, test.images)
    assert (made.evaluated["size/2"].labels > 0).sum() > (test.labels > 0).sum()


def test_the_fingerprint_tells_parts_apart():
    one, same, other = (build(data(shifts=s, severities=(1,))) for s in (("blur",), ("blur",), ("noise",)))
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_what_a_set_cannot_do_is_refused():
    with pytest.raises(ConfigError, match="borders"):
        build(data(name="shapes", borders=(1,), size=(32, 32)))
