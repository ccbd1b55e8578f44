import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from hyperlab import pareto
from hyperlab.errors import ConfigError
from hyperlab.models.unet import UNet

NET, IMAGES = UNet(widths=(4, 4)), jax.ShapeDtypeStruct((1, 16, 16, 1), jnp.float32)


def shapes():
    return jax.eval_shape(NET.init, jax.random.key(0), IMAGES)


def test_every_column_of_a_network_known_by_its_shapes_alone():
    variables = shapes()
    cost = pareto.cost(NET.apply, variables, IMAGES)
    assert cost.parameters == sum(leaf.size for leaf in jax.tree.leaves(variables))
    assert (cost.macs, cost.other_macs) == pareto.operations(NET.apply, variables, IMAGES)
    # the compiler leaves out the multiplications by a border of zeros, and counts activations
    assert 1.5 * cost.macs < cost.flops < 3 * (cost.macs + cost.other_macs)
    held = 4 * (cost.parameters + 16 * 16 * (1 + NET.classes))
    assert cost.peak_memory > held and cost.bytes_accessed > held
    assert cost.compile_seconds > 0
    assert list(cost._asdict()) == [
        "parameters", "macs", "other_macs", "flops", "bytes_accessed", "peak_memory", "compile_seconds"
    ]  # fmt: skip


def test_statistics_are_no_parameters_and_a_compiled_program_is_not_compiled_again():
    variables = {"params": {"w": jnp.ones((3, 4))}, "batch_stats": {"mean": jnp.ones(100)}}
    function = lambda v, x: x @ v["params"]["w"]  # noqa: E731
    compiled = jax.jit(function).lower(variables, jnp.ones((2, 3))).compile()
    cost = pareto.cost(function, variables, jnp.ones((2, 3)), compiled=compiled)
    assert cost.parameters == 12 and math.isnan(cost.compile_seconds)
    assert cost.flops >= 2 * cost.macs == 48
    assert cost.parameters == pareto.cost(function, variables, jnp.ones((2, 3))).parameters


def test_donated_memory_counts_once():
    function, x = lambda w, x: x + w, jnp.ones((64, 64))
    plain = pareto.cost(function, x, x)
    donated = jax.jit(function, donate_argnums=1).lower(x, x).compile()
    assert plain.peak_memory == 3 * x.nbytes
    assert pareto.cost(function, x, x, compiled=donated).peak_memory == 2 * x.nbytes


def refuse():
    raise NotImplementedError


@pytest.mark.parametrize(
    "silent",
    [
        SimpleNamespace(cost_analysis=lambda: None, memory_analysis=lambda: None),
        SimpleNamespace(cost_analysis=lambda: [], memory_analysis=lambda: None),
        SimpleNamespace(cost_analysis=lambda: {"flops": -1.0}, memory_analysis=refuse),
        SimpleNamespace(cost_analysis=refuse, memory_analysis=refuse),
    ],
)
def test_what_a_backend_does_not_say_is_nan(silent):
    cost = pareto.cost(NET.apply, shapes(), IMAGES, compiled=silent)
    assert cost.macs > 0
    assert all(map(math.isnan, (cost.flops, cost.bytes_accessed, cost.peak_memory, cost.compile_seconds)))


def test_a_list_of_one_analysis_is_that_analysis():
    one = SimpleNamespace(cost_analysis=lambda: [{"flops": 5.0, "bytes accessed": 7.0}], memory_analysis=lambda: None)
    cost = pareto.cost(NET.apply, shapes(), IMAGES, compiled=one)
    assert (cost.flops, cost.bytes_accessed) == (5.0, 7.0)


def test_no_inputs_are_refused_before_anything_is_compiled():
    with pytest.raises(ConfigError, match="variables come first"):
        pareto.cost(lambda x: x, jnp.ones(3))
