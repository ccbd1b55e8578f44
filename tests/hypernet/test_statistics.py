"""Statistics at one gamma are those of that network on those batches, whatever kept them before."""

import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import hyperlab as hl
from hyperlab.errors import ConfigError, GammaError
from hyperlab.hypernet import calibrated

X = jax.random.normal(jax.random.key(3), (3, 8, 4))
BATCHES = list(X)
AT = jnp.array([0.8])


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train, name="norm")(nn.Dense(5, name="dense")(x))
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=not train)(x))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.dense, self.norm = nnx.Linear(4, 5, rngs=rngs), nnx.BatchNorm(5, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.dense(x))


def haiku(x, is_training):
    return hk.BatchNorm(True, True, 0.9)(hk.Linear(5, name="dense")(x), is_training)


NETWORKS = {
    "linen": (Linen(), {"train": False}, {"dropout": jax.random.key(5)}),
    "nnx": (lambda rngs: Nnx(rngs), {}, None),
    "haiku": (hk.transform_with_state(haiku), {"is_training": True}, None),
}


def of_layer(theta):
    """Kernel and bias of the first dense layer."""
    leaves = {path.rpartition("/")[2]: leaf for path, leaf in hl.trees.flatten(theta["params"]["dense"]).items()}
    return (leaves["kernel"], leaves["bias"]) if "kernel" in leaves else (leaves["w"], leaves["b"])


@pytest.mark.parametrize("name", NETWORKS)
def test_statistics_are_those_of_the_network_at_gamma(name):
    network, kwargs, rngs = NETWORKS[name]
    model = hl.hypernetize(network, X[0], example_kwargs=kwargs, hidden=(8,))
    variables = model.init(jax.random.key(0))
    fitted = calibrated(model, variables, AT, BATCHES, updates=1200, rngs=rngs)
    kernel, bias = of_layer(model.generate(variables, AT))
    features = [np.asarray(x @ kernel + bias[None]) for x in BATCHES]
    state = {path: np.asarray(leaf) for path, leaf in hl.trees.flatten(fitted).items() if not path.startswith("params")}
    kind = {"haiku": ("mean_ema/average", "var_ema/average")}.get(name, ("norm/mean", "norm/var"))
    for end, moment in zip(kind, (np.mean, np.var), strict=True):
        (found,) = (leaf for path, leaf in state.items() if path.endswith(end))
        wanted = np.mean([moment(x, 0) for x in features], 0)
        np.testing.assert_allclose(found.reshape(-1), wanted, atol=0.06 * np.abs(wanted).max())
    jax.tree.map(np.testing.assert_array_equal, fitted["params"], variables["params"])
    assert jnp.isfinite(model.eval().apply(fitted, AT, X[0])).all()


@pytest.mark.fast
def test_what_keeps_no_statistics_stays_and_no_batches_are_refused():
    model = hl.hypernetize(nn.Dense(3), X[0], hidden=(4,))
    variables = model.init(jax.random.key(0))
    assert calibrated(model, variables, AT, BATCHES) is variables
    for batches, updates in (([], 5), (BATCHES, 0)):
        with pytest.raises(ConfigError, match="expected at least one of each"):
            calibrated(model, variables, AT, batches, updates=updates)
    with pytest.raises(GammaError):
        calibrated(model, variables, jnp.array([3.0]), BATCHES)


def test_parameters_and_state_of_haiku_are_pretrained_as_they_are():
    network, kwargs, _ = NETWORKS["haiku"]
    params, state = network.init(jax.random.key(8), X[0], True)
    _, state = network.apply(params, state, None, X[1], True)
    model = hl.hypernetize(network, X[0], example_kwargs=kwargs, lora=2)
    variables = model.init(jax.random.key(0), pretrained=(params, state))
    expected, _ = network.apply(params, state, None, X[2], False)
    np.testing.assert_array_equal(model.eval().apply(variables, AT, X[2]), expected)
