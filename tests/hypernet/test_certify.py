"""The certificate before step 0: its numbers against slow ones, what it calls unsound, and the change that mends."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import hyperlab as hl
from hyperlab import models, trees
from hyperlab.errors import ConfigError, GammaError
from hyperlab.hypernet import Certificate, certify, diagnose, hypernetize, own_start
from hyperlab.hypernet.certificate import EXPLODING_RATIO, LIMITS
from hyperlab.hypernet.diagnose import Diagnosis

NETWORK = nn.Sequential([nn.Dense(32), nn.relu, nn.Dense(32), nn.relu, nn.Dense(10)])
IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(24, 8)), jnp.float32)
LABELS = jnp.arange(24) % 10
BATCH = (IMAGES, LABELS)
DIRECT = {"encoding": "raw", "parametrization": "direct"}


def loss(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def certificate(along=(0.0, 1.0), *, mend=False, seeds=3, points=7, **options):
    model = hypernetize(NETWORK, IMAGES, hidden=(8, 16), **options)
    return certify(model, along, BATCH, loss, seeds=seeds, points=points, mend=mend)


def test_every_number_is_that_of_a_slow_version():
    model = hypernetize(NETWORK, IMAGES, hidden=(8, 16))
    found = certify(model, (0.0, 1.0), BATCH, loss, seeds=2, points=3)
    key = lambda: jax.random.split(jax.random.fold_in(jax.random.key(0), 2**31), 2)[1]  # noqa: E731
    variables, own = model.init(key()), own_start(NETWORK, key(), IMAGES)
    rms = lambda x: float(jnp.sqrt(jnp.mean(jnp.square(x))))  # noqa: E731
    norm = lambda tree: float(jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(tree))))  # noqa: E731
    plain = norm(jax.grad(lambda params: loss(NETWORK.apply({"params": params}, IMAGES), LABELS))(own["params"]))
    assert found.plain_gradients[1] == pytest.approx(plain, rel=1e-4)
    for place, gamma in enumerate((0.0, 0.5, 1.0)):
        gamma = jnp.array([gamma])
        theta = model.generate(variables, gamma)
        assert found.norms[1, place] == pytest.approx(norm(theta["params"]), rel=1e-4)
        ratio = rms(NETWORK.apply(theta, IMAGES)) / rms(NETWORK.apply(own, IMAGES))
        assert found.outputs[1, place] == pytest.approx(ratio, rel=1e-4)
        at_theta = jax.grad(lambda params: loss(NETWORK.apply({"params": params}, IMAGES), LABELS))(theta["params"])
        assert found.gradients[1, place] == pytest.approx(norm(at_theta), rel=1e-3)
        of_omega = jax.grad(lambda params: loss(model.apply({"params": params}, gamma, IMAGES), LABELS))  # noqa: B023
        assert found.omega_gradients[1, place] == pytest.approx(norm(of_omega(variables["params"])), rel=1e-3)
        leaves, reference = trees.flatten(theta["params"]), trees.flatten(own["params"])
        for path in ("layers_0/kernel", "layers_4/kernel"):
            assert found.leaves[path][1, place] == pytest.approx(rms(leaves[path]) / rms(reference[path]), rel=1e-4)
        scale = rms(reference["layers_0/kernel"]) * np.sqrt(8)  # a bias rests at zero: by its layer's outputs
        assert found.leaves["layers_0/bias"][1, place] == pytest.approx(rms(leaves["layers_0/bias"]) / scale, rel=1e-4)
    assert found.head == 16 and found.judged


def test_how_far_a_step_goes_is_the_first_order_fall_of_the_loss():
    model = hypernetize(NETWORK, IMAGES, hidden=(8, 16))
    found = certify(model, (0.5, 0.6), BATCH, loss, seeds=1, points=2)
    key = lambda: jax.random.split(jax.random.fold_in(jax.random.key(0), 2**31), 1)[0]  # noqa: E731
    variables, own = model.init(key()), own_start(NETWORK, key(), IMAGES)
    rate = 1e-4

    def fall(objective, params):
        value, gradient = jax.value_and_grad(objective)(params)
        return float(value - objective(jax.tree.map(lambda p, g: p - rate * g, params, gradient)))

    generated = fall(lambda p: loss(model.apply({"params": p}, jnp.array([0.6]), IMAGES), LABELS), variables["params"])
    plain = fall(lambda p: loss(NETWORK.apply({"params": p}, IMAGES), LABELS), own["params"])
    assert found.step_ratio == pytest.approx(generated / plain, rel=0.05)


@pytest.mark.parametrize(
    ("options", "finding"),
    [
        (DIRECT, "proportional"),
        ({"parametrization": "direct", "initializer": "fan_out_flat"}, "dead"),
        ({"encoding": "raw", "gamma_range": None, "gamma": (200.0, 201.0)}, "exploding"),
        ({"gamma_dim": 256, "gamma": (0.0, 1.0)}, "steps"),
    ],
)
def test_what_was_planted_is_found(options, finding):
    options = dict(options)
    found = certificate(options.pop("gamma", (0.0, 1.0)), **options)
    assert finding in found.findings and not found.sound and str(found).startswith(found.verdict)


def test_a_network_that_diagnose_called_sound_is_not():
    """Outputs several times too large and gradient norms that are many times the plain network's, below its limits."""
    draws = 0.7 * jax.random.normal(jax.random.key(3), (16, 16))
    options = {"encoding": "raw", "gamma_dim": 16, "gamma_range": None}
    model = hypernetize(NETWORK, IMAGES, hidden=(16, 64), **options)
    found = certify(model, draws, BATCH, loss, seeds=4, mend=False)
    usual = diagnose(model, (-1.0, 1.0), IMAGES)
    assert usual.verdict == "sound"
    assert found.outputs.max(1).mean() > 3 and np.median(found.outputs, 0).max() < EXPLODING_RATIO
    assert found.gradients.max() > 5 * found.gradients.min() and found.gradient_ratio > 5
    assert not found.sound and found.risk > 3 and found.verdict in LIMITS


def test_the_change_that_mends_is_applied_and_its_numbers_are_those_of_the_changed_model():
    found = certificate(mend=True, seeds=3, **DIRECT)
    assert found.change == "parametrization='additive'" and found.mended.sound and found.mended.mended is None
    again = certificate(encoding="raw", parametrization="additive")
    np.testing.assert_allclose(found.mended.outputs, again.outputs, rtol=1e-5)
    assert f"with {found.change}: sound" in str(found)
    many = certificate(mend=True, gamma_dim=256)
    assert many.change == "scale_by_dimension=True" and many.mended.sound
    assert many.mended.step_ratio < many.step_ratio / 20


def test_a_sound_network_needs_no_change_and_a_risk_is_the_largest_excess():
    found = certificate(mend=True)
    assert found.sound and found.verdict == "sound" and found.mended is None and found.change == ""
    assert found.risk == max(found.excesses.values()) <= 1 and found.excesses.keys() == LIMITS.keys()
    assert found.worst[1] == max(high for _, high in found.scales.values())


def test_the_worst_leaf_is_named():
    class Uneven(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(16, name="wide")(x)
            return nn.Dense(10, kernel_init=nn.initializers.normal(1e-4), name="tiny")(nn.relu(x))

    model = hypernetize(Uneven(), IMAGES, hidden=(8, 16))
    found = certify(model, (0.0, 1.0), BATCH, loss, seeds=2, points=5, mend=False)
    assert found.worst[0].startswith("tiny/") and "leaf" in found.findings and found.worst[0] in str(found)


def test_diagnose_is_a_certificate_without_limits_on_the_rest():
    model = hypernetize(NETWORK, IMAGES, hidden=(8, 16))
    found = diagnose(model, (0.0, 1.0), IMAGES, seeds=2, points=3)
    assert isinstance(found, Certificate) and Diagnosis is Certificate and not found.judged
    assert hl.certify is certify and hl.diagnose is diagnose
    judged = certify(model, (0.0, 1.0), BATCH, loss, seeds=2, points=3)
    np.testing.assert_allclose(found.outputs, judged.outputs, rtol=1e-5)


def test_draws_are_taken_as_they_are_in_the_order_of_their_norms():
    draws = np.array([[0.9, 0.9], [0.1, 0.0], [0.5, 0.5]], np.float32)
    found = certificate(draws, gamma_dim=2)
    np.testing.assert_allclose(found.gammas, np.sort(np.linalg.norm(draws, axis=1)), rtol=1e-6)
    assert found.norms.shape == (3, 3)


@pytest.mark.parametrize(
    ("gamma_range", "batch", "criterion", "error", "message"),
    [
        ((1.0, 0.0), BATCH, loss, GammaError, "low < high"),
        (np.zeros((4, 3)), BATCH, loss, GammaError, r"\[4, 3\]; expected .*\[points, 1\]"),
        ((0.0, 1.0), BATCH, None, ConfigError, "together, or neither"),
        ((0.0, 1.0), None, loss, ConfigError, "together, or neither"),
        ((0.0, 1.0), IMAGES, loss, ConfigError, "expected a pair"),
    ],
)
def test_bad_input_is_refused(gamma_range, batch, criterion, error, message):
    with pytest.raises(error, match=message):
        certify(hypernetize(NETWORK, IMAGES), gamma_range, batch, criterion)


def test_a_convolutional_network_has_finite_numbers():
    """XLA at level 0 made the gradients of this model NaN, which at every other level are finite."""
    net, images = models.ConvNet((8, 16)), jax.random.normal(jax.random.key(0), (128, 8, 8, 1))
    model = hypernetize(net, images[:1], hidden=(16, 64), parametrization="scaled:0.1")
    found = certify(model, (0.0, 1.0), (images, jnp.arange(128) % 10), loss, seeds=2, mend=False)
    assert found.sound and np.isfinite([found.gradient_ratio, found.step_ratio]).all()
