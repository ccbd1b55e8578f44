"""Machines by name, and what their tables have to hold."""

import pytest

from hyperlab.errors import ConfigError
from hyperlab.planning.machines import CHIPS, EXAMPLES, parse, target_config

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("name", "devices", "shape"),
    [("v5e:4x4", 16, (4, 4)), ("v5p:2x2x1", 4, (2, 2, 1)), ("h100x8", 8, (8,)), ("cpu:1", 1, (1,))],
)  # fmt: skip
def test_names(name, devices, shape):
    machine = parse(name)
    assert (machine.name, machine.devices, machine.shape) == (name, devices, shape)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("v5f:4x4", "did you mean .*v5e:4x4"),
        ("h10x8", "did you mean .*h100x8"),
        ("H100x8", "did you mean .*h100x8"),
        ("gpu:8", "did you mean 'cpu:8'"),
        ("", "unknown machine"),
        ("v5e", "expected its sizes, as in 'v5e:2x2'"),
        ("v5e:4", "as in 'v5e:2x2'"),
        ("v5p:2x2", "as in 'v5p:2x2x1'"),
        ("h100:8", "as in 'h100x8'"),
        ("cpux8", "as in 'cpu:8'"),
        ("cpu:0", "as in 'cpu:8'"),
        ("v5e:4x4 ", "unknown machine"),
    ],
)
def test_what_is_none_is_refused_with_the_nearest(name, said):
    with pytest.raises(ConfigError, match=said):
        parse(name)


def test_examples_are_machines_and_every_number_has_a_source():
    assert {parse(name).chip for name in EXAMPLES} < set(CHIPS)
    for name, chip in CHIPS.items():
        assert chip.source, name
        if chip.kind != "cpu":
            assert chip.memory > 2**33 and chip.bandwidth > 1e11 and chip.link > 1e10
            assert chip.peak["bfloat16"] >= chip.peak["float32"] > 1e14


def test_a_cuda_device_is_described_to_its_compiler():
    text = target_config(parse("h100x8"))
    assert text.count("{") == text.count("}") == 4
    assert "  core_count: 132\n" in text and "cuda_compute_capability { major: 9 minor: 0 }" in text
    assert 'device_description_str: "NVIDIA H100 80GB HBM3"' in text
    assert "  device_memory_size: 85100068864\n" in target_config(parse("a100x1"))
