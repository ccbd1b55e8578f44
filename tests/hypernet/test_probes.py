"""The measurements M1 to M5 against slow, obvious versions of themselves."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab import trees
from hyperlab.errors import HyperlabError
from hyperlab.hypernet import hypernetize, probes

X = jax.random.normal(jax.random.key(1), (6, 5))
GAMMAS = jnp.array([[0.1], [0.5], [0.9]])
NETWORK = nn.Sequential([nn.Dense(7), nn.leaky_relu, nn.Dense(2)])


def built(**options):
    model = hypernetize(NETWORK, X, hidden=(4, 8), **options)
    return model, model.init(jax.random.key(0))


def loss(apply):
    return jnp.square(apply(X)).mean()


@pytest.mark.parametrize("options", [{}, {"encoding": "raw", "parametrization": "direct"}])
def test_norms_and_ratios_are_those_of_the_generated_tree(options):
    model, variables = built(**options)
    own = NETWORK.init(jax.random.key(3), X)
    norms, ratios = probes.weight_norms(model, variables, GAMMAS), probes.rms_ratio(model, variables, own, GAMMAS)
    for row, gamma in enumerate(GAMMAS):
        theta = trees.flatten(model.generate(variables, gamma)["params"])
        for path, tensor in theta.items():
            np.testing.assert_allclose(norms[path][row], np.linalg.norm(tensor), rtol=1e-5)
        total = np.sqrt(sum(np.square(tensor).sum() for tensor in theta.values()))
        np.testing.assert_allclose(norms["total"][row], total, rtol=1e-5)
        kernel = np.asarray(trees.flatten(own["params"])["layers_0/kernel"])
        expected = np.sqrt(np.mean(theta["layers_0/kernel"] ** 2) / np.mean(kernel**2))
        np.testing.assert_allclose(ratios["layers_0/kernel"][row], expected, rtol=1e-5)
    assert set(ratios) == {"layers_0/kernel", "layers_2/kernel"}


def test_layer_statistics_are_those_of_the_outputs_before_the_activation():
    model, variables = built()
    found = probes.layer_statistics(model, variables, GAMMAS, X)
    assert set(found) == {"layers_0", "layers_2"}
    theta = model.generate(variables, GAMMAS[1])["params"]
    output = X @ theta["layers_0"]["kernel"] + theta["layers_0"]["bias"][None]
    np.testing.assert_allclose(found["layers_0"]["mean"][1], output.mean(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["layers_0"]["variance"][1], output.var(), rtol=1e-4)
    np.testing.assert_allclose(found["layers_0"]["norm"][1], np.linalg.norm(output), rtol=1e-5)


def test_layers_of_a_plain_pair_of_functions_cannot_be_listened_to():
    model = hypernetize((lambda key, x: {"params": {"w": jnp.ones((5, 2))}}, lambda v, x: x @ v["params"]["w"]), X)
    with pytest.raises(HyperlabError, match="Linen"):
        probes.layer_statistics(model, model.init(jax.random.key(0)), GAMMAS, X)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"parametrization": "direct", "head_bias": "zeros"},
        {"head": "low_rank:1"},
        {"parametrization": "scaled:0.1"},
        {"normalization": "output_norm", "parametrization": "direct"},
        {"generated_weight_decay": 0.1},
    ],
)
def test_gradient_norms_are_those_of_the_gradients(options):
    model, variables = built(**options)
    found = probes.gradient_norms(model, variables, GAMMAS, loss)
    for row, gamma in enumerate(GAMMAS):

        def objective(params, gamma=gamma):
            return loss(lambda x: model.apply({"params": params}, gamma, x))

        def at_theta(theta, gamma=gamma):
            return loss(lambda x: model.primary.apply({"params": theta}, x))

        np.testing.assert_allclose(found.loss[row], objective(variables["params"]), rtol=1e-5)
        omega = probes.global_norm(jax.grad(objective)(variables["params"]))
        np.testing.assert_allclose(found.omega[row], omega, rtol=1e-4)
        theta = probes.global_norm(jax.grad(at_theta)(model.generate(variables, gamma)["params"]))
        np.testing.assert_allclose(found.theta[row], theta, rtol=1e-4)


def test_delta_ratio_is_the_generated_part_over_theta0():
    model, variables = built()
    ratio = probes.delta_ratio(model, variables, GAMMAS)
    delta = model.delta(variables, GAMMAS[2])
    expected = probes.global_norm(delta) / probes.global_norm(variables["params"]["theta0"])
    np.testing.assert_allclose(ratio[2], expected, rtol=1e-5)
    direct, variables = built(parametrization="direct")
    assert np.isinf(probes.delta_ratio(direct, variables, GAMMAS)).all()


def test_variation_within_windows_does_not_see_the_trend():
    steps = np.arange(200)
    falling = np.exp(-steps / 50.0)
    assert probes.windowed_variation(falling, 10) < 0.1 < probes.coefficient_of_variation(falling)
    assert np.isnan(probes.windowed_variation(falling[:5], 10))
    broken = np.where(steps < 150, falling, np.nan)
    np.testing.assert_allclose(probes.windowed_variation(broken, 50), probes.windowed_variation(falling, 50))


def test_steps_to_target_is_censored():
    metric = np.array([[0.1, 0.95, 0.2], [np.nan, np.nan, np.nan], [0.99, 0.1, 0.1]])
    time, reached = probes.steps_to_target(np.array([0, 5, 10]), metric, 0.9)
    assert time.tolist() == [5, 10, 0] and reached.tolist() == [True, False, True]
