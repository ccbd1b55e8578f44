import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab.errors import ConfigError
from hyperlab.nn import max_pool


@pytest.mark.parametrize(
    ("shape", "window"),
    [((2, 6, 4, 3), (2, 2)), ((2, 7, 5, 3), (2, 2)), ((1, 9, 2), (3,)), ((1, 4, 6, 5, 2), (2, 3, 1))],
)
def test_values_and_gradients_are_those_of_a_windowed_maximum(shape, window):
    images = jax.random.normal(jax.random.key(0), shape)
    weights = jnp.cos(jnp.arange(nn.max_pool(images, window, window).size))

    def gradient(pool):
        return jax.value_and_grad(lambda x: jnp.vdot(pool(x).ravel(), weights))(images)

    np.testing.assert_array_equal(max_pool(images, window), nn.max_pool(images, window, window))
    ours, theirs = gradient(lambda x: max_pool(x, window)), gradient(lambda x: nn.max_pool(x, window, window))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ours, theirs)


@pytest.mark.fast
def test_equal_values_share_the_gradient():
    shared = jax.grad(lambda x: max_pool(x, (2,)).sum())(jnp.array([1.0, 1.0, 2.0, 0.0]).reshape(1, 4, 1))
    np.testing.assert_array_equal(shared.ravel(), [0.5, 0.5, 1.0, 0.0])


@pytest.mark.fast
@pytest.mark.parametrize("window", [(2,), (2, 2, 2), (0, 2), (2, 9)])
def test_a_window_that_does_not_fit_is_refused(window):
    with pytest.raises(ConfigError, match="window"):
        max_pool(jnp.ones((1, 4, 4, 1)), window)
