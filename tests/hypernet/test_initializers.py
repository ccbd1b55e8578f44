"""Variances of what is generated, measured, against the formulas and the reference measurements."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab.errors import ConfigError
from hyperlab.hypernet.initializers import INITIALIZERS
from hyperlab.hypernet.network import HyperNetwork
from hyperlab.hypernet.spec import ParamSpec, Record

# The multilayer perceptron 8-20-20-3 of the sheet's measurement.
SPEC = ParamSpec(
    tuple(
        Record(f"{layer}/{kind}", shape)
        for layer, fan_in, fan_out in (("a", 8, 20), ("b", 20, 20), ("c", 20, 3))
        for kind, shape in (("bias", (fan_out,)), ("kernel", (fan_in, fan_out)))
    )
)


def generated_variances(initializer, seeds=200, gamma_dim=64, **options):
    """Mean square of each generated tensor over seeds, for zero-mean unit-variance inputs as hyperfan assumes."""
    network = HyperNetwork(
        SPEC, encoding="raw", hidden=(100, 100), activation="relu", initializer=initializer, **options
    )
    own = {record.path: jnp.full(record.shape, 0.3) for record in SPEC}

    def one(key):
        init_key, gamma_key = jax.random.split(key)
        gamma = jax.random.uniform(gamma_key, (gamma_dim,), minval=-(3**0.5), maxval=3**0.5)
        theta = network.apply(network.init(init_key, gamma, own), gamma)
        return {path: jnp.mean(tensor**2) for path, tensor in theta.items()}

    return {k: float(v.mean()) for k, v in jax.vmap(one)(jax.random.split(jax.random.key(0), seeds)).items()}


@pytest.mark.parametrize(
    ("initializer", "kernels", "biases"),
    [
        ("hyperfan_in", (1 / 8, 1 / 20, 1 / 20), (1, 1, 1)),
        ("hyperfan_out", (2 / 20, 2 / 20, 2 / 3), (2 * (1 - 8 / 20), 0, 0)),
        ("hyperfan_harmonic", (2 / (8 + 10), 2 / (20 + 10), 2 / (20 + 1.5)), (2 / (1 + 1 / 1.2), 0, 0)),
    ],
)
def test_hyperfan(initializer, kernels, biases):
    got = generated_variances(initializer)
    for layer, kernel, bias in zip("abc", kernels, biases, strict=True):
        assert got[f"{layer}/kernel"] == pytest.approx(kernel, rel=0.15)
        assert got[f"{layer}/bias"] == pytest.approx(bias, rel=0.15, abs=1e-12)


def test_fan_out_gives_every_tensor_the_norm_of_the_encoding():
    got = generated_variances("fan_out", seeds=64, gamma_dim=4)
    for record in SPEC:
        assert got[record.path] * record.size == pytest.approx(2 * 4, rel=0.3)


@pytest.mark.parametrize("head", ["dense", "chunked:64", "low_rank:2"])
def test_scale_matched_starts_at_the_primarys_own_scale(head):
    got = generated_variances("scale_matched", seeds=48, head=head)
    for record in SPEC:
        assert got[record.path] == pytest.approx(0.09, rel=0.35), record.path


@pytest.mark.parametrize("initializer", INITIALIZERS.names())
def test_battery(initializer):
    got = generated_variances(initializer, seeds=4)
    assert all(np.isfinite(v) for v in got.values())
    assert (max(got.values()) == 0) == (initializer == "bias_hyperinit")


def test_rows_of_a_normalisation_scale_start_at_zero():
    spec = ParamSpec((Record("norm/scale", (5,)), Record("norm/bias", (5,))))
    network = HyperNetwork(spec, hidden=(8,))
    theta = network.apply(network.init(jax.random.key(0), jnp.array([0.3])), jnp.array([0.3]))
    assert not theta["norm/scale"].any() and theta["norm/bias"].all()


def test_unknown_name_is_refused():
    with pytest.raises(ConfigError, match="hyperfan_in"):
        INITIALIZERS.get("hyperfanin")
