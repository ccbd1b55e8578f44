"""Values that make no sense end in one error of this library, before anything is compiled."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import hyperlab as hl
from hyperlab.errors import ConfigError, GammaError, HyperlabError, ParameterTreeError

pytestmark = pytest.mark.fast
X = jnp.ones((4, 8))
NAN = float("nan")

OPTIONS = [
    ({"gamma_dim": {}}, GammaError, "gamma_dim is empty"),
    ({"gamma_dim": {1: 1, "b": 2}}, GammaError, "names an input 1; expected text"),
    ({"gamma_dim": {"": 1, "b": 2}}, GammaError, "names an input ''"),
    ({"gamma_dim": True}, GammaError, "gamma_dim is True"),
    ({"gamma_dim": 0}, GammaError, "gamma_dim is 0"),
    ({"gamma_dim": 1.0}, GammaError, "gamma_dim is 1.0"),
    ({"hidden": (-4,)}, ConfigError, r"hidden is \(-4,\)"),
    ({"hidden": 16}, ConfigError, "hidden is 16, expected widths"),
    ({"hidden": (8, 2.5)}, ConfigError, r"hidden is \(8, 2.5\)"),
    ({"encoding": "fourier:0"}, ConfigError, "frequencies is 0, expected a whole number of at least 1"),
    ({"encoding": "fourier:'x'"}, ConfigError, "frequencies is 'x'"),
    ({"encoding": "fourier:2,3"}, ConfigError, "encoding 'fourier:2,3'"),
    ({"encoding": "random_fourier:8,inf"}, ConfigError, "random_fourier:8,inf"),
    ({"head": "chunked:0"}, ConfigError, "chunk is 0"),
    ({"head": "chunked:1.5"}, ConfigError, "chunk is 1.5"),
    ({"head": "low_rank:-2"}, ConfigError, "rank is -2"),
    ({"head": "low_rank:True"}, ConfigError, "rank is True"),
    ({"gamma_range": 3}, GammaError, r"gamma_range is 3; expected \(low, high\)"),
    ({"gamma_range": (1.0, 0.0)}, GammaError, "with low < high"),
    ({"gamma_range": (NAN, 1.0)}, GammaError, "gamma_range is"),
    ({"gamma_dim": {"age": 1}, "gamma_range": {"agee": (0.0, 1.0)}}, GammaError, "unknown input 'agee'"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "error", "words"), OPTIONS, ids=[str(row[0]) for row in OPTIONS])
def test_options_that_make_no_sense_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        hl.hypernetize(nn.Dense(3), X, **options)


def test_networks_that_cannot_be_hypernetised_are_refused():
    class Nothing(nn.Module):
        @nn.compact
        def __call__(self, x):
            return 2 * x

    with pytest.raises(HyperlabError):
        hl.hypernetize(Nothing(), X)
    with pytest.raises(ConfigError, match="needs example inputs"):
        hl.hypernetize(nn.Dense(3))

    class Switched(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.Dropout(0.5, deterministic=not train)(nn.Dense(3)(x))

    with pytest.raises(ConfigError, match=r"'train'; say .* example_kwargs={'train': False}"):
        hl.hypernetize(Switched(), X)
    with pytest.raises(TypeError, match="multiple values"):  # a mistake of the network's own passes
        hl.hypernetize((lambda key, x: jnp.zeros(3, shape=2), lambda params, x: x), X)


@pytest.fixture(scope="module")
def model():
    return hl.hypernetize(nn.Dense(3), X, gamma_dim=2, hidden=(4,))


@pytest.fixture(scope="module")
def variables(model):
    return model.init(jax.random.key(0))


@pytest.mark.parametrize("gamma", [None, "warm", [0.1, "x"], jnp.array([0.5, 0.5j])], ids=str)
def test_gammas_that_are_no_numbers_are_refused(model, variables, gamma):
    with pytest.raises(GammaError):
        model.apply(variables, gamma, X)


def test_variables_of_another_model_are_refused(model, variables):
    gamma = jnp.array([0.5, 0.5])
    other = hl.hypernetize(nn.Dense(5), X, gamma_dim=2, hidden=(4,)).init(jax.random.key(1))
    for given, words in (
        ({}, "variables hold nothing"), ({"params": {}}, "expected {'params': {'hypernet'"), (None, "nothing"),
        (model.generate(variables, gamma), r"\['bias', 'kernel'\]"), (other, "of another model\\?.* has shape"),
    ):  # fmt: skip
        for call in (model.apply, lambda v, g, x: model.generate(v, g)):
            with pytest.raises(ParameterTreeError, match=words):
                call(given, gamma, X)
