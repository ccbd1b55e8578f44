import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab.errors import ConfigError
from hyperlab.hypernet.encodings import ENCODINGS, CosSin, GaussianCdf, LearnedEmbedding, OneHot
from hyperlab.hypernet.network import HyperNetwork
from hyperlab.hypernet.spec import ParamSpec

GAMMA = jnp.array([[0.0, 0.25, 1.0], [0.5, 0.9, 0.1]])
CONTINUOUS = [name for name in ENCODINGS.names() if name not in ("one_hot", "learned_embedding")]


@pytest.mark.parametrize("name", CONTINUOUS)
def test_battery(name):
    encoding = ENCODINGS.get(name)
    out = encoding(GAMMA)
    assert out.shape[0] == 2 and out.dtype == jnp.float32 and jnp.isfinite(out).all()
    np.testing.assert_allclose(jax.jit(encoding)(GAMMA), out, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(encoding)(GAMMA), out, atol=1e-6)
    assert jnp.isfinite(jax.jacobian(encoding)(GAMMA[0])).all()
    assert encoding == ENCODINGS.get(name) and hash(encoding) == hash(ENCODINGS.get(name))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_cos_sin_has_constant_norm_and_sensitivity(values):
    gamma = jnp.array(values, jnp.float32)
    assert float(jnp.sum(CosSin()(gamma) ** 2)) == pytest.approx(len(values), abs=1e-5)
    jacobian = jax.jacobian(CosSin())(gamma)
    np.testing.assert_allclose(jnp.linalg.norm(jacobian, axis=0), np.pi / 2, atol=1e-5)


def test_cos_sin_order_is_all_cosines_then_all_sines():
    np.testing.assert_allclose(CosSin()(jnp.array([0.0, 1.0])), [1, 0, 0, 1], atol=1e-7)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("raw", [0.25, 0.5]),
        ("z_z", [0.25, 0.5, 0.25, 0.5]),
        ("z_1mz", [0.25, 0.5, 0.75, 0.5]),
        ("1mz", [0.75, 0.5]),
        ("1pz", [1.25, 1.5]),
        ("2zm1", [-0.5, 0.0]),
        ("unit_norm", [1 / 5**0.5, 2 / 5**0.5]),
        ("fourier:1", np.concatenate([np.cos(np.pi / 2 * np.array([0.25, 0.5])), np.sin([np.pi / 8, np.pi / 4])])),
    ],
)
def test_definitions(name, expected):
    np.testing.assert_allclose(ENCODINGS.get(name)(jnp.array([0.25, 0.5])), expected, atol=1e-6)


@pytest.mark.parametrize(("name", "norm"), [("fourier", 3.0), ("random_fourier", 1.0), ("unit_norm", 1.0)])
def test_constant_norms(name, norm):
    gamma = jnp.array([[0.3, 0.1, 0.8], [0.01, 0.02, 0.9]])
    np.testing.assert_allclose(jnp.sum(ENCODINGS.get(name)(gamma) ** 2, -1), norm, rtol=1e-5)


def test_gaussian_cdf_covers_the_quarter_circle():
    np.testing.assert_allclose(GaussianCdf()(jnp.array([0.0])), [0.5**0.5, 0.5**0.5], atol=1e-6)
    np.testing.assert_allclose(GaussianCdf()(jnp.array([-9.0])), [1, 0], atol=1e-6)


def test_class_ids():
    np.testing.assert_array_equal(OneHot(3)(jnp.array([[0], [2]])), [[1, 0, 0], [0, 0, 1]])
    spec = ParamSpec.of({"w": jnp.zeros(2)})
    network = HyperNetwork(spec, encoding=LearnedEmbedding(5, 8), hidden=(4,))
    variables = network.init(jax.random.key(0), jnp.array([1]))
    assert variables["params"]["encoding"]["table"].shape == (5, 8)
    encoded = network.apply(variables, jnp.array([3]), method="encode")
    assert float(jnp.linalg.norm(encoded)) == pytest.approx(1, abs=1e-5)


def test_unknown_names_and_arguments_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'cos_sin'"):
        ENCODINGS.get("cos_sine")
    with pytest.raises(ConfigError, match="fourier:1,2,3"):
        ENCODINGS.get("fourier:1,2,3")
