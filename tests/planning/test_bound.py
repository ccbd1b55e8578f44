"""Bounds, the batch that fits and the hours, against what is worked out by hand; and what is said of waste."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from hyperlab.planning import waste
from hyperlab.planning.bound import Bound, bound, hours, largest_batch
from hyperlab.planning.machines import Chip, parse
from hyperlab.train.capture import TRAINING, Noted

pytestmark = pytest.mark.fast
CHIP = Chip("tpu", {"bfloat16": 100.0, "float32": 50.0}, memory=1000, bandwidth=10.0, link=2.0)


def test_a_bound_is_the_largest_of_its_parts():
    found = bound(CHIP, 4, "float32", 2000, {"arguments": 30, "outputs": 20, "sent": 16.0})
    assert found == Bound(operations=10.0, memory=5.0, links=8.0)
    assert (found.seconds, found.by) == (10.0, "operations")


def test_what_is_not_known_bounds_nothing():
    assert bound(Chip("cpu"), 4, "float32", 2000, {"arguments": 30}) == Bound()
    assert Bound().by == "-"
    assert bound(CHIP, 1, "bfloat16", None, {}).seconds == 0


@pytest.mark.parametrize(
    ("sizes", "memory", "parts", "expected"),
    [
        ({4: 500, 8: 900}, 1600, 1, 15),  # 100 and 100 a row
        ({8: 900, 4: 500}, 1600, 4, 12),
        ({4: 500, 8: 900}, 150, 1, 0),
        ({4: 500, 8: 900}, 199, 1, 0),
        ({4: 500, 8: 900}, 200, 1, 1),
        ({4: 500, 8: 500}, 600, 1, 8),  # of no slope, the larger one is known to fit
        ({4: 500, 8: 500}, 400, 1, 0),
    ],
)
def test_the_batch_that_fits(sizes, memory, parts, expected):
    assert largest_batch(sizes, memory, parts) == expected


def test_hours_are_of_each_cell_at_its_own_bound():
    assert hours(3600, {"a": 1200, "b": 2400}, {"a": 3.0, "b": 1.5}) == 2.0
    assert hours(3600, {"a": 1200}, {"a": 3.0}) == 3.0  # the rest as the quickest
    assert hours(3600, {}, {}) == 0.0


def test_padding_is_that_of_the_axis_that_lies_last_in_memory():
    inside = "%fused { %y = f32[4,4]{1,0:T(8,128)} add(%a, %b) }\n"
    stored = "ENTRY %main {\n  %x = bf16[8,16,4]{0,2,1:T(8,128)(2,1)} fusion(%y)\n"
    stored += "  %z = f32[2,256]{1,0:T(2,128)} copy(%x)\n}"
    assert waste.padding(inside + stored) == [8 * 16 * 4 * 2 + 2048, 16 * 4 * 128 * 2 + 2048]


def head(*spec):
    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    leaf = jax.ShapeDtypeStruct((128, 4096), np.float32, sharding=NamedSharding(mesh, PartitionSpec(*spec)))
    state = {name: {"head": {"kernel": leaf}} for name in ("params", "mu")}
    return Noted("step", TRAINING, "a", None, (state,))


def said(program, found, machine, **mesh):
    return waste.sentences(program, found, parse(machine), mesh, "float32")


def test_a_head_that_is_whole_is_named_with_its_moments():
    assert "heads of 4 MiB with their moments are whole on each of 8" in said(head(), {}, "cpu:8", data=8, model=1)[0]
    assert said(head(None, "model"), {}, "cpu:8", data=8, model=1) == []
    assert "they do not divide over devices.mesh.model = 8" in said(head(), {}, "cpu:8", data=1, model=8)[0]
    assert said(head(), {}, "cpu:1") == []


def test_gathers_padding_and_float32_are_named_with_their_numbers():
    found = {"collectives": {"all-gather": [3, 6 * 2**20]}, "padding": [100, 400], "temporaries": 64 * 2**20}
    lanes, gathers, wide = said(head(None, "model"), found, "v5e:2x2", data=2, model=2)
    assert "4.0 times" in lanes and "3 all-gathers bring 6 MiB" in gathers and "of 64 MiB of temporaries" in wide
    assert "2.0 times as fast" in said(head(None, "model"), {"temporaries": 1}, "h100x4", data=4, model=1)[0]
