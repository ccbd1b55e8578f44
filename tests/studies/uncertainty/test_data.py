"""The parts that networks are judged on: the test images, moved, and nothing else."""

import ml_collections
import numpy as np
import pytest

from hyperlab.errors import ConfigError
from hyperlab.studies.uncertainty import data as material

pytestmark = pytest.mark.fast


def data(**changes):
    settings = {"name": "parasites", "root": "", "split_seed": 0, "size": (24, 24), "kind": "", "limit": {}}
    settings |= {"count": 30, "difficulty": 0.3, "shifts": (), "severities": (), "borders": (), "other_kinds": ()}
    return ml_collections.FrozenConfigDict({"data": settings | changes})


def test_shifted_parts_are_the_test_images_with_their_truth():
    made = material.build(data(shifts=("blur", "size"), severities=(2,), borders=(0, 3)))
    assert list(made.parts) == ["validation", "test", "blur/2", "size/2", "border/0", "border/3"]
    test = made.parts["test"]
    np.testing.assert_array_equal(made.parts["blur/2"].labels, test.labels)
    np.testing.assert_array_equal(made.parts["border/0"].images, test.images)
    np.testing.assert_array_equal(made.parts["border/3"].labels, test.labels)
    assert not np.array_equal(made.parts["blur/2"].images, test.images)
    assert (made.parts["size/2"].labels > 0).sum() > (test.labels > 0).sum()


def test_the_fingerprint_tells_parts_apart():
    one, same, other = (material.build(data(shifts=s, severities=(1,))) for s in (("blur",), ("blur",), ("noise",)))
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_what_a_set_cannot_do_is_refused():
    with pytest.raises(ConfigError, match="borders"):
        material.build(data(name="shapes", borders=(1,), size=(32, 32)))
