"""The network of `benchmarks/plan_step.py`: the form that is advised for accelerators is the plain one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from benchmark_modules import benchmark

from hyperlab import trees


def test_the_advised_form_has_the_values_and_gradients_of_the_plain_one():
    forms = benchmark("plan_step").FORMS
    network, images = benchmark("networks").UNet, jax.random.normal(jax.random.key(0), (1, 8, 8, 1))
    plain = network(2, 4)
    variables = jax.jit(plain.init)(jax.random.key(1), images)

    def both(net):
        value, gradient = jax.jit(jax.value_and_grad(lambda v: (net.apply(v, images) ** 2).mean()))(variables)
        return {"value": value, **trees.flatten(gradient)}

    exact = both(plain)
    again = both(plain.clone(remat=True))
    advised = both(plain.clone(**forms["bfloat16, blocks again"]))
    for path, number in exact.items():
        np.testing.assert_allclose(again[path], number, rtol=1e-5, atol=1e-6)
        assert advised[path].dtype == jnp.float32
        assert np.linalg.norm(advised[path] - number) <= 0.03 * np.linalg.norm(number), path


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_its_step_lowers_for_accelerators(platform):
    module = benchmark("plan_step")
    net = benchmark("networks").UNet(2, 4, **module.FORMS["bfloat16, blocks again"])
    step, given = module.program(net, 2, 8)
    text = jax.export.export(jax.jit(step), platforms=(platform,))(*given).mlir_module()
    assert "bf16" in text and "optimization_barrier" in text
