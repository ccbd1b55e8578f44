"""What the tests of UniverSeg and of Tyche share."""

import jax
import jax.numpy as jnp
import numpy as np

from hyperlab import trees


def compiled(function, **options):
    """Every program here runs once or twice: its compilation is the time it takes."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0}, **options)


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).uniform(size=shape), jnp.float32)


def drawn(net, *inputs):
    """Parameters of the shapes that `init` gives, from a generator that needs no compilation; no bias is zero."""
    random = np.random.default_rng(0)

    def draw(leaf):
        deviation = np.sqrt(2 / np.prod(leaf.shape[:-1])) if len(leaf.shape) == 4 else 0.3
        return jnp.asarray(random.normal(0, deviation, leaf.shape), leaf.dtype)

    return jax.tree.map(draw, jax.eval_shape(net.init, jax.random.key(0), *inputs)["params"])


def apply(net, params, *inputs):
    return np.asarray(compiled(lambda params, *x: net.apply({"params": params}, *x))(params, *inputs))


def with_gradients(function, params, inputs):
    """Values, and the gradients of a loss that weighs all of them differently, for parameters and inputs."""

    def loss(params, *inputs):
        values = function(params, *inputs)
        return jnp.sin(values).sum(), values

    argnums = tuple(range(1 + len(inputs)))
    (_, values), gradients = compiled(jax.value_and_grad(loss, argnums, has_aux=True))(params, *inputs)
    return jax.device_get((values, gradients))


def assert_equal_with_gradients(net, naive, inputs):
    params = drawn(net, *inputs)
    ours = with_gradients(lambda params, *x: net.apply({"params": params}, *x), params, inputs)
    theirs = with_gradients(naive, params, inputs)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5, atol=1e-5)
    for path, gradient in trees.flatten(theirs[1]).items():
        scale = max(1.0, np.abs(gradient).max())
        np.testing.assert_allclose(trees.flatten(ours[1])[path] / scale, gradient / scale, atol=2e-5, err_msg=path)
    return theirs[1][0]


def dead(gradients):
    """Paths of the parameters whose gradient is zero everywhere."""
    return {path for path, gradient in trees.flatten(gradients).items() if not np.any(gradient)}


def assert_deviations(net, inputs, expected):
    """Deviations of kernels at initialisation, within five deviations of theirs; biases are zero."""
    params = trees.flatten(compiled(net.init)(jax.random.key(3), *inputs)["params"])
    assert not any(np.any(value) for path, value in params.items() if path.endswith("bias"))
    for path, deviation in expected.items():
        kernel = np.asarray(params[f"{path}/kernel"])
        np.testing.assert_allclose(kernel.std(), deviation, rtol=5 / np.sqrt(2 * kernel.size), err_msg=path)
    # A truncated normal would end at two deviations.
    widest = max(params.items(), key=lambda item: item[1].size)[1]
    assert np.abs(widest).max() > 3 * widest.std()
