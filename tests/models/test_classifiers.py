import jax
import jax.numpy as jnp
import pytest

from hyperlab import trees
from hyperlab.models import MLP, ConvNet

# Counted by hand: sum of in x out + out over the layers (times 9 for a 3x3 convolution).
COUNTS = [
    (MLP((64, 64)), (8, 8, 1), 64 * 64 + 64 + 64 * 64 + 64 + 64 * 10 + 10),
    (MLP(()), (8, 8, 1), 64 * 10 + 10),
    (ConvNet((8, 16)), (28, 28, 1), 9 * 8 + 8 + 9 * 8 * 16 + 16 + 7 * 7 * 16 * 10 + 10),
]


@pytest.mark.parametrize(("model", "shape", "count"), COUNTS)
def test_shapes_and_parameter_counts(model, shape, count):
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape)))
    assert trees.count(variables) == count
    logits = jax.eval_shape(model.apply, variables, jnp.zeros((3, *shape)))
    assert logits.shape == (3, 10) and logits.dtype == jnp.float32


def test_bfloat16_computation_keeps_float32_parameters_and_logits():
    model = MLP((8,), dtype=jnp.bfloat16)
    logits, variables = model.init_with_output(jax.random.key(0), jnp.ones((2, 4, 4, 1)))
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
