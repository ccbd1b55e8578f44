"""A plan on a machine of known numbers, whose compiler needs a known number of bytes for each row of a batch."""

import jax
import pytest
from small_trainings import CASES

from hyperlab import launch
from hyperlab.planning import machines, making
from hyperlab.planning.machines import Chip, parse
from hyperlab.sweep import apply
from hyperlab.train.capture import TRAINING

BASE, ROW = 1000, 100  # bytes of a program, and of a row of its batch


@pytest.fixture
def make(monkeypatch):
    """`(memory, batch) -> ` a plan for one device, and the batches that were compiled."""

    def compiled(program, machine, folder, **versions):
        result = {"fits": None, "error": "", "cached": True, "seconds": 0.0, "needed": 1}
        if program.kind != TRAINING:
            return result
        rows = len(program.given[1][1])
        batches.append(rows)
        result["needed"] = BASE + ROW * rows
        if result["needed"] > machine.of.memory:
            return result | {"fits": False, "error": "RESOURCE_EXHAUSTED"}
        return result | {"arguments": BASE, "outputs": BASE}

    def made(memory, batch):
        chip = Chip("cpu", {"float32": 1e9}, memory, bandwidth=1e6, source="a test")
        monkeypatch.setitem(machines.CHIPS, "cpu", chip)
        monkeypatch.setattr(making, "devices_of", lambda machine: jax.devices()[: machine.devices])
        config = apply(launch.load_study("pruning").get_config(), CASES["pruning"][2] | {"batch_size": batch})
        return making.Making(config, parse("cpu:1")).make(), batches

    batches = []
    monkeypatch.setattr(making, "compiled", compiled)
    return made


def test_a_small_program_tells_of_many_rows_without_another(make):
    made, batches = make(10**9, 8)
    assert made["largest_batch"] == {"batch": 512, "confirmed": False, "more": True} and batches == [8]
    assert made["fits"]


def test_the_line_through_two_batches_finds_the_largest(make):
    made, batches = make(5000, 8)
    assert made["largest_batch"] == {"batch": 40, "confirmed": False, "more": False} and batches == [8, 4]


def test_where_it_does_not_fit_the_batch_that_does_is_compiled(make):
    made, batches = make(2250, 16)
    assert not made["fits"] and made["largest_batch"] == {"batch": 12, "confirmed": True}
    assert batches == [16, 8, 4, 12]


def test_where_nothing_fits_no_batch_is_named(make):
    made, batches = make(1050, 4)
    assert made["largest_batch"] == {"batch": 0, "confirmed": True} and batches == [4, 2, 1]


def test_the_bound_is_the_arithmetic_of_the_machine(make):
    made, _ = make(10**9, 8)
    step = made["programs"][0]
    assert step["seconds_bound"] == max(step["flops"] / 1e9, 2 * BASE / 1e6) == made["seconds"]
    assert made["hours"] == pytest.approx(made["steps"] * made["seconds"] / 3600)
