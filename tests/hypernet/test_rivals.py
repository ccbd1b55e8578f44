"""What others put in place of Magnitude Invariant Parametrizations, held to their equations."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab import trees
from hyperlab.hypernet import hypernetize, prefit

X = jnp.linspace(-1, 1, 24).reshape(6, 4)
NET = nn.Sequential([nn.Dense(8), nn.LayerNorm(), nn.relu, nn.Dense(3)])
GAMMA = jnp.array([0.3])


def built(**options):
    model = hypernetize(NET, X, hidden=(8, 16), **options)
    own = NET.init(jax.random.key(5), X)
    return model, model.init(jax.random.key(0), pretrained=own), own


def features_of(model, variables, gamma):
    given = {"params": variables["params"]["hypernet"]}
    return model.network.apply(given, gamma, mutable=["intermediates"])[1]["intermediates"]["features"][0]


@pytest.mark.parametrize("gamma", [1e-3, 0.3, 50.0])
def test_the_head_sees_a_unit_vector_and_what_it_makes_does_not_grow(gamma):
    model, variables, _ = built(normalization="unit_norm", encoding="raw", parametrization="direct")
    features = features_of(model, variables, jnp.array([gamma]))
    assert float(jnp.linalg.norm(features)) == pytest.approx(1, abs=1e-5)
    plain = model.replace(network=model.network.clone(normalization=None))
    raw = features_of(plain, variables, jnp.array([gamma]))
    np.testing.assert_allclose(features, raw / jnp.linalg.norm(raw), rtol=1e-4, atol=1e-6)
    kernel = variables["params"]["hypernet"]["head"]["kernel"]
    np.testing.assert_allclose(
        model.delta(variables, jnp.array([gamma]))["layers_0/kernel"],
        model.spec.unpack(features @ kernel)["layers_0/kernel"],
        rtol=1e-5,
    )


def test_a_lora_start_is_the_plain_network_and_its_scales_learn_first():
    model, variables, own = built(normalization="unit_norm", parametrization="learned_scale:0")
    for gamma in (0.0, 0.3, 1.0):
        np.testing.assert_array_equal(model.apply(variables, jnp.array([gamma]), X), NET.apply(own, X))

    def loss(params):
        return jnp.square(model.apply({"params": params}, GAMMA, X) - 1).mean()

    gradient = jax.grad(loss)(variables["params"])
    scales = trees.flatten(gradient["parametrization"])
    assert len(scales) == len(model.spec) and abs(scales["layers_3/kernel"]) > 0
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient["hypernet"])) == 0


@pytest.mark.parametrize("gamma", [0.01, 0.5, 1.0])
def test_rms_scaled_outputs_have_the_primarys_own_rms_whatever_gamma(gamma):
    model, variables, own = built(normalization="output_rms_norm", encoding="raw", parametrization="direct")
    theta, plain = (trees.flatten(tree["params"]) for tree in (model.generate(variables, jnp.array([gamma])), own))
    for path in ("layers_0/kernel", "layers_3/kernel"):
        assert float(jnp.std(theta[path])) > 0
        assert float(jnp.sqrt(jnp.mean(theta[path] ** 2))) == pytest.approx(
            float(jnp.sqrt(jnp.mean(plain[path] ** 2))), rel=1e-3
        )
    np.testing.assert_array_equal(theta["layers_1/scale"], plain["layers_1/scale"])  # a gain starts at 1
    np.testing.assert_array_equal(theta["layers_0/bias"], 0)  # as the primary's own biases


def test_bias_hyperinit_is_the_plain_network_at_every_gamma():
    model, variables, own = built(initializer="bias_hyperinit", encoding="raw", parametrization="direct")
    theta = trees.flatten(model.generate(variables, jnp.array([0.7]))["params"])
    plain = trees.flatten(own["params"])
    for path in ("layers_0/kernel", "layers_3/kernel", "layers_0/bias"):
        np.testing.assert_array_equal(theta[path], plain[path])


@pytest.mark.parametrize("factor", [0.1, 0.5])
def test_a_scaled_delta_is_that_share_of_mip_s(factor):
    (mip, variables, own), (scaled, others, _) = built(), built(parametrization=f"scaled:{factor}")
    plain = trees.flatten(own["params"])
    ours, theirs = (
        trees.flatten(model.generate(given, GAMMA)["params"]) for model, given in ((scaled, others), (mip, variables))
    )
    for path in plain:
        np.testing.assert_allclose(ours[path] - plain[path], factor * (theirs[path] - plain[path]), atol=1e-6)


def test_one_step_of_the_prefit_is_one_step_of_adam_on_the_distance():
    model, variables, own = built(encoding="raw", parametrization="direct")
    gammas = jax.random.uniform(jax.random.key(1), (1, 3, 1))
    target = trees.flatten(own["params"])

    def distance(params):
        total = 0.0
        for gamma in gammas[0]:
            theta = trees.flatten(model.generate({"params": params}, gamma)["params"])
            for path, tensor in target.items():
                square = float(jnp.mean(tensor**2)) or 1.0
                total += jnp.mean((theta[path] - tensor) ** 2) / square
        return total / 3 / len(target)

    fitted, losses = prefit(model, variables, own, gammas, 1e-3)
    value, gradient = jax.value_and_grad(distance)(variables["params"])
    assert float(losses[0]) == pytest.approx(float(value), rel=1e-5)
    moved = jax.tree.map(lambda new, old: new - old, fitted["params"], variables["params"])
    for step, slope in zip(jax.tree.leaves(moved), jax.tree.leaves(gradient), strict=True):
        clear = np.abs(slope) > 1e-5
        np.testing.assert_allclose(np.where(clear, step, 0), np.where(clear, -1e-3 * np.sign(slope), 0), atol=2e-5)


def test_a_prefit_brings_an_exploding_start_to_the_plain_network():
    model, variables, own = built(encoding="raw", parametrization="direct", initializer="fan_in")
    gammas = jax.random.uniform(jax.random.key(1), (400, 8, 1))
    fitted, losses = jax.jit(lambda v, g: prefit(model, v, own, g))(variables, gammas)
    assert float(losses[-1]) < 0.05 * float(losses[0])
    assert jax.tree.structure(fitted) == jax.tree.structure(variables)
    error = lambda v: float(jnp.abs(model.apply(v, jnp.array([0.9]), X) - NET.apply(own, X)).mean())  # noqa: E731
    assert error(fitted) < 0.5 * error(variables)
