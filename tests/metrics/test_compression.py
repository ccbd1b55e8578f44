import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab.errors import ConfigError, ParameterTreeError
from hyperlab.metrics.compression import (
    CompressionRatio,
    KeptFraction,
    MeasuredLatency,
    Sparsity,
    bits_of,
    highest_compression,
    layerwise_speedup,
    measure,
)

pytestmark = pytest.mark.fast

PARAMS = {
    "conv": {"kernel": np.ones((3, 3, 2, 4), np.float32), "bias": np.zeros(4, np.float32)},
    "classifier": {"kernel": np.ones((4, 5), np.float32)},
}
MACS = {"conv/kernel": 72 * 64, "classifier/kernel": 20}


def all_kept():
    return jax.tree.map(lambda leaf: np.ones(leaf.shape, bool), PARAMS)


def half_of_the_kernel():
    masks = all_kept()
    masks["conv"]["kernel"][..., :2] = False
    return masks


def test_conversions_go_round():
    for value in (0.1, 0.5, 1.0):
        kept = KeptFraction(value)
        assert kept.sparsity().kept().value == pytest.approx(value)
        assert kept.compression().kept().value == pytest.approx(value)
        assert kept.sparsity().compression().sparsity().value == pytest.approx(1 - value)
    assert KeptFraction(0.0).compression() == CompressionRatio(math.inf) == Sparsity(1.0).compression()


def test_types_cannot_be_confused():
    assert KeptFraction(0.5) != Sparsity(0.5)
    with pytest.raises(TypeError):
        assert KeptFraction(0.5) < Sparsity(0.6)
    with pytest.raises(TypeError):
        KeptFraction(0.5) + Sparsity(0.5)
    with pytest.raises(TypeError):
        float(CompressionRatio(2))


@pytest.mark.parametrize(
    ("kind", "value"), [(KeptFraction, 1.5), (KeptFraction, -0.1), (Sparsity, 80), (CompressionRatio, 0.5)]
)
def test_values_outside_the_range_are_refused(kind, value):
    with pytest.raises(ConfigError, match=f"{value}"):
        kind(value)
    with pytest.raises(ConfigError):
        kind(math.nan)


def test_kept_of_prunable_is_the_reference_formula_and_knows_its_ceiling():
    # Published fraction of a net of 1,034 parameters, 170 of them in the classifier.
    assert CompressionRatio(2).kept_of_prunable(1034, 864).value == 0.40162037037037035
    assert CompressionRatio(1).kept_of_prunable(1034, 864) == KeptFraction(1.0)
    with pytest.raises(ConfigError, match="below 6.082"):
        CompressionRatio(8).kept_of_prunable(1034, 864)
    assert highest_compression(10, 10).value == math.inf
    with pytest.raises(ConfigError, match="at least one"):
        highest_compression(10, 0)


def test_layerwise_speedup_in_the_limits():
    assert layerwise_speedup(KeptFraction(1.0), 100, 10) == 1
    assert layerwise_speedup(KeptFraction(0.25), 100) == 4
    assert layerwise_speedup(KeptFraction(0.0), 100, 10) == 10


def test_nothing_pruned():
    result = measure(PARAMS, all_kept(), macs=MACS)
    assert (result.parameters, result.nonzero, result.nonzero_by_value) == (96, 96, 92)
    assert result.ratio == CompressionRatio(1) and result.prunable_sparsity == Sparsity(0)
    assert result.theoretical_speedup == 1 and result.macs == result.nonzero_macs == 72 * 64 + 20
    assert result.dense_bits == result.bitmask_bits == result.indexed_bits == 96 * 32


def test_half_of_a_kernel_by_hand():
    latency = MeasuredLatency(0.5, "a processor")
    result = measure(
        PARAMS, half_of_the_kernel(), macs=MACS, total_macs=5000, prunable=["conv/kernel", "conv/bias"], latency=latency
    )
    assert (result.nonzero, result.nonzero_by_value, result.prunable) == (60, 56, 76)
    assert result.ratio.value == 96 / 60 and result.prunable_sparsity.value == 36 / 76
    assert (result.macs, result.nonzero_macs) == (5000, 5000 - 36 * 64)
    assert result.bitmask_bits == 60 * 32 + 72
    # Columns of 18 take 5 bits, ends up to 36 take 6, and there are 4 rows.
    assert result.indexed_bits == 60 * 32 + 36 * 5 + 5 * 6
    row = result.row()
    assert row["measured_latency_seconds"] == 0.5 and row["latency_device"] == "a processor"
    assert row["theoretical_speedup"] == 5000 / (5000 - 36 * 64) and "latency" not in row


def test_shapes_alone_and_no_macs():
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16), PARAMS)
    result = measure(shapes, half_of_the_kernel())
    assert result.nonzero == 60 and result.dense_bits == 96 * 16
    assert result.nonzero_by_value is result.macs is result.theoretical_speedup is None


def test_negative_zero_is_zero_and_unmasked_values_do_not_count_for_masked_entries():
    params = {"w": jnp.array([-0.0, 1.0, 2.0, 0.0])}
    masks = {"w": np.array([True, True, False, True])}
    assert measure(params, masks)[:3] == (4, 3, 1)


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [("float64", 64), ("int64", 64), ("float32", 32), ("int32", 32), ("float16", 16), ("bfloat16", 16), ("int16", 16)]
    + [("uint8", 8), ("int8", 8), ("float8_e4m3fn", 8), ("int4", 4), ("bool", 1)],
)
def test_bits_of_types(dtype, bits):
    assert bits_of(dtype) == bits


def test_bad_input_is_named():
    wrong = all_kept()
    wrong["conv"]["bias"] = np.ones(4, np.float32)
    with pytest.raises(ParameterTreeError, match="conv/bias.*float32.*booleans"):
        measure(PARAMS, wrong)
    del wrong["conv"]["bias"]
    with pytest.raises(ParameterTreeError, match="missing 'conv/bias'"):
        measure(PARAMS, wrong)
    with pytest.raises(ParameterTreeError, match="'conv/kernle' in macs.*conv/kernel"):
        measure(PARAMS, all_kept(), macs={"conv/kernle": 3})
    with pytest.raises(ConfigError, match="'conv/kernel' has lost 36 entries"):
        measure(PARAMS, half_of_the_kernel(), prunable=["conv/bias"])
    with pytest.raises(ConfigError, match="less than"):
        measure(PARAMS, all_kept(), macs=MACS, total_macs=3)
    with pytest.raises(ConfigError, match="without macs"):
        measure(PARAMS, all_kept(), total_macs=3)
