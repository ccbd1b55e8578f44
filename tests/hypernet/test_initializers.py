"""Variances of what is generated, measured, against the formulas and the reference measurements."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab.errors import ConfigError
from hyperlab.hypernet import hypernetize
from hyperlab.hypernet.initializers import INITIALIZERS, HeadContext
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

    variances = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), seeds))
    return {path: float(variance.mean()) for path, variance in variances.items()}


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


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _=None):
        x = x + nn.MultiHeadDotProductAttention(2, name="attention")(x, x)
        return nn.LayerNorm(name="norm")(x + nn.Dense(4, name="dense")(x)), None


class Stack(nn.Module):
    @nn.compact
    def __call__(self, x):
        layers = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        return layers(name="blocks")(x, None)[0]


class Loop(nn.Module):
    @nn.compact
    def __call__(self, x):
        for index in range(3):
            x, _ = Block(name=f"blocks_{index}")(x)
        return x


TOKENS = jax.ShapeDtypeStruct((2, 6, 4), jnp.float32)


@pytest.mark.parametrize("initializer", ["fan_out", "hyperfan_in", "hyperfan_out", "hyperfan_harmonic"])
def test_stacked_layers_start_as_the_same_layers_in_a_loop(initializer):
    stds = {}
    for module in (Stack(), Loop()):
        spec = hypernetize(module, TOKENS).spec
        context = HeadContext(spec, 8, 2.0**0.5, jnp.ones(8), {})
        stds[type(module).__name__] = INITIALIZERS.get(initializer).head_std(context)
    for path, std in stds["Loop"].items():
        assert float(stds["Stack"][path.replace(path.split("/")[0], "blocks")]) == pytest.approx(float(std)), path
    assert float(stds["Stack"]["blocks/norm/scale"]) == 0


def test_records_carry_what_the_layers_said():
    spec = {record.path: record for record in hypernetize(Stack(), TOKENS).spec}
    expected = {  # role, fan-in, fan-out: of one layer, as flax 0.12.8 defines it; see tests/roles
        "blocks/attention/query/kernel": ("kernel", 4, 4),
        "blocks/attention/query/bias": ("bias", 4, 4),
        "blocks/attention/out/kernel": ("kernel", 4, 4),
        "blocks/dense/kernel": ("kernel", 4, 4),
        "blocks/norm/bias": ("bias", 4, 4),
        "blocks/norm/scale": ("scale", 4, 4),
    }
    for path, values in expected.items():
        assert (spec[path].role, spec[path].fan_in, spec[path].fan_out) == values, path
    first, again = hypernetize(Stack(), TOKENS).spec, hypernetize(Stack(), TOKENS).spec
    assert first == again and hash(first) == hash(again)
    row = first.manifest()[0]
    assert row["role"] == "bias copy out out" and set(row) == {"path", "shape", "dtype", "offset", "role"}


@pytest.mark.parametrize("head", ["dense", "low_rank:1"])
def test_a_stacked_gain_starts_at_one_and_learns(head):
    spec = ParamSpec.of({"norm": {"scale": jnp.zeros((6, 8)), "bias": jnp.zeros((6, 8))}})
    network = HyperNetwork(spec, hidden=(8,), head=head)
    gamma = jnp.array([0.3])
    variables = network.init(jax.random.key(0), gamma)
    theta = network.apply(variables, gamma)
    assert not theta["norm/scale"].any() and theta["norm/bias"].all()
    gradient = jax.grad(lambda v: network.apply(v, gamma)["norm/scale"].sum())(variables)
    assert jnp.abs(gradient["params"]["head"]["kernel"]).max() > 0


def test_a_pair_whose_axes_nothing_tells_says_them():
    init = lambda key, x: {"mix": jax.random.normal(key, (4, 2, 2))}  # noqa: E731
    pair = init, lambda params, x: jnp.einsum("bi,ihk->bhk", x, params["mix"])
    x = jax.ShapeDtypeStruct((5, 4), jnp.float32)
    (record,) = hypernetize(pair, x).spec
    assert record.role == "kernel"
    with pytest.raises(ConfigError, match="axes of 'mix' .* say it with roles="):
        hypernetize(pair, x, initializer="hyperfan_in")
    (record,) = hypernetize(pair, x, initializer="hyperfan_in", roles={"mix": "in out out"}).spec
    assert (record.fan_in, record.fan_out) == (4, 4)


def test_unknown_name_is_refused():
    with pytest.raises(ConfigError, match="hyperfan_in"):
        INITIALIZERS.get("hyperfanin")
